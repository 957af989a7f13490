"""Stationary bandits: Wang et al. (2016), experiments 1 to 3, and the bandit table of Duan et al. (2016)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from nav_meta.baselines import bandits, bayes
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import (
    TEST_SEED,
    VECTOR_AGENT,
    Experiment,
    Played,
    Training,
    informed_learner,
    play,
    vector_learner,
)
from nav_meta.plots import COLOURS, FAINT, REFERENCE, clean, save
from nav_meta.tasks.bandits import ARMS, Bandit, InformativeArm

DUAN_ARMS = (5, 10, 50)
DUAN_PULLS = (10, 100, 500)
_DUAN = {  # table 1 of Duan et al. (2016): total reward
    (10, 5): {"random": 5.0, "gittins": 6.6, "thompson": 5.7, "ucb1-tuned": 6.7, "agent": 6.7},
    (10, 10): {"random": 5.0, "gittins": 6.6, "thompson": 5.5, "ucb1-tuned": 6.7, "agent": 6.7},
    (10, 50): {"random": 5.1, "gittins": 6.5, "thompson": 5.2, "ucb1-tuned": 6.6, "agent": 6.8},
    (100, 5): {"random": 49.9, "gittins": 78.3, "thompson": 74.7, "ucb1-tuned": 78.0, "agent": 78.7},
    (100, 10): {"random": 49.9, "gittins": 82.8, "thompson": 76.7, "ucb1-tuned": 82.4, "agent": 83.5},
    (100, 50): {"random": 49.8, "gittins": 85.2, "thompson": 64.5, "ucb1-tuned": 84.3, "agent": 84.9},
    (500, 5): {"random": 249.8, "gittins": 405.8, "thompson": 402.0, "ucb1-tuned": 405.8, "agent": 401.6},
    (500, 10): {"random": 249.0, "gittins": 437.8, "thompson": 429.5, "ucb1-tuned": 437.1, "agent": 432.5},
    (500, 50): {"random": 249.6, "gittins": 463.7, "thompson": 427.2, "ucb1-tuned": 457.6, "agent": 438.9},
}

CHI = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
"""Exploration of UCB1 to choose from."""
EPSILON = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Exploration of epsilon-greedy to choose from."""
_TUNING_SEED = 1 << 30
"""Added to TEST_SEED: episodes in which rivals are tuned. Tests use smaller seeds."""
_TUNING_EPISODES = 2000

_STEPS = {
    (100, 5): 16_000_000, (100, 10): 16_000_000, (100, 50): 32_000_000,
    (500, 5): 8_000_000, (500, 10): 24_000_000, (500, 50): 12_000_000,
}  # fmt: skip
"""Steps to train for, by pulls and arms, see EXPERIMENTS.md."""


class BanditExperiment(Experiment):
    """Arms that pay 0 or 1: independent ones, two that add up to 1, and those of Duan et al. (2016).

    Figures of an episode: `regret`, which is what the best arm pays on average less what the arms that were pulled do,
    summed over the pulls; `reward`, the sum of what those arms pay on average; `sampled_reward`, of what they paid.
    Curve `regret` [T]: mean cumulative regret after each pull.
    """

    def __init__(self, arms: str, count: int = 2, pulls: int = 100) -> None:
        """Take the options of the task `Bandit`, whose ValueError tells what is wrong with them."""
        self.arms, self.count, self.pulls = arms, count, pulls
        self._best: dict[tuple, MakePolicy] = {}
        self.make_task(1, 0)
        duan = count > 2
        self.headline = "reward" if duan else "regret"
        # The regrets of good players differ by a tenth, and one episode's spreads over two.
        self.test_episodes = 10_000 if pulls <= 100 else 1000
        self.columns = ("reward", "regret") if duan else ("regret", "reward")
        if duan:
            self.name = f"bandit-{count}-{pulls}"
            self.title = f"Duan et al. 2016, bandits: {count} arms, {pulls} pulls"
        elif arms == "independent":
            self.name = arms
            self.title = "Wang et al. 2016, experiment 1: two independent arms"
        else:
            self.name = f"dependent-{arms}"
            self.title = f"Wang et al. 2016, experiment 2: two dependent arms, {arms}"
        self.training = self._training()

    def _training(self) -> Training:
        if self.count > 2:
            agent = replace(VECTOR_AGENT, units=96)
            # Paid minus the expected regret: with so many arms the sampled reward tells too little of what was learnt.
            if self.pulls <= 10:
                learner = vector_learner(self.pulls, gamma=0.97, environments=2048, learning_rate=3e-3, shaping=1.0)
                return Training(agent, learner, 10_000_000 if self.count <= 10 else 20_000_000, minutes=2.5)
            # A policy that is certain too early stays poor. But where there is not time for all arms, one that keeps to
            # an order of its own need not remember which it has tried.
            entropy = 0.1 if self.count < self.pulls / 2 else 0.02
            # The auxiliary loss is a mean over arms: with 50 the few that have been tried hardly count.
            hint = 1.0 if self.count <= 10 else 6.0
            # Where much is left to find late, a critic that is told the answers sees it sooner.
            critic_units = 64 if self.count > 10 or self.pulls > 100 else 0
            steps = _STEPS[self.pulls, self.count]
            return Training(
                replace(agent, span=self.pulls, critic_units=critic_units),
                informed_learner(self.pulls, gamma=0.99, entropy=entropy, hint=hint),
                steps,
                minutes=steps / 2_400_000,
            )
        if self.arms == "independent":
            # What one arm is worth is not known from the other: exploring pays late, and little in each episode.
            return Training(
                replace(VECTOR_AGENT, span=self.pulls, critic_units=64),
                informed_learner(self.pulls, gamma=0.99, hint=1.0),
                20_000_000,
                minutes=7.5,
            )
        return Training(VECTOR_AGENT, vector_learner(self.pulls, gamma=0.9), 15_000_000, 1.5)

    def make_task(self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True) -> Bandit:
        """Return B bandits, which never show the reward themselves."""
        return Bandit(batch, arms=self.arms, count=self.count, pulls=self.pulls, seed=seed, phases=phases)

    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes."""
        task = self.make_task(episodes, TEST_SEED + seed, show_reward=show_reward)
        recording = play(make_policy(episodes, seed), task)
        reward = np.take_along_axis(task.means, recording.actions.T, 1)
        regret = task.means.max(1, keepdims=True) - reward
        return Played(
            {
                "regret": regret.sum(1),
                "reward": reward.sum(1),
                "sampled_reward": recording.rewards.sum(0, dtype=np.float64),
            },
            {"regret": regret.mean(0).cumsum()},
        )

    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return the usual algorithms, and the Bayes-optimal policy where it can be computed.

        Those with options are tuned, at the first call, on other episodes than those of the test. UCB1 is as in Duan et
        al. (2016), with a prior, for their table. For the arms of Wang et al. (2016) it is as usual, and once more with
        the prior, which makes it much better.
        """
        count, horizon = self.count, self.pulls
        ucb1 = {"ucb1-tuned": 1} if count > 2 else {"ucb1-tuned": 0, "ucb1-prior-tuned": 1}
        return {
            "random": partial(bandits.Random, count=count),
            "greedy": partial(bandits.Greedy, count=count),
            "epsilon-greedy": self._tuned(bandits.EpsilonGreedy, "epsilon", EPSILON),
            **{name: self._tuned(bandits.UCB1, "chi", CHI, prior=prior) for name, prior in ucb1.items()},
            "thompson": partial(bandits.Thompson, count=count),
            "optimistic-thompson": partial(bandits.OptimisticThompson, count=count),
            "gittins": partial(bayes.Gittins, count=count, horizon=horizon),
            **({"bayes-optimal": self.optimum.policy} if self.optimum else {}),
        }

    @cached_property
    def optimum(self) -> bayes.Optimum | None:
        """The Bayes optimum, None where it is out of reach."""
        return bayes.optimum(self.arms, self.count, self.pulls)

    def _tuned(
        self, algorithm: Callable[..., bandits.Counting], option: str, grid: Sequence[float], **others: int
    ) -> MakePolicy:
        """Return the algorithm with the value of one option that gives the least regret."""
        key = (algorithm, *others.values())
        if key not in self._best:
            candidates = [partial(algorithm, count=self.count, **{option: value}, **others) for value in grid]
            self._best[key] = min(candidates, key=self._regret)
        return self._best[key]

    def _regret(self, make_policy: MakePolicy) -> float:
        played = self.play(make_policy, episodes=_TUNING_EPISODES, seed=_TUNING_SEED)
        return float(played.figures["regret"].mean())

    def known(self) -> Mapping[str, Mapping[str, float]]:
        """Return the exact Bayes optimum, and the row of the table of Duan et al. (2016)."""
        rows = {}
        if self.optimum:
            reward = self.optimum.reward
            regret = self.pulls * bayes.best_mean(self.arms, self.count) - reward
            rows["bayes-optimal-exact"] = {"regret": regret, "reward": reward}
        for name, reward in _DUAN.get((self.pulls, self.count), {}).items():
            rows["paper" if name == "agent" else f"paper-{name}"] = {"reward": reward}
        return rows

    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw cumulative regret against the trial (Wang et al. 2016, figure 2)."""
        figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        ends = {name: float(np.mean([one.figures["regret"].mean() for one in seeds])) for name, seeds in played.items()}
        for name in sorted(ends, key=lambda name: -ends[name]):
            _draw_curve(axes, name, f"{name}  {ends[name]:.2f}", [one.curves["regret"] for one in played[name]])
        # What is near chance would flatten all that is better: it is cut off, and the legend tells where it ends.
        worst = max(ends.values())
        axes.set_ylim(0, 1.15 * max((end for end in ends.values() if end < worst / 2), default=worst))
        axes.set_xlim(0, self.pulls)
        axes.set_xlabel("trial")
        axes.set_ylabel("cumulative expected regret")
        axes.set_title(self.title, loc="left", fontweight="bold")
        clean(axes)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), title="regret after the last trial")
        save(figure, path)


class InformativeArmExperiment(Experiment):
    """Eleven arms that pay without chance, the last of which tells where the best is, at a price.

    Figures of an episode: `reward`; `informative_first`: is arm 11 the first to be pulled?; `target_later`: the share
    of the later pulls that are of the target. Curves [T]: mean `reward` of each pull, share of pulls of the
    `informative` arm and of the `target`.
    """

    name = "informative-arm"
    title = "Wang et al. 2016, experiment 3: the informative arm"
    headline = "reward"
    columns = ("reward", "informative_first", "target_later")
    # Without much exploration at first all settle on searching without the informative arm, for 11.
    training = Training(
        VECTOR_AGENT,
        vector_learner(InformativeArm.pulls, gamma=0.9, lambda_=0.9, environments=2048, entropy=0.2),
        4_000_000,
        minutes=0.5,
    )

    def make_task(
        self, batch: int, seed: int, phases: np.ndarray | None = None, *, show_reward: bool = True
    ) -> InformativeArm:
        """Return B environments; without `show_reward` the observation does not tell the reward either."""
        return InformativeArm(batch, show_reward=show_reward, seed=seed, phases=phases)

    def play(self, make_policy: MakePolicy, *, episodes: int = 1000, seed: int = 0, show_reward: bool = True) -> Played:
        """Play test episodes."""
        task = self.make_task(episodes, TEST_SEED + seed, show_reward=show_reward)
        recording = play(make_policy(episodes, seed), task)
        informative = recording.actions == task.actions - 1
        target = recording.actions == task.target
        return Played(
            {
                "reward": recording.rewards.sum(0, dtype=np.float64),
                "informative_first": informative[0].astype(np.float64),
                "target_later": target[1:].mean(0),
            },
            {"reward": recording.rewards.mean(1), "informative": informative.mean(1), "target": target.mean(1)},
        )

    def baselines(self) -> Mapping[str, MakePolicy]:
        """Return chance, the best search without the informative arm, and the Bayes-optimal policy, which asks it."""
        return {
            "random": partial(bandits.Random, count=11),
            "search-only": partial(bayes.InformedSearch, ask=False),
            "bayes-optimal": bayes.InformedSearch,
        }

    def known(self) -> Mapping[str, Mapping[str, float]]:
        """Return the exact optimum with and without the informative arm."""
        return {
            "search-only-exact": {"reward": bayes.informative_reward(ask=False)},
            "bayes-optimal-exact": {"reward": bayes.informative_reward()},
        }

    def draw(self, played: Mapping[str, Sequence[Played]], path: Path) -> None:
        """Draw the reward of each pull, and what the first player pulls."""
        figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        pulls = np.arange(1, InformativeArm.pulls + 1)
        for name, seeds in played.items():
            total = np.mean([one.figures["reward"].mean() for one in seeds])
            _draw_curve(left, name, f"{name}  {total:.2f}", [one.curves["reward"] for one in seeds], marker="o")
        left.set_ylabel("mean reward of the pull")
        left.set_title(self.title, loc="left", fontweight="bold")
        left.legend(
            frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14), title="reward of an episode"
        )
        name, seeds = next(iter(played.items()))
        bottom = np.zeros(len(pulls))
        shares = {key: np.mean([one.curves[key] for one in seeds], 0) for key in ("informative", "target")}
        shares["another"] = 1 - shares["informative"] - shares["target"]
        for colour, (kind, share) in zip((COLOURS[1], COLOURS[2], FAINT), shares.items(), strict=True):
            right.bar(pulls, share, 0.75, bottom=bottom, color=colour, label=kind)
            bottom += share
        right.set_ylabel("share of pulls")
        right.set_title(f"{name}: what it pulls", loc="left", fontsize=10)
        right.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14))
        for axes in (left, right):
            axes.set_xticks(pulls)
            axes.set_xlabel("pull")
            clean(axes)
        save(figure, path)


SETS = tuple(BanditExperiment(arms) for arms in ARMS)
"""The five ways to draw two arms."""

EXPERIMENTS: tuple[Experiment, ...] = (
    *SETS,
    InformativeArmExperiment(),
    *(BanditExperiment("independent", count, pulls) for pulls in DUAN_PULLS for count in DUAN_ARMS),
)
"""All of this file."""


def regret_matrix(
    players: Mapping[str, Sequence[MakePolicy]], *, episodes: int = 1000, seed: int = 0
) -> dict[str, np.ndarray]:
    """Test agents on all five sets of two arms, whichever they were trained on (Wang et al. 2016, experiment 2).

    Args:
        players: what they were trained on (the row's name) -> agents, one for each seed of training.
        episodes: test episodes of each set, the same for all.
        seed: of the test.

    Returns:
        row -> mean regret of an episode, float64 [sets, seeds], in the order of SETS.
    """

    def regret(experiment: BanditExperiment, make_policy: MakePolicy) -> float:
        return float(experiment.play(make_policy, episodes=episodes, seed=seed).figures["regret"].mean())

    return {
        name: np.array([[regret(experiment, player) for player in seeds] for experiment in SETS])
        for name, seeds in players.items()
    }


def draw_regret_matrix(matrix: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw what `regret_matrix` returns as PNG; colours tell how many times the Bayes optimum a regret is."""
    sets = [experiment.name for experiment in SETS]
    best = np.array([experiment.known()["bayes-optimal-exact"]["regret"] for experiment in SETS])
    rows = {**matrix, "bayes-optimal": best[:, None]}
    figure = Figure(figsize=(8.4, 1.8 + 0.55 * len(rows)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    ratios = np.stack([row.mean(1) for row in rows.values()]) / best
    image = axes.imshow(ratios, "viridis_r", norm=LogNorm(1, 10), aspect="auto")
    for i, row in enumerate(rows.values()):
        for j, values in enumerate(row):
            spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
            colour = "white" if ratios[i, j] > 3 else REFERENCE
            axes.text(j, i, f"{values.mean():.2f}{spread}", ha="center", va="center", color=colour)
    axes.axhline(len(matrix) - 0.5, color="white", linewidth=3)
    axes.set_xticks(range(len(sets)), sets, rotation=15)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("tested on")
    axes.set_ylabel("trained on")
    axes.set_title("Cumulative regret of 100 pulls (± over seeds)", loc="left", fontweight="bold")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="times the Bayes optimum", ticks=[1, 2, 5, 10], format="%g", extend="max")
    save(figure, path)


_RIVALS = {  # colour and dashes of their curves; whoever else plays is an agent
    "random": (FAINT, "-"),
    "greedy": (COLOURS[4], ":"),
    "epsilon-greedy": (COLOURS[4], "-"),
    "search-only": (COLOURS[4], "-"),
    "ucb1-tuned": (COLOURS[2], "-"),
    "ucb1-prior-tuned": (COLOURS[2], ":"),
    "thompson": (COLOURS[1], "-"),
    "optimistic-thompson": (COLOURS[1], ":"),
    "gittins": (REFERENCE, ":"),
    "bayes-optimal": (REFERENCE, "--"),
}


def _draw_curve(axes: Axes, name: str, label: str, seeds: Sequence[np.ndarray], marker: str | None = None) -> None:
    """Draw a mean over seeds with a band from the lowest to the highest, from pull 1 on."""
    curves = np.stack(seeds)
    pulls = np.arange(1, curves.shape[1] + 1)
    colour, dashes = _RIVALS.get(name, (COLOURS[3] if "without" in name else COLOURS[0], "-"))
    width, order = (1.5, 4 if name == "bayes-optimal" else 2) if name in _RIVALS else (2.8, 3)
    axes.fill_between(pulls, curves.min(0), curves.max(0), color=colour, alpha=0.2, linewidth=0)
    axes.plot(pulls, curves.mean(0), dashes, color=colour, linewidth=width, zorder=order, label=label, marker=marker)
