"""Rivals in the two-step task: learners without and with a model (Daw et al. 2011), and the best there is.

All know the task but not which state is good. They differ in what they make of a trial; the choice is then drawn from
a softmax of what the two choices seem worth.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from mazes.environment import TimeStep
from nav_meta.tasks.two_step import Setting

_CELLS = 100
"""Points of the grid of log-odds for each unit of evidence."""


class Player:
    """Remembers a trial until it is paid; this one learns nothing from it and chooses at random."""

    initial = 0.0
    """What a choice seems worth at the beginning."""

    def __init__(self, batch: int, seed: int, setting: Setting, inverse_temperature: float = np.inf) -> None:
        """Begin without any experience.

        Args:
            batch: B.
            seed: of all that is drawn.
            setting: of the task.
            inverse_temperature: of the softmax; infinite: the better choice, or either where they are equal.
        """
        self.setting = setting
        self.worth = np.zeros((batch, 2))
        """float64 [B, 2]: what each first choice seems worth."""
        self.memory = np.zeros((batch, 2))
        """float64 [B, 2]: what the player knows of each state."""
        self._choice = np.zeros(batch, np.int64)
        self._place = np.zeros(batch, np.int64)
        self._inverse_temperature = inverse_temperature
        self._generator = np.random.default_rng(seed)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Learn from the trial if one is over, and return actions int64 [B]."""
        where = moment.observation.argmax(1)
        choosing = where == 0
        self.worth[moment.first] = self.memory[moment.first] = self.initial
        paid = np.flatnonzero(choosing & ~moment.first)
        self.learn(paid, self._choice[paid], self._place[paid], moment.prev_reward[paid])
        self._choice = np.where(choosing, self._choice, moment.prev_action)
        self._place = np.where(choosing, self._place, where - 1)
        # Worths are compared to 12 digits, so that sums of the same evidence in another order are equal.
        lead = np.round(self.worth[:, 1] - self.worth[:, 0], 12)
        if np.isinf(self._inverse_temperature):
            share = np.heaviside(lead, 0.5)
        else:
            share = expit(self._inverse_temperature * lead)
        return (self._generator.random(len(where)) < share).astype(np.int64)

    def learn(self, rows: np.ndarray, choice: np.ndarray, place: np.ndarray, reward: np.ndarray) -> None:
        """Learn from a trial each in some rows int64 [N] of the batch: choice, state reached, reward, all [N]."""


class ModelFree(Player):
    """SARSA(lambda), which knows nothing of where choices lead; with `trace` (lambda) 0 it is Q-learning."""

    initial = 0.5

    def __init__(
        self, batch: int, seed: int, setting: Setting, rate: float, inverse_temperature: float, trace: float
    ) -> None:
        """With a learning rate for both stages."""
        super().__init__(batch, seed, setting, inverse_temperature)
        self._rate, self._trace = rate, trace

    def learn(self, rows: np.ndarray, choice: np.ndarray, place: np.ndarray, reward: np.ndarray) -> None:
        """Move the choice's worth towards the state's, the state's towards the reward, both by the trace."""
        surprise = reward - self.memory[rows, place]
        arrival = self.memory[rows, place] - self.worth[rows, choice]
        self.worth[rows, choice] += self._rate * (arrival + self._trace * surprise)
        self.memory[rows, place] += self._rate * surprise


class ModelBased(Player):
    """Learns what each state is worth, and knows where choices lead."""

    initial = 0.5

    def __init__(self, batch: int, seed: int, setting: Setting, rate: float, inverse_temperature: float) -> None:
        """With a learning rate for the states."""
        super().__init__(batch, seed, setting, inverse_temperature)
        self._rate = rate

    def learn(self, rows: np.ndarray, choice: np.ndarray, place: np.ndarray, reward: np.ndarray) -> None:
        """Move the state's worth towards the reward; a choice is worth what it leads to on average."""
        self.memory[rows, place] += self._rate * (reward - self.memory[rows, place])
        common = self.setting.common
        self.worth[rows] = common * self.memory[rows] + (1 - common) * self.memory[rows, ::-1]


class BayesOptimal(Player):
    """Chooses what more probably leads to the good state; see `bayes_optimal` for why nothing is better."""

    def learn(self, rows: np.ndarray, choice: np.ndarray, place: np.ndarray, reward: np.ndarray) -> None:
        """Count a state that pays, or the other state where one did not, as evidence; then it may be reversed."""
        state = np.where(reward > 0, place, 1 - place)
        odds = self.worth[rows, 1] + np.where(state == 1, 1, -1) * evidence(self.setting)
        self.worth[rows, 1] = after_reversal(odds, self.setting.reversal)


def evidence(setting: Setting) -> float:
    """Return by how much one trial moves the log-odds of the two states."""
    return float(np.log(setting.pay / (1 - setting.pay)))


def after_reversal(odds: np.ndarray, reversal: float) -> np.ndarray:
    """Return log-odds float64 [...] one trial later, when states may have changed roles."""
    ratio = np.exp(odds)
    return np.log(((1 - reversal) * ratio + reversal) / ((1 - reversal) + reversal * ratio))


class Exact(NamedTuple):
    """What the Bayes-optimal player does on average, computed and not played."""

    reward: np.ndarray
    """float64 [trials]: expected in each trial."""
    stay: np.ndarray
    """float64 [2, 2]: probability of the same first choice again, by (unrewarded, rewarded) x (rare, common)."""


def bayes_optimal(setting: Setting) -> Exact:
    """Compute what the Bayes-optimal player does.

    A reward in one state tells exactly as much as its absence in the other, so whatever is chosen, the belief changes
    in the same way: there is nothing to explore, and the best policy is to choose what is best now. The belief is one
    number, the log-odds x >= 0 that the choice's common state is the good one, of which this computes the distribution
    in each trial: exactly without reversals, when x is a whole number of pieces of evidence, else on a fine grid.

    For the same reason what a trial says does not depend on whether its transition was common. So two of the four
    probabilities of staying are equal, twice: reward has no main effect, nor has the transition.
    """
    step = evidence(setting)
    bound = after_reversal(np.array(setting.trials * step), setting.reversal)
    x = np.arange(np.ceil(bound / step * _CELLS) + 2) * (step / _CELLS)
    good = expit(x)
    arrive = setting.common * good + (1 - setting.common) * (1 - good)
    confirmed = setting.pay * good + (1 - setting.pay) * (1 - good)
    mass = np.zeros(len(x))
    mass[0] = 1
    reward = np.zeros(setting.trials)
    stayed, counted = np.zeros(2), np.zeros(2)
    for trial in range(setting.trials):
        reward[trial] = mass @ (1 - setting.pay + (2 * setting.pay - 1) * arrive)
        if trial == setting.trials - 1:
            break
        after = np.zeros(len(x))
        for confirms, probability in enumerate((1 - confirmed, confirmed)):
            share = mass * probability
            odds = np.round(after_reversal(x + (step if confirms else -step), setting.reversal), 12)
            stayed[confirms] += share @ np.heaviside(odds, 0.5)
            counted[confirms] += share.sum()
            cell = np.minimum(np.abs(odds) / step * _CELLS, len(x) - 1.5)
            below = np.floor(np.round(cell, 9)).astype(np.int64)
            above = np.round(cell - below, 9)
            after += np.bincount(below, share * (1 - above), len(x)) + np.bincount(below + 1, share * above, len(x))
        mass = after
    against, confirming = stayed / np.maximum(counted, 1e-300)
    return Exact(reward, np.array([[confirming, against], [against, confirming]]))
