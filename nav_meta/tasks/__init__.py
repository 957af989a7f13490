"""Tasks: what the learner can be trained on. Mazes keep the contract below, and so does everything in this folder."""

from typing import Protocol

import numpy as np

from mazes.environment import Ended, Hints, TimeStep


class Task(Protocol):
    """A batch of B environments; `mazes.environment.MazeEnvironment` tells the whole contract.

    `step` never begins an episode, `renew` does for all that are over, and the learner calls it between rollouts only:
    the length of an episode is a whole number of rollouts. A task on a CUDA device takes and returns tensors of that
    device where arrays are spoken of here, but in `state` and `restore`; nothing else waits for the device.
    """

    device: str
    """cpu, or cuda:0 and so on."""
    batch: int
    actions: int
    hint_size: int
    view_size: int
    """How many of the `hint_size` answers, the first ones, the encoder is asked for, and not the memory."""
    observation_shape: tuple[int, ...]
    ended: Ended

    def renew(self) -> np.ndarray:
        """Begin a new episode wherever one is over; return bool [B]: where."""

    def step(self, actions: np.ndarray) -> None:
        """Make one action int64 [B] in each environment."""

    def time_step(self, out: np.ndarray | None = None) -> TimeStep:
        """Return the present moment, its observation written to `out` if given."""

    def hints(self) -> Hints:
        """Return the learner's signals at the present moment."""

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly where `state` was taken."""
