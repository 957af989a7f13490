"""The restless bandit: does the agent learn faster where things change faster? Wang et al. (2016), experiment 4."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nav_meta.baselines import bandits
from nav_meta.baselines.restless import BayesOptimal, RescorlaWagner, Thompson
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import TEST_SEED, VECTOR_AGENT, Experiment, Played, Training, play, vector_learner
from nav_meta.experiments.rescorla_wagner import fit
from nav_meta.plots import COLOURS, FAINT, REFERENCE, clean, save
from nav_meta.tasks.restless import RestlessBandit

VOLATILITY = ("low", "high")
MODELS = ("fixed", "by volatility", "by block")
"""For what a model has a learning rate of its own: for nothing, for both volatilities, for each block of episodes."""
BLOCK = 10
"""Episodes of a block, all of one volatility."""

# The best of a grid in 4000 episodes that no test uses.
_RATE = {"rate": 0.5, "inverse_temperature": 14.0}
_COUPLED_RATE = {"rate": 0.2, "inverse_temperature": 100.0}
_ONE_VOLATILITY = (0.04,)


class Restless(Experiment):
    """Figures of an episode, with low and high for the two volatilities: NaN in episodes of the other.

        regret, regret_low, regret_high: what the better arm pays on average less what the arms pulled do, summed.
        rate_low, rate_high: learning rate of the rule of Rescorla and Wagner, fitted to each block's choices with one
            temperature for all; noted at the first episode of the block, NaN at the others. Of a player that does not
            learn it says nothing.

    Models are fitted with and without coupling (see `fit`); rates are those of the likelier form.

    Curves: `bic` [2, MODELS] (uncoupled, coupled); `rate_low` and `rate_high`, one for each block; `regret` [2, T] by
    volatility, cumulative; `p` [2, T] and `pulls` [2, T], an episode of each: the probability of arm 0, the arm pulled.
    """

    name = "restless"
    title = "Restless bandit, Wang et al. 2016, experiment 4"
    headline = "regret"
    columns = ("regret", "regret_low", "regret_high", "rate_low", "rate_high")
    training = Training(VECTOR_AGENT, vector_learner(100, gamma=0.9, minibatches=16), 15_000_000, minutes=2.0)

    def make_task(
        self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True
    ) -> RestlessBandit:
        """Return B environments; what is seen does not give rewards away."""
        return RestlessBandit(batch, seed=seed, phases=phases)

    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes; 2 at least, one of each volatility."""
        task = self.make_task(episodes, TEST_SEED + seed)
        recording = play(make_policy(episodes, seed), task, ("mean",))
        p, pulls = recording.watched["mean"], recording.actions
        regret = np.maximum(p, 1 - p) - np.where(pulls == 0, p, 1 - p)
        groups = blocks(task.volatility)
        first = np.zeros(episodes, np.bool_)
        first[np.unique(groups, return_index=True)[1]] = True
        models = [
            [fit(pulls, recording.rewards, by, coupled=coupled) for by in (0 * groups, task.volatility, groups)]
            for coupled in (False, True)
        ]
        rates = min((form[-1] for form in models), key=lambda model: model.bic).rates[groups]
        figures = {"regret": regret.sum(0)}
        curves = {"bic": np.array([[model.bic for model in form] for form in models])}
        for which, name in enumerate(VOLATILITY):
            here = task.volatility == which
            figures[f"regret_{name}"] = np.where(here, regret.sum(0), np.nan)
            figures[f"rate_{name}"] = np.where(here & first, rates, np.nan)
            curves[f"rate_{name}"] = rates[here & first]
        shown = [int(np.flatnonzero(task.volatility == which)[0]) for which in range(2)]
        curves["regret"] = np.stack([regret[:, task.volatility == which].mean(1).cumsum() for which in range(2)])
        curves["p"], curves["pulls"] = p[:, shown].T, pulls[:, shown].T
        return Played(figures, curves)

    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return the paper's rivals, the rule of Rescorla and Wagner for coupled arms too, and the optimum."""
        return {
            "random": partial(bandits.Random, count=2),
            "ucb1": partial(bandits.UCB1, count=2, chi=1.0),
            "thompson-fixed-volatility": partial(Thompson, volatilities=_ONE_VOLATILITY),
            "rescorla-wagner": partial(RescorlaWagner, **_RATE),
            "rescorla-wagner-coupled": partial(RescorlaWagner, **_COUPLED_RATE, coupled=True),
            "bayes-optimal": BayesOptimal,
        }

    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw the first player in an episode of each volatility; below, everybody's regrets, rates and models."""
        figure = Figure(figsize=(13, 7.8), dpi=130, layout="constrained")
        figure.suptitle(self.title, x=0.01, ha="left", fontweight="bold")
        above, below = figure.subfigures(2, 1, height_ratios=(1, 1.5))
        colours = (COLOURS[5], COLOURS[1])
        some = next(iter(played))
        for which, axes in enumerate(above.subplots(1, 2, sharey=True)):
            p, pulls = (played[some][0].curves[key][which] for key in ("p", "pulls"))
            axes.plot(np.arange(1, len(p) + 1), p, color=colours[which], linewidth=2, label="probability of arm 0")
            axes.plot(np.arange(1, len(p) + 1), 1.1 - 1.2 * pulls, "|", color=REFERENCE, label=f"arm pulled ({some})")
            axes.set_yticks([-0.1, 0, 0.5, 1, 1.1], ["arm 1", "0", "0.5", "1", "arm 0"])
            axes.set_xlabel("pull")
            axes.set_title(f"{VOLATILITY[which]} volatility", loc="left", fontsize=10)
            axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
            clean(axes)
        regrets, rates, models = below.subplots(1, 3)
        at = np.arange(len(played))
        for which, (name, colour) in enumerate(zip(VOLATILITY, colours, strict=True)):
            x = at + 0.38 * which - 0.19
            values = [[np.nanmean(one.figures[f"regret_{name}"]) for one in seeds] for seeds in played.values()]
            regrets.bar(x, [np.mean(row) for row in values], 0.36, color=colour, label=f"{name} volatility")
            for here, row, seeds in zip(x, values, played.values(), strict=True):
                regrets.plot(np.full(len(row), here), row, ".", color=REFERENCE, markersize=4)
                each = np.concatenate([one.curves[f"rate_{name}"] for one in seeds])
                spread = np.linspace(-0.13, 0.13, len(each))
                rates.plot(here + spread, each, ".", color=colour, markersize=3, alpha=0.4)
                rates.plot(here, each.mean(), "o", color=colour, markeredgecolor=REFERENCE, markersize=8)
        for number, (name, colour) in enumerate(zip(MODELS[1:], (COLOURS[2], FAINT), strict=True), 1):
            values = [[_gain(one.curves["bic"], number) for one in seeds] for seeds in played.values()]
            x = at + 0.38 * number - 0.57
            models.bar(x, [np.mean(row) for row in values], 0.36, color=colour, label=f"rates {name}")
            for here, row in zip(x, values, strict=True):
                models.plot(np.full(len(row), here), row, ".", color=REFERENCE, markersize=4)
        models.set_yscale("symlog", linthresh=100)
        models.axhline(0, color=REFERENCE, linewidth=0.8)
        for axes, title in (
            (regrets, "expected regret of an episode"),
            (rates, "fitted learning rate of each block, and mean"),
            (models, "better than one rate for all by, in BIC (log scale)"),
        ):
            axes.set_xticks(at, played, rotation=35, ha="right", fontsize=8)
            axes.set_title(title, loc="left", fontsize=10)
            axes.margins(y=0.12)
            clean(axes)
        regrets.legend(frameon=False, fontsize=8)
        models.legend(frameon=False, fontsize=8)
        save(figure, path)


def _gain(bic: np.ndarray, model: int) -> float:
    """Return by how much a model's BIC is below that of one rate, in the form of the rates shown."""
    form = bic[bic[:, -1].argmin()]
    return float(form[0] - form[model])


def blocks(volatility: np.ndarray) -> np.ndarray:
    """Return which block each episode belongs to, int64 [N] from 0: BLOCK of one volatility, or a few more."""
    groups, count = np.zeros(len(volatility), np.int64), 0
    for which in np.unique(volatility):
        rows = np.flatnonzero(volatility == which)
        for block in np.array_split(rows, max(1, len(rows) // BLOCK)):
            groups[block] = count
            count += 1
    return groups


RESTLESS = Restless()
EXPERIMENTS = (RESTLESS,)
