"""The smallest task that needs memory: a cue is shown once, and every later step asks which it was."""

from typing import ClassVar

import numpy as np

from nav_meta.tasks.episodes import EpisodicTask


class Recall(EpisodicTask):
    """B episodes of `length` steps in which answering the cue pays 1.

    The observation is the cue's one-hot code at the first step and zeros after it. Without memory the best
    return is length / cues, plus what the first step gives away.
    """

    variables: ClassVar[tuple[str, ...]] = ("cue",)

    def __init__(self, batch: int, *, cues: int = 3, length: int = 8, seed: int = 0) -> None:
        """Begin B episodes of `length` steps with one of `cues` cues each, drawn from `seed`."""
        self.cue = np.zeros(batch, np.int64)
        super().__init__(batch, actions=cues, observation_shape=(cues,), episode_steps=length, seed=seed)

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw cues."""
        self.cue[rows] = generator.integers(self.actions, size=len(rows))

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Pay 1 where the cue is named."""
        return actions == self.cue

    def observe(self, out: np.ndarray) -> None:
        """Show the cue at the first step."""
        out[:] = np.eye(self.actions)[self.cue] * (self._step == 0)[:, None]
