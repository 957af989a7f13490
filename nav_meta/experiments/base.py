"""What an experiment of the papers consists of, and how its test episodes are played."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.agent import AgentConfig
from nav_meta.config import LearnerConfig
from nav_meta.evaluation import MakePolicy, Policy
from nav_meta.tasks.episodes import EpisodicTask

TEST_SEED = 1 << 40
"""Test episodes are drawn from seeds that no training run uses: those are below."""


@dataclass(frozen=True)
class Training:
    """How an agent is trained for an experiment."""

    agent: AgentConfig = field(default_factory=AgentConfig)
    """Which net."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """How it learns; `environments`, `rollout` and `episode` are the task's."""
    steps: int = 1_000_000
    """Steps to train for."""
    minutes: float = 1.0
    """What that takes on one core."""
    seeds: int = 1
    """How many agents the experiment asks for at least."""
    start: str | None = None
    """The experiment with whose agents' weights they begin, seed for seed, such as one of shorter episodes."""


VECTOR_AGENT = AgentConfig(features=0, memory="single", units=48)
"""The papers' agent for tasks that are seen as vectors: one LSTM of 48 (Wang et al. 2016, table 1)."""


def vector_learner(episode: int, *, gamma: float, lambda_: float = 0.3, **options: Any) -> LearnerConfig:
    """Return how agents learn tasks that are seen as vectors; `options` change fields of it.

    RL^2's lambda of 0.3 is what makes bandits learnable at all, see EXPERIMENTS.md.
    """
    return replace(
        LearnerConfig(
            environments=1024,
            rollout=episode,
            episode=episode,
            passes=3,
            minibatches=8,
            gamma=gamma,
            lambda_=lambda_,
            entropy=0.03,
            final_entropy=0.0,
            hint=0.0,
            shaping=0.0,
            learning_rate=5e-3,
        ),
        **options,
    )


def informed_learner(episode: int, *, gamma: float, hint: float, **options: Any) -> LearnerConfig:
    """Return how agents learn what takes long to explore, where the task knows what actions pay on average.

    The learner, never the agent, is paid minus the expected regret, which is the reward without its noise, and the
    auxiliary head is to say what all actions pay. Updates follow about 50,000 steps, in parts of eight sequences, and
    gradients flow through long episodes in pieces: many small steps of the optimizer learn fastest, see EXPERIMENTS.md.
    """
    rollout = episode if episode <= 250 else 125
    environments = 1 << round(math.log2(51_200 / rollout))
    return vector_learner(
        episode,
        gamma=gamma,
        rollout=rollout,
        environments=environments,
        minibatches=environments // 8,
        shaping=1.0,
        hint=hint,
        **options,
    )


class Recording(NamedTuple):
    """One episode of B environments, time first."""

    actions: np.ndarray
    """int64 [T, B]."""
    rewards: np.ndarray
    """float32 [T, B]: paid for the action of the same row."""
    watched: dict[str, np.ndarray]
    """[T, B, ...] by name: attributes of the task as they were when the action was chosen."""


class Played(NamedTuple):
    """What one player did in N test episodes."""

    figures: dict[str, np.ndarray]
    """Name -> float64 [N], one number for each episode, NaN where it has none; tables show means and 95 % intervals."""
    curves: dict[str, np.ndarray]
    """Name -> array: what the experiment's figure draws."""


class Experiment(ABC):
    """One experiment: a task, how to train for it, rivals to compare with, and a figure."""

    name: str
    """As on the command line."""
    title: str
    """One line with the paper and the number of its experiment."""
    headline: str
    """The figure (key of `Played.figures`) that matters most."""
    columns: tuple[str, ...]
    """The figures that the table shows."""
    test_episodes: int = 1000
    """Episodes of the test."""
    training: Training

    @abstractmethod
    def make_task(
        self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True
    ) -> EpisodicTask:
        """Return B environments of the task.

        `show_reward` False: for the control that is never told its reward (`AgentConfig.see_reward` False), hide from
        the observation too whatever gives the reward away.
        """

    @abstractmethod
    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes, the same for every player: drawn from TEST_SEED + seed."""

    @abstractmethod
    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return rivals that play the same episodes, by the name of their row in the table."""

    def known(self) -> Mapping[str, Mapping[str, float]]:
        """Return further rows, figures known without playing: exact values, and what the paper reports."""
        return {}

    @abstractmethod
    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw the paper's figure as PNG from what the players did: name of the row -> one `Played` for each seed."""


def play(policy: Policy, task: EpisodicTask, watch: Sequence[str] = ()) -> Recording:
    """Play one episode in each environment of a fresh task; note the attributes `watch` of the task at each step."""
    actions, rewards = [], []
    watched: dict[str, list[np.ndarray]] = {name: [] for name in watch}
    moment = task.time_step()
    for _ in range(task.episode_steps):
        for name in watch:
            watched[name].append(getattr(task, name).copy())
        actions.append(policy(moment))
        task.step(actions[-1])
        moment = task.time_step()
        rewards.append(moment.prev_reward)
    return Recording(np.stack(actions), np.stack(rewards), {name: np.stack(rows) for name, rows in watched.items()})
