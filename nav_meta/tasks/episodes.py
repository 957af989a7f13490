"""What all tasks but the mazes share: episodes of a fixed length in a batch, and random numbers that can be resumed."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from mazes.environment import Hints, TimeStep, none_ended, require_phases
from mazes.layout import require_actions, require_array


class EpisodicTask(ABC):
    """B episodes of `episode_steps` steps each; a task says how one begins, what an action pays and what is seen.

    Every episode is a new sample of the task, which the agent has to find out about while it lasts: an episode of
    Wang et al. (2016), a trial of Duan et al. (2016).
    """

    device = "cpu"
    hint_size = 0
    view_size = 0
    variables: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays [B, ...] in which the task keeps its state."""
    knows_means: ClassVar[bool] = False
    """Can the task tell what actions pay on average? Then it has `means` and `regrets`."""
    has_answers: ClassVar[bool] = False
    """Is there something to be found out that the auxiliary head could be asked for? Then it has `answers`."""
    means: np.ndarray
    """float64 [B, actions], or [B, S, actions] where there are S states: what each action pays on average."""

    def __init__(
        self,
        batch: int,
        *,
        actions: int,
        observation_shape: tuple[int, ...],
        episode_steps: int,
        seed: int,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin the first episodes; call it when the arrays of `variables` are there.

        Args:
            batch: number of environments B.
            actions: number of actions.
            observation_shape: (F,) or (H, W, 3).
            episode_steps: steps of an episode.
            seed: of all that is drawn.
            phases: int [B]: how many steps each first episode is taken to have run already, which staggers the ends.
        """
        require_phases(phases, batch)
        self.batch = batch
        self.ended = none_ended(batch)  # for ever: there are no visits here
        self.actions = actions
        self.observation_shape = observation_shape
        self.episode_steps = episode_steps
        self._seed = seed
        self._draws = np.zeros(1, np.uint64)
        self._step = np.full(batch, episode_steps, np.int64)
        self._prev_action = np.zeros(batch, np.int64)
        self._prev_reward = np.zeros(batch, np.float32)
        self._shaping = 0.0
        self._bonus = np.zeros(batch, np.float32)
        self._first = np.zeros(batch, np.bool_)
        self.renew()
        if phases is not None:
            self._step[:] = phases

    def help_learner(self, *, shaping: float = 0.0, hint: bool = False) -> None:
        """Choose what the learner, never the agent, is told of the draw from now on; by default nothing.

        Args:
            shaping: what it is paid. 0: the reward; 1: minus the action's regret, which for each draw is the same on
                average over episodes, up to a constant, without the noise; between: a mixture of the two.
            hint: should the auxiliary head give the `answers`?

        Raises:
            ValueError: names the option and its range, or the task does not know its means or has no answers.
        """
        if not 0 <= shaping <= 1:
            raise ValueError(f"shaping must be between 0 and 1, not {shaping}")
        if shaping and not self.knows_means:
            raise ValueError(f"shaping must be 0: {type(self).__name__} does not know what actions pay on average")
        if hint and not (self.knows_means or self.has_answers):
            raise ValueError(f"hint must be 0: {type(self).__name__} has nothing to ask the auxiliary head for")
        self._shaping = shaping
        self.hint_size = self.answers().shape[1] if hint else 0

    def renew(self) -> np.ndarray:
        """Begin a new episode wherever one is over; return bool [B]: where."""
        over = self._step >= self.episode_steps
        if over.any():
            self._step[over] = 0
            self._prev_action[over] = 0
            self._prev_reward[over] = 0
            self._bonus[over] = 0
            self._first |= over
            self.begin(np.flatnonzero(over), self._generator())
        return over

    def step(self, actions: np.ndarray) -> None:
        """Make one action int [B] in each episode.

        Raises:
            ValueError: there are not as many actions as episodes, or there is no such action.
        """
        actions = require_actions(actions, self.batch, self.actions)
        regret = self.regrets()[np.arange(self.batch), actions] if self._shaping else 0.0
        self._prev_reward[:] = self.pay(actions, self._generator())
        self._bonus[:] = -self._shaping * (regret + self._prev_reward)
        self._prev_action[:] = actions
        self._first[:] = False
        self._step += 1

    def time_step(self, out: np.ndarray | None = None) -> TimeStep:
        """Return the present moment, its observation written to `out` if given.

        Raises:
            ValueError: `out` is not contiguous [B, *observation_shape], uint8 for pictures and float32 for vectors.
        """
        shape = self.batch, *self.observation_shape
        dtype = np.uint8 if len(shape) == 4 else np.float32
        if out is None:
            out = np.empty(shape, dtype)
        else:
            require_array("out", out, dtype, *shape)
        self.observe(out)
        return TimeStep(
            out,
            self._prev_action.copy(),
            self._prev_reward.copy(),
            self._first.copy(),
            self.going_on().astype(np.float32),
            np.zeros(self.batch, np.int32),
        )

    def hints(self) -> Hints:
        """Return what `help_learner` asks for: the bonus that turns the last reward into it, and the answers."""
        target = self.answers() if self.hint_size else np.zeros((self.batch, 0))
        return Hints(self._bonus.copy(), target.astype(np.float32), np.ones(target.shape, np.bool_))

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs."""
        return {name: getattr(self, name).copy() for name in self._all_variables}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly where `state` was taken.

        Raises:
            ValueError: it is the state of other episodes, or of another number of them.
        """
        for name in self._all_variables:
            own, saved = getattr(self, name).shape, state[name].shape
            if saved != own:
                raise ValueError(f"the saved state is of other episodes: {name} {list(saved)}, here {list(own)}")
        for name in self._all_variables:
            getattr(self, name)[:] = state[name]

    def going_on(self) -> np.ndarray:
        """Return bool [B]: can reward still come?"""
        return self._step < self.episode_steps

    @abstractmethod
    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw new episodes for some rows int64 [N] of the batch."""

    @abstractmethod
    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Change the task's state by one action int64 [B] each; return the rewards [B]. `_step` counts those before."""

    def regrets(self) -> np.ndarray:
        """Return float64 [B, actions]: what each action would cost on average at this moment.

        That is against the best play of who knows the draw, and with that play after the action. Summed over the
        actions made in an episode it is, on average, what the best play brings less what the agent was paid.
        """
        raise NotImplementedError

    def answers(self) -> np.ndarray:
        """Return float64 [B, K], what the auxiliary head is to say; by default what each action pays on average."""
        return self.means

    @abstractmethod
    def observe(self, out: np.ndarray) -> None:
        """Write what is seen at this moment, [B, *observation_shape]."""

    @property
    def _all_variables(self) -> tuple[str, ...]:
        return ("_draws", "_step", "_prev_action", "_prev_reward", "_bonus", "_first", *self.variables)

    def _generator(self) -> np.random.Generator:
        # Counter-based: where the random numbers stand is one integer of the state.
        self._draws += 1
        return np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, int(self._draws[0])]))
