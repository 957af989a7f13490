"""The learner: workers collect rollouts, gradients of whole sequences are averaged over them, one optimizer steps."""

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.agent import Agent, AgentConfig
from nav_meta import ranks
from nav_meta.apprentice import Apprentice
from nav_meta.checkpoint import pack_array, unpack_array
from nav_meta.config import LearnerConfig
from nav_meta.crew import Crew
from nav_meta.errors import UserError
from nav_meta.graphs import Replayed
from nav_meta.tasks import Task
from nav_meta.worker import LOSSES, Collected, Moments, Worker, precision_of


class Diverged(UserError):
    """Loss or gradient is not finite, and so are the weights by now; the last checkpoint is from before."""


class Learner:
    """PPO over sequences, or A2C (`LearnerConfig.clip` None), for an agent with memory."""

    def __init__(
        self,
        config: LearnerConfig,
        agent: AgentConfig,
        make_task: Callable[[int], Task],
        workers: int,
        total_steps: int,
        seed: int,
        teacher: Agent | None = None,
    ) -> None:
        """Build the net and the workers.

        Args:
            config: how to learn.
            agent: which net.
            make_task: number of a worker -> its environments, as many for each. Their device is where all is computed.
                With several workers it must pickle: they are in processes of their own.
            workers: how many, one for each processor, dealt evenly to the ranks.
            total_steps: environment steps over which the schedules run.
            seed: of the weights, of the actions, and of the order of sequences.
            teacher: plays instead of the agent, which learns from it without reinforcement learning and has its
                encoder; None: nobody does.

        Raises:
            UserError: the workers cannot be dealt evenly to the ranks.
        """
        torch.set_num_threads(1)  # as every worker does; a matrix made orthogonal by more differs in its last bits
        share, rest = divmod(workers, ranks.count())
        if rest:
            raise UserError(f"workers ({workers}) must be a multiple of the number of ranks ({ranks.count()}).")
        lowest = ranks.number() * share
        self.config = config
        self.total_steps = total_steps
        self.step = 0
        task = make_task(lowest)
        self.precision = precision_of(config, task.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.agent = Agent(agent, task.observation_shape, task.actions, task.hint_size, task.view_size)
        # Other processors may round otherwise, and ranks that begin apart would never meet.
        self.agent.load_state_dict(ranks.of_lead(self.agent.state_dict()))
        self.agent.to(task.device, memory_format=torch.channels_last)
        make_worker: Callable[..., Worker] = Worker
        if teacher:
            self.agent.encoder.load_state_dict(teacher.encoder.state_dict())
            make_worker = partial(Apprentice, teacher=teacher.to(task.device))
        self._teacher = teacher
        self.batch = task.batch
        self.workers = workers
        self._crew = Crew(
            make_worker(self.agent, task, config, seed * 1000 + lowest),
            [
                partial(_make_in_process, make_worker, self.agent, make_task, config, seed, number)
                for number in range(lowest + 1, lowest + share)
            ],
        )
        self._order = torch.Generator().manual_seed(seed)
        device = torch.device(task.device)
        # Where steps are replayed from a graph, the rate must be read from the device's memory.
        self._rate = torch.tensor(config.learning_rate, device=device)
        options = {"lr": self._rate, "eps": 1e-5, "capturable": device.type == "cuda"}
        if config.optimizer == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.agent.parameters(), fused=True, **options)
        else:
            self.optimizer = torch.optim.RMSprop(self.agent.parameters(), alpha=0.99, **options)
        self._move = Replayed(self._move_weights, device)

    def update(self) -> dict[str, float]:
        """Collect one rollout and learn from it; return metrics.

        Raises:
            Diverged: when loss or gradient is not finite.
        """
        config = self.config
        clock = time.perf_counter()
        collected: list[Collected] = self._crew.call("collect")
        collect_seconds = time.perf_counter() - clock
        advantage = _together([own.advantage for own in collected])
        discounted = _together([own.discounted for own in collected])
        mean, deviation = advantage.mean, advantage.variance**0.5

        done = self.step / self.total_steps
        learning_rate = config.learning_rate + done * (config.final_learning_rate - config.learning_rate)
        entropy = config.entropy + done * (config.final_entropy - config.entropy)
        self._rate.fill_(learning_rate)
        found: list[Tensor] = []
        norms: list[Tensor] = []
        for _ in range(config.passes):
            orders = [
                torch.randperm(self.batch, generator=self._order).numpy().reshape(config.minibatches, -1)
                for _ in range(self.workers)
            ]
            for part in range(config.minibatches):
                chosen = [order[part] for order in orders]
                known = sum(own.known[rows].sum(0) for own, rows in zip(collected, chosen, strict=True))
                numbers = entropy, mean, deviation, np.maximum(known, 1) / self.workers
                own = self._crew.call_own("gradient", chosen, *([number] * self.workers for number in numbers))
                self._crew.average_gradients()
                found.append(torch.stack(own))
                norms.append(self._move().clone())
        # Nothing before this waits for a GPU, which is given one step after another.
        losses, norm = torch.stack(found).flatten(0, 1).tolist(), torch.stack(norms).mean().item()
        means = np.mean([row for rows in ranks.gather([losses]) for row in rows], axis=0).tolist()
        metrics = {f"loss/{name}": mean for name, mean in zip(LOSSES, means, strict=True)}
        if not np.isfinite([*means, norm]).all():
            raise Diverged(
                f"training diverged at step {self.step:,} (loss {means[0]}, gradient norm {norm}): continue from the "
                "last checkpoint with a lower learning rate."
            )
        environments = self.batch * self.workers
        self.step += config.rollout * environments

        tallies = [own.tally for own in collected]
        metrics["loss/gradient_norm"] = norm
        metrics["loss/explained_variance"] = 1 - advantage.variance / max(discounted.variance, 1e-8)
        metrics["loss/learning_rate"] = learning_rate
        metrics["return"] = float(np.mean([tally.reward for tally in tallies])) * config.episode
        visits = sum(tally.visits for tally in tallies)
        metrics["train/visits"] = visits / environments / config.rollout * config.episode
        seconds = time.perf_counter() - clock
        world = float(np.mean([tally.seconds_world for tally in tallies]))
        metrics["time/steps_per_second"] = config.rollout * environments / seconds
        metrics["time/world"] = world / seconds
        metrics["time/act"] = (collect_seconds - world) / seconds
        metrics["time/learn"] = 1 - collect_seconds / seconds
        return metrics

    def state(self) -> dict[str, Any]:
        """Return everything that an exact continuation needs, as tensors on the CPU, numbers, lists and dicts."""
        optimizer = self.optimizer.state_dict()["state"]
        return {
            "step": self.step,
            "agent": _each(_to_cpu, self.agent.state_dict()),
            "optimizer": {"state": {number: _each(_to_cpu, own) for number, own in optimizer.items()}},
            "order": self._order.get_state(),
            "workers": [{**own, "task": _each(pack_array, own["task"])} for own in self._crew.call("state")],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, exactly on a device of the same type and with as many workers.

        It does not matter how many ranks these were or are dealt to, but for the order in which the gradients of more
        than two workers are added up.

        Raises:
            UserError: there were another number of workers, and the task's environments cannot be dealt anew; or the
                teacher is another.
        """
        self.step = state["step"]
        self.agent.load_state_dict(state["agent"])
        if self._teacher:  # who reads what the encoder says
            encoders = self.agent.encoder.state_dict(), self._teacher.encoder.state_dict()
            if not all(map(torch.equal, *(encoder.values() for encoder in encoders))):
                raise UserError(
                    "the teacher has another encoder than when this run began: give it the checkpoint that it had, or "
                    "start a new run."
                )
        # Which would take the tensors themselves, and write to them.
        moments = copy.deepcopy(state["optimizer"]["state"])
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate  # of which it has made a copy
        self._move = Replayed(self._move_weights, self._rate.device)  # the optimizer's memory is another now
        self._order.set_state(state["order"])
        workers = _deal(state["workers"], self.workers, self.batch)
        self._crew.call("restore", [{**own, "task": _each(unpack_array, own["task"])} for own in workers])

    def _move_weights(self) -> Tensor:
        """Clip the gradient and make a step; return its norm before, float32 []."""
        norm = nn.utils.clip_grad_norm_(self.agent.parameters(), self.config.max_gradient_norm, foreach=True)
        self.optimizer.step()
        return norm


def _make_in_process(
    make_worker: Callable[..., Worker],
    agent: Agent,
    make_task: Callable[[int], Task],
    config: LearnerConfig,
    seed: int,
    number: int,
    shared: list[Tensor],
) -> Worker:
    return make_worker(agent, make_task(number), config, seed * 1000 + number, shared)


def _together(parts: list[Moments]) -> Moments:
    """Return the moments of all numbers, of which each part has as many."""
    means = [part.mean for part in parts]
    return Moments(float(np.mean(means)), float(np.mean([part.variance for part in parts]) + np.var(means)))


def _deal(states: list[dict[str, Any]], workers: int, batch: int) -> list[dict[str, Any]]:
    """Deal the environments of saved workers to another number of them, `batch` to each, which draw actions anew."""
    if len(states) == workers:
        return states
    if "_draws" in states[0]["task"]:  # how often such a generator was used
        raise UserError(
            f"this run has {len(states)} workers, whose environments draw from one generator each and cannot be dealt "
            f"anew: --workers {len(states)}."
        )
    tasks = {name: torch.cat([own["task"][name] for own in states]).split(batch) for name in states[0]["task"]}
    memory = [torch.cat(parts).split(batch) for parts in zip(*(own["memory"] for own in states), strict=True)]
    return [
        {
            "task": {name: parts[number] for name, parts in tasks.items()},
            "memory": [parts[number] for parts in memory],
            "generator": torch.empty(0, dtype=torch.uint8),
        }
        for number in range(workers)
    ]


def _to_cpu(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", copy=True)  # Tensor.cpu would hand out the CPU's own


def _each(function: Callable, values: dict[str, Any]) -> dict[str, Any]:
    return {name: function(value) for name, value in values.items()}
