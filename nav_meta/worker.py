"""A worker owns some environments and the agent's memory of them: it acts T steps at a time, then finds gradients."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.agent import Agent, Output, State
from nav_meta import losses
from nav_meta.config import LearnerConfig
from nav_meta.graphs import Replayed
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
    """float32 [T, B, K]: what the auxiliary head should say, and an informed critic reads."""
    known: Tensor
    """bool [T, B, K]: which of it could be known?"""


class Tally(NamedTuple):
    """What happened during a rollout, beside the experience itself."""

    reward: float
    """Mean task reward of a step, without bonus."""
    visits: int
    """Visits that ended."""
    seconds_world: float
    """NaN on a CUDA device, where one graph holds the world and the agent."""


class Moments(NamedTuple):
    """Mean and variance of some numbers."""

    mean: float
    variance: float


class Collected(NamedTuple):
    """What the learner is told of a rollout, however large; the worker keeps the rest."""

    advantage: Moments
    """Not normalised."""
    discounted: Moments
    """Of advantage + value, the estimated discounted return."""
    known: np.ndarray
    """int64 [B, K]: in how many of its steps each answer could be known."""
    tally: Tally


class _Tape(NamedTuple):
    """Where a rollout is written, the same memory for every rollout: tensors, or the arrays of a CPU's tensors."""

    observation: Any
    """[T + 1, B, ...], as all of a `TimeStep` and of `Hints`."""
    prev_action: Any
    prev_reward: Any
    first: Any
    discount: Any
    bonus: Any
    target: Any
    known: Any
    value: Any
    """float32 [T + 1, B]."""
    noise: Any
    """float32 [T, B, actions]: added to the logits before the largest is chosen."""
    logits: Any
    """float32 [T, B, actions]."""
    action: Any
    """int64 [T, B]."""
    log_prob: Any
    """float32 [T, B], as the next two."""
    reward: Any
    advantage: Any
    ended: Any
    """bool [T, B]: did a visit end with the action?"""


LOSSES = ("loss", "policy", "value", "hint", "entropy", "kl", "clipped")
"""What is told of a gradient."""


class Worker:
    """One processor's share of the environments."""

    def __init__(
        self, agent: Agent, task: Task, config: LearnerConfig, seed: int, shared: Sequence[Tensor] = ()
    ) -> None:
        """Begin with empty memory.

        Args:
            agent: whose weights are read at every call, and never written; on the task's device.
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
        self.device = torch.device(task.device)
        self.precision = precision_of(config, self.device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.memory = agent.initial_state(task.batch)
        self._before = agent.initial_state(task.batch)
        self._tape = _make_tape(task, config.rollout, self.device)
        self._features: Tensor | None = None  # [T + 1, B, features]: of an encoder that stays as it is
        if config.freeze_encoder:
            shape = config.rollout + 1, task.batch, agent.encoder.features
            self._features = torch.empty(shape, dtype=self.precision, device=self.device)
        self._seconds_world = 0.0
        self._run = Replayed(self._play, self.device)
        self._differentiate = Replayed(self._find_gradient, self.device)

    def collect(self) -> Collected:
        """Act for a rollout's steps in all environments, and keep it until the next."""
        config = self.config
        self.rollout, tally = rollout, _ = self.act()
        self.advantages = self._tape.advantage.copy_(
            losses.generalised_advantages(rollout.reward, rollout.value, rollout.discount, config.gamma, config.lambda_)
        )
        known = rollout.known.sum(0).cpu().numpy()
        return Collected(_moments(self.advantages), _moments(self.advantages + rollout.value[:-1]), known, tally)

    def act(self) -> tuple[Rollout, Tally]:
        """Act for a rollout's T steps in all environments; the next call writes over what this one returns."""
        tape, told = self._tape, _arrays(self._tape)
        _copy(self._before, self.memory)
        self._seconds_world = 0.0
        self.task.renew()
        # The index of the largest of logits + Gumbel noise is distributed as softmax(logits) says.
        tape.noise.exponential_(generator=self.generator).log_().neg_()
        self._run()
        assert not tape.first[1:-1].any(), "an episode may begin with a rollout only: LSTMs run fused over it"
        rollout = Rollout(
            observation=tape.observation[:-1],
            prev_action=tape.prev_action[:-1],
            prev_reward=tape.prev_reward[:-1],
            first=tape.first[0],
            state=self._before,
            action=tape.action,
            log_prob=tape.log_prob.copy_(losses.of_actions(torch.log_softmax(tape.logits, -1), tape.action)),
            value=tape.value,
            reward=torch.add(tape.prev_reward[1:], tape.bonus[1:], out=tape.reward),
            discount=tape.discount[1:],
            target=tape.target[:-1],
            known=tape.known[:-1],
        )
        seconds_world = float("nan") if self.device.type == "cuda" else self._seconds_world
        return rollout, Tally(told.prev_reward[1:].mean().item(), int(told.ended.sum()), seconds_world)

    def _play(self) -> None:
        """Write a rollout to the tape and move the memory on: work in the same places every time, nothing read back."""
        task, tape, told, precision = self.task, self._tape, _arrays(self._tape), self.precision
        steps = len(tape.action)
        memory = self._before
        # One autocast for the whole rollout: it keeps the weights it has cast.
        with torch.no_grad(), torch.autocast(self.device.type, precision, enabled=precision != torch.float32):
            for t in range(steps + 1):
                clock = time.perf_counter()
                moment = task.time_step(out=told.observation[t])
                hints = task.hints()
                self._seconds_world += time.perf_counter() - clock
                told.prev_action[t] = moment.prev_action
                told.prev_reward[t] = moment.prev_reward
                told.first[t] = moment.first
                told.discount[t] = moment.discount
                told.bonus[t], told.target[t], told.known[t] = hints
                now = slice(t, t + 1)
                output, next_memory = self._read(now, tape.first[0] if t == 0 else None, memory)
                tape.value[t] = output.value[0]
                if t == steps:
                    # The moment after the last action is here for its value only, and is read again when the next
                    # rollout begins.
                    break
                memory = next_memory
                tape.logits[t] = output.logits[0]
                torch.argmax(tape.logits[t] + tape.noise[t], -1, out=tape.action[t])
                clock = time.perf_counter()
                task.step(told.action[t])
                self._seconds_world += time.perf_counter() - clock
                told.ended[t] = task.ended.ended
        _copy(self.memory, memory)

    def _read(self, now: slice, first: Tensor | None, memory: State) -> tuple[Output, State]:
        """Let who plays read a moment of the tape."""
        tape = self._tape
        return self.agent.unroll_memory(
            self._encode(now), tape.prev_action[now], tape.prev_reward[now], first, memory, tape.target[now]
        )

    def _encode(self, now: slice) -> Tensor:
        """Return the features of a moment of the tape [1, B, features], and keep those that stay true."""
        features = self.agent.encode(self._tape.observation[now])
        if self._features is not None:
            self._features[now] = features
        return features

    def gradient(self, chosen: np.ndarray, entropy: float, mean: float, deviation: float, counts: np.ndarray) -> Tensor:
        """Put the gradient of the loss over some environments of the last rollout into the `.grad` of the agent.

        Args:
            chosen: int64 [N], rows of the batch.
            entropy: coefficient of the entropy.
            mean: of the advantages of all workers.
            deviation: their standard deviation.
            counts: float64 [K], moments in which each answer is known, as `hint_loss` takes them: the mean over the
                workers, whose gradients are averaged.

        Returns:
            float32 [`LOSSES`].
        """
        numbers = torch.tensor((entropy, mean, deviation, *counts), dtype=torch.float32)
        found = self._differentiate(torch.from_numpy(chosen), numbers)
        if self.shared:
            torch._foreach_copy_(self.shared, [parameter.grad for parameter in self.agent.parameters()])
        return found.clone()

    def _find_gradient(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Do `gradient`."""
        config, rollout, agent = self.config, self.rollout, self.agent
        entropy, mean, deviation = numbers[:3]
        answers = rollout.target[:, rows]
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            output, _ = agent.unroll_memory(
                self._features_of(rows),
                rollout.prev_action[:, rows],
                rollout.prev_reward[:, rows],
                rollout.first[rows],
                tuple(part[rows] for part in rollout.state),
                answers,
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
        hint = losses.hint_loss(output.hint, answers, rollout.known[:, rows], numbers[3:])
        loss = policy.loss - entropy * policy.entropy + config.value * value + config.hint * hint
        self._backward(loss)
        return torch.stack((loss, policy.loss, value, hint, policy.entropy, policy.kl, policy.clipped)).detach()

    def _features_of(self, rows: Tensor) -> Tensor:
        """Return the features of some environments' rollouts, [T, N, features]."""
        # index_select is 20 times as fast as [:, rows].
        if self._features is not None:
            return self._features[:-1].index_select(1, rows)
        return self.agent.encode(self.rollout.observation.index_select(1, rows))

    def _backward(self, loss: Tensor) -> None:
        """Put the gradient of a loss into the `.grad` of the agent: 0 for an encoder that stays as it is."""
        self.agent.zero_grad()
        loss.backward()
        if self._features is not None:
            for parameter in self.agent.encoder.parameters():
                parameter.grad = torch.zeros_like(parameter)

    def state(self) -> dict:
        """Return all that `restore` needs."""
        return {
            "task": self.task.state(),
            "memory": [part.to("cpu", copy=True) for part in self.memory],
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict) -> None:
        """Continue where `state` was taken, exactly on a device of the same type and with its own generator."""
        self.task.restore(state["task"])
        _copy(self.memory, state["memory"])
        # A CPU's generator draws other numbers than a GPU's, and cannot go on with them: it begins its own. So does a
        # worker whose environments were dealt anew, for which none was saved.
        if len(state["generator"]) == len(self.generator.get_state()):
            self.generator.set_state(state["generator"])


def _make_tape(task: Task, steps: int, device: torch.device) -> _Tape:
    def empty(length: int, dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.empty((length, task.batch, *shape), dtype=dtype, device=device)

    picture = len(task.observation_shape) == 3
    return _Tape(
        observation=empty(steps + 1, torch.uint8 if picture else torch.float32, *task.observation_shape),
        prev_action=empty(steps + 1, torch.int64),
        prev_reward=empty(steps + 1, torch.float32),
        first=empty(steps + 1, torch.bool),
        discount=empty(steps + 1, torch.float32),
        bonus=empty(steps + 1, torch.float32),
        target=empty(steps + 1, torch.float32, task.hint_size),
        known=empty(steps + 1, torch.bool, task.hint_size),
        value=empty(steps + 1, torch.float32),
        noise=empty(steps, torch.float32, task.actions),
        logits=empty(steps, torch.float32, task.actions),
        action=empty(steps, torch.int64),
        log_prob=empty(steps, torch.float32),
        reward=empty(steps, torch.float32),
        advantage=empty(steps, torch.float32),
        ended=empty(steps, torch.bool),
    )


def _arrays(tape: _Tape) -> _Tape:
    """Return what a task reads and writes: arrays of the same memory on a CPU, the tensors themselves elsewhere."""
    return tape if tape.action.is_cuda else _Tape(*(tensor.numpy() for tensor in tape))


def _moments(numbers: Tensor) -> Moments:
    variance, mean = torch.var_mean(numbers, correction=0)
    return Moments(*torch.stack((mean, variance)).tolist())  # which waits for a GPU once


def _copy(to: Iterable[Tensor], source: Iterable[Tensor]) -> None:
    for target, part in zip(to, source, strict=True):
        target.copy_(part)


def precision_of(config: LearnerConfig, device: torch.device | str = "cpu") -> torch.dtype:
    """Return what to compute in: by default bfloat16 where the processor multiplies in it natively."""
    if torch.device(device).type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if (native if config.bf16 is None else config.bf16) else torch.float32
