"""Rivals in tabular Markov decision processes: those of Duan et al. (2016, section 3.2), and the best there is.

All but the last know the distribution of the processes at most, watch what happens, and plan at the beginning of each
inner episode, exactly for its HORIZON steps. They differ in the model that they plan in. Axes: B trials, N some of
them, S states, A actions, H steps of an inner episode.

Those that believe in a distribution of the mean rewards are told its mean, `prior`: 1 is the truth, and 0 reproduces
the paper's figures (see `nav_meta.experiments.mdp`).
"""

from abc import ABC, abstractmethod

import numpy as np
from numba import njit

from mazes.environment import TimeStep
from nav_meta.tasks.mdp import ACTIONS, HORIZON, NEW, STATES, TabularMDP, value_iteration

_DELTA = 0.05
"""Probability with which UCRL2's intervals may fail; it hardly matters, since a scale of theirs is tuned."""


class Planner(ABC):
    """Remembers all that a trial has shown and does what is best in some model of it; ties are broken at random."""

    def __init__(self, batch: int, seed: int) -> None:
        """Begin without any experience.

        Args:
            batch: B.
            seed: of all that is drawn.
        """
        self._generator = np.random.default_rng(seed)
        self.tries = np.zeros((batch, STATES, ACTIONS))
        """float64 [B, S, A]: how often each action was paid."""
        self.paid = np.zeros((batch, STATES, ACTIONS))
        """float64 [B, S, A]: how much in all."""
        self.moves = np.zeros((batch, STATES, ACTIONS, STATES))
        """float64 [B, S, A, S]: where it led; where the last step of an inner episode leads is never seen."""
        self._values = np.zeros((batch, HORIZON, STATES, ACTIONS))
        self._place = np.zeros(batch, np.int64)
        self._step = np.zeros(batch, np.int64)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Take note of the last step, plan where an inner episode begins, and return actions int64 [B]."""
        place = moment.observation[:, :STATES].argmax(1)
        new = moment.observation[:, NEW] > 0
        for record in (self.tries, self.paid, self.moves):
            record[moment.first] = 0
        paid = np.flatnonzero(~moment.first)
        moved = np.flatnonzero(~new)
        self.tries[paid, self._place[paid], moment.prev_action[paid]] += 1
        self.paid[paid, self._place[paid], moment.prev_action[paid]] += moment.prev_reward[paid]
        self.moves[moved, self._place[moved], moment.prev_action[moved], place[moved]] += 1
        self._place = place
        self._step = np.where(new, 0, self._step + 1)
        if new.any():
            rows = np.flatnonzero(new)
            self._values[rows] = self.plan(rows)
        values = self._values[np.arange(len(place)), self._step, place]
        best = values == values.max(1, keepdims=True)
        return np.where(best, self._generator.random(best.shape), -1.0).argmax(1)

    @abstractmethod
    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Return what actions are worth at each step of an inner episode, [N, H, S, A], in N rows of the batch."""


class Greedy(Planner):
    """Plans with the means of what was seen; what was never tried counts as paying 0 and leading anywhere."""

    def __init__(self, batch: int, seed: int, *, epsilon: float = 0.0) -> None:
        """With probability `epsilon` do anything; 1 is the random player."""
        super().__init__(batch, seed)
        self._epsilon = epsilon

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Return actions int64 [B]."""
        actions = super().__call__(moment)
        anything = self._generator.random(len(actions)) < self._epsilon
        return np.where(anything, self._generator.integers(ACTIONS, size=len(actions)), actions)

    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Plan with the means of what was seen."""
        rewards, transitions = _means(self.tries[rows], self.paid[rows], self.moves[rows])
        return value_iteration(rewards[:, None], transitions)


class PosteriorSampling(Planner):
    """PSRL: plans in a process drawn from what is believed of it (Strens 2000; Osband, Russo and Van Roy 2013).

    With several samples an action counts as much as in the one where it is worth most, which is optimistic PSRL.
    """

    def __init__(self, batch: int, seed: int, *, prior: float, samples: int = 1) -> None:
        """Draw `samples` processes for each plan."""
        super().__init__(batch, seed)
        self._prior = prior
        self._samples = samples

    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Plan in samples of the posterior."""
        mean, precision, counts = posterior(self.tries[rows], self.paid[rows], self.moves[rows], self._prior)
        values = np.full((len(rows), HORIZON, STATES, ACTIONS), -np.inf)
        for _ in range(self._samples):
            rewards = mean + self._generator.standard_normal(mean.shape) / np.sqrt(precision)
            weights = self._generator.standard_gamma(counts)
            weights /= weights.sum(-1, keepdims=True)
            np.maximum(values, value_iteration(rewards[:, None], weights), out=values)
        return values


class BEB(Planner):
    """Plans in the expected process with a bonus for what has been tried little (Kolter and Ng 2009).

    Theirs is beta / (1 + count), the count being that of the transitions seen and of the prior, for processes with
    known rewards. Here it counts for each step that is left, since a transition matters through what comes after it,
    and an unknown reward adds 1 / (1 + precision): Osband's form (github.com/iosband/TabulaRL), with which the
    paper's figures agree; the plain bonus earns up to 1.3 % less in 50 episodes and more.
    """

    def __init__(self, batch: int, seed: int, *, prior: float, beta: float) -> None:
        """Pay the bonus `beta`."""
        super().__init__(batch, seed)
        self._prior = prior
        self._beta = beta

    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Plan in the expected process with the bonus."""
        mean, precision, counts = posterior(self.tries[rows], self.paid[rows], self.moves[rows], self._prior)
        count = counts.sum(-1)
        left = np.arange(HORIZON - 1, -1, -1)[:, None, None]
        rewards = (mean + 1 / (1 + precision))[:, None] + left * (self._beta / (1 + count))[:, None]
        return value_iteration(rewards, counts / count[..., None])


class UCRL2(Planner):
    """Plans in the best process that intervals around what was seen allow (Jaksch, Ortner and Auer 2010)."""

    def __init__(self, batch: int, seed: int, *, scale: float) -> None:
        """Multiply the widths of the intervals by `scale`: those that are proven to hold are too wide to be useful."""
        super().__init__(batch, seed)
        self._scale = scale

    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Plan with optimistic rewards and transitions."""
        tries, moves = self.tries[rows], self.moves[rows]
        rewards, transitions = _means(tries, self.paid[rows], moves)
        time = tries.sum((1, 2), keepdims=True) + 1
        reward_width = np.sqrt(3.5 * np.log(2 * STATES * ACTIONS * time / _DELTA) / np.maximum(tries, 1))
        width = np.sqrt(14 * STATES * np.log(2 * ACTIONS * time / _DELTA) / np.maximum(moves.sum(-1), 1))
        return optimistic_value_iteration(rewards + self._scale * reward_width, transitions, self._scale * width)


class Optimal(Planner):
    """Knows the processes: no player can do better on average."""

    def __init__(self, task: TabularMDP) -> None:
        """Read the processes from the task that is going to be played."""
        super().__init__(task.batch, 0)
        self._best = value_iteration(task.means[:, None], task.transitions)

    def plan(self, rows: np.ndarray) -> np.ndarray:
        """Return what the actions are worth in truth."""
        return self._best[rows]


def posterior(
    tries: np.ndarray, paid: np.ndarray, moves: np.ndarray, prior: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is believed after some experience by one who knows how processes and rewards are drawn.

    Args:
        tries: float64 [..., S, A], how often each action was paid.
        paid: float64 [..., S, A], how much in all.
        moves: float64 [..., S, A, S], how often it led where.
        prior: mean of the distribution that mean rewards are thought to be drawn from; its variance is 1.

    Returns:
        mean and precision (1 / variance) of the normal distribution of each mean reward, [..., S, A], and the
        parameters of the Dirichlet distribution of where each action leads, [..., S, A, S].
    """
    return (paid + prior) / (tries + 1), tries + 1, moves + 1


def _means(tries: np.ndarray, paid: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean rewards and shares of next states as seen, and 0 and all the same where nothing was."""
    count = moves.sum(-1, keepdims=True)
    return paid / np.maximum(tries, 1), np.where(count > 0, moves / np.maximum(count, 1), 1 / STATES)


@njit(cache=True, nogil=True)
def optimistic_value_iteration(rewards, transitions, widths):
    """Return the same for the best processes near given ones (extended value iteration), float64 [N, H, S, A].

    Args:
        rewards: float64 [N, S, A], already as high as they may be.
        transitions: float64 [N, S, A, S].
        widths: float64 [N, S, A], by how much in all the probabilities of an action may be changed (L1 distance).
    """
    values = np.empty((len(rewards), HORIZON, STATES, ACTIONS))
    for n in range(len(rewards)):
        after = np.zeros(STATES)
        for step in range(HORIZON - 1, -1, -1):
            now = values[n, step]
            worst_first = np.argsort(after)
            best = worst_first[-1]
            for state in range(STATES):
                for action in range(ACTIONS):
                    # As much as is allowed goes to the best state and is taken from the worst ones.
                    shares = transitions[n, state, action]
                    moved = min(widths[n, state, action] / 2, 1 - shares[best])
                    value = rewards[n, state, action] + moved * after[best]
                    for following in worst_first:
                        taken = min(moved, shares[following])
                        moved -= taken
                        value += (shares[following] - taken) * after[following]
                    now[state, action] = value
            for state in range(STATES):
                after[state] = now[state].max()
    return values
