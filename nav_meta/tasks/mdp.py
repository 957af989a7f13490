"""Tabular Markov decision processes (Duan et al. 2016, section 3.2)."""

from typing import ClassVar

import numpy as np
from numba import njit

from nav_meta.tasks.episodes import EpisodicTask

STATES, ACTIONS, HORIZON = 10, 5, 10
"""Sizes of the processes, and steps of an inner episode."""

NEW = STATES
"""The feature of the observation that is 1 at the first step of an inner episode; the state's code is before it."""

_PAIR = STATES + 2
"""Where the code of the last pair of state and action begins; the same code times its reward follows it."""


class TabularMDP(EpisodicTask):
    """A process is drawn for the whole trial and played in inner episodes of HORIZON steps, each from state 0.

    The mean reward of each action in each state is drawn from N(1, 1), where it leads from a flat Dirichlet
    distribution; what is paid is the mean plus noise from N(0, 1). A trial, which an `EpisodicTask` calls an episode,
    is all inner episodes together: memory lasts, and value flows back, across the ends of inner ones.

    Seen are the state's one-hot code, whether an inner episode begins (the termination flag that the paper's agent
    reads; the state that the last step led to is not shown), the share of the inner episode that has passed, and the
    one-hot code of the last pair of state and action, as it is and times what it was paid. The last three are not in
    the paper. They tell nothing new, but spare the net from counting to ten, from holding back a state for a step, and
    from multiplying.
    """

    variables: ClassVar[tuple[str, ...]] = ("means", "transitions", "place", "place_before")
    knows_means = True

    def __init__(
        self,
        batch: int,
        *,
        episodes: int = 10,
        show_reward: bool = True,
        seed: int = 0,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin B trials.

        Args:
            batch: B.
            episodes: inner episodes of a trial, n in the paper.
            show_reward: False for the control that is not told its reward: what it was paid is shown as 0.
            seed: of all that is drawn.
            phases: as in `EpisodicTask`; where they are not whole inner episodes, the first one is shorter.

        Raises:
            ValueError: names the option and its range.
        """
        if episodes < 1:
            raise ValueError(f"episodes must be at least 1, not {episodes}")
        self._show_reward = show_reward
        self.means = np.zeros((batch, STATES, ACTIONS))
        """float64 [B, S, A]: mean reward of each action in each state."""
        self.transitions = np.zeros((batch, STATES, ACTIONS, STATES))
        """float64 [B, S, A, S]: the probability of each next state."""
        self.place = np.zeros(batch, np.int64)
        """int64 [B]: the present state of the process."""
        self.place_before = np.zeros(batch, np.int64)
        """int64 [B]: the state before; means nothing at the first step of a trial."""
        self._values = np.zeros((batch, HORIZON, STATES, ACTIONS))
        super().__init__(
            batch,
            actions=ACTIONS,
            observation_shape=(_PAIR + 2 * STATES * ACTIONS,),
            episode_steps=episodes * HORIZON,
            seed=seed,
            phases=phases,
        )

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw processes."""
        self.means[rows] = generator.normal(1.0, 1.0, (len(rows), STATES, ACTIONS))
        # Independent exponentials, divided by their sum, are a draw from the flat Dirichlet distribution.
        weights = generator.standard_exponential((len(rows), STATES, ACTIONS, STATES))
        self.transitions[rows] = weights / weights.sum(-1, keepdims=True)
        self.place[rows] = 0
        self._values[rows] = value_iteration(self.means[rows, None], self.transitions[rows])

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly where `state` was taken; what actions are worth follows from the processes."""
        super().restore(state)
        self._values[:] = value_iteration(self.means[:, None], self.transitions)

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Pay for an action in the present state and go on to the next, or back to state 0."""
        here = np.arange(self.batch), self.place, actions
        rewards = self.means[here] + generator.standard_normal(self.batch)
        below = self.transitions[here].cumsum(1)[:, :-1]  # without the last sum, which rounding may leave short of 1
        following = (generator.random(self.batch)[:, None] >= below).sum(1)
        self.place_before[:] = self.place
        self.place[:] = np.where((self._step + 1) % HORIZON == 0, 0, following)
        return rewards

    def regrets(self) -> np.ndarray:
        """Compare what the actions are worth, with perfect play after them, with the best action's worth.

        The sum of these gaps over an inner episode is, on average, what perfect play brings less what was brought: the
        performance difference lemma (Kakade and Langford 2002).
        """
        values = self._values[np.arange(self.batch), self._step % HORIZON, self.place]
        return values.max(1, keepdims=True) - values

    def answers(self) -> np.ndarray:
        """Return what each action pays in each state and what each is worth at this moment, float64 [B, S A + A]."""
        return np.concatenate([self.means.reshape(self.batch, -1), -self.regrets()], 1)

    def observe(self, out: np.ndarray) -> None:
        """Show the state, the beginning of an inner episode, how much of it has passed, and what was tried last."""
        out[:] = 0
        out[np.arange(self.batch), self.place] = 1
        step = self._step % HORIZON
        out[:, NEW] = step == 0
        out[:, NEW + 1] = step / HORIZON
        later = np.flatnonzero(~self._first)
        pair = _PAIR + self.place_before[later] * ACTIONS + self._prev_action[later]
        out[later, pair] = 1
        if self._show_reward:
            out[later, pair + STATES * ACTIONS] = self._prev_reward[later]


@njit(cache=True, nogil=True)
def value_iteration(rewards, transitions):
    """Return the value of each action in N known processes at each step of an inner episode, float64 [N, H, S, A].

    Args:
        rewards: float64 [N, H, S, A], means; [N, 1, S, A] where they are the same at each step.
        transitions: float64 [N, S, A, S].
    """
    values = np.empty((len(rewards), HORIZON, STATES, ACTIONS))
    for n in range(len(rewards)):
        after = np.zeros(STATES)
        for step in range(HORIZON - 1, -1, -1):
            now = values[n, step]
            paid = rewards[n, min(step, rewards.shape[1] - 1)]
            for state in range(STATES):
                for action in range(ACTIONS):
                    now[state, action] = paid[state, action]
                    for following in range(STATES):
                        now[state, action] += transitions[n, state, action, following] * after[following]
            for state in range(STATES):
                after[state] = now[state].max()
    return values
