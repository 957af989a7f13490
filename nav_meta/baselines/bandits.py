"""Algorithms for bandits whose arms pay 0 or 1, as policies that learn within an episode just as the agent has to.

They know how many arms there are, that each pays with a probability of its own, and what they were told; not that arms
depend on one another (`bayes.py` has those that do). A prior is uniform: one success and one failure before the first
pull. Of arms that seem equally good any is pulled.
"""

from abc import ABC, abstractmethod

import numpy as np

from mazes.environment import TimeStep


class Counting(ABC):
    """Counts what each arm has paid in this episode and pulls an arm with the highest score."""

    def __init__(self, batch: int, seed: int, *, count: int) -> None:
        """Begin.

        Args:
            batch: number of episodes B, played at once.
            seed: of the choices.
            count: number of arms k.
        """
        self.pulls = np.zeros((batch, count), np.int64)
        """[B, k]: how often each arm has been pulled."""
        self.wins = np.zeros((batch, count), np.int64)
        """[B, k]: how often it paid."""
        self.generator = np.random.default_rng(seed)
        self._rows = np.arange(batch)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Take note of the last pull, whose reward is 0 or 1, and choose the next; return int64 [B]."""
        self.pulls[self._rows, moment.prev_action] += 1
        self.wins[self._rows, moment.prev_action] += moment.prev_reward > 0
        self.pulls[moment.first] = 0
        self.wins[moment.first] = 0
        scores = self.scores()
        best = scores == scores.max(1, keepdims=True)
        return (best * (1 - self.generator.random(scores.shape, np.float32))).argmax(1)  # 1 - x: never 0

    @abstractmethod
    def scores(self) -> np.ndarray:
        """Return how good each arm seems, [B, k]."""

    @property
    def beliefs(self) -> np.ndarray:
        """Mean of the posterior of each arm, float64 [B, k]."""
        return (self.wins + 1) / (self.pulls + 2)


class Random(Counting):
    """Any arm."""

    def scores(self) -> np.ndarray:
        """Return the same for all."""
        return np.zeros(self.pulls.shape)


class Greedy(Counting):
    """The arm with the best posterior mean."""

    def scores(self) -> np.ndarray:
        """Return posterior means."""
        return self.beliefs


class EpsilonGreedy(Counting):
    """The arm with the best posterior mean, but now and then any arm."""

    def __init__(self, batch: int, seed: int, *, count: int, epsilon: float) -> None:
        """Begin; `epsilon` is the probability of any arm."""
        super().__init__(batch, seed, count=count)
        self._epsilon = epsilon

    def scores(self) -> np.ndarray:
        """Return posterior means, or the same for all."""
        explores = self.generator.random(len(self.pulls)) < self._epsilon
        return np.where(explores[:, None], 0.0, self.beliefs)


class UCB1(Counting):
    """The arm with the best upper confidence bound, mean + sqrt(chi ln t / n), after t pulls, n of them of that arm.

    Auer et al. (2002) prove their bound for chi = 2, which is far from the best. With `prior` 0 each arm is pulled once
    to begin with. Duan et al. (2016) add a success and a failure to the counts instead (`prior` 1), without which it
    is lost when there are more arms than pulls.
    """

    def __init__(self, batch: int, seed: int, *, count: int, chi: float, prior: int = 0) -> None:
        """Begin."""
        super().__init__(batch, seed, count=count)
        self._chi = chi
        self._prior = prior

    def scores(self) -> np.ndarray:
        """Return the bounds, infinite where nothing is known."""
        n = self.pulls + 2 * self._prior
        log = np.log(np.maximum(self.pulls.sum(1, keepdims=True), 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = (self.wins + self._prior) / n + np.sqrt(self._chi * log / n)
        return np.where(n == 0, np.inf, bound)


class Thompson(Counting):
    """The arm that is best in a sample from the posterior (Thompson 1933)."""

    def scores(self) -> np.ndarray:
        """Return a sample."""
        return self.generator.beta(self.wins + 1, self.pulls - self.wins + 1)


class OptimisticThompson(Thompson):
    """The same with samples that are never below the posterior's mean (May et al. 2012)."""

    def scores(self) -> np.ndarray:
        """Return a sample, or the mean if that is higher."""
        return np.maximum(super().scores(), self.beliefs)
