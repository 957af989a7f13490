"""What can be known exactly about stationary bandits, by dynamic programming.

Gittins indices; and Bayes-optimal policies, with what they earn in an episode of known length: for two independent
arms, for any number of them and few pulls, for two arms that add up to 1, and for the informative arm.
"""

from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.stats import binom

from mazes.environment import TimeStep
from nav_meta.baselines.bandits import Counting
from nav_meta.evaluation import MakePolicy

_BETTER_MEAN = {"easy": 0.9, "medium": 0.75, "hard": 0.6}
"""Of two arms that add up to 1, if it is one of two values; else it is uniform."""
_MOST_PULLS = 120
"""Of two independent arms: 9 million states of knowledge."""
_FEW_PULLS = 10
"""Of any number of arms: 4,400 states, arms that look the same being interchangeable."""


class Optimum(NamedTuple):
    """The best that can be done without knowing the arms."""

    reward: float
    """Expected reward of an episode."""
    policy: MakePolicy
    """Earns it."""


def optimum(arms: str, count: int, pulls: int) -> Optimum | None:
    """Return the Bayes optimum of a task `Bandit` with these options, None where it is out of reach."""
    if arms != "independent":
        return Optimum(_dependent_reward(arms, pulls), partial(DependentArms, count=2))
    if pulls <= _FEW_PULLS:
        return Optimum(_few_pulls(count, pulls)[0], partial(FewPulls, count=count, horizon=pulls))
    if count == 2 and pulls <= _MOST_PULLS:
        return Optimum(_two_arms(pulls)[0], partial(TwoArms, count=2, horizon=pulls))
    return None


def best_mean(arms: str, count: int) -> float:
    """Return the expected mean of the best arm of a task `Bandit`: what knowing the arms earns a pull."""
    if arms == "independent":
        return count / (count + 1)
    return _BETTER_MEAN.get(arms, 0.75)


# --- Gittins indices --------------------------------------------------------------------------------------------------


class Gittins(Counting):
    """The arm with the highest Gittins index: optimal if pulls were endless and discounted.

    The discount is 1 - 1 / horizon: as many pulls are expected to be left as there are in an episode.
    """

    def __init__(self, batch: int, seed: int, *, count: int, horizon: int) -> None:
        """Begin; `horizon` is the number of pulls in an episode."""
        super().__init__(batch, seed, count=count)
        self._indices = gittins_indices(horizon, 1 - 1 / horizon)

    def scores(self) -> np.ndarray:
        """Look the indices up."""
        return self._indices[self.pulls, self.wins]


@cache
def gittins_indices(pulls: int, discount: float, grid: int = 2000, depth: int | None = None) -> np.ndarray:
    """Return the Gittins indices of an arm that pays 0 or 1 and has a uniform prior, within 1e-4.

    By calibration: the index is the price of a pull at which the arm, to be given up when one likes, is worth nothing.
    That worth is convex in the price, so straight lines between prices on a grid give the index from above.

    Args:
        pulls: size of the table.
        discount: below 1.
        grid: number of prices.
        depth: pulls after which the arm's mean is taken for known; by default enough for the precision above.

    Returns:
        float64 [pulls, pulls], read-only: by number of pulls so far and how many of them paid.
    """
    depth = depth or pulls + int(3 / (1 - discount))
    indices = _gittins(pulls, depth, discount, np.sin(np.linspace(0, np.pi / 2, grid + 1)) ** 2)
    indices.flags.writeable = False
    return indices


@njit(cache=True)
def _gittins(size, depth, discount, prices):
    indices = np.zeros((size, size))
    before = np.zeros((size, size))  # worth at the price before
    given_up = np.zeros(depth, np.int64)  # arms with fewer wins than this are worth nothing, now and at higher prices
    worth = np.empty(depth + 1)
    for k in range(len(prices)):
        price = prices[k]
        for wins in range(depth + 1):
            worth[wins] = max(0.0, ((wins + 1) / (depth + 2) - price) / (1 - discount))
        for pulls in range(depth - 1, -1, -1):
            for wins in range(given_up[pulls], pulls + 1):
                mean = (wins + 1) / (pulls + 2)
                pulled = mean - price + discount * (mean * worth[wins + 1] + (1 - mean) * worth[wins])
                worth[wins] = max(0.0, pulled)
                if pulled <= 0:
                    given_up[pulls] = wins + 1
                if pulls < size:
                    if pulled <= 0:
                        above = before[pulls, wins]
                        indices[pulls, wins] = price + (price - prices[k - 1]) * pulled / (above - pulled)
                    before[pulls, wins] = pulled
    return indices


# --- two independent arms ---------------------------------------------------------------------------------------------


class TwoArms(Counting):
    """Bayes-optimal for two independent arms with uniform priors and a known number of pulls."""

    def __init__(self, batch: int, seed: int, *, count: int, horizon: int) -> None:
        """Begin; `count` is 2 and `horizon` the number of pulls in an episode."""
        super().__init__(batch, seed, count=count)
        _, self._second, self._start = _two_arms(horizon)

    def scores(self) -> np.ndarray:
        """Look up which arm is better."""
        (n1, n2), (s1, s2) = self.pulls.T, self.wins.T
        second = self._second[self._start[n1 + n2, n1] + s1 * (n2 + 1) + s2]
        return np.stack([~second, second], 1)


@cache
def _two_arms(horizon: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the optimal reward, where the second arm is better (bool [states]), and where to look that up.

    With n1 of t pulls at the first arm, s1 and s2 of which and of the others paid, it is at start[t, n1] +
    s1 (t - n1 + 1) + s2.
    """
    t, n1 = np.indices((horizon, horizon))
    sizes = np.where(n1 <= t, (n1 + 1) * (t - n1 + 1), 0)
    start = np.cumsum(sizes).reshape(sizes.shape) - sizes
    second = np.zeros(sizes.sum(), np.bool_)
    return _solve_two_arms(horizon, start, second), second, start


@njit(cache=True)
def _solve_two_arms(horizon, start, second):
    # What is still to be earned after t pulls, by n1, s1, s2; it is overwritten in the order that leaves t + 1 in place
    # for as long as it is needed.
    value = np.zeros((horizon + 1, horizon + 1, horizon + 1))
    for t in range(horizon - 1, -1, -1):
        for n1 in range(t + 1):
            n2 = t - n1
            for s1 in range(n1 + 1):
                mean1 = (s1 + 1) / (n1 + 2)
                for s2 in range(n2 + 1):
                    mean2 = (s2 + 1) / (n2 + 2)
                    pull1 = mean1 * (1 + value[n1 + 1, s1 + 1, s2]) + (1 - mean1) * value[n1 + 1, s1, s2]
                    pull2 = mean2 * (1 + value[n1, s1, s2 + 1]) + (1 - mean2) * value[n1, s1, s2]
                    second[start[t, n1] + s1 * (n2 + 1) + s2] = pull2 > pull1
                    value[n1, s1, s2] = max(pull1, pull2)
    return value[0, 0, 0]


# --- any number of independent arms, few pulls ------------------------------------------------------------------------


class FewPulls(Counting):
    """Bayes-optimal for independent arms with uniform priors and a known, small number of pulls."""

    def __init__(self, batch: int, seed: int, *, count: int, horizon: int) -> None:
        """Begin; `horizon` is the number of pulls in an episode."""
        super().__init__(batch, seed, count=count)
        self._horizon = horizon
        _, self._best = _few_pulls(count, horizon)

    def scores(self) -> np.ndarray:
        """Look up which kind of arm is best."""
        codes = self.pulls * self._horizon + self.wins
        kept = -np.sort(-codes, 1)[:, : self._horizon]  # those never pulled are last, and 0
        states, which = np.unique(kept, axis=0, return_inverse=True)
        best = np.array(
            [self._best[tuple(divmod(code, self._horizon) for code in row if code)] for row in states.tolist()]
        )
        return codes == (best @ (self._horizon, 1))[which.ravel()][:, None]


Known = tuple[tuple[int, int], ...]
"""(pulls, wins) of each arm that was ever pulled, in falling order: arms that look the same are interchangeable."""


@cache
def _few_pulls(count: int, horizon: int) -> tuple[float, dict[Known, tuple[int, int]]]:
    """Return the optimal reward, and the (pulls, wins) of the arm to pull in each state of knowledge."""
    best: dict[Known, tuple[int, int]] = {}

    @cache
    def value(known: Known) -> float:
        if sum(pulls for pulls, _ in known) == horizon:
            return 0.0
        worth = {arm: pull(known, arm) for arm in {*known, *[(0, 0)][: count - len(known)]}}
        best[known] = max(worth, key=lambda arm: (worth[arm], arm))
        return worth[best[known]]

    def pull(known: Known, arm: tuple[int, int]) -> float:
        pulls, wins = arm
        rest = list(known)
        if pulls:
            rest.remove(arm)
        won, lost = (value(tuple(sorted([*rest, (pulls + 1, wins + reward)], reverse=True))) for reward in (1, 0))
        mean = (wins + 1) / (pulls + 2)
        return mean * (1 + won) + (1 - mean) * lost

    return value(()), best


# --- two arms that add up to 1 ----------------------------------------------------------------------------------------


class DependentArms(Counting):
    """Bayes-optimal for two arms that add up to 1: whatever is pulled tells the same, so what pays best now is best.

    A failure of one arm counts as much as a success of the other, for each of the four ways to draw the first mean:
    all are symmetrical about 1/2.
    """

    def scores(self) -> np.ndarray:
        """Return the evidence for each arm."""
        return self.wins + (self.pulls - self.wins)[:, ::-1]


def _dependent_reward(arms: str, pulls: int) -> float:
    """Return what `DependentArms` expects to earn: at each pull, the better mean given the evidence so far."""
    total = 0.0
    for t in range(pulls):
        wins = np.arange(t + 1)  # evidence for the first arm
        if arms == "uniform":
            chance, first = np.full(t + 1, 1 / (t + 1)), (wins + 1) / ((t + 1) * (t + 2))
        else:
            means = np.array([_BETTER_MEAN[arms], 1 - _BETTER_MEAN[arms]])
            joint = binom.pmf(wins, t, means[:, None]) / 2
            chance, first = joint.sum(0), means @ joint
        total += np.maximum(
            first, chance - first
        ).sum()  # first: mean of the first arm times the chance of the evidence
    return total


# --- the informative arm ----------------------------------------------------------------------------------------------

_PULLS, _ASK = 5, 10


class InformedSearch:
    """Bayes-optimal for `InformativeArm`, with or without pulling the arm that tells which is the target."""

    def __init__(self, batch: int, seed: int, *, ask: bool = True) -> None:
        """Begin; there is nothing to draw."""
        self._candidates = np.zeros(batch, np.int64)  # bit i: arm i may be the target
        self._left = np.zeros(batch, np.int64)
        _, self._best = _informative(ask)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Take note of the last pull and choose the next; return int64 [B]."""
        arm, reward = moment.prev_action, moment.prev_reward
        told = np.rint(10 * reward).astype(np.int64) - 1
        bit = 1 << np.where(arm == _ASK, told, arm)
        self._candidates = np.where((arm == _ASK) | (reward == 5), bit, self._candidates & ~bit)
        self._candidates[moment.first] = (1 << _ASK) - 1
        self._left = np.where(moment.first, _PULLS, self._left - 1)
        return self._best[self._left, self._candidates]


def informative_reward(ask: bool = True) -> float:
    """Return the optimal reward of an episode of `InformativeArm`, with or without the arm that tells."""
    return _informative(ask)[0]


@cache
def _informative(ask: bool) -> tuple[float, np.ndarray]:
    """Return the optimal reward, and the best arm by pulls left and set of candidates, int64 [6, 1024]."""
    sets = np.arange(1, 1 << _ASK)
    arms = np.arange(_ASK)
    is_in = (sets[:, None] >> arms & 1).astype(np.bool_)
    chance = is_in / is_in.sum(1, keepdims=True)  # of being the target
    value = np.zeros(1 << _ASK)
    best = np.zeros((_PULLS + 1, 1 << _ASK), np.int64)
    for left in range(1, _PULLS + 1):
        worth = np.full((len(sets), _ASK + 1), -np.inf)
        found = value[1 << arms]
        worth[:, :_ASK] = chance * (5 + found) + (1 - chance) * (1 + value[sets[:, None] & ~(1 << arms)])
        if ask:
            worth[:, _ASK] = chance @ ((arms + 1) / 10 + found)
        value[sets] = worth.max(1)
        best[left, sets] = worth.argmax(1)
    return float(value[-1]), best
