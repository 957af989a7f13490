"""The thin stateful shell around layouts, simulator and renderer: episodes, visits and respawns in a batch of mazes.

An *episode* is spent in one maze. It is a series of *visits*: the agent is put at a random free place, searches for the
goal, is told so by a reward of 1 when it gets there, and is put somewhere else at once. Layout, landmarks and goal stay
for the whole episode; only with `goal_moves`, a control, the goal is somewhere else from the second visit on.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mazes import paths, renderer, search, simulator, trail, view
from mazes.layout import (
    GAP,
    PITCH,
    Layout,
    MazeConfig,
    empty_batch,
    generate_batch,
    moved_goals,
    require_array,
    require_bool,
    require_number,
)
from mazes.seeds import split_seeds

Renderer = Callable[..., np.ndarray]
"""(layouts, poses, height, width) -> uint8 [B, height, width, 3]."""

GOAL_REWARD = 1.0

SIDES = (4, 4096)
"""Fewest and most rows and columns of a picture."""


class TimeStep(NamedTuple):
    """What an agent is told at one moment, for a batch of B environments. Every task speaks in these."""

    observation: np.ndarray
    """uint8 [B, H, W, 3] pictures, or float32 [B, F] features."""
    prev_action: np.ndarray
    """int64 [B]: the action that led here; 0 at an episode's first step, where `first` tells that there was none."""
    prev_reward: np.ndarray
    """float32 [B]: the reward that action was paid."""
    first: np.ndarray
    """bool [B]: a new episode begins, memory is zeroed before this observation is read."""
    discount: np.ndarray
    """float32 [B]: 0 where the value of what follows must not flow back over this moment, else 1."""
    visit: np.ndarray
    """int32 [B]: visits ended so far in this episode. Never shown to the net."""


class Hints(NamedTuple):
    """Signals for the learner alone; the agent never sees them."""

    bonus: np.ndarray
    """float32 [B]: added to the reward that the learner maximises."""
    target: np.ndarray
    """float32 [B, K]: what the auxiliary head should say at this moment; what each action is worth now comes last."""
    known: np.ndarray
    """bool [B, K]: which of it could be known by now?"""


class Ended(NamedTuple):
    """The visits that the last step ended: arrays, or tensors of a device."""

    ended: Any
    """bool [B]: did the step end a visit? Where it did not, `visit` and `latency` mean nothing."""
    visit: Any
    """int32 [B]: which visit of its episode it was, from 0."""
    latency: Any
    """int32 [B]: steps it took."""
    found: Any
    """bool [B]: did it reach the goal? False where it was given up at the cap."""


def none_ended(batch: int) -> Ended:
    """Return what is said where no step has ended a visit yet."""
    return Ended(*(np.zeros(batch, dtype) for dtype in (np.bool_, np.int32, np.int32, np.bool_)))


class MazeEnvironment:
    """B mazes at once.

    `step` never begins a new episode; `renew` does, for all that are over. So a learner decides where resets fall, and
    still sees the state an episode ended in. An episode is over after `episode_steps` steps, or after `visits` visits.
    """

    device = "cpu"
    actions = len(simulator.ACTIONS)
    hint_size: int
    """Length of `Hints.target`: as many as `questions`."""
    STATE = (
        "seeds", "episode", "episode_step", "poses", "starts", "visit", "visit_step",
        "_prev_action", "_prev_reward", "_first", "_bonus", "_steps_to_go", "_entered", "_unseen", "_sighted",
    )  # fmt: skip
    """Names of the arrays in `state()`, and of the attributes that they are copies of."""

    def __init__(
        self,
        config: MazeConfig,
        batch: int,
        *,
        height: int = 30,
        width: int = 40,
        seeds: Callable[[int, int], int] | None = None,
        episode_steps: int | None = None,
        visits: int | None = None,
        visit_cap: int | None = None,
        phases: np.ndarray | None = None,
        shaping: float | None = None,
        coverage: float = 0.0,
        ask_view: bool = False,
        ask_place: bool = False,
        ask_trail: bool = False,
        guided_search: bool = False,
        goal_moves: bool = False,
        render: Renderer = renderer.render,
    ) -> None:
        """Begin the first episodes.

        Args:
            config: which mazes.
            batch: number of environments B.
            height: rows of the picture.
            width: columns of the picture.
            seeds: (row of the batch, number of its episode) -> maze seed; by default the training split's, each maze
                used once.
            episode_steps: steps of an episode; None: no limit.
            visits: visits of an episode; None: no limit.
            visit_cap: steps after which a visit is given up; None: never. What `hints` tells of the goal does not ask
                whether a visit that has ended found it.
            phases: int [B]: how many steps each first episode is taken to have run already, which staggers the ends.
            shaping: the learner's bonus for each step that the goal comes nearer, once its place can be known: from the
                second visit on. None: nobody learns here, which spares the computation of what `hints` says.
            coverage: the learner's bonus for each room that is entered for the first time in an episode's first visit.
            ask_view: do `hints` also tell what the encoder alone is asked: see `view`?
            ask_place: do `hints` also tell where in the maze the agent is, and how it is turned?
            ask_trail: do `hints` also tell how often the agent was in the rooms around since it was put?
            guided_search: until the goal has been in sight, does the nearest room that has not been searched stand in
                for it: in what `shaping` pays for, and in what `hints` says of actions?
            goal_moves: once the first visit of an episode has ended, the goal goes where `moved_goals` says, and stays
                there; then its place can be known from the third visit on. With `respawn` "same", visits from then
                on begin where the first would have begun with this goal.
            render: what draws the pictures.

        Raises:
            ValueError: names the option and its range.
        """
        check_options(batch, height, width, episode_steps, visits, visit_cap, phases, shaping, coverage)
        require_bool("ask_view", ask_view)
        require_bool("ask_place", ask_place)
        require_bool("ask_trail", ask_trail)
        require_bool("guided_search", guided_search)
        require_bool("goal_moves", goal_moves)
        self.config = config
        self.batch = batch
        self.observation_shape = (height, width, 3)
        self.episode_steps = episode_steps
        self.visits = visits
        self.visit_cap = visit_cap
        self._seed_of = seeds or (lambda row, episode: int(split_seeds("train", episode * batch + row, 1)[0]))
        self.hint_size = len(questions(ask_view, ask_place, ask_trail))
        self.view_size = len(view.QUESTIONS) if ask_view else 0
        self._shaping = shaping
        self._coverage = coverage
        self._half_width = renderer.TAN_HALF_FOV * width / height
        self._ask_place = ask_place
        self._ask_trail = ask_trail
        self._ways = search.find_ways(config, width / height) if guided_search and shaping is not None else None
        self._goal_moves = goal_moves
        self._render = render
        self.layouts: Layout = empty_batch(config, batch)
        self._fields = paths.empty_fields(config, batch) if shaping is not None else None
        self.seeds = np.zeros(batch, np.uint64)
        self.episode = np.full(batch, -1, np.int64)
        self.episode_step = np.zeros(batch, np.int64)
        self.poses = np.zeros((batch, 3))
        self.starts = np.zeros((batch, 3))
        self.visit = np.zeros(batch, np.int32)
        self.visit_step = np.zeros(batch, np.int32)
        self._prev_action = np.zeros(batch, np.int64)
        self._prev_reward = np.zeros(batch, np.float32)
        self._first = np.zeros(batch, np.bool_)
        self._bonus = np.zeros(batch, np.float32)
        self._steps_to_go = np.zeros(batch, np.float32)
        self._entered = trail.empty_trails(config, batch)
        self._search = search.empty_search(config, batch)
        self._unseen, self._sighted = self._search.unseen, self._search.sighted
        self.ended = none_ended(batch)
        self._begin(np.arange(batch))
        if phases is not None:
            self.episode_step[:] = phases

    @property
    def over(self) -> np.ndarray:
        """Which episodes `renew` would end, bool [B]."""
        over = np.zeros(self.batch, np.bool_)
        if self.episode_steps is not None:
            over |= self.episode_step >= self.episode_steps
        if self.visits is not None:
            over |= self.visit >= self.visits
        return over

    def renew(self) -> np.ndarray:
        """Begin a new episode wherever one is over; return bool [B]: where."""
        over = self.over
        if over.any():
            self._begin(np.flatnonzero(over))
        return over

    def step(self, actions: np.ndarray) -> None:
        """Make one action in each maze, int [B]; what came of it is in `time_step()`, `hints()` and `ended`.

        Raises:
            ValueError: there are not as many actions as mazes, or there is no such action; nothing has moved then.
        """
        steps = simulator.draw_steps(self.config, self.seeds, self.episode_step)
        before = self.poses.copy() if self._fields is not None else None
        found = simulator.step(self.config, self.layouts, self.poses, actions, steps)
        self.episode_step += 1
        self.visit_step += 1
        self._prev_action[:] = actions
        self._prev_reward[:] = GOAL_REWARD * found
        self._first[:] = False
        given_up = ~found & (self.visit_step >= self.visit_cap) if self.visit_cap is not None else np.zeros_like(found)
        self.ended = Ended(found | given_up, self.visit.copy(), self.visit_step.copy(), found)
        if self._fields is not None:
            steps_to_go = paths.look_up(self.config, self._fields, self.poses)
            steps_to_go[found] = 0
            known = self._goal_known
            self._bonus[:] = np.where(known, self._shaping * (self._steps_to_go - steps_to_go), 0)
            self._steps_to_go = steps_to_go
            if self._ways is not None:
                searching = ~known & ~found
                nearer = search.advance(self._search, self._ways, self.layouts, before, self.poses, searching)
                self._bonus += self._shaping * nearer
            new = trail.follow(self._entered, before, self.poses)
            self._bonus[new & (self.visit == 0)] += self._coverage
        index = np.flatnonzero(self.ended.ended)
        if len(index):
            self.visit[index] += 1
            if self._goal_moves:
                self._load_mazes(index[self.visit[index] == 1])
            self._put(index)

    def time_step(self, out: np.ndarray | None = None) -> TimeStep:
        """Return the present moment; the picture is drawn into `out` if given.

        Raises:
            ValueError: `out` is not contiguous uint8 [B, *observation_shape].
        """
        height, width, _ = self.observation_shape
        if out is not None:
            require_array("out", out, np.uint8, self.batch, *self.observation_shape)
        return TimeStep(
            self._render(self.layouts, self.poses, height, width, out),
            self._prev_action.copy(),
            self._prev_reward.copy(),
            self._first.copy(),
            np.ones(self.batch, np.float32),
            self.visit.copy(),
        )

    def hints(self) -> Hints:
        """Return the learner's signals at the present moment.

        Raises:
            RuntimeError: in an environment made without `shaping`.
        """
        if self._fields is None:
            raise RuntimeError(NO_HINTS)
        right_of = self.layouts.goal[:, :2] - self.poses[:, :2]
        cos, sin = np.cos(self.poses[:, 2]), np.sin(self.poses[:, 2])
        ahead = right_of[:, 0] * cos - right_of[:, 1] * sin
        right = right_of[:, 0] * sin + right_of[:, 1] * cos
        goal = np.stack([ahead, right, np.hypot(ahead, right)], axis=1) / HINT_SCALE
        steps = simulator.draw_steps(self.config, self.seeds, self.episode_step)
        nearer = paths.progress(self.config, self.layouts, self._fields, self.poses, steps)
        target = np.concatenate([goal, nearer], axis=1, dtype=np.float32)
        known = np.repeat(self._goal_known[:, None], target.shape[1], axis=1)
        if self._ways is not None:
            known[:, 3:] |= search.progress(
                self.config, self._search, self._ways, self.layouts, self.poses, steps, ~self._goal_known, target[:, 3:]
            )[:, None]
        asked = [(target, known)]
        if self._ask_trail:
            asked.insert(0, trail.answers(self._entered, self.layouts.open, self.poses))
        if self._ask_place:
            place = (self.poses[:, :2] - middle(self.config)) / HINT_SCALE
            place = np.concatenate([place, cos[:, None], sin[:, None]], axis=1, dtype=np.float32)
            asked.insert(0, (place, np.ones(place.shape, np.bool_)))
        if self.view_size:
            seen = view.answers(self.layouts.open, self.poses, self._half_width)
            asked.insert(0, (seen, np.ones(seen.shape, np.bool_)))
        target, known = (np.concatenate(parts, axis=1) for parts in zip(*asked, strict=True))
        return Hints(self._bonus.copy(), target, known)

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs; layouts follow from seeds and visits."""
        return {name: getattr(self, name).copy() for name in self.STATE}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue exactly where `state` was taken.

        Raises:
            ValueError: when it is the state of mazes of another size, or of another number of them.
        """
        check_shapes({name: getattr(self, name).shape for name in self.STATE}, state)
        for name in self.STATE:
            getattr(self, name)[:] = state[name]
        self.ended = none_ended(self.batch)
        self._load_mazes(np.arange(self.batch))
        if self._ways is not None:
            search.measure(self._search, self._ways, self.layouts)

    @property
    def _goal_known(self) -> np.ndarray:
        """Where the goal's present place was reached on an earlier visit, or seen by a guided search, bool [B]."""
        return (self.visit > (1 if self._goal_moves else 0)) | self._sighted

    def _begin(self, index: np.ndarray) -> None:
        self.episode[index] += 1
        for row in index:
            self.seeds[row] = self._seed_of(int(row), int(self.episode[row]))
        self.episode_step[index] = 0
        self.visit[index] = 0
        self._prev_action[index] = 0
        self._prev_reward[index] = 0
        self._first[index] = True
        self._bonus[index] = 0
        self._load_mazes(index)
        self._put(index)

    def _load_mazes(self, index: np.ndarray) -> None:
        for field, new in zip(self.layouts, generate_batch(self.config, self.seeds[index]), strict=True):
            field[index] = new
        if self._goal_moves:
            moved = index[self.visit[index] > 0]
            self.layouts.goal[moved] = moved_goals(self.config, self.seeds[moved])
        if self._fields is not None:
            paths.write_fields(self.config, self.layouts, self._fields, index)

    def _put(self, index: np.ndarray) -> None:
        """Put the agent where its present visit begins."""
        layouts = Layout(*(field[index] for field in self.layouts))
        poses = simulator.spawn(self.config, layouts, self.seeds[index], self.visit[index])
        self.poses[index] = poses
        self.starts[index] = poses
        self.visit_step[index] = 0
        if self._fields is not None:
            self._steps_to_go[index] = paths.look_up(self.config, self._fields[index], poses)
            trail.begin(self._entered, self.poses, index)
            if self._ways is not None:
                self._sighted[index] = False
                index = index[~self._goal_known[index]]
                search.begin(self._search, self._ways, self.layouts, self.poses, index)


def check_shapes(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays of a saved world have these shapes."""
    for name, shape in shapes.items():
        saved = state[name].shape
        if saved[0] != shape[0]:
            raise ValueError(f"the saved world holds {saved[0]} mazes, this one {shape[0]}")
        if saved != shape:
            raise ValueError(f"the saved world's mazes are of another size: {name} {list(saved)}, here {list(shape)}")


def middle(config: MazeConfig) -> tuple[float, float]:
    """Return x and z of the mazes' middle, metres."""
    return (config.columns * PITCH - GAP) / 2, (config.rows * PITCH - GAP) / 2


def check_options(
    batch: int,
    height: int,
    width: int,
    episode_steps: int | None,
    visits: int | None,
    visit_cap: int | None,
    phases: np.ndarray | None,
    shaping: float | None,
    coverage: float,
    *,
    most: int | None = None,
) -> None:
    """Raise ValueError, which names the option and its range, unless all are as `MazeEnvironment` takes them.

    `most` is the highest that `episode_steps`, `visits` and `visit_cap` may be; None: no end.
    """
    require_number("batch", batch, 1, whole=True)
    for name, side in (("height", height), ("width", width)):
        require_number(name, side, *SIDES, whole=True)
    for name, limit in (("episode_steps", episode_steps), ("visits", visits), ("visit_cap", visit_cap)):
        if limit is not None:
            require_number(name, limit, 1, most, whole=True)
    if shaping is not None:
        require_number("shaping", shaping, 0)
    require_number("coverage", coverage, 0)
    require_phases(phases, batch)


def require_phases(phases: np.ndarray | None, batch: int) -> None:
    """Raise ValueError unless there is a whole number of steps for each of a batch, or None."""
    if phases is not None:
        phases = np.asarray(phases)
        if phases.shape != (batch,) or not np.issubdtype(phases.dtype, np.integer) or phases.min() < 0:
            raise ValueError(f"phases must be {batch} whole numbers of at least 0, not {phases}")


def questions(ask_view: bool, ask_place: bool, ask_trail: bool) -> tuple[str, ...]:
    """Return by name what `Hints.target` answers, in its order.

    What `view.answers` says, which is for the encoder to say. Then, for who remembers: how far the agent is east and
    south of the maze's middle and how it is turned, in the maze's own frame; what `trail.answers` says; the goal ahead,
    to the right, and its distance; all lengths in units of `HINT_SCALE` metres. Last, by how many actions each action
    would shorten the way to the goal.
    """
    return (
        *(view.QUESTIONS if ask_view else ()),
        *(PLACE if ask_place else ()),
        *(trail.QUESTIONS if ask_trail else ()),
        *("goal ahead", "goal right", "goal away"),
        *(f"worth of {action}" for action in simulator.ACTIONS),
    )


PLACE = ("east", "south", "cosine of heading", "sine of heading")
"""What `ask_place` asks."""


HINT_SCALE = 5.0
"""Metres."""
NO_HINTS = "hints are for learners: give the environment a shaping, which may be 0"
"""What an environment without them says."""
