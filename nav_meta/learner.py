"""The learner: workers collect rollouts, gradients of whole sequences are averaged over them, one optimizer steps.

Workers are threads. Each has its own environments and a replica of the net that shares the net's weights and has
gradients of its own, so two cores run two single-threaded nets side by side, which is much faster than one net on two
threads at these sizes, and with the order of summation fixed the result does not depend on which thread is quicker.
"""

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.agent import Agent, AgentConfig
from nav_meta import losses
from nav_meta.config import LearnerConfig
from nav_meta.errors import UserError
from nav_meta.rollout import Rollout, Worker
from nav_meta.tasks import Task


class Diverged(UserError):
    """Loss or gradient is not finite; the weights are those before the step."""


class Learner:
    """PPO over sequences, or A2C (`LearnerConfig.clip` None), for an agent with memory."""

    def __init__(
        self, config: LearnerConfig, agent: AgentConfig, tasks: list[Task], total_steps: int, seed: int
    ) -> None:
        """Build the net, its replicas and the workers.

        Args:
            config: how to learn.
            agent: which net.
            tasks: one for each worker, all of the same batch size.
            total_steps: environment steps over which the schedules run.
            seed: of the weights, of the actions, and of the order of sequences.
        """
        self.config = config
        self.total_steps = total_steps
        self.step = 0
        self.precision = precision_of(config)
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.agent = Agent(agent, tasks[0].observation_shape, tasks[0].actions, tasks[0].hint_size)
        self.agent.to(memory_format=torch.channels_last)
        self.workers = [Worker(_replica(self.agent), task, seed * 1000 + i) for i, task in enumerate(tasks)]
        self._order = torch.Generator().manual_seed(seed)
        self._pool = ThreadPoolExecutor(len(tasks), thread_name_prefix="worker")
        if config.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
                self.agent.parameters(), lr=config.learning_rate, eps=1e-5, fused=True
            )
        else:
            self.optimizer = torch.optim.RMSprop(self.agent.parameters(), lr=config.learning_rate, alpha=0.99, eps=1e-5)

    def update(self) -> dict[str, float]:
        """Collect one rollout and learn from it; return metrics.

        Raises:
            Diverged: when loss or gradient is not finite.
        """
        config = self.config
        clock = time.perf_counter()
        collected = self._each(lambda worker: worker.collect(config.rollout, self.precision))
        rollouts = [rollout for rollout, _ in collected]
        tallies = [tally for _, tally in collected]
        collect_seconds = time.perf_counter() - clock
        advantages = [
            losses.generalised_advantages(r.reward, r.value, r.discount, config.gamma, config.lambda_) for r in rollouts
        ]
        targets = [a + r.value[:-1] for a, r in zip(advantages, rollouts, strict=True)]
        everything = torch.cat(advantages, 1)
        advantages = [(a - everything.mean()) / (everything.std() + 1e-8) for a in advantages]

        done = self.step / self.total_steps
        learning_rate = config.learning_rate + done * (config.final_learning_rate - config.learning_rate)
        entropy = config.entropy + done * (config.final_entropy - config.entropy)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        rows: list[dict[str, float]] = []
        for _ in range(config.passes):
            orders = [
                torch.randperm(worker.task.batch, generator=self._order).chunk(config.minibatches)
                for worker in self.workers
            ]
            for part in range(config.minibatches):
                parts = [order[part] for order in orders]
                results = self._each(
                    lambda worker, i, parts=parts: self._gradient(
                        worker.agent, rollouts[i], advantages[i], targets[i], parts[i], entropy
                    ),
                    range(len(self.workers)),
                )
                row = {key: float(np.mean([result[key] for result in results])) for key in results[0]}
                row["gradient_norm"] = self._make_step(row["loss"])
                rows.append(row)
        environments = sum(worker.task.batch for worker in self.workers)
        self.step += config.rollout * environments

        values = torch.cat([r.value[:-1] for r in rollouts], 1)
        targets_all = torch.cat(targets, 1)
        metrics = {f"loss/{key}": float(np.mean([row[key] for row in rows])) for key in rows[0]}
        metrics["loss/explained_variance"] = (
            1 - (targets_all - values).var() / targets_all.var().clamp(min=1e-8)
        ).item()
        metrics["loss/learning_rate"] = learning_rate
        metrics["return"] = float(np.mean([tally.reward for tally in tallies])) * config.episode
        visits = np.concatenate([tally.visits for tally in tallies])
        metrics["train/visits"] = len(visits) / environments / config.rollout * config.episode
        seconds = time.perf_counter() - clock
        world = float(np.mean([tally.seconds_world for tally in tallies]))
        metrics["time/steps_per_second"] = config.rollout * environments / seconds
        metrics["time/world"] = world / seconds
        metrics["time/act"] = (collect_seconds - world) / seconds
        metrics["time/learn"] = 1 - collect_seconds / seconds
        return metrics

    def state(self) -> dict[str, Any]:
        """Return everything that an exact continuation needs, as tensors, numbers, lists and dicts."""
        return {
            "step": self.step,
            "agent": self.agent.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self._order.get_state(),
            "workers": [worker.state() for worker in self.workers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self.step = state["step"]
        self.agent.load_state_dict(state["agent"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._order.set_state(state["order"])
        for worker, worker_state in zip(self.workers, state["workers"], strict=True):
            worker.restore(worker_state)

    def _each(self, function: Callable, *arguments: Any) -> list:
        """Call `function` with each worker, on the workers' threads, and wait for all."""
        return list(self._pool.map(function, self.workers, *arguments))

    def _gradient(
        self, agent: Agent, rollout: Rollout, advantages: Tensor, targets: Tensor, rows: Tensor, entropy: float
    ) -> dict[str, float]:
        """Put the gradient of some rows' loss into the `.grad` of one replica."""
        config = self.config
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            output, _ = agent.unroll(
                rollout.observation.index_select(1, rows),  # 20 times as fast as [:, rows]
                rollout.prev_action[:, rows],
                rollout.prev_reward[:, rows],
                rollout.first[rows],
                tuple(part[rows] for part in rollout.state),
            )
        policy = losses.policy_loss(
            output.logits, rollout.action[:, rows], rollout.log_prob[:, rows], advantages[:, rows], config.clip
        )
        value = losses.value_loss(output.value, targets[:, rows])
        hint = (
            losses.hint_loss(output.hint, rollout.target[:, rows], rollout.known[:, rows])
            if output.hint.numel()
            else torch.zeros(())
        )
        loss = policy.loss - entropy * policy.entropy + config.value * value + config.hint * hint
        agent.zero_grad()
        loss.backward()
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

    def _make_step(self, loss: float) -> float:
        """Average the replicas' gradients, clip, and move the weights; return the norm before clipping."""
        gradients, *others = ([p.grad for p in worker.agent.parameters()] for worker in self.workers)
        for other in others:
            torch._foreach_add_(gradients, other)
        torch._foreach_div_(gradients, len(self.workers))
        for parameter, gradient in zip(self.agent.parameters(), gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.agent.parameters(), self.config.max_gradient_norm, foreach=True).item()
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise Diverged(
                f"training diverged at step {self.step:,} (loss {loss}, gradient norm {norm}): continue from the last "
                "checkpoint with a lower learning rate; nothing was changed by this step."
            )
        self.optimizer.step()
        return norm


def precision_of(config: LearnerConfig) -> torch.dtype:
    """Return what to compute in: by default bfloat16 where the processor multiplies in it natively."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if (native if config.bf16 is None else config.bf16) else torch.float32


def _replica(agent: Agent) -> Agent:
    """Return a net that shares every weight with `agent` and has gradients of its own."""
    replica = copy.deepcopy(agent)
    for mine, shared in zip(replica.parameters(), agent.parameters(), strict=True):
        mine.data = shared.data
    return replica
