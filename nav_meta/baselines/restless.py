"""Rivals in the restless bandit: a learning rate, Thompson sampling with one volatility, and the best there is.

The rule of Rescorla and Wagner knows nothing of the drift; the filters know it. UCB1 is that of `bandits.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy.special import expit, ndtr

from mazes.environment import TimeStep
from nav_meta.tasks.restless import VOLATILITIES

CELLS = 100
"""Cells of the grid on which beliefs about p are kept; even, so that 0.5 is a border."""


class RescorlaWagner:
    """Moves what an arm seems worth towards what it pays, by a fixed rate, and draws from a softmax."""

    def __init__(
        self, batch: int, seed: int, *, rate: float, inverse_temperature: float, coupled: bool = False
    ) -> None:
        """Begin.

        Args:
            batch: B.
            seed: of all that is drawn.
            rate: share of the way, 0 to 1.
            inverse_temperature: of the softmax.
            coupled: know that the arms' probabilities add up to 1: the other arm would have paid the opposite.
        """
        self.worth = np.full((batch, 2), 0.5)
        """float64 [B, 2]: what each arm seems worth."""
        self._rate, self._inverse_temperature, self._coupled = rate, inverse_temperature, coupled
        self._generator = np.random.default_rng(seed)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Learn from the last pull, and return the next, int64 [B]."""
        reward, arm = moment.prev_reward, moment.prev_action
        paid = np.where(arm[:, None] == [0, 1], reward[:, None], 1 - reward[:, None])
        learns = (arm[:, None] == [0, 1]) | self._coupled
        self.worth += self._rate * learns * (paid - self.worth)
        self.worth[moment.first] = 0.5
        share = expit(self._inverse_temperature * (self.worth[:, 1] - self.worth[:, 0]))
        return (self._generator.random(len(share)) < share).astype(np.int64)


class Filter(ABC):
    """Knows how p drifts, up to which of some volatilities it is, and keeps the probability of each p and volatility.

    A win of arm 1 tells as much as a loss of arm 0: whatever is pulled, what is learnt is the same. So there is nothing
    to explore, and the best policy is to pull what is best now.
    """

    def __init__(self, batch: int, seed: int, *, volatilities: Sequence[float] = VOLATILITIES) -> None:
        """Begin with p uniform and all volatilities equally likely.

        Args:
            batch: B.
            seed: of all that is drawn.
            volatilities: standard deviations of the drift per pull.
        """
        self.belief = np.zeros((len(volatilities), batch, CELLS))
        """float64 [volatilities, B, CELLS]: probability that p is in each cell, as it will be at the next pull."""
        self._drifts = [drift(volatility) for volatility in volatilities]
        self._generator = np.random.default_rng(seed)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Learn from the last pull, and return the next, int64 [B]."""
        for_first = (moment.prev_reward > 0) == (moment.prev_action == 0)
        self.belief *= np.where(for_first[:, None], MIDDLES, 1 - MIDDLES)
        for belief, matrix in zip(self.belief, self._drifts, strict=True):
            belief[:] = belief @ matrix
        self.belief[:, moment.first] = 1
        self.belief /= self.belief.sum((0, 2))[:, None]
        return (self._generator.random(len(for_first)) >= self.share(self.belief.sum(0))).astype(np.int64)

    @abstractmethod
    def share(self, belief: np.ndarray) -> np.ndarray:
        """Return the probability [B] of pulling arm 0, given those of p in each cell, [B, CELLS]."""


class BayesOptimal(Filter):
    """The arm with the higher mean; exact but for the grid."""

    def share(self, belief: np.ndarray) -> np.ndarray:
        """Decide; on equal means toss a coin."""
        return np.heaviside(np.round(belief @ MIDDLES - 0.5, 12), 0.5)


class Thompson(Filter):
    """The arm that is better in a sample from the belief."""

    def share(self, belief: np.ndarray) -> np.ndarray:
        """Return the probability that a sample is in the upper half."""
        return belief[:, CELLS // 2 :].sum(1)


MIDDLES = (np.arange(CELLS) + 0.5) / CELLS


def drift(volatility: float, cells: int = CELLS) -> np.ndarray:
    """Return float64 [cells, cells]: probabilities to get by one Gaussian step, reflected, from middles to cells."""
    edges, middles = np.arange(cells + 1) / cells, (np.arange(cells) + 0.5) / cells
    around = np.arange(-np.ceil(3 * volatility) - 1, np.ceil(3 * volatility) + 2) * 2
    images = (around[:, None] + np.concatenate([middles, -middles])).reshape(len(around), 2, cells)  # in the mirrors
    below = ndtr((edges - images[..., None]) / volatility).sum((0, 1))  # [from, edge]
    return np.diff(below)
