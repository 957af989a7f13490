"""A worker owns some environments and the agent's memory of them: it acts T steps at a time, then finds gradients."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.agent import Agent, State
from nav_meta import losses
from nav_meta.config import LearnerConfig
from nav_meta.tasks import Task


class Rollout(NamedTuple):
    """T steps of B environments, time first. Row t holds what the agent saw at t, what it did, and what came of it."""

    observation: Tensor
    """uint8 [T, B, H, W, 3] or float32 [T, B, F]."""
    prev_action: Tensor
    """int64 [T, B]."""
    prev_reward: Tensor
    """float32 [T, B]: reward as the agent is told."""
    first: Tensor
    """bool [B]: did an episode begin with the first step?"""
    state: State
    """Memory before the first step, float32 [B, units] each."""
    action: Tensor
    """int64 [T, B]."""
    log_prob: Tensor
    """float32 [T, B]: log-probability of the action."""
    value: Tensor
    """float32 [T + 1, B]."""
    reward: Tensor
    """float32 [T, B]: paid for the action, the learner's bonus included."""
    discount: Tensor
    """float32 [T, B]: 0 where value is cut after the action."""
    target: Tensor
    """float32 [T, B, K]: what the auxiliary head should say."""
    known: Tensor
    """bool [T, B]: could it be known?"""


class Tally(NamedTuple):
    """What happened during a rollout, beside the experience itself."""

    reward: float
    """Mean task reward of a step, without bonus."""
    visits: np.ndarray
    """int64 [N, 2]: number (from 0) and latency of each visit that ended."""
    seconds_world: float


class Collected(NamedTuple):
    """What the learner is told of a rollout; the worker keeps the rest."""

    advantage: np.ndarray
    """float32 [T, B], not normalised."""
    value: np.ndarray
    """float32 [T, B]."""
    tally: Tally


class Worker:
    """One processor's share of the environments."""

    def __init__(
        self, agent: Agent, task: Task, config: LearnerConfig, seed: int, shared: Sequence[Tensor] = ()
    ) -> None:
        """Begin with empty memory.

        Args:
            agent: whose weights are read at every call, and never written.
            task: environments.
            config: how to learn.
            seed: of the actions drawn.
            shared: where to leave a copy of the gradients, for another process.
        """
        torch.set_num_threads(1)
        self.agent = agent
        self.task = task
        self.config = config
        self.shared = shared
        self.precision = precision_of(config)
        self.generator = torch.Generator().manual_seed(seed)
        self.memory = agent.initial_state(task.batch)

    def collect(self) -> Collected:
        """Act for a rollout's steps in all environments, and keep it until the next."""
        config = self.config
        self.rollout, tally = rollout, _ = self.act(config.rollout)
        self.advantages = losses.generalised_advantages(
            rollout.reward, rollout.value, rollout.discount, config.gamma, config.lambda_
        )
        return Collected(self.advantages.numpy(), rollout.value[:-1].numpy(), tally)

    def act(self, steps: int) -> tuple[Rollout, Tally]:
        """Act for T = `steps` steps in all environments."""
        task, batch, precision = self.task, self.task.batch, self.precision
        task.renew()
        picture = len(task.observation_shape) == 3
        observation = np.empty((steps + 1, batch, *task.observation_shape), np.uint8 if picture else np.float32)
        prev_action = np.empty((steps + 1, batch), np.int64)
        prev_reward = np.empty((steps + 1, batch), np.float32)
        discount = np.empty((steps + 1, batch), np.float32)
        bonus = np.empty((steps + 1, batch), np.float32)
        target = np.empty((steps + 1, batch, task.hint_size), np.float32)
        known = np.empty((steps + 1, batch), np.bool_)
        action = torch.empty(steps, batch, dtype=torch.int64)
        logits = torch.empty(steps, batch, task.actions)
        value = torch.empty(steps + 1, batch)
        # The index of the largest of logits + Gumbel noise is distributed as softmax(logits) says.
        noise = -torch.empty_like(logits).exponential_(generator=self.generator).log_()
        # The agent reads the arrays as the task fills them: tensors of the same memory.
        seen, did, got = (torch.from_numpy(array) for array in (observation, prev_action, prev_reward))
        visits = []
        seconds_world = 0.0
        before = memory = self.memory
        begins = None

        # One autocast for the whole rollout: it keeps the weights it has cast.
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            for t in range(steps + 1):
                clock = time.perf_counter()
                moment = task.time_step(out=observation[t])
                hints = task.hints()
                seconds_world += time.perf_counter() - clock
                prev_action[t] = moment.prev_action
                prev_reward[t] = moment.prev_reward
                discount[t] = moment.discount
                bonus[t], target[t], known[t] = hints
                if t == 0:
                    begins = torch.from_numpy(moment.first)
                else:
                    assert t == steps or not moment.first.any(), (
                        "an episode may begin with a rollout only: LSTMs run fused over it"
                    )
                now = slice(t, t + 1)
                output, next_memory = self.agent.unroll(
                    seen[now], did[now], got[now], begins if t == 0 else None, memory
                )
                value[t] = output.value[0]
                if t == steps:
                    # The moment after the last action is here for its value only, and is read again when the next
                    # rollout begins.
                    break
                memory = next_memory
                logits[t] = output.logits[0]
                torch.argmax(logits[t] + noise[t], -1, out=action[t])
                clock = time.perf_counter()
                task.step(action[t].numpy())
                seconds_world += time.perf_counter() - clock
                visits.append(np.stack([task.ended.visit, task.ended.latency], 1))
        self.memory = memory
        rollout = Rollout(
            observation=seen[:-1],
            prev_action=did[:-1],
            prev_reward=got[:-1],
            first=begins,
            state=before,
            action=action,
            log_prob=torch.log_softmax(logits, -1).gather(-1, action[..., None]).squeeze(-1),
            value=value,
            reward=torch.from_numpy(prev_reward[1:] + bonus[1:]),
            discount=torch.from_numpy(discount[1:]),
            target=torch.from_numpy(target[:-1]),
            known=torch.from_numpy(known[:-1]),
        )
        tally = Tally(prev_reward[1:].mean().item(), np.concatenate(visits), seconds_world)
        return rollout, tally

    def gradient(self, chosen: np.ndarray, entropy: float, mean: float, deviation: float) -> dict[str, float]:
        """Put the gradient of the loss over some environments of the last rollout into the `.grad` of the agent.

        Args:
            chosen: int64 [N], rows of the batch.
            entropy: coefficient of the entropy.
            mean: of the advantages of all workers.
            deviation: their standard deviation.

        Returns:
            the loss and its parts.
        """
        config, rollout, agent = self.config, self.rollout, self.agent
        rows = torch.from_numpy(chosen)
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            output, _ = agent.unroll(
                rollout.observation.index_select(1, rows),  # 20 times as fast as [:, rows]
                rollout.prev_action[:, rows],
                rollout.prev_reward[:, rows],
                rollout.first[rows],
                tuple(part[rows] for part in rollout.state),
            )
        advantages = self.advantages[:, rows]
        policy = losses.policy_loss(
            output.logits,
            rollout.action[:, rows],
            rollout.log_prob[:, rows],
            (advantages - mean) / (deviation + 1e-8),
            config.clip,
        )
        value = losses.value_loss(output.value, advantages + rollout.value[:-1, rows])
        hint = (
            losses.hint_loss(output.hint, rollout.target[:, rows], rollout.known[:, rows])
            if output.hint.numel()
            else torch.zeros(())
        )
        loss = policy.loss - entropy * policy.entropy + config.value * value + config.hint * hint
        agent.zero_grad()
        loss.backward()
        if self.shared:
            torch._foreach_copy_(self.shared, [parameter.grad for parameter in agent.parameters()])
        parts = {
            "loss": loss,
            "policy": policy.loss,
            "value": value,
            "hint": hint,
            "entropy": policy.entropy,
            "kl": policy.kl,
            "clipped": policy.clipped,
        }
        return {key: part.item() for key, part in parts.items()}

    def state(self) -> dict:
        """Return all that `restore` needs."""
        return {
            "task": self.task.state(),
            "memory": list(self.memory),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict) -> None:
        """Continue exactly where `state` was taken."""
        self.task.restore(state["task"])
        self.memory = tuple(state["memory"])
        self.generator.set_state(state["generator"])


def precision_of(config: LearnerConfig) -> torch.dtype:
    """Return what to compute in: by default bfloat16 where the processor multiplies in it natively."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if (native if config.bf16 is None else config.bf16) else torch.float32
