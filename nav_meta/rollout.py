"""Collecting experience: a worker owns some environments and the agent's memory of them, and acts T steps at a time."""

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.agent import Agent, State
from nav_meta.checkpoint import pack_array, unpack_array
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
    seconds_act: float


class Worker:
    """One thread's share of the environments."""

    def __init__(self, agent: Agent, task: Task, seed: int) -> None:
        """Begin with empty memory; `seed` is that of the actions drawn."""
        self.agent = agent
        self.task = task
        self.generator = torch.Generator().manual_seed(seed)
        self.memory = agent.initial_state(task.batch)

    def collect(self, steps: int, precision: torch.dtype) -> tuple[Rollout, Tally]:
        """Act for T = `steps` steps in all environments."""
        task, batch = self.task, self.task.batch
        task.renew()
        picture = len(task.observation_shape) == 3
        observations = np.empty((steps + 1, batch, *task.observation_shape), np.uint8 if picture else np.float32)
        prev_action = torch.empty(steps + 1, batch, dtype=torch.int64)
        prev_reward = torch.empty(steps + 1, batch)
        discount = torch.empty(steps + 1, batch)
        bonus = torch.empty(steps + 1, batch)
        target = torch.empty(steps + 1, batch, task.hint_size)
        known = torch.empty(steps + 1, batch, dtype=torch.bool)
        action = torch.empty(steps, batch, dtype=torch.int64)
        log_prob = torch.empty(steps, batch)
        value = torch.empty(steps + 1, batch)
        visits = []
        started = time.perf_counter()
        seconds_world = 0.0
        before = memory = self.memory
        begins = torch.zeros(batch, dtype=torch.bool)

        # One autocast for the whole rollout: it keeps the weights it has cast.
        with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            for t in range(steps + 1):
                clock = time.perf_counter()
                moment = task.time_step(out=observations[t])
                hints = task.hints()
                seconds_world += time.perf_counter() - clock
                prev_action[t] = torch.from_numpy(moment.prev_action)
                prev_reward[t] = torch.from_numpy(moment.prev_reward)
                discount[t] = torch.from_numpy(moment.discount)
                bonus[t] = torch.from_numpy(hints.bonus)
                target[t] = torch.from_numpy(hints.target)
                known[t] = torch.from_numpy(hints.known)
                if t == 0:
                    begins = torch.from_numpy(moment.first)
                else:
                    assert t == steps or not moment.first.any(), (
                        "an episode may begin with a rollout only: LSTMs run fused over it"
                    )
                output, next_memory = self.agent.unroll(
                    torch.from_numpy(observations[t : t + 1]),
                    prev_action[t : t + 1],
                    prev_reward[t : t + 1],
                    begins if t == 0 else torch.zeros_like(begins),
                    memory,
                )
                value[t] = output.value[0]
                if t == steps:
                    # The moment after the last action is here for its value only, and is read again when the next
                    # rollout begins.
                    break
                memory = next_memory
                log_probs = torch.log_softmax(output.logits[0], -1)
                action[t] = torch.multinomial(log_probs.exp(), 1, generator=self.generator).squeeze(-1)
                log_prob[t] = log_probs.gather(-1, action[t][:, None]).squeeze(-1)
                clock = time.perf_counter()
                task.step(action[t].numpy())
                seconds_world += time.perf_counter() - clock
                visits.append(np.stack([task.ended.visit, task.ended.latency], 1))
        self.memory = memory
        rollout = Rollout(
            torch.from_numpy(observations)[:-1], prev_action[:-1], prev_reward[:-1], begins, before,
            action, log_prob, value, prev_reward[1:] + bonus[1:], discount[1:], target[:-1], known[:-1],
        )  # fmt: skip
        tally = Tally(
            prev_reward[1:].mean().item(),
            np.concatenate(visits),
            seconds_world,
            time.perf_counter() - started - seconds_world,
        )
        return rollout, tally

    def state(self) -> dict:
        """Return all that `restore` needs."""
        return {
            "task": {name: pack_array(value) for name, value in self.task.state().items()},
            "memory": list(self.memory),
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict) -> None:
        """Continue exactly where `state` was taken."""
        self.task.restore({name: unpack_array(value) for name, value in state["task"].items()})
        self.memory = tuple(state["memory"])
        self.generator.set_state(state["generator"])
