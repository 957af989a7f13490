"""How the search of an unknown maze goes on: what has been seen, and about how far it is to a room not yet searched.

For the learner's signals. Until the goal's place can be known, the nearest such room stands in for the goal.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from mazes.layout import PITCH, ROOM, Layout, MazeConfig, empty_batch
from mazes.paths import empty_fields, goal_in_sight, in_sight, place, steps_to_go, stride, write_fields
from mazes.renderer import TAN_HALF_FOV
from mazes.simulator import is_open, move, room_of, towards, usual_steps

PLACES = 3
"""Each room has 3 x 3 places to be seen: every second one of the explorer's, and as good (see there)."""

_MOST = PLACES * PLACES // 2 + 1
"""A room of which this many places are unseen has not been searched, as for the explorer."""


class Search(NamedTuple):
    """What has been seen in B mazes since the agents were put, and what follows from it."""

    unseen: np.ndarray
    """bool [B, rows, columns, 3, 3]: the places not yet seen."""
    away: np.ndarray
    """float32 [B, rows, columns, 4]: about how many actions it takes to a room that has not been searched, for who
    enters a room with each quarter ahead (`towards`); 0 in such a room, infinity where there is no way to one."""
    sighted: np.ndarray
    """bool [B]: has the goal been in sight?"""


class Ways(NamedTuple):
    """How rooms are crossed; `doors` are a room's open sides, bit q for quarter q: east, north, west, south."""

    fields: np.ndarray
    """float32 [16 doors, 4 exits, nz, nx, headings]: steps-to-go fields out of the middle one of 3 x 3 rooms."""
    through: np.ndarray
    """float32 [16 doors, 4 headings on entering, 4 exits]: actions from one door's middle to another's. Through
    several rooms that is a detour: estimates are a seventh too long on average."""
    spacing: float
    """Of the fields' grid points, metres."""
    turn_step: float
    """Radians."""
    half_width: float
    """Of the picture, at a depth of 1."""


def empty_search(config: MazeConfig, batch: int) -> Search:
    """Return a search of B mazes that has seen all."""
    rooms = (batch, config.rows, config.columns)
    return Search(
        np.zeros((*rooms, PLACES, PLACES), np.bool_), np.zeros((*rooms, 4), np.float32), np.zeros(batch, np.bool_)
    )


def find_ways(config: MazeConfig, width_over_height: float) -> Ways:
    """Return how rooms are crossed with a step size, and what pictures of a shape show."""
    patch = MazeConfig(rows=3, columns=3, step_size=config.step_size)
    doors, exits = np.divmod(np.arange(16 * 4), 4)
    layouts = empty_batch(patch, 16 * 4)
    layouts.open[:, 2, 2] = True
    layouts.goal[:, :2] = PITCH + ROOM / 2
    for q in range(4):
        di, dj = towards(q)
        layouts.open[:, 2 + di, 2 + dj] = layouts.open[:, 2 + 2 * di, 2 + 2 * dj] = doors >> q & 1
        layouts.goal[exits == q, :2] += dj * PITCH, di * PITCH
    fields = empty_fields(patch, 16 * 4)
    # A room is left in the middle of the gap, which is as far from the middle of the next.
    write_fields(patch, layouts, fields, np.arange(16 * 4), PITCH / 2)
    fields = fields.reshape(16, 4, *fields.shape[1:])
    spacing = stride(config)[1]
    through = np.full((16, 4, 4), np.inf, np.float32)
    for doors in range(16):
        for q in range(4):
            di, dj = towards(q)
            entrance = PITCH + ROOM / 2 - np.array([dj, di]) * PITCH / 2
            if doors >> (q + 2) % 4 & 1:
                for exit_ in range(4):
                    if doors >> exit_ & 1:
                        pose = np.array([*entrance, q * math.pi / 2])
                        through[doors, q, exit_] = steps_to_go(fields[doors, exit_], pose, spacing, config.turn_step)
    return Ways(fields, through, spacing, config.turn_step, TAN_HALF_FOV * width_over_height)


def begin(search: Search, ways: Ways, layouts: Layout, poses: np.ndarray, index: np.ndarray) -> None:
    """Forget some of the searches, and begin others at poses float64 [B, 3]; index int64 [N]: which."""
    _begin_batch(*search, ways, layouts.open, layouts.goal, poses, index)


def advance(
    search: Search, ways: Ways, layouts: Layout, before: np.ndarray, poses: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """Look around after an action, if it was made `where` bool [B], from poses `before` to poses float64 [B, 3].

    Returns:
        float32 [B]: by about how many actions it shortened the way to a room that had not been searched before it.
    """
    nearer = np.zeros(len(poses), np.float32)
    _advance_batch(*search, ways, layouts.open, layouts.goal, before, poses, where, nearer)
    return nearer


def progress(
    config: MazeConfig,
    search: Search,
    ways: Ways,
    layouts: Layout,
    poses: np.ndarray,
    steps: np.ndarray | None,
    where: np.ndarray,
    nearer: np.ndarray,
) -> np.ndarray:
    """Write by how many actions each action would shorten the way to a room not searched, as `paths.progress` does.

    Args:
        config: step sizes.
        search: what has been seen.
        ways: how rooms are crossed.
        layouts: B mazes.
        poses: float64 [B, 3].
        steps: those of `simulator.draw_steps` for the next action.
        where: bool [B]: which mazes are asked for.
        nearer: float32 [B, actions], written where the result is True.

    Returns:
        bool [B]: is it asked for, and is there such a room?
    """
    known = np.zeros(len(poses), np.bool_)
    steps = usual_steps(config) if steps is None else steps
    _progress_batch(*search, ways, layouts.open, layouts.goal, poses, steps, config.near, where, nearer, known)
    return known


def measure(search: Search, ways: Ways, layouts: Layout) -> None:
    """Write how far `away` rooms are from what is `unseen`."""
    _measure_batch(search.unseen, search.away, ways, layouts.open)


@njit(nogil=True, cache=True)
def _measure_batch(unseen, away, ways, open_):
    for b in range(len(unseen)):
        measure_one(unseen[b], away[b], ways, open_[b])


@njit(nogil=True, cache=True)
def _begin_batch(unseen, away, sighted, ways, open_, goal, poses, index):
    for b in index:
        sighted[b] = begin_one(unseen[b], away[b], ways, open_[b], goal[b], poses[b])


@njit(nogil=True, cache=True)
def _advance_batch(unseen, away, sighted, ways, open_, goal, before, poses, where, nearer):
    for b in range(len(poses)):
        if where[b]:
            x, z, heading = before[b]
            nearer[b], sighted[b] = advance_one(unseen[b], away[b], ways, open_[b], goal[b], x, z, heading, poses[b])


@njit(nogil=True, cache=True)
def _progress_batch(unseen, away, sighted, ways, open_, goal, poses, steps, near, where, nearer, known):
    after = np.empty(3)
    for b in range(len(poses)):
        if where[b]:
            step = steps[min(b, len(steps) - 1)]
            known[b] = write_progress(
                unseen[b], away[b], ways, open_[b], goal[b], poses[b], step, near, after, nearer[b]
            )


@njit
def begin_one(unseen, away, ways, open_, goal, pose):
    """Begin a search at a pose; return whether the goal is in sight."""
    for i in range(unseen.shape[0]):
        for j in range(unseen.shape[1]):
            for a in range(PLACES):
                for c in range(PLACES):
                    unseen[i, j, a, c] = open_[2 * i, 2 * j]
    _look(unseen, open_, pose, ways.half_width)
    measure_one(unseen, away, ways, open_)
    return goal_in_sight(open_, goal, pose, ways.half_width)


@njit
def advance_one(unseen, away, ways, open_, goal, x, z, heading, pose):
    """Do `advance` from (x, z, heading) to a pose; return by how many actions, and whether the goal is in sight."""
    nearer = steps_shortened(unseen, away, ways, open_, x, z, heading, pose)
    if _look(unseen, open_, pose, ways.half_width):
        measure_one(unseen, away, ways, open_)
    return nearer, goal_in_sight(open_, goal, pose, ways.half_width)


@njit
def steps_shortened(unseen, away, ways, open_, x, z, heading, pose):
    """Return by how many actions the way to a room not searched is shorter from a pose than from (x, z, heading)."""
    before = _steps_to_search(unseen, away, ways, open_, x, z, heading)
    if before == np.inf:
        return 0.0
    return before - _steps_to_search(unseen, away, ways, open_, pose[0], pose[1], pose[2])


@njit
def write_progress(unseen, away, ways, open_, goal, pose, step, near, after, nearer):
    """Do `progress` for one pose; `after` float64 [3] is room to work in."""
    now = _steps_to_search(unseen, away, ways, open_, pose[0], pose[1], pose[2])
    if now == np.inf:
        return False
    forward, drift, turn = step
    for action in range(len(nearer)):
        for k in range(3):
            after[k] = pose[k]
        move(open_, goal, after, action, forward, turn, near, drift)
        nearer[action] = now - _steps_to_search(unseen, away, ways, open_, after[0], after[1], after[2])
    return True


@njit
def measure_one(unseen, away, ways, open_):
    """Write how far `away` rooms not searched are: shortest ways, by lowering all values until none falls."""
    rows, columns = unseen.shape[:2]
    unsearched = False
    for i in range(rows):
        for j in range(columns):
            unsearched |= is_unsearched(unseen[i, j])
    for i in range(rows):
        for j in range(columns):
            start_room(unseen[i, j], away[i, j], unsearched)
    falling = True
    while falling:
        falling = False
        for i in range(rows):
            for j in range(columns):
                falling |= lower_room(away, ways, open_, i, j)


@njit
def is_unsearched(room):
    """Say whether a room, of which `unseen` is given, has not been searched."""
    return _count(room) >= _MOST


@njit
def start_room(unseen, away, unsearched):
    """Write how far away a room is before its neighbours are asked, if some room is `unsearched`, or none is."""
    least = _MOST if unsearched else 1  # corners are gone back for when there is nothing else
    start = 0.0 if _count(unseen) >= least else np.inf
    for q in range(4):
        away[q] = start


@njit
def lower_room(away, ways, open_, i, j):
    """Ask a room's neighbours how far away they are; return whether one of its values fell."""
    fell = False
    doors = _doors(open_, i, j)
    for exit_ in range(4):
        if not doors >> exit_ & 1:
            continue
        di, dj = towards(exit_)
        beyond = away[i + di, j + dj, exit_]
        for q in range(4):
            steps = beyond + ways.through[doors, q, exit_]
            if steps < away[i, j, q]:
                away[i, j, q] = steps
                fell = True
    return fell


@njit
def _steps_to_search(unseen, away, ways, open_, x, z, heading):
    """Return about how many actions it takes to a room not searched or, in one, to turn to what is unseen."""
    i, j = room_of(z), room_of(x)
    least = np.inf
    if away[i, j, 0] == 0:
        half_angle = math.atan(ways.half_width)
        for a in range(PLACES):
            for c in range(PLACES):
                if unseen[i, j, a, c]:
                    angle = math.atan2(z - place(2 * i, 2 * a), place(2 * j, 2 * c) - x) - heading
                    angle = abs((angle + math.pi) % (2 * math.pi) - math.pi)
                    least = min(least, max(angle - half_angle, 0.0) / ways.turn_step)
        return least
    doors = _doors(open_, i, j)
    pose = (x - (j - 1) * PITCH, z - (i - 1) * PITCH, heading)  # as in the middle room of `Ways`
    for exit_ in range(4):
        if doors >> exit_ & 1:
            di, dj = towards(exit_)
            beyond = away[i + di, j + dj, exit_]
            if beyond < least:
                steps = steps_to_go(ways.fields[doors, exit_], pose, ways.spacing, ways.turn_step)
                least = min(least, steps + beyond)
    return least


@njit
def _look(unseen, open_, pose, half_width):
    """Mark the places in sight as seen; return whether any was not."""
    new = False
    for i in range(unseen.shape[0]):
        for j in range(unseen.shape[1]):
            for a in range(PLACES):
                for c in range(PLACES):
                    new |= look_at(unseen, open_, pose, half_width, i, j, a, c)
    return new


@njit
def look_at(unseen, open_, pose, half_width, i, j, a, c):
    """Mark place (a, c) of room (i, j) as seen, if it is in sight; return whether it was not before."""
    new = unseen[i, j, a, c] and in_sight(open_, pose, place(2 * j, 2 * c), place(2 * i, 2 * a), half_width)
    if new:
        unseen[i, j, a, c] = False
    return new


@njit
def _count(unseen):
    """Return how many places of a room are unseen."""
    count = 0
    for a in range(PLACES):
        for c in range(PLACES):
            count += unseen[a, c]
    return count


@njit
def _doors(open_, i, j):
    """Return the open sides of a room as in `Ways`."""
    doors = 0
    for q in range(4):
        di, dj = towards(q)
        doors |= is_open(open_, 2 * i + di, 2 * j + dj) << q
    return doors
