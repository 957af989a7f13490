"""Bandits: independent and dependent arms (Wang et al. 2016, experiments 1 to 3; Duan et al. 2016, section 3.1)."""

from typing import ClassVar

import numpy as np

from nav_meta.tasks.episodes import EpisodicTask

ARMS = ("independent", "uniform", "easy", "medium", "hard")
"""How the arms' means are drawn: each from U[0, 1], or two that add up to 1 (Wang et al. 2016, section 3.1)."""

_FIRST_MEAN = {"easy": (0.1, 0.9), "medium": (0.25, 0.75), "hard": (0.4, 0.6)}


class Bandit(EpisodicTask):
    """k arms that pay 1 with a probability each, which stays for the whole episode; seen is the trial's number."""

    variables: ClassVar[tuple[str, ...]] = ("means",)
    knows_means = True

    def __init__(
        self,
        batch: int,
        *,
        arms: str = "independent",
        count: int = 2,
        pulls: int = 100,
        seed: int = 0,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin B episodes.

        Args:
            batch: B.
            arms: one of ARMS.
            count: number of arms k; 2 unless they are independent.
            pulls: steps of an episode.
            seed: of all that is drawn.
            phases: as in `EpisodicTask`.

        Raises:
            ValueError: names the option and its range.
        """
        if arms not in ARMS:
            raise ValueError(f"arms must be one of {', '.join(ARMS)}, not {arms!r}")
        if count < 2 or (arms != "independent" and count != 2):
            raise ValueError(f"count must be 2, or more where arms are independent, not {count}")
        self.arms = arms
        self.means = np.zeros((batch, count))
        """float64 [B, k]: each arm's probability of paying."""
        super().__init__(batch, actions=count, observation_shape=(1,), episode_steps=pulls, seed=seed, phases=phases)

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw the arms' means."""
        if self.arms == "independent":
            self.means[rows] = generator.random((len(rows), self.actions))
            return
        first = (
            generator.random(len(rows))
            if self.arms == "uniform"
            else generator.choice(_FIRST_MEAN[self.arms], len(rows))
        )
        self.means[rows] = np.stack([first, 1 - first], 1)

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Pull one arm of each bandit."""
        return generator.random(self.batch) < self.means[np.arange(self.batch), actions]

    def regrets(self) -> np.ndarray:
        """Compare the arms' means with the best arm's."""
        return self.means.max(1, keepdims=True) - self.means

    def observe(self, out: np.ndarray) -> None:
        """Show the trial's number as a share of all."""
        out[:, 0] = self._step / self.episode_steps


class InformativeArm(EpisodicTask):
    """Eleven arms that pay without chance: the last tells which other is the target (Wang et al. 2016, experiment 3).

    The target pays 5, nine others pay 1, and arm 11 pays a tenth of the target's number (1 to 10). The best an episode
    can bring is 20.55 on average: arm 11 once, then the target four times. The reward is also shown as a one-hot code
    of its eleven values, as in the paper.
    """

    variables: ClassVar[tuple[str, ...]] = ("target",)
    pulls = 5

    def __init__(
        self, batch: int, *, show_reward: bool = True, seed: int = 0, phases: np.ndarray | None = None
    ) -> None:
        """Begin B episodes; without `show_reward` the code stays zero, for the control that is not told its reward."""
        self.target = np.zeros(batch, np.int64)
        """int64 [B], 0 to 9."""
        self._show_reward = show_reward
        super().__init__(batch, actions=11, observation_shape=(12,), episode_steps=self.pulls, seed=seed, phases=phases)

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw the target."""
        self.target[rows] = generator.integers(10, size=len(rows))

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Pull one arm."""
        return np.where(actions == 10, 0.1 * (self.target + 1), np.where(actions == self.target, 5.0, 1.0))

    def observe(self, out: np.ndarray) -> None:
        """Show the trial's number and the code of the last reward."""
        out[:] = 0
        out[:, 0] = self._step / self.episode_steps
        if self._show_reward:
            told = np.flatnonzero(~self._first)
            level = np.minimum(np.rint(10 * self._prev_reward[told]).astype(np.int64), 11)  # tenths; 11: the target's 5
            out[told, level] = 1
