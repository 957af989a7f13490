"""Ways to the goal: estimates of their length for the learner's signals, the shortest (the oracle), and the explorer's.

All in actions of the simulator, turns included, but for `geodesic_field`, which is in metres.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from mazes.layout import AGENT_RADIUS, BOX_RADIUS, GAP, PITCH, ROOM, Layout, MazeConfig, require_each, require_size
from mazes.renderer import TAN_HALF_FOV
from mazes.simulator import (
    ACTIONS,
    FORWARD,
    TURN_LEFT,
    TURN_RIGHT,
    cell_of,
    distance,
    is_free,
    is_open,
    low_edge,
    move,
    usual_steps,
)

_TOLERANCE = 0.01
"""The steps-to-go field has converged when no value falls by more than this."""


def stride(config: MazeConfig) -> tuple[int, float]:
    """Return how many forward actions the steps-to-go field takes at once, and its spacing: half of that way, metres.

    One action of 0.7 m on a 0.35 m grid for the fast step size, four of 0.15 m on a 0.3 m grid for the fine one.
    """
    actions = max(1, round(0.6 / config.forward_step))
    return actions, actions * config.forward_step / 2


def strides(config: MazeConfig) -> np.ndarray:
    """Return the x and z of the field's way forward in each heading, float64 [2, headings], metres."""
    actions, _ = stride(config)
    angles = config.turn_step * np.arange(config.headings)
    # Rounded, so that a way along an axis ends on a grid point and not 1e-17 beside it.
    return np.round(np.stack([np.cos(angles), -np.sin(angles)]) * actions * config.forward_step, 12)


def _points(rooms: int, spacing: float) -> int:
    """Return how many grid points cover a row of rooms."""
    return int(np.ceil((rooms * PITCH - GAP) / spacing)) + 1


def empty_fields(config: MazeConfig, batch: int) -> np.ndarray:
    """Return room for the steps-to-go fields of B mazes, float32 [B, nz, nx, headings]."""
    spacing = stride(config)[1]
    points = _points(config.rows, spacing), _points(config.columns, spacing)
    return np.zeros((batch, *points, config.headings), np.float32)


def write_fields(
    config: MazeConfig, layouts: Layout, fields: np.ndarray, indices: np.ndarray, near: float | None = None
) -> None:
    """Compute the steps-to-go fields of some mazes of a batch.

    A field holds, for every point of a position grid and every multiple of the turn as heading, about how many
    actions (turns included) it takes until the goal is near: 0 where it is near, -1 where the agent cannot be.

    Args:
        config: step sizes.
        layouts: B mazes.
        fields: float32 [B, nz, nx, headings] from `empty_fields`; the rows `indices` are overwritten.
        indices: int [N], which mazes.
        near: distance below which the goal counts as near, metres; None: that of the visits.
    """
    indices, near = np.asarray(indices, np.int64), config.near if near is None else near
    require_each(layouts, fields=fields)
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(fields):
        raise ValueError(f"indices must be between 0 and {len(fields) - 1}, not {indices}")
    _write_fields(layouts.open, layouts.goal, fields, indices, strides(config), *stride(config), near)


def look_up(config: MazeConfig, fields: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Return the estimated number of actions from poses float64 [B, 3] to the goal, float32 [B].

    Bilinear in position over the grid points where the agent can be, linear in the heading, which may be any angle.
    """
    if len(fields) != len(poses):
        raise ValueError(f"poses must be {len(fields)}, one for each field, not {len(poses)}")
    steps = np.empty(len(poses), np.float32)
    _look_up(fields, poses, stride(config)[1], config.turn_step, steps)
    return steps


def progress(
    config: MazeConfig, layouts: Layout, fields: np.ndarray, poses: np.ndarray, steps: np.ndarray | None
) -> np.ndarray:
    """Return by how many actions each action would shorten the way to the goal, float32 [B, actions].

    About 1 for one of a shortest way, 0 for walking into a wall, -1 for a turn away; from the fields' estimates.

    Args:
        config: step sizes.
        layouts: B mazes.
        fields: float32 [B, nz, nx, headings], their steps-to-go fields.
        poses: float64 [B, 3].
        steps: those of `simulator.draw_steps` for the next action.
    """
    require_each(layouts, fields=fields, poses=poses)
    nearer = np.empty((len(poses), len(ACTIONS)), np.float32)
    steps = usual_steps(config) if steps is None else steps
    spacing = stride(config)[1]
    _progress(layouts.open, layouts.goal, fields, poses, steps, config.near, spacing, config.turn_step, nearer)
    return nearer


@njit(nogil=True, cache=True)
def _write_fields(open_, goal, fields, indices, way, stride, spacing, near):
    rows, columns, headings = fields.shape[1:]
    ahead = np.empty((rows, columns, headings), np.int8)
    queue = np.empty(rows * columns, np.int64)
    queued = np.zeros(rows * columns, np.bool_)
    values = np.empty(headings, np.float32)
    for b in indices:
        field = fields[b]
        _start_field(open_[b], goal[b], field, ahead, way, stride, spacing, near)
        _relax(field, ahead, way, stride, spacing, queue, queued, values)


@njit(nogil=True, cache=True)
def _start_field(open_, goal, field, ahead, way, stride, spacing, near):
    """Write 0 where the goal is near, -1 where the agent cannot be and infinity elsewhere; and what is `ahead`.

    That is 0 if the way forward is blocked, n > 0 if it reaches the goal with n actions, and -1 if it is free but does
    not reach it.
    """
    rows, columns = field.shape[:2]
    for i in range(rows):
        for j in range(columns):
            start_point(open_, goal, field, ahead, way, stride, near, i, j, i * spacing, j * spacing)


@njit(forceinline=True)
def start_point(open_, goal, field, ahead, way, stride, near, i, j, z, x):
    """Do `_start_field` at grid point (i, j), which is at (x, z)."""
    headings = field.shape[2]
    if not is_free(open_, x, z, AGENT_RADIUS):
        field[i, j] = -1
    elif np.hypot(x - goal[0], z - goal[1]) < near:
        field[i, j] = 0
    else:
        field[i, j] = np.inf
        for h in range(headings):
            ahead[i, j, h] = -1
            for n in range(1, stride + 1):
                # No need to ask for the box: a step from where the goal is not near never ends inside of it.
                x1 = x + way[0, h] * n / stride
                z1 = z + way[1, h] * n / stride
                if not is_free(open_, x1, z1, AGENT_RADIUS):
                    ahead[i, j, h] = 0
                    break
                if np.hypot(x1 - goal[0], z1 - goal[1]) < near:
                    ahead[i, j, h] = n
                    break


@njit(nogil=True, cache=True)
def _relax(field, ahead, way, stride, spacing, queue, queued, values):
    """Lower the field to its fixed point, by a queue of the points whose surroundings have changed."""
    rows, columns = field.shape[:2]
    first = count = np.int64(0)  # not Python's, for which numba would compile `_enqueue_around` three times
    for i in range(rows):
        for j in range(columns):
            if field[i, j, 0] == 0:
                count = _enqueue_around(field, i, j, queue, queued, first, count)
    while count > 0:
        point = queue[first]
        first = (first + 1) % len(queue)
        count -= 1
        queued[point] = False
        i, j = point // columns, point % columns
        if relax_point(field, ahead, way, stride, spacing, i, j, _TOLERANCE, values):
            count = _enqueue_around(field, i, j, queue, queued, first, count)


@njit(forceinline=True)
def relax_point(field, ahead, way, stride, spacing, i, j, tolerance, values):
    """Lower the field at one grid point; return whether any value fell by more than the tolerance.

    `values` float32 [headings] is room to work in.
    """
    headings = field.shape[2]
    for h in range(headings):
        if ahead[i, j, h] < 0:
            values[h] = stride + _between(field, i + way[1, h] / spacing, j + way[0, h] / spacing, h)
        elif ahead[i, j, h] > 0:
            values[h] = ahead[i, j, h]
        else:
            values[h] = np.inf
    for _ in range(2):  # turning on the spot: twice around either way
        for h in range(headings):
            values[h] = min(values[h], values[h - 1] + 1)
        for h in range(headings - 1, -1, -1):
            values[h - 1] = min(values[h - 1], values[h] + 1)
    changed = False
    for h in range(headings):
        if values[h] < field[i, j, h] - tolerance:
            field[i, j, h] = values[h]
            changed = True
    return changed


@njit(nogil=True, cache=True)
def _enqueue_around(field, i, j, queue, queued, first, count):
    """Append the grid points whose way forward may end beside point (i, j); return the new length of the queue."""
    rows, columns = field.shape[:2]
    for k in range(max(i - 2, 0), min(i + 3, rows)):
        for m in range(max(j - 2, 0), min(j + 3, columns)):
            point = k * columns + m
            if field[k, m, 0] > 0 and not queued[point]:
                queued[point] = True
                queue[(first + count) % len(queue)] = point
                count += 1
    return count


@njit(forceinline=True)
def _between(field, row, column, h):
    """Return the value between grid points (place in units of the spacing): bilinear over those where the agent can be.

    The forbidden band along a wall is wider than the spacing, so all corners of one square lie on the same side of it.
    """
    i, j = np.int64(math.floor(row)), np.int64(math.floor(column))
    total = weights = 0.0
    for di in range(2):
        for dj in range(2):
            weight = abs(1 - di - (row - i)) * abs(1 - dj - (column - j))
            if weight > 1e-9 and field[i + di, j + dj, h] >= 0:
                total += weight * field[i + di, j + dj, h]
                weights += weight
    return total / weights if weights > 0 else np.inf


@njit(nogil=True, cache=True)
def _look_up(fields, poses, spacing, turn_step, steps):
    for b in range(len(poses)):
        steps[b] = steps_to_go(fields[b], poses[b], spacing, turn_step)


@njit(forceinline=True)
def steps_to_go(field, pose, spacing, turn_step):
    """Return what `look_up` does for one pose, as a float64."""
    headings = field.shape[2]
    row, column = pose[1] / spacing, pose[0] / spacing
    turns = np.int64(math.floor(pose[2] / turn_step))
    part = pose[2] / turn_step - turns
    h = turns % headings
    right, left = _between(field, row, column, h), _between(field, row, column, (h + 1) % headings)
    return (1 - part) * right + part * left


@njit(nogil=True, cache=True)
def _progress(open_, goal, fields, poses, steps, near, spacing, turn_step, nearer):
    after = np.empty(3)
    for b in range(len(poses)):
        step = steps[min(b, len(steps) - 1)]
        write_progress(open_[b], goal[b], fields[b], poses[b], step, near, spacing, turn_step, after, nearer[b])


@njit(forceinline=True)
def write_progress(open_, goal, field, pose, step, near, spacing, turn_step, after, nearer):
    """Do what `progress` does for one pose; `after` float64 [3] is room to work in."""
    forward, drift, turn = step
    now = steps_to_go(field, pose, spacing, turn_step)
    for action in range(len(nearer)):
        for k in range(3):
            after[k] = pose[k]
        found = move(open_, goal, after, action, forward, turn, near, drift)
        nearer[action] = now if found else now - steps_to_go(field, after, spacing, turn_step)


def oracle_steps(config: MazeConfig, layouts: Layout, poses: np.ndarray) -> np.ndarray:
    """Return the fewest actions from poses float64 [B, 3] until the goal is near, int32 [B]; 0 where it already is.

    Breadth-first search over the poses that the simulator would give. Two of them that share a heading and a cell of a
    position grid finer than a step count as one. Where the goal cannot be reached the result is -1.

    Raises:
        ValueError: poses are not as many as mazes, or the mazes larger than the configuration's.
    """
    require_each(layouts, poses=poses)
    require_size(config, layouts.open)
    steps = np.empty(len(poses), np.int32)
    _oracle_steps(layouts.open, layouts.goal, poses, _motion(config), _grid(config, 0), steps)
    return steps


def oracle_actions(config: MazeConfig, layout: Layout, pose: np.ndarray) -> np.ndarray:
    """Return the actions int64 [n] of a shortest way from a pose float64 [3] to the goal in one maze."""
    require_size(config, layout.open)
    return _oracle_actions(layout.open, layout.goal, pose, _motion(config), _grid(config, 0))


def explorer_steps(
    config: MazeConfig, layouts: Layout, poses: np.ndarray, cap: int, width_over_height: float = 4 / 3
) -> np.ndarray:
    """Return how many actions the best search of an unknown maze takes until the goal is near, int32 [B].

    The explorer remembers all it has seen and assumes that what it has not seen is open. It goes by the fewest actions
    to the nearest place where the goal may still be, in a room of which it has seen less than half if there is one,
    and thinks again whenever it has seen something new. Once the goal box is in sight it takes the shortest way there.
    A wall, a place or the goal is in sight if it is within the picture from left to right and no wall is in between.
    From where the goal is not near the top of the box is always within the picture's height.

    Why less than half first: going back for every unseen corner made the explorer 5 to 7 % slower.

    Args:
        config: kind, size and step sizes; that the maze is no larger than this is all that is known of it beforehand.
        layouts: B mazes.
        poses: float64 [B, 3], the starts.
        cap: largest number of actions; a longer search counts as `cap`.
        width_over_height: shape of the agent's picture.
    """
    return recogniser_steps(config, layouts, poses[:, None], cap, width_over_height)[:, 0]


def recogniser_steps(
    config: MazeConfig, layouts: Layout, starts: np.ndarray, cap: int, width_over_height: float = 4 / 3
) -> np.ndarray:
    """Return how many actions visits take to who remembers all, but is not told where it is put, int32 [B, V].

    The recogniser is the explorer, whose memory lasts from one visit to the next. On later visits it has to find out
    where it is: it searches as on the first until it sees the goal or is in a room, or a gap between two, in which it
    was on an earlier visit. That is recognised at once, whatever it looks like, and from then on it goes to the goal by
    the fewest actions, if what it has never seen is open.

    So this is what a perfect memory of where one has been is worth. It is no upper limit: who knows how mazes are made
    can tell from outer walls and light where in the maze a room is in which it never was.

    Args:
        config: as of `explorer_steps`.
        layouts: B mazes.
        starts: float64 [B, V, 3], where V visits to each begin.
        cap: largest number of actions of a visit.
        width_over_height: shape of the agent's picture.

    Raises:
        ValueError: starts are not as many as mazes, or the mazes larger than the configuration's.
    """
    require_each(layouts, poses=starts)
    require_size(config, layouts.open)
    steps = np.empty(starts.shape[:2], np.int32)
    half_width = TAN_HALF_FOV * width_over_height
    _recogniser_steps(layouts.open, layouts.goal, starts, _motion(config), _grid(config, 1), half_width, cap, steps)
    return steps


def explorer_actions(
    config: MazeConfig, layout: Layout, pose: np.ndarray, cap: int, width_over_height: float = 4 / 3
) -> tuple[np.ndarray, int]:
    """Return the explorer's actions int64 [n <= cap] in one maze, and how many it made before the goal was in sight."""
    require_size(config, layout.open)
    half_width = TAN_HALF_FOV * width_over_height
    return _explorer_actions(layout.open, layout.goal, pose, _motion(config), _grid(config, 1), half_width, cap)


class _Motion(NamedTuple):
    """How an agent moves; lengths in metres."""

    forward_step: float
    turn_step: float
    headings: int
    near: float
    cell: float
    """Width of the cells in which a search takes two positions for one."""


def _motion(config: MazeConfig) -> _Motion:
    # 0.1 and 0.075 m. Cells of half that width shorten the ways found by less than 0.5 %.
    cell = config.forward_step / (7 if config.step_size == "fast" else 2)
    return _Motion(config.forward_step, config.turn_step, config.headings, config.near, cell)


def _grid(config: MazeConfig, margin: int) -> tuple[int, int]:
    """Return the rows and columns of cells that cover the maze and a margin of so many rooms on each side."""
    cell = _motion(config).cell
    return tuple(int((rooms + 2 * margin) * PITCH / cell) + 1 for rooms in (config.rows, config.columns))


class _Search(NamedTuple):
    """The states of a breadth-first search, in the order in which they were met."""

    places: np.ndarray
    """float64 [states, 2]: x and z, metres."""
    turns: np.ndarray
    """int16 [states]: left turns since the start, modulo a full circle."""
    parents: np.ndarray
    """int32 [states]: the state from which one was reached; -1 for the first."""
    met: np.ndarray
    """int32 [headings, rows, columns]: the number of the last search that met this cell of the grid."""
    number: np.ndarray
    """int32 [1]: how many searches there have been. Counting on forgets all of `met` without touching it."""


@njit(nogil=True, cache=True)
def _new_search(grid, headings):
    states = grid[0] * grid[1] * headings
    return _Search(
        np.empty((states, 2)),
        np.empty(states, np.int16),
        np.empty(states, np.int32),
        np.zeros((headings, grid[0], grid[1]), np.int32),
        np.zeros(1, np.int32),
    )


@njit(nogil=True, cache=True)
def _search(search, open_, pose, motion, goal, unseen, share):
    """Search breadth first until the goal is near or, if anything is `unseen`, until in a place that `_is_unseen`.

    Returns:
        the number of the state where that is so; -1 if there is none.
    """
    places, turns, parents, met, number = search
    number[0] += 1
    angles = pose[2] + motion.turn_step * np.arange(motion.headings)
    cos, sin = np.cos(angles) * motion.forward_step, np.sin(angles) * motion.forward_step
    places[0, 0], places[0, 1] = pose[0], pose[1]
    turns[0] = 0
    parents[0] = -1
    met[0, int(pose[1] / motion.cell), int(pose[0] / motion.cell)] = number[0]
    if np.hypot(pose[0] - goal[0], pose[1] - goal[1]) < motion.near:
        return 0
    first, count = 0, 1
    while first < count:
        for action in range(3):
            x, z, h = places[first, 0], places[first, 1], turns[first]
            if action == FORWARD:
                x, z = x + cos[h], z - sin[h]
                # No need to ask for the box: a step from where the goal is not near never ends inside of it.
                if not is_free(open_, x, z, AGENT_RADIUS):
                    continue
            elif action == TURN_LEFT:
                h = h + 1 if h + 1 < motion.headings else 0
            else:
                h = h - 1 if h > 0 else motion.headings - 1
            row, column = int(z / motion.cell), int(x / motion.cell)
            if met[h, row, column] == number[0]:
                continue
            met[h, row, column] = number[0]
            places[count, 0] = x
            places[count, 1] = z
            turns[count] = h
            parents[count] = first
            if action == FORWARD:
                if unseen.size > 0:
                    if _is_unseen(unseen, x, z, share):
                        return count
                elif np.hypot(x - goal[0], z - goal[1]) < motion.near:
                    return count
            count += 1
        first += 1
    return -1


@njit(nogil=True, cache=True)
def _shortest(search, open_, pose, motion, goal):
    """Search for the goal; return the last state as `_search` does."""
    return _search(search, open_, pose, motion, goal, np.empty((0, 0, 0, 0), np.bool_), 0.0)


@njit(nogil=True, cache=True)
def _depth(search, state):
    """Return how many actions led to a state, -1 for no state."""
    depth = -1
    while state >= 0:
        depth += 1
        state = search.parents[state]
    return depth


@njit(nogil=True, cache=True)
def _actions(search, state, headings):
    """Return the actions that led to a state, int64 [n]; none for no state."""
    actions = np.empty(max(_depth(search, state), 0), np.int64)
    for n in range(len(actions) - 1, -1, -1):
        parent = search.parents[state]
        turned = (search.turns[state] - search.turns[parent]) % headings
        actions[n] = FORWARD if turned == 0 else TURN_LEFT if turned == 1 else TURN_RIGHT
        state = parent
    return actions


@njit(nogil=True, cache=True)
def _oracle_steps(open_, goal, poses, motion, grid, steps):
    search = _new_search(grid, motion.headings)
    for b in range(len(poses)):
        steps[b] = _depth(search, _shortest(search, open_[b], poses[b], motion, goal[b]))


@njit(nogil=True, cache=True)
def _oracle_actions(open_, goal, pose, motion, grid):
    search = _new_search(grid, motion.headings)
    return _actions(search, _shortest(search, open_, pose, motion, goal), motion.headings)


_PLACES = 5
"""The explorer marks 5 x 5 places in each room, over the 1.87 m square where the box's centre can be: 0.47 m apart.

The box is 0.8 m wide, too much to hide between places in sight. From 3 x 3 to 9 x 9 places the explorer's mean steps
are the same within 1 %.
"""
_BETWEEN_PLACES = (ROOM - 2 * BOX_RADIUS) / (_PLACES - 1)


class _Memory(NamedTuple):
    """What an explorer knows of a maze; it has a border of a room and a gap that lie outside, which is not known."""

    open: np.ndarray
    """bool [cell rows + 4, cell columns + 4]: may one walk here; what has not been seen is thought to be open."""
    unseen: np.ndarray
    """bool [cell rows + 4, cell columns + 4, 5, 5]: the places not yet seen."""
    extent: np.ndarray
    """int64 [4]: first and last row, first and last column of the cells of rooms that have been seen."""


@njit(nogil=True, cache=True)
def _explorer_actions(open_, goal, pose, motion, grid, half_width, cap):
    search = _new_search(grid, motion.headings)
    actions = np.empty(cap, np.int64)
    world, memory, been = _begin(open_)
    steps, searched = _visit(search, world, goal, pose, motion, half_width, memory, been, memory, actions)
    return actions[:steps], searched


@njit(nogil=True, cache=True)
def _recogniser_steps(open_, goal, starts, motion, grid, half_width, cap, steps):
    search = _new_search(grid, motion.headings)
    actions = np.empty(cap, np.int64)
    for b in range(len(starts)):
        world, memory, been = _begin(open_[b])
        for visit in range(starts.shape[1]):
            new = _nothing_seen(world)
            pose = starts[b, visit]
            steps[b, visit] = _visit(search, world, goal[b], pose, motion, half_width, new, been, memory, actions)[0]


@njit(nogil=True, cache=True)
def _begin(open_):
    """Return the maze with a border, a memory in which nothing of it has been seen, and rooms where nobody was."""
    world = np.zeros((open_.shape[0] + 4, open_.shape[1] + 4), np.bool_)
    for i in range(len(open_)):
        for j in range(open_.shape[1]):
            world[i + 2, j + 2] = open_[i, j]
    return world, _nothing_seen(world), np.zeros_like(world)


@njit(nogil=True, cache=True)
def _nothing_seen(world):
    unseen = np.ones((*world.shape, _PLACES, _PLACES), np.bool_)
    memory = _Memory(np.ones_like(world), unseen, np.array([len(world), 0, world.shape[1], 0]))
    memory.open[1::2, 1::2] = False  # there is always a pillar where four rooms meet
    memory.unseen[1::2, 1::2] = False
    return memory


@njit(nogil=True, cache=True)
def _visit(search, world, goal, pose, motion, half_width, memory, been, earlier, actions):
    """Write the actions of one visit; return how many there are, and how many came before the goal was in sight.

    It is a search, as the explorer's, that fills `memory`, until it is where it has `been` on an earlier visit: then
    it knows how what it has seen since lies in what it had seen `earlier`, and where the goal is. In the end all of it
    is part of `earlier` and `been`.
    """
    border = np.array([PITCH, PITCH, 0.0])
    pose, goal = pose + border, goal + border
    entered = np.zeros(been.shape, np.bool_)
    plan = actions[:0]
    done = 0
    lost, seen = True, False
    steps = searched = len(actions)
    for step in range(len(actions)):
        if np.hypot(pose[0] - goal[0], pose[1] - goal[1]) < motion.near:
            steps, searched = step, min(step, searched)
            break
        i, j = cell_of(pose[1]), cell_of(pose[0])
        entered[i, j] = True
        if lost and been[i, j] and not seen:
            lost = False
            _add(earlier, memory)
            memory = earlier
            done = len(plan)
        new = _look(memory, world, pose, motion.near, half_width)
        if not seen and goal_in_sight(world, goal, pose, half_width):
            seen, searched = True, step
            plan = _actions(search, _shortest(search, world, pose, motion, goal), motion.headings)
            done = 0
        elif not seen and (new or done == len(plan)):
            if lost:
                state = _search(search, memory.open, pose, motion, goal, memory.unseen, 0.5)
                if state < 0:
                    state = _search(search, memory.open, pose, motion, goal, memory.unseen, 0.0)
            else:
                state = _shortest(search, memory.open, pose, motion, goal)
            plan = _actions(search, state, motion.headings)
            done = 0
            if state < 0:
                break
        actions[step] = plan[done]
        done += 1
        x, z = pose[0], pose[1]
        move(world, goal, pose, actions[step], motion.forward_step, motion.turn_step, motion.near)
        if actions[step] == FORWARD and pose[0] == x and pose[1] == z:
            _feel(memory, world, pose, motion.forward_step)
            done = len(plan)
    _add(earlier, memory)
    for i in range(len(been)):
        for j in range(been.shape[1]):
            been[i, j] |= entered[i, j]
    return steps, searched


@njit(nogil=True, cache=True)
def _feel(memory, world, pose, forward_step):
    """Remember the walls that stopped a step forward, which a picture narrower than the agent need not show."""
    x, z = pose[0] + np.cos(pose[2]) * forward_step, pose[1] - np.sin(pose[2]) * forward_step
    for i in range(cell_of(z - AGENT_RADIUS), cell_of(z + AGENT_RADIUS) + 1):
        for j in range(cell_of(x - AGENT_RADIUS), cell_of(x + AGENT_RADIUS) + 1):
            if not world[i, j] and distance(i, j, x, z) < AGENT_RADIUS:
                memory.open[i, j] = False
                memory.unseen[i, j] = False


@njit(nogil=True, cache=True)
def _add(memory, other):
    """Add to a memory what another one has seen of the same maze."""
    for i in range(len(memory.open)):  # loops, which are compiled in half the time of whole arrays
        for j in range(memory.open.shape[1]):
            memory.open[i, j] &= other.open[i, j]
            for a in range(_PLACES):
                for b in range(_PLACES):
                    memory.unseen[i, j, a, b] &= other.unseen[i, j, a, b]
    for side in range(0, 4, 2):
        memory.extent[side] = min(memory.extent[side], other.extent[side])
        memory.extent[side + 1] = max(memory.extent[side + 1], other.extent[side + 1])


@njit(nogil=True, cache=True)
def goal_in_sight(world, goal, pose, half_width):
    """Return whether the centre or a corner of the box is in sight."""
    if in_sight(world, pose, goal[0], goal[1], half_width):
        return True
    for corner in range(4):
        angle = goal[2] + (corner + 0.5) * np.pi / 2
        x, z = goal[0] + BOX_RADIUS * np.cos(angle), goal[1] - BOX_RADIUS * np.sin(angle)
        if in_sight(world, pose, x, z, half_width):
            return True
    return False


@njit(nogil=True, cache=True)
def _look(memory, world, pose, near, half_width):
    """Remember what is in sight, and that the goal is not near; return whether any of it is new."""
    open_, unseen, extent = memory
    new = False
    for i in range(world.shape[0]):
        for j in range(world.shape[1]):
            room = i % 2 == 0 and j % 2 == 0
            for a in range(1 if i % 2 else _PLACES):
                for b in range(1 if j % 2 else _PLACES):
                    if not unseen[i, j, a, b]:
                        continue
                    x, z = place(j, b), place(i, a)
                    if in_sight(world, pose, x, z, half_width):
                        new = True
                        open_[i, j] = world[i, j]
                        if room and world[i, j]:
                            unseen[i, j, a, b] = False
                            extent[0], extent[1] = min(extent[0], i), max(extent[1], i)
                            extent[2], extent[3] = min(extent[2], j), max(extent[3], j)
                        else:
                            unseen[i, j] = False
                    elif room and np.hypot(x - pose[0], z - pose[1]) < near:
                        new = True
                        unseen[i, j, a, b] = False
    # The more of the maze has been seen to one side the less can there be to the other.
    north, south = max(extent[1] - world.shape[0] + 5, 0), extent[0] + world.shape[0] - 4
    west, east = max(extent[3] - world.shape[1] + 5, 0), extent[2] + world.shape[1] - 4
    for i in range(world.shape[0]):
        for j in range(world.shape[1]):
            if not (north <= i < south and west <= j < east):
                open_[i, j] = False
                unseen[i, j] = False
    return new


@njit(nogil=True, cache=True)
def place(i, number):
    """Return the coordinate of a place in cell i along one axis, metres; the middle of a gap."""
    if i % 2:
        return low_edge(i) + GAP / 2
    return low_edge(i) + BOX_RADIUS + number * _BETWEEN_PLACES


@njit(nogil=True, cache=True)
def _is_unseen(unseen, x, z, share):
    """Return whether the place nearest to a position, and more than a share of that room's, have not been seen."""
    i, j = cell_of(z), cell_of(x)
    if i % 2 or j % 2:
        return False
    a = round((z - low_edge(i) - BOX_RADIUS) / _BETWEEN_PLACES)
    b = round((x - low_edge(j) - BOX_RADIUS) / _BETWEEN_PLACES)
    if not unseen[i, j, min(max(a, 0), _PLACES - 1), min(max(b, 0), _PLACES - 1)]:
        return False
    return unseen[i, j].sum() > share * _PLACES * _PLACES


@njit(nogil=True, cache=True)
def in_sight(world, pose, x, z, half_width):
    """Return whether a point is in the picture, from left to right, and all cells on the way to its own are open."""
    dx, dz = x - pose[0], z - pose[1]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    if abs(dx * sin + dz * cos) > (dx * cos - dz * sin) * half_width:
        return False
    i, j = cell_of(pose[1]), cell_of(pose[0])
    last_i, last_j = cell_of(z), cell_of(x)
    while i != last_i or j != last_j:
        if not is_open(world, i, j):
            return False
        # How far along the line it leaves this cell to the east or west, and to the south or north.
        to_column = (low_edge(j + (dx > 0)) - pose[0]) / dx if j != last_j else np.inf
        to_row = (low_edge(i + (dz > 0)) - pose[1]) / dz if i != last_i else np.inf
        if to_column < to_row:
            j += 1 if dx > 0 else -1
        else:
            i += 1 if dz > 0 else -1
    return True


def geodesic_field(layout: Layout, spacing: float = 0.1) -> np.ndarray:
    """Return the length of the shortest way to the goal box from a grid of places in one maze, turns not counted.

    Ways keep the agent's radius clear of walls and run along 16 directions, which makes them at most 3 % too long.

    Args:
        layout: a maze.
        spacing: distance between grid points, metres; point [i, j] is at z = i * spacing, x = j * spacing.

    Returns:
        float64 [rows, columns], metres to the middle of the box; infinity where the agent cannot be.
    """
    from scipy.sparse import csr_array  # slow to import, and nothing else here needs it
    from scipy.sparse.csgraph import dijkstra

    rows, columns = (round((side // 2 * PITCH + ROOM) / spacing) + 1 for side in layout.open.shape)
    places = np.array(
        [[is_free(layout.open, j * spacing, i * spacing, AGENT_RADIUS) for j in range(columns)] for i in range(rows)]
    )
    number = np.arange(rows * columns).reshape(rows, columns)
    starts, ends, lengths = [], [], []
    # Eight of the directions; the others are these reversed.
    for di, dj in ((0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)):
        here = (slice(0, rows - di), slice(max(0, -dj), columns - max(0, dj)))
        there = (slice(di, rows), slice(max(0, dj), columns - max(0, -dj)))
        both = places[here] & places[there]
        starts.append(number[here][both])
        ends.append(number[there][both])
        lengths.append(np.full(both.sum(), spacing * np.hypot(di, dj)))
    edges = (np.concatenate(lengths), (np.concatenate(starts), np.concatenate(ends)))
    x, z = layout.goal[:2] / spacing
    goal = number[round(z), round(x)]
    graph = csr_array(edges, shape=(number.size, number.size))
    return dijkstra(graph, directed=False, indices=goal).reshape(rows, columns)
