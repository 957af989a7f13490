"""Harlow's learning set: does the agent know from the second trial on which of two new pictures pays?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.agent import AgentConfig
from nav_meta.baselines.bandits import Random
from nav_meta.baselines.harlow import OneShot
from nav_meta.config import LearnerConfig
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import TEST_SEED, Experiment, Played, Training, play
from nav_meta.plots import COLOURS, FAINT, REFERENCE, clean, save
from nav_meta.tasks.episodes import EpisodicTask
from nav_meta.tasks.harlow import ACTIONS, HOLD_REWARD, TRIALS, Harlow, HarlowVector

CEILING = 0.95
"""Share of correct choices from the second trial on that counts as having reached the ceiling."""
PAPER = {"paper-single": 0.26, "paper-stacked": 0.43}
"""Share of seeds that reached it in Wang et al. (2016)."""


class HarlowExperiment(Experiment):
    """The task with held-out pictures, in one way of showing it.

    Figures of `Played`; a trial that the episode ends before counts as wrong in all of them:
        correct: share of correct choices in trials 2 to 10.
        correct_1, correct_2: of the first trial, where nobody can know, and the second, where one look was enough.
        trials: choices made, of 10.
        reward: of the episode; 11 is the most that a player who cannot know the first time expects.
        correct_training: as `correct`, with the pictures that were trained with.
        ceiling: one number for a player: 1 if the mean of `correct` is at least CEILING, else 0, and NaN in all but the
            first episode; its mean over seeds is the share that reaches the ceiling.

    Curves: `correct` and `reached` float64 [TRIALS], shares of episodes by trial.
    """

    headline = "correct"
    columns = ("correct", "correct_1", "correct_2", "correct_training", "trials", "reward", "ceiling")

    def __init__(self, name: str, title: str, task: Callable[..., EpisodicTask], training: Training) -> None:
        """As in `Experiment`; `task` is called as `Harlow` is."""
        self.name = name
        self.title = title
        self.training = training
        self._task = task

    def make_task(
        self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True
    ) -> EpisodicTask:
        """Return B environments with the training pictures; what is seen does not give rewards away."""
        return self._task(batch, seed=seed, phases=phases)

    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes with held-out pictures, and as many with those that were trained with."""
        correct, reached, reward = self._play("held-out", make_policy, episodes, seed)
        trained, _, _ = self._play("training", make_policy, episodes, seed)
        ceiling = np.full(episodes, np.nan)
        ceiling[0] = correct[1:].mean() >= CEILING
        return Played(
            figures={
                "correct": correct[1:].mean(0),
                "correct_1": correct[0].astype(float),
                "correct_2": correct[1].astype(float),
                "trials": reached.sum(0).astype(float),
                "reward": reward,
                "correct_training": trained[1:].mean(0),
                "ceiling": ceiling,
            },
            curves={"correct": correct.mean(1), "reached": reached.mean(1)},
        )

    def _play(
        self, which: str, make_policy: MakePolicy, episodes: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        task = self._task(episodes, which=which, seed=TEST_SEED + seed)
        rewards = play(make_policy(episodes, seed), task).rewards
        return *by_trial(rewards), rewards.sum(0, dtype=float)

    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return random actions, and the script that cannot be beaten."""
        return {"random": partial(Random, count=len(ACTIONS)), "one-shot": OneShot}

    def known(self) -> Mapping[str, Mapping[str, float]]:
        """Return what can be expected without any memory and with a perfect one, and the paper's shares of seeds."""
        rule = {"correct_1": 0.5, "trials": float(TRIALS)}
        held = HOLD_REWARD * TRIALS
        return {
            "no-memory-exact": {**rule, "correct": 0.5, "correct_2": 0.5, "reward": held},
            "one-shot-exact": {**rule, "correct": 1.0, "correct_2": 1.0, "reward": held + TRIALS - 1},
            **{name: {"ceiling": share} for name, share in PAPER.items()},
        }

    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw correct choices by trial, and the share of seeds at the ceiling beside the paper's."""
        figure = Figure(figsize=(11, 4.4), dpi=130, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        rivals = {"random": (FAINT, "x"), "one-shot": (REFERENCE, "*")}
        agents = [name for name in played if name not in rivals]
        colours = dict(zip(agents, COLOURS * len(agents), strict=False))
        trial = np.arange(1, TRIALS + 1)
        left.axhline(1, color=FAINT, linewidth=1, linestyle="--")
        left.axhline(0.5, color=FAINT, linewidth=1, linestyle=":")
        left.annotate("monkeys and humans, after many pairs (Harlow 1949)", (TRIALS, 1.015), ha="right", fontsize=8)
        left.annotate("chance", (TRIALS + 0.4, 0.51), ha="right", fontsize=8)
        for name, seeds in played.items():
            colour, marker = rivals.get(name) or (colours[name], "o")
            curves = np.stack([one.curves["correct"] for one in seeds])
            left.plot(trial, curves.T, color=colour, linewidth=0.8, alpha=0.4)
            left.plot(trial, curves.mean(0), marker=marker, color=colour, linewidth=2, label=_with_count(name, seeds))
        left.set_xticks(trial)
        left.set_ylim(-0.03, 1.08)
        left.set_xlabel("trial with the same two pictures")
        left.set_ylabel("share correct (trials not reached: wrong)")
        left.set_title(self.title, loc="left", fontweight="bold", fontsize=10)
        left.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.27), fontsize=9)
        shares = {name: float(np.mean([np.nanmean(one.figures["ceiling"]) for one in played[name]])) for name in agents}
        _draw_shares(right, {**PAPER, **shares}, [*[FAINT] * len(PAPER), *colours.values()])
        clean(left)
        save(figure, path)


def _draw_shares(axes: Axes, shares: Mapping[str, float], colours: Sequence[str]) -> None:
    at = np.arange(len(shares))
    axes.barh(at, shares.values(), 0.6, color=colours)
    for y, share in zip(at, shares.values(), strict=True):
        axes.annotate(f"{100 * share:.0f} %", (share, y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(at, shares)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_title(f"seeds with at least {100 * CEILING:.0f} % correct from trial 2 on", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _with_count(name: str, seeds: Sequence[Played]) -> str:
    return name if len(seeds) == 1 else f"{name} (mean of {len(seeds)} seeds)"


def by_trial(rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which trials were correct and which were reached at all, bool [TRIALS, N], from rewards [T, N]."""
    choices = np.abs(rewards) > 0.5
    step, episode = np.nonzero(choices)
    trial = choices.cumsum(0)[step, episode] - 1
    correct, reached = np.zeros((2, TRIALS, rewards.shape[1]), np.bool_)
    correct[trial, episode] = rewards[step, episode] > 0
    reached[trial, episode] = True
    return correct, reached


_LEARNER = LearnerConfig(
    environments=128,
    rollout=64,
    episode=128,
    passes=2,
    minibatches=8,
    gamma=0.9,
    lambda_=0.95,
    entropy=0.03,  # who is sure of a side before knowing why stays at chance for millions of steps
    final_entropy=0.001,
    hint=1.0,  # without it a memory of what was paid emerges by luck, some time between 1M and 2M steps
    shaping=0.0,
    learning_rate=1.5e-3,
)
_AGENT = AgentConfig()
_STACKED = Training(_AGENT, _LEARNER, steps=1_250_000, minutes=4.0, seeds=10)
_PAPER = "Harlow's task, Wang et al. 2016, experiment 6"

HARLOW = HarlowExperiment("harlow", _PAPER, Harlow, _STACKED)
HARLOW_SINGLE = HarlowExperiment(
    "harlow-single", f"{_PAPER}: one LSTM", Harlow, replace(_STACKED, agent=replace(_AGENT, memory="single"), seeds=5)
)
HARLOW_VECTOR = HarlowExperiment(
    "harlow-vector",
    f"{_PAPER}: codes for pictures",
    HarlowVector,
    replace(_STACKED, agent=AgentConfig(units=128), minutes=1.0, seeds=3),
)

EXPERIMENTS = (HARLOW, HARLOW_SINGLE, HARLOW_VECTOR)
