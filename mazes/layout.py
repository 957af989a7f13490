"""Maze layouts: (config, maze seed) -> `Layout`, a pure function.

Geometry is MiniWorld's `Maze`: rooms are 3 m squares with 0.25 m gaps between them, and an opening between two rooms is
as wide as the room. A layout therefore lives on a *cell grid* of (2 rows - 1) x (2 columns - 1) cells in which even
indices are rooms and odd ones gaps, and a cell is either open or solid. x grows with the column (east), z with the row
(south).
"""

import math
import numbers
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from mazes import look as looks
from mazes import seeds as rng
from mazes.textures import BRICK, OTHER, OTHER_WALLS, SECOND, VARIANT_COUNT, WALL_TEXTURES

ROOM = 3.0
"""Side of a room, metres (MiniWorld `Maze.room_size`)."""
GAP = 0.25
"""Distance between two rooms, metres (MiniWorld `Maze.gap_size`)."""
PITCH = ROOM + GAP

AGENT_RADIUS = 0.4
"""MiniWorld `Agent.radius`, metres."""
BOX_SIZE = 0.8
"""Edge of the goal box, metres (MiniWorld `Box`)."""
BOX_RADIUS = BOX_SIZE * np.sqrt(2) / 2
"""MiniWorld `Box.radius`: half of the horizontal diagonal, metres."""

KINDS = ("random", "imaze", "fixed")
_DECKS = {"rooms": (0, len(WALL_TEXTURES)), "none": (BRICK, 1), "other": (OTHER, len(OTHER_WALLS))}
"""First of the wall textures that rooms are dealt, in `textures.FILES`, and how many there are."""
LANDMARKS = tuple(_DECKS)
RESPAWNS = ("random", "same")
STEP_SIZES = {"fast": (0.7, 45.0), "fine": (0.15, 15.0)}
"""Forward step in metres and turn in degrees: MiniWorld's `MazeS3Fast` and its default."""

DECK = max(count for _, count in _DECKS.values())
"""Most wall textures that rooms are dealt from."""

_FIXED_SEED = np.uint64(2016)
"""The one layout of the kinds `fixed` and `imaze` (landmarks) is that of this seed; the year of the paper."""


def require_number(name: str, value: object, low: int, high: int | None = None, *, whole: bool = False) -> None:
    """Raise ValueError, which names the option and its range, unless `value` is a number in it; `high` None: no end."""
    number = isinstance(value, numbers.Integral if whole else numbers.Real)
    if not number or not low <= value < math.inf or (high is not None and not value <= high):
        kind = "" if number else "a whole number, " if whole else "a number, "
        limits = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {kind}{limits}, not {value!r}")


def require_bool(name: str, value: object) -> None:
    """Raise ValueError, which names the option and its range, unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")


@dataclass(frozen=True)
class MazeConfig:
    """Which mazes, and how one moves in them."""

    kind: str = "random"
    """random: a new layout for each seed; fixed: one random layout for ever, only the goal moves; imaze: the I-maze of
    Wang et al. (2016)."""
    rows: int = 3
    """Rows of rooms, 2 to 15 (always 3 in the I-maze)."""
    columns: int = 3
    """Columns of rooms, 2 to 15 (always 5 in the I-maze)."""
    extra_openings: float = 0.1
    """Share of the walls left between neighbouring rooms that are opened too, which makes loops."""
    landmarks: str = "rooms"
    """rooms: each room has its own wall texture, of 16; none: brick everywhere, as in MiniWorld; other: its own of 10
    that are not among the 16."""
    step_size: str = "fast"
    """fast: 0.7 m and 45 degrees; fine: 0.15 m and 15 degrees."""
    respawn_distance: float = 2.5
    """Smallest distance between the goal and the place where the agent is put, metres."""
    respawn: str = "random"
    """random: each visit begins somewhere else; same: where the first did, as in Duan et al. (2016)."""
    domain_rand: bool = False
    """Draw lights, the box's colour, the camera's place, pitch and field of view and the files of wall textures for
    each episode, and the lengths of steps and turns for each step, in MiniWorld's ranges."""

    def __post_init__(self) -> None:
        """Check every option.

        Raises:
            ValueError: names the option and its range.
        """
        choices = {"kind": KINDS, "landmarks": LANDMARKS, "step_size": tuple(STEP_SIZES), "respawn": RESPAWNS}
        for name, options in choices.items():
            if not isinstance(getattr(self, name), str) or getattr(self, name) not in options:
                raise ValueError(f"{name} must be one of {', '.join(options)}, not {getattr(self, name)!r}")
        if self.kind == "imaze":
            object.__setattr__(self, "rows", 3)
            object.__setattr__(self, "columns", 5)
        for name in ("rows", "columns"):
            require_number(name, getattr(self, name), 2, 15, whole=True)
        for name, low, high in (("extra_openings", 0, 1), ("respawn_distance", 2, 3)):
            require_number(name, getattr(self, name), low, high)
            object.__setattr__(self, name, float(getattr(self, name)))  # kernels know no other kind
        require_bool("domain_rand", self.domain_rand)

    @property
    def rooms(self) -> int:
        """Number of rooms."""
        return 9 if self.kind == "imaze" else self.rows * self.columns

    @property
    def forward_step(self) -> float:
        """Length of a step forward, metres."""
        return STEP_SIZES[self.step_size][0]

    @property
    def turn_step(self) -> float:
        """Angle of a turn, radians; computed as MiniWorld does, so that headings agree to the last bit."""
        return STEP_SIZES[self.step_size][1] * (np.pi / 180)

    @property
    def headings(self) -> int:
        """Number of turns in a full circle."""
        return round(360 / STEP_SIZES[self.step_size][1])

    @property
    def near(self) -> float:
        """Distance below which the goal counts as reached, metres (`MiniWorldEnv.near`)."""
        return BOX_RADIUS + AGENT_RADIUS + 1.1 * self.longest_step

    @property
    def longest_step(self) -> float:
        """The longest step forward there may be, metres."""
        return self.forward_step * looks.FORWARD_STEP[1] if self.domain_rand else self.forward_step

    @property
    def deck(self) -> tuple[int, int]:
        """First of the wall textures that rooms are dealt, an index into `textures.FILES`, and how many there are."""
        return _DECKS[self.landmarks]

    @property
    def visit_cap(self) -> int:
        """Steps after which a visit counts as failed in an evaluation: 40 a room, at least 300.

        The fine step size needs about 14/3 times as many actions for the same way, and gets as many more.
        """
        cap = max(300, 40 * self.rooms)
        return cap if self.step_size == "fast" else cap * 14 // 3


class Layout(NamedTuple):
    """One maze; with a leading batch axis B on every field, a batch of mazes."""

    open: np.ndarray
    """bool [2 rows - 1, 2 columns - 1]: can one walk here."""
    texture: np.ndarray
    """uint8 [2 rows - 1, 2 columns - 1]: wall texture of each open cell, an index into `textures.FILES`."""
    goal: np.ndarray
    """float64 [3]: x and z of the goal box in metres, and its heading in radians."""
    start: np.ndarray
    """bool [rows, columns]: rooms in which the agent may be put."""
    look: np.ndarray
    """float64 [K]: what domain randomisation drew, see `mazes.look`; without it K is 0."""


def require_each(layouts: Layout, **arrays: np.ndarray) -> None:
    """Raise ValueError unless each array has a row for each maze, and `poses` lie in the mazes.

    Kernels do not look where an array ends: what does not fit would be read from, or written to, other memory.
    """
    mazes = len(layouts.open)
    for name, array in arrays.items():
        if len(array) != mazes:
            raise ValueError(
                f"{name} must be {mazes}, one for each maze, not {len(array)}; the first maze n times is "
                "Layout(*(field[np.zeros(n, int)] for field in layouts))"
            )
    poses = arrays.get("poses")
    if poses is None:
        return
    if poses.dtype != np.float64 or poses.shape[-1] != 3:
        raise ValueError(f"poses must be x, z and heading each, float64, not {poses.dtype} {list(poses.shape)}")
    depth, width = ((side + 1) // 2 * PITCH - GAP for side in layouts.open.shape[1:])
    if not _lie_within(poses.reshape(-1, 3), depth, width):
        raise ValueError(f"poses must lie in the mazes, x between 0 and {width} m and z between 0 and {depth} m")


@njit(nogil=True, cache=True)
def _lie_within(poses, depth, width):
    for x, z, heading in poses:
        if not (0 < x < width and 0 < z < depth and np.isfinite(heading)):  # so are numbers that are none
            return False
    return True


def require_array(name: str, array: np.ndarray, dtype: type, *shape: int | None) -> None:
    """Raise ValueError unless an array to write to is contiguous, of this type and shape; None: of any length."""
    fits = len(shape) == array.ndim and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype or not array.flags.c_contiguous:
        lengths = ", ".join("any" if side is None else str(side) for side in shape)
        raise ValueError(
            f"{name} must be contiguous {np.dtype(dtype)} [{lengths}], not {array.dtype} {list(array.shape)}"
        )


def require_actions(actions: np.ndarray, batch: int, count: int) -> np.ndarray:
    """Return one action for each of a batch, int64 [batch]; raise ValueError unless there are such actions."""
    actions = np.asarray(actions)
    whole = actions.shape == (batch,) and actions.dtype.kind in "iu"
    if not whole or actions.min(initial=0) < 0 or actions.max(initial=0) >= count:
        raise ValueError(f"actions must be {batch} whole numbers between 0 and {count - 1}, not {actions}")
    return actions.astype(np.int64, copy=False)  # of one type, else numba would compile once for each


def require_seeds(seeds: np.ndarray) -> np.ndarray:
    """Return maze seeds as uint64 [B]; raise ValueError unless they are whole numbers."""
    seeds = np.asarray(seeds)
    if seeds.ndim != 1 or seeds.dtype.kind not in "iu" or seeds.min(initial=0) < 0:
        raise ValueError(f"seeds must be whole numbers of at least 0, one for each maze, not {seeds}")
    return seeds.astype(np.uint64, copy=False)


def require_size(config: MazeConfig, open_: np.ndarray) -> None:
    """Raise ValueError if mazes, bool [..., cell rows, cell columns], are larger than a configuration's."""
    rows, columns = ((side + 1) // 2 for side in open_.shape[-2:])
    if rows > config.rows or columns > config.columns:
        raise ValueError(
            f"config must be of mazes as large as these, {rows} x {columns} rooms, not {config.rows} x {config.columns}"
        )


def generate(config: MazeConfig, seed: int) -> Layout:
    """Return the maze of a seed."""
    return Layout(*(field[0] for field in generate_batch(config, np.array([seed], dtype=np.uint64))))


def generate_batch(config: MazeConfig, seeds: np.ndarray) -> Layout:
    """Return the mazes of seeds uint64 [B], as a `Layout` with a leading axis B."""
    layouts = empty_batch(config, len(seeds))
    write_batch(config, seeds, layouts)
    return layouts


def empty_batch(config: MazeConfig, batch: int) -> Layout:
    """Return a `Layout` of zeros with a leading axis of length `batch`."""
    cells = (batch, 2 * config.rows - 1, 2 * config.columns - 1)
    return Layout(
        np.zeros(cells, np.bool_),
        np.zeros(cells, np.uint8),
        np.zeros((batch, 3)),
        np.zeros((batch, config.rows, config.columns), np.bool_),
        np.zeros((batch, looks.SIZE if config.domain_rand else 0)),
    )


def write_batch(config: MazeConfig, seeds: np.ndarray, layouts: Layout) -> None:
    """Write the mazes of seeds uint64 [B] into existing arrays.

    Raises:
        ValueError: seeds are no whole numbers, or the arrays are of other mazes.
    """
    seeds = require_seeds(seeds)
    require_each(layouts, seeds=seeds)
    if layouts.start.shape[1:] != (config.rows, config.columns):
        raise ValueError(f"layouts must be of {config.rows} x {config.columns} rooms, not {layouts.start.shape[1:]}")
    _write_batch(
        seeds,
        KINDS.index(config.kind),
        config.extra_openings,
        *config.deck,
        layouts.open,
        layouts.texture,
        layouts.goal,
        layouts.start,
        layouts.look,
    )


def moved_goals(config: MazeConfig, seeds: np.ndarray) -> np.ndarray:
    """Return another place for the goal of each maze of seeds uint64 [B], float64 [B, 3] as in `Layout.goal`.

    In another room (arm, in the I-maze) than the goal that `generate_batch` writes, all others being equally likely.
    """
    seeds = require_seeds(seeds)
    goals = np.empty((len(seeds), 3))
    _move_goals(seeds, config.kind == "imaze", config.rows, config.columns, goals)
    return goals


@njit(nogil=True, cache=True)
def _move_goals(seeds, imaze, rows, columns, goals):
    rooms = 4 if imaze else rows * columns
    for b in range(len(seeds)):
        key = rng.stream(seeds[b], rng.MOVED_GOAL)
        old = _goal_room(seeds[b], imaze, rows, columns)
        room = rng.below(key, 0, rooms - 1)
        _place_goal(key, room + (room >= old), imaze, columns, goals[b])


@njit(nogil=True, cache=True)
def _write_batch(seeds, kind, extra_openings, first, count, open_, texture, goal, start, look):
    path = np.empty((start.shape[1] * start.shape[2], 2), np.int64)
    deck = np.empty(DECK, np.int64)
    for i in range(len(seeds)):
        write_maze(seeds[i], kind, extra_openings, first, count, open_[i], texture[i], goal[i], start[i], path, deck)
        if look.shape[1]:
            write_look(seeds[i], open_[i], texture[i], look[i])


@njit(forceinline=True)
def write_maze(seed, kind, extra_openings, first, count, open_, texture, goal, start, path, deck):
    """Write the maze of one seed, its walls with `count` textures from `first` on.

    `path` int64 [rooms, 2] and `deck` int64 [DECK] are room to work in.
    """
    layout_seed = seed if kind == 0 else _FIXED_SEED
    if kind == 1:
        _open_imaze(open_, start)
    else:
        _open_random(layout_seed, extra_openings, open_, start, path)
    _paint(layout_seed, first, count, open_, texture, deck)
    rows, columns = start.shape
    _place_goal(rng.stream(seed, rng.GOAL), _goal_room(seed, kind == 1, rows, columns), kind == 1, columns, goal)


@njit(forceinline=True)
def write_look(seed, open_, texture, look):
    """Write the look of one seed's maze, and let its walls have other files of their textures."""
    looks.draw(seed, look)
    _vary(seed, open_, texture)


@njit(nogil=True, cache=True)
def _open_imaze(open_, start):
    """A corridor of five rooms with an arm to either side at both ends; starts are between the junctions."""
    open_[:] = False
    open_[2, :] = True
    open_[:, 0] = True
    open_[:, 8] = True
    start[:] = False
    start[1, 1:4] = True


@njit(nogil=True, cache=True)
def _open_random(seed, extra_openings, open_, start, path):
    """MiniWorld's recursive backtracker (depth first, neighbours in random order), then a share of the walls left."""
    rows, columns = start.shape
    key = rng.stream(seed, rng.LAYOUT)
    counter = 0
    open_[:] = False
    start[:] = True
    path[0] = 0
    length = 1
    open_[0, 0] = True
    while length > 0:
        r, c = path[length - 1]
        # Drawing one unvisited neighbour at a time has the same distribution as shuffling all four beforehand.
        options = 0
        for side in range(4):
            options += _unvisited(open_, r, c, side)
        if options == 0:
            length -= 1
            continue
        choice = rng.below(key, counter, options)
        counter += 1
        for side in range(4):
            if _unvisited(open_, r, c, side):
                if choice == 0:
                    dr, dc = _step(side)
                    open_[2 * r + dr, 2 * c + dc] = True
                    open_[2 * (r + dr), 2 * (c + dc)] = True
                    path[length, 0] = r + dr
                    path[length, 1] = c + dc
                    length += 1
                    break
                choice -= 1
    for i in range(2 * rows - 1):
        for j in range(2 * columns - 1):
            if (i + j) % 2 == 1 and not open_[i, j]:
                open_[i, j] = rng.uniform(key, counter) < extra_openings
                counter += 1


@njit(inline="always")
def _step(side):
    """Row and column offset of the neighbour on a side (0 east, 1 north, 2 west, 3 south)."""
    return (side - 2) * (side % 2), (1 - side) * (1 - side % 2)


@njit(inline="always")
def _unvisited(open_, r, c, side):
    dr, dc = _step(side)
    i, j = 2 * (r + dr), 2 * (c + dc)
    return 0 <= i < open_.shape[0] and 0 <= j < open_.shape[1] and not open_[i, j]


@njit(nogil=True, cache=True)
def _paint(seed, first, count, open_, texture, deck):
    """Deal `count` wall textures from `first` on to rooms from a shuffled deck: none repeats before all have been used.

    A gap has the texture of the room to its west or north, as MiniWorld's `connect_rooms(west or north room, other)`.
    """
    texture[:] = BRICK
    key = rng.stream(seed, rng.TEXTURES)
    for card in range(count):
        deck[card] = first + card
    left = 0
    counter = 0
    for i in range(0, open_.shape[0], 2):
        for j in range(0, open_.shape[1], 2):
            if open_[i, j]:
                if left == 0:
                    left = count
                pick = rng.below(key, counter, left)
                counter += 1
                left -= 1
                deck[pick], deck[left] = deck[left], deck[pick]
                texture[i, j] = deck[left]
    for i in range(open_.shape[0]):
        for j in range(open_.shape[1]):
            if i % 2 == 1 and j % 2 == 0:
                texture[i, j] = texture[i - 1, j]
            elif j % 2 == 1 and i % 2 == 0:
                texture[i, j] = texture[i, j - 1]


@njit(nogil=True, cache=True)
def _vary(seed, open_, texture):
    """Give each open cell one of the files of its texture, as MiniWorld gives one to each room and each gap."""
    key = rng.stream(seed, rng.VARIANTS)
    for i in range(open_.shape[0]):
        for j in range(open_.shape[1]):
            if open_[i, j]:
                variant = rng.below(key, i * open_.shape[1] + j, VARIANT_COUNT[texture[i, j]])
                if variant > 0:
                    texture[i, j] = SECOND[texture[i, j]] + variant - 1


@njit(nogil=True, cache=True)
def _goal_room(seed, imaze, rows, columns):
    """Return the number of the uniformly random room (arm, in the I-maze) that has the goal, row by row."""
    key = rng.stream(seed, rng.GOAL)
    return rng.below(key, 0, 4) if imaze else rng.below(key, 0, rows) * columns + rng.below(key, 1, columns)


@njit(nogil=True, cache=True)
def _place_goal(key, room, imaze, columns, goal):
    """Put the box at a uniformly random free place of a room (arm, in the I-maze)."""
    r, c = (2 * (room // 2), 4 * (room % 2)) if imaze else (room // columns, room % columns)
    # A room's middle square is always free: the box keeps its radius from all four sides, open or not, so that it never
    # blocks an opening.
    free = ROOM - 2 * BOX_RADIUS
    goal[0] = c * PITCH + BOX_RADIUS + free * rng.uniform(key, 2)
    goal[1] = r * PITCH + BOX_RADIUS + free * rng.uniform(key, 3)
    goal[2] = np.pi * (2 * rng.uniform(key, 4) - 1)
