"""The two-step task: which choice leads to what pays? Wang et al. (2016), experiment 5; Wang et al. (2018)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nav_meta.tasks.episodes import EpisodicTask


@dataclass(frozen=True)
class Setting:
    """What is the same in all episodes; the defaults are those of 2016."""

    common: float = 0.75
    """Probability that a choice leads where it commonly leads."""
    pay: float = 0.9
    """Probability that the good state pays; the other does so with 1 - pay."""
    reversal: float = 0.0
    """Probability that the two states change roles after a trial."""
    trials: int = 10
    """Trials of an episode, two steps each."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: names the option and its range.
        """
        for name, low, value, high in (
            ("common", 0.5, self.common, 1),
            ("pay", 0.5, self.pay, 1),
            ("reversal", 0, self.reversal, 0.5),
        ):
            if not low <= value < high:
                raise ValueError(f"{name} must be at least {low} and less than {high}, not {value}")
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, not {self.trials}")


WANG_2016 = Setting()
WANG_2018 = Setting(common=0.8, reversal=0.025, trials=100)


class TwoStep(EpisodicTask):
    """Trials of two steps: a first choice leads to one of two states, which pays or not whatever is done there.

    Choice 0 commonly leads to state 0 and choice 1 to state 1, in all episodes. Which state is good is drawn for each
    episode, and is what has to be found out. Seen is the one-hot code of where one is: first stage, state 0, state 1.
    """

    variables: ClassVar[tuple[str, ...]] = ("good", "place")

    def __init__(
        self, batch: int, setting: Setting = WANG_2016, *, seed: int = 0, phases: np.ndarray | None = None
    ) -> None:
        """Begin B episodes; `seed` is that of all that is drawn, `phases` as in `EpisodicTask`."""
        self.setting = setting
        self.good = np.zeros(batch, np.int64)
        """int64 [B], 0 or 1: the state that is good now."""
        self.place = np.zeros(batch, np.int64)
        """int64 [B], 0 or 1: the state that the last first choice led to."""
        super().__init__(
            batch, actions=2, observation_shape=(3,), episode_steps=2 * setting.trials, seed=seed, phases=phases
        )

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw the good state, and a state to be in should `phases` begin an episode in the middle of a trial."""
        self.good[rows], self.place[rows] = generator.integers(2, size=(2, len(rows)))

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Move on from the first stage, unpaid; pay for being in a state of the second."""
        chance, change = generator.random((2, self.batch))
        choosing = self._choosing
        pay = np.where(self.place == self.good, self.setting.pay, 1 - self.setting.pay)
        self.place[choosing] = np.where(chance < self.setting.common, actions, 1 - actions)[choosing]
        self.good[~choosing & (change < self.setting.reversal)] ^= 1
        return ~choosing & (chance < pay)

    def observe(self, out: np.ndarray) -> None:
        """Show where one is."""
        out[:] = 0
        out[np.arange(self.batch), np.where(self._choosing, 0, 1 + self.place)] = 1

    @property
    def _choosing(self) -> np.ndarray:
        """At the first stage? bool [B]."""
        return self._step % 2 == 0
