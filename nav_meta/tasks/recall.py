"""The smallest task that needs memory: a cue is shown once, and every later step asks which it was."""

import numpy as np

from mazes.environment import Ended, Hints, TimeStep

_NOTHING = Ended(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.bool_))


class Recall:
    """B episodes of `length` steps in which answering the cue pays 1.

    The observation is the cue's one-hot code at the first step and zeros after it. Without memory the best
    return is length / cues, plus what the first step gives away.
    """

    hint_size = 0

    def __init__(self, batch: int, *, cues: int = 3, length: int = 8, seed: int = 0) -> None:
        """Begin B episodes of `length` steps with one of `cues` cues each, drawn from `seed`."""
        self.batch = batch
        self.actions = cues
        self.observation_shape = (cues,)
        self.length = length
        self.ended = _NOTHING
        self._seed = seed
        self._episode = np.zeros(batch, np.int64)
        self._step = np.zeros(batch, np.int64)
        self._cue = np.zeros(batch, np.int64)
        self._prev_action = np.zeros(batch, np.int64)
        self._prev_reward = np.zeros(batch, np.float32)
        self._begin(np.arange(batch))

    def renew(self) -> np.ndarray:
        """Begin a new episode wherever one is over."""
        over = self._step >= self.length
        self._begin(np.flatnonzero(over))
        return over

    def step(self, actions: np.ndarray) -> None:
        """Answer; the reward is 1 where the cue is named."""
        self._step += 1
        self._prev_action[:] = actions
        self._prev_reward[:] = actions == self._cue

    def time_step(self, out: np.ndarray | None = None) -> TimeStep:
        """Return the present moment."""
        out = np.empty((self.batch, self.actions), np.float32) if out is None else out
        first = self._step == 0
        out[:] = np.eye(self.actions, dtype=np.float32)[self._cue] * first[:, None]
        discount = (self._step < self.length).astype(np.float32)
        return TimeStep(
            out, self._prev_action.copy(), self._prev_reward.copy(), first, discount, np.zeros(self.batch, np.int32)
        )

    def hints(self) -> Hints:
        """Return no signals."""
        return Hints(
            np.zeros(self.batch, np.float32), np.zeros((self.batch, 0), np.float32), np.zeros(self.batch, np.bool_)
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs."""
        return {
            name: getattr(self, name).copy() for name in ("_episode", "_step", "_cue", "_prev_action", "_prev_reward")
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly where `state` was taken."""
        for name, value in state.items():
            getattr(self, name)[:] = value

    def _begin(self, index: np.ndarray) -> None:
        for row in index:
            self._cue[row] = np.random.default_rng((self._seed, row, self._episode[row])).integers(self.actions)
        self._episode[index] += 1
        self._step[index] = 0
        self._prev_action[index] = 0
        self._prev_reward[index] = 0
