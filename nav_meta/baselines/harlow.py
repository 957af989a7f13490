"""The best there is in Harlow's task: a script that knows the rules and learns each pair of pictures from one look."""

import numpy as np

from mazes.environment import TimeStep
from nav_meta.tasks.harlow import HOLD_REWARD, TURNS


class OneShot:
    """Chooses at random in the first trial, and ever after the picture that pays.

    What hangs on the wall looks the same as in the first trial or not: that tells on which side the picture is that it
    has chosen then. So it reads any observation, pixels or vectors; where it looks it knows from its own turns.
    """

    def __init__(self, batch: int, seed: int) -> None:
        """Begin B episodes; `seed` is that of the first choices."""
        self._generator = np.random.default_rng(seed)
        self._heading = np.zeros(batch, np.int64)
        self._target = np.zeros(batch, np.int64)
        self._look: np.ndarray | None = None
        """What the first trial looked like, [B, ...]."""
        self._paying = np.zeros(batch, np.int64)
        """Side of the picture that pays in it, 1 left and -1 right; 0 as long as it is unknown."""

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Return actions int64 [B]."""
        if self._look is None:
            self._look = np.zeros_like(moment.observation)
        for state in (self._heading, self._target, self._paying):
            state[moment.first] = 0
        chosen = np.abs(moment.prev_reward) > 0.5
        learnt = chosen & (self._paying == 0)
        self._paying[learnt] = np.sign(self._target * moment.prev_reward)[learnt]
        self._target[chosen] = 0
        hung = moment.prev_reward == np.float32(HOLD_REWARD)
        new, old = np.flatnonzero(hung & (self._paying == 0)), np.flatnonzero(hung & (self._paying != 0))
        self._look[new] = moment.observation[new]
        self._target[new] = TURNS * self._generator.choice((-1, 1), len(new))
        same = (moment.observation[old] == self._look[old]).all(tuple(range(1, self._look.ndim)))
        self._target[old] = TURNS * np.where(same, self._paying[old], -self._paying[old])
        turn = np.sign(self._target - self._heading)
        self._heading += turn
        return np.array([2, 0, 1])[turn]
