"""The two-step task: does the agent choose as if it knew where choices lead? Wang et al. (2016, experiment 5; 2018)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

from nav_meta.baselines.two_step import BayesOptimal, ModelBased, ModelFree, Player, bayes_optimal
from nav_meta.config import LearnerConfig
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import TEST_SEED, VECTOR_AGENT, Experiment, Played, Training, play, vector_learner
from nav_meta.plots import COLOURS, FAINT, REFERENCE, clean, save
from nav_meta.tasks.two_step import WANG_2016, WANG_2018, Setting, TwoStep

LAGS = 5
"""Trials back that the regression looks."""
EFFECTS = ("choice", "reward", "transition", "interaction")
"""What each of them contributes to it, see `regression`."""
STAYS = ("stay_rewarded_common", "stay_rewarded_rare", "stay_unrewarded_common", "stay_unrewarded_rare")
"""Probability of the same first choice again, after each kind of trial."""

_RATE, _INVERSE_TEMPERATURE = 0.4, 50.0
"""Of the rivals that learn by rates: within 2 % of the most reward that any gives them, in both settings."""


class TwoStepExperiment(Experiment):
    """One setting of the task.

    Figures of `Played`:
        reward: expected in a trial, given the first choices: neither transitions nor payments are sampled.
        return: the same, of an episode.
        last_trial: the same, of the last trial.
        optimal: `reward` as a share of the Bayes-optimal player's.
        stay_*: the four of STAYS, over all trials but the last of an episode.
        reward_effect: how much a reward adds to the probability of staying, rare and common transitions weighing the
            same. A model-free learner's mark; exactly zero for a Bayes-optimal player.
        interaction: half of how much more it adds after a common transition than after a rare one, the model-based
            index: 1 for a player who stays if the last trial speaks for it and else leaves, less for one who remembers
            more; near 0 for a model-free learner (not at it: its good choices lead to the good state more often).

    Curves: `reward` float64 [trials], and `weights` float64 [EFFECTS, LAGS] of `regression`.
    """

    headline = "optimal"
    columns = ("reward", "optimal", "last_trial", "reward_effect", "interaction")

    def __init__(self, name: str, title: str, setting: Setting, training: Training) -> None:
        """As in `Experiment`; `setting` is the task's."""
        self.name = name
        self.title = title
        self.setting = setting
        self.training = training
        self.exact = bayes_optimal(setting)

    def make_task(
        self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True
    ) -> TwoStep:
        """Return B environments; what is seen does not give rewards away."""
        return TwoStep(batch, self.setting, seed=seed, phases=phases)

    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes."""
        task = self.make_task(episodes, TEST_SEED + seed)
        recording = play(make_policy(episodes, seed), task, ("good", "place"))
        choice, place = recording.actions[::2], recording.watched["place"][1::2]
        rewarded = recording.rewards[1::2] > 0
        pay, common = self.setting.pay, self.setting.common
        arrive = np.where(choice == recording.watched["good"][::2], common, 1 - common)
        reward = 1 - pay + (2 * pay - 1) * arrive
        stay = staying(choice, place, rewarded)
        common_gain = stay["stay_rewarded_common"] - stay["stay_unrewarded_common"]
        rare_gain = stay["stay_rewarded_rare"] - stay["stay_unrewarded_rare"]
        return Played(
            figures={
                "reward": reward.mean(0),
                "return": reward.sum(0),
                "last_trial": reward[-1],
                "optimal": reward.mean(0) / self.exact.reward.mean(),
                **stay,
                "reward_effect": (common_gain + rare_gain) / 2,
                "interaction": (common_gain - rare_gain) / 2,
            },
            curves={"reward": reward.mean(1), "weights": regression(choice, place, rewarded)},
        )

    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return learners without and with a model, and the optimum."""
        setting, learner = self.setting, (_RATE, _INVERSE_TEMPERATURE)
        return {
            "random": lambda batch, seed: Player(batch, seed, setting),
            "q-learning": lambda batch, seed: ModelFree(batch, seed, setting, *learner, trace=0),
            "sarsa(1)": lambda batch, seed: ModelFree(batch, seed, setting, *learner, trace=1),
            "model-based": lambda batch, seed: ModelBased(batch, seed, setting, *learner),
            "bayes-optimal": lambda batch, seed: BayesOptimal(batch, seed, setting),
        }

    def known(self) -> Mapping[str, Mapping[str, float]]:
        """Return what is computed exactly: the optimum, and a player who knows the good state.

        The paper reports no figures; it calls its agent perfectly model-based.
        """
        (against, confirming), trials = self.exact.stay[1].tolist(), self.setting.trials
        informed = self.setting.common * self.setting.pay + (1 - self.setting.common) * (1 - self.setting.pay)
        optimal = float(self.exact.reward.mean())
        return {
            "bayes-optimal-exact": {
                "reward": optimal,
                "return": optimal * trials,
                "last_trial": float(self.exact.reward[-1]),
                "optimal": 1.0,
                **dict(zip(STAYS, (confirming, against, against, confirming), strict=True)),
                "reward_effect": 0.0,
                "interaction": confirming - against,
            },
            "told the good state": {
                "reward": informed,
                "return": informed * trials,
                "last_trial": informed,
                "optimal": informed / optimal,
            },
        }

    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw everybody's four bars; below, reward by trial, and what earlier trials weigh in a choice."""
        figure = Figure(figsize=(2.2 + 2.1 * len(played), 7.6), dpi=130, layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        panels = above.subplots(1, len(played), sharey=True, squeeze=False)[0]
        for axes, (name, seeds) in zip(panels, played.items(), strict=True):
            _draw_bars(axes, name, seeds)
        panels[0].set_ylabel("probability of staying")
        above.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
        above.suptitle(self.title, x=0.01, ha="left", fontweight="bold")
        left, right = below.subplots(1, 2)
        trial, back = np.arange(1, self.setting.trials + 1), np.arange(1, LAGS + 1)
        colours = dict(zip((name for name in played if name != "random"), COLOURS * len(played), strict=False))
        for name, seeds in played.items():
            style = {"color": colours.get(name, FAINT), "linewidth": 1.8}
            curves = np.stack([one.curves["reward"] for one in seeds])
            if len(seeds) > 1:
                left.fill_between(trial, curves.min(0), curves.max(0), alpha=0.2, **style | {"linewidth": 0})
            left.plot(trial, curves.mean(0), label=name, **style)
            weights = np.mean([one.curves["weights"] for one in seeds], 0)
            right.plot(back, weights[EFFECTS.index("interaction")], "o-", label=name, **style)
            right.plot(back, weights[EFFECTS.index("reward")], "s:", **style)
        left.plot(trial, self.exact.reward, "--", color=REFERENCE, linewidth=1.4, label="bayes-optimal-exact")
        left.set_xlabel("trial")
        left.set_title("expected reward of a trial", loc="left", fontsize=10)
        left.legend(frameon=False, fontsize=8)
        right.axhline(0, color=REFERENCE, linewidth=0.8)
        right.set_xticks(back)
        right.set_xlabel("trials back")
        right.set_title("weight in the choice: — interaction (model-based)  ··· reward (model-free)", fontsize=9)
        clean(left)
        clean(right)
        save(figure, path)


def _draw_bars(axes: Axes, name: str, seeds: Sequence[Played]) -> None:
    values = np.array([[one.figures[key].mean() for key in STAYS] for one in seeds])  # [seeds, 4]
    at = np.array([0.0, 0.38, 1.0, 1.38])
    for offset, label, colour in ((0, "common", COLOURS[0]), (1, "rare", COLOURS[1])):
        heights = values.mean(0)[offset::2]
        axes.bar(at[offset::2], heights, 0.36, color=colour, alpha=0.85, label=f"{label} transition")
    if len(seeds) > 1:
        axes.plot(np.tile(at, (len(seeds), 1)), values, ".", color=REFERENCE, markersize=4)
    else:
        figures = seeds[0].figures
        error = [1.96 * figures[key].std() / np.sqrt(len(figures[key])) for key in STAYS]
        axes.errorbar(at, values[0], error, fmt="none", color=REFERENCE, linewidth=1, capsize=2)
    axes.set_xticks([0.19, 1.19], ["rewarded", "unrewarded"])
    axes.set_ylim(0, 1.05)
    axes.set_title(name, fontsize=10)
    clean(axes)


def staying(choice: np.ndarray, place: np.ndarray, rewarded: np.ndarray) -> dict[str, np.ndarray]:
    """Return each of STAYS as float64 [N], see `linearised`, from first choices, states, rewards [trials, N]."""
    stays = choice[1:] == choice[:-1]
    common = (place == choice)[:-1]
    kinds = [reward & way for reward in (rewarded[:-1], ~rewarded[:-1]) for way in (common, ~common)]
    return {key: linearised((stays & kind).sum(0), kind.sum(0)) for key, kind in zip(STAYS, kinds, strict=True)}


def linearised(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return float64 [N] whose mean is the ratio R of the sums and whose spread gives R's interval.

    Rates of rare events, or figures of which only some episodes have one, are ratios of sums over episodes; the mean of
    each episode's own ratio would be another number, or none. Episode i is given R + (n_i - R d_i) / mean(d), the
    first-order change of R with it (the delta method): an interval of the mean of these is one of R.

    Args:
        numerators: [N].
        denominators: [N], not below 0; where none is above it, the result is NaN.
    """
    scale = denominators.mean()
    if scale == 0:
        return np.full(len(numerators), np.nan)
    ratio = numerators.mean() / scale
    return ratio + (numerators - ratio * denominators) / scale


def regression(choice: np.ndarray, place: np.ndarray, rewarded: np.ndarray, lags: int = LAGS) -> np.ndarray:
    """Regress first choices on what happened in earlier trials of the episode, as Wang et al. (2018) did.

    Logistic; each of the last trials enters as the side chosen there (1 or -1), and as its product with the reward (1
    or -1: none), the transition (1: common, -1: rare), and both. What lies before the episode enters as 0.

    Args:
        choice: first choices int64 [trials, N].
        place: states they led to, int64 [trials, N].
        rewarded: bool [trials, N].
        lags: how many trials back.

    Returns:
        Weights float64 [EFFECTS, lags], with a standard normal prior, so that they exist for players without noise.
    """
    side = 2.0 * choice - 1
    reward, transition = 2.0 * rewarded - 1, np.where(place == choice, 1.0, -1.0)
    effects = np.stack([side, side * reward, side * transition, side * reward * transition])
    earlier = np.zeros((4, lags, *choice.shape))
    for lag in range(min(lags, len(choice) - 1)):
        earlier[:, lag, lag + 1 :] = effects[:, : -lag - 1]
    inputs, target = earlier[:, :, 1:].reshape(4 * lags, -1), choice[1:].ravel()
    weights = np.zeros(len(inputs))
    for _ in range(50):  # Newton's method
        mean = expit(weights @ inputs)
        change = np.linalg.solve(
            (inputs * (mean * (1 - mean))) @ inputs.T + np.eye(len(weights)), inputs @ (target - mean) - weights
        )
        weights += change
        if np.abs(change).max() < 1e-8:
            break
    return weights.reshape(4, lags)


def _learner(setting: Setting, **options: Any) -> LearnerConfig:
    # The reward comes a step after the choice: a longer reach of lambda than where it comes at once.
    return vector_learner(2 * setting.trials, gamma=0.9, lambda_=0.9, **options)


TWO_STEP = TwoStepExperiment(
    "two-step",
    "Two-step task, Wang et al. 2016, experiment 5",
    WANG_2016,
    Training(VECTOR_AGENT, _learner(WANG_2016), 10_000_000, minutes=1.2),
)
TWO_STEP_2018 = TwoStepExperiment(
    "two-step-2018",
    "Two-step task with reversals, Wang et al. 2018",
    WANG_2018,
    Training(VECTOR_AGENT, _learner(WANG_2018, environments=512), 15_000_000, minutes=2.5),
)
EXPERIMENTS = (TWO_STEP, TWO_STEP_2018)
