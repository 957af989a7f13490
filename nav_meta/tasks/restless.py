"""The restless bandit: arms whose probabilities drift, slowly or fast (Wang et al. 2016, experiment 4)."""

from typing import ClassVar

import numpy as np

from nav_meta.tasks.episodes import EpisodicTask

VOLATILITIES = (0.02, 0.2)
"""Standard deviation of a step of the drift in episodes of low and of high volatility.

The paper gives no figures. With these, as there, 0.5 is the best fixed rate of Rescorla and Wagner's rule.
"""


class RestlessBandit(EpisodicTask):
    """Two arms that pay 1 with the probabilities p and 1 - p, where p drifts; seen is the trial's number.

    p begins uniform in [0, 1] and takes a Gaussian step after each pull, reflected at 0 and 1, so that it stays
    uniform. An episode's volatility is low or high with equal probability, and told to nobody; of episodes that begin
    together, as many are of one as of the other.
    """

    variables: ClassVar[tuple[str, ...]] = ("mean", "volatility")

    def __init__(
        self,
        batch: int,
        *,
        volatilities: tuple[float, ...] = VOLATILITIES,
        pulls: int = 100,
        seed: int = 0,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin B episodes.

        Args:
            batch: B.
            volatilities: standard deviations of the drift per pull, one of which is drawn for each episode.
            pulls: steps of an episode.
            seed: of all that is drawn.
            phases: as in `EpisodicTask`.

        Raises:
            ValueError: names the option and its range.
        """
        if not volatilities or min(volatilities) < 0:
            raise ValueError(f"volatilities must be one or more numbers of at least 0, not {volatilities}")
        self.volatilities = np.array(volatilities)
        self.mean = np.zeros(batch)
        """float64 [B]: p, the probability of arm 0; that of arm 1 is 1 - p."""
        self.volatility = np.zeros(batch, np.int64)
        """int64 [B]: index into `volatilities`."""
        super().__init__(batch, actions=2, observation_shape=(1,), episode_steps=pulls, seed=seed, phases=phases)

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw p and the volatility."""
        self.mean[rows] = generator.random(len(rows))
        count = len(self.volatilities)
        self.volatility[rows] = (generator.permutation(len(rows)) + generator.integers(count)) % count

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Pull one arm of each bandit; then let p drift."""
        reward = generator.random(self.batch) < np.where(actions == 0, self.mean, 1 - self.mean)
        drift = self.volatilities[self.volatility] * generator.standard_normal(self.batch)
        self.mean[:] = reflected(self.mean + drift)
        return reward

    def observe(self, out: np.ndarray) -> None:
        """Show the trial's number as a share of all."""
        out[:, 0] = self._step / self.episode_steps


def reflected(positions: np.ndarray) -> np.ndarray:
    """Fold positions float64 [...] on a line into [0, 1], as by mirrors at both ends."""
    folded = np.abs(positions) % 2
    return np.minimum(folded, 2 - folded)
