"""Shortest ways: estimated actions to the goal (for reward shaping), exact ones (the oracle), metres, and the explorer.

All four move as the simulator moves; none of them is ever seen by an agent.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mazes.layout import AGENT_RADIUS, GAP, PITCH, Layout, MazeConfig
from mazes.simulator import FORWARD, TURN_LEFT, TURN_RIGHT, is_free

_TOLERANCE = 0.01
"""The steps-to-go field has converged when no value falls by more than this."""


def _stride(config: MazeConfig) -> tuple[int, float]:
    """Return how many forward actions the steps-to-go field takes at once, and its spacing: half of that way, metres.

    One action of 0.7 m on a 0.35 m grid for the fast step size, four of 0.15 m on a 0.3 m grid for the fine one.
    """
    actions = max(1, round(0.6 / config.forward_step))
    return actions, actions * config.forward_step / 2


def _points(rooms: int, spacing: float) -> int:
    """Return how many grid points cover a row of rooms."""
    return int(np.ceil((rooms * PITCH - GAP) / spacing)) + 1


def empty_fields(config: MazeConfig, batch: int) -> np.ndarray:
    """Return room for the steps-to-go fields of B mazes, float32 [B, nz, nx, headings]."""
    spacing = _stride(config)[1]
    points = _points(config.rows, spacing), _points(config.columns, spacing)
    return np.zeros((batch, *points, config.headings), np.float32)


def write_fields(config: MazeConfig, layouts: Layout, fields: np.ndarray, indices: np.ndarray) -> None:
    """Compute the steps-to-go fields of some mazes of a batch.

    A field holds, for every point of a position grid and every multiple of the turn as heading, about how many
    actions (turns included) it takes until the goal is near: 0 where it is near, -1 where the agent cannot be.

    Args:
        config: step sizes.
        layouts: B mazes.
        fields: float32 [B, nz, nx, headings] from `empty_fields`; the rows `indices` are overwritten.
        indices: int [N], which mazes.
    """
    stride, spacing = _stride(config)
    angles = config.turn_step * np.arange(config.headings)
    # Rounded, so that a way along an axis ends on a grid point and not 1e-17 beside it.
    way = np.round(np.stack([np.cos(angles), -np.sin(angles)]) * stride * config.forward_step, 12)
    _write_fields(layouts.open, layouts.goal, fields, np.asarray(indices, np.int64), way, stride, spacing, config.near)


def look_up(config: MazeConfig, fields: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Return the estimated number of actions from poses float64 [B, 3] to the goal, float32 [B].

    Bilinear in position over the grid points where the agent can be, linear in the heading, which may be any angle.
    """
    steps = np.empty(len(poses), np.float32)
    _look_up(fields, poses, _stride(config)[1], config.turn_step, steps)
    return steps


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
    rows, columns, headings = field.shape
    for i in range(rows):
        for j in range(columns):
            z, x = i * spacing, j * spacing
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
    rows, columns, headings = field.shape
    first = count = 0
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
        for h in range(headings):
            if ahead[i, j, h] < 0:
                values[h] = stride + _between(field, i + way[1, h] / spacing, j + way[0, h] / spacing, h)
            elif ahead[i, j, h] > 0:
                values[h] = ahead[i, j, h]
            else:
                values[h] = np.inf
        # Turning on the spot: twice around either way.
        for h in range(2 * headings):
            values[h % headings] = min(values[h % headings], values[h % headings - 1] + 1)
        for h in range(2 * headings, 0, -1):
            values[h % headings - 1] = min(values[h % headings - 1], values[h % headings] + 1)
        changed = False
        for h in range(headings):
            if values[h] < field[i, j, h] - _TOLERANCE:
                field[i, j, h] = values[h]
                changed = True
        if changed:
            count = _enqueue_around(field, i, j, queue, queued, first, count)


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


@njit(nogil=True, cache=True)
def _between(field, row, column, h):
    """Return the value between grid points (place in units of the spacing): bilinear over those where the agent can be.

    The forbidden band along a wall is wider than the spacing, so all corners of one square lie on the same side of it.
    """
    i, j = int(np.floor(row)), int(np.floor(column))
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
    headings = fields.shape[3]
    for b in range(len(poses)):
        row, column = poses[b, 1] / spacing, poses[b, 0] / spacing
        turns = np.floor(poses[b, 2] / turn_step)
        part = poses[b, 2] / turn_step - turns
        h = int(turns) % headings
        right, left = _between(fields[b], row, column, h), _between(fields[b], row, column, (h + 1) % headings)
        steps[b] = (1 - part) * right + part * left


def oracle_steps(config: MazeConfig, layouts: Layout, poses: np.ndarray) -> np.ndarray:
    """Return the fewest actions from poses float64 [B, 3] until the goal is near, int32 [B]; 0 where it already is.

    Breadth-first search over the poses that the simulator would give. Two of them that share a heading and a cell of a
    position grid finer than a step count as one. Where the goal cannot be reached the result is -1.
    """
    steps = np.empty(len(poses), np.int32)
    _oracle_steps(layouts.open, layouts.goal, poses, _motion(config), _grid(config, 0), steps)
    return steps


def oracle_actions(config: MazeConfig, layout: Layout, pose: np.ndarray) -> np.ndarray:
    """Return the actions int64 [n] of a shortest way from a pose float64 [3] to the goal of one maze: `oracle_steps`."""
    return _oracle_actions(layout.open, layout.goal, pose, _motion(config), _grid(config, 0))


class _Motion(NamedTuple):
    """How an agent moves."""

    forward_step: float
    turn_step: float
    headings: int
    near: float
    cell: float


def _motion(config: MazeConfig) -> _Motion:
    cell = config.forward_step / (7 if config.step_size == "fast" else 2)
    return _Motion(config.forward_step, config.turn_step, config.headings, config.near, cell)


def _grid(config: MazeConfig, margin: int) -> tuple[int, int]:
    cell = _motion(config).cell
    return tuple(int((n + 2 * margin) * PITCH / cell) + 1 for n in (config.rows, config.columns))


class _Search(NamedTuple):
    """The states of a breadth-first search, in the order in which they were met."""

    places: np.ndarray
    """float64 [states, 2]: x and z, metres."""
    turns: np.ndarray
    """int16 [states]: left turns since the start, modulo a full circle."""
    parents: np.ndarray
    """int32 [states]: the state from which one was reached."""
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
def _oracle_steps(open_, goal, poses, motion, grid, steps):
    search = _new_search(grid, motion.headings)
    for b in range(len(poses)):
        steps[b] = _depth(search, _find(search, open_[b], poses[b], goal[b], motion))


@njit(nogil=True, cache=True)
def _oracle_actions(open_, goal, pose, motion, grid):
    search = _new_search(grid, motion.headings)
    return _actions(search, _find(search, open_, pose, goal, motion), motion.headings)


@njit(nogil=True, cache=True)
def _find(search, open_, pose, goal, motion):
    """Search breadth first until the goal is near; return the number of the state where it is, or -1."""
    places, turns, parents, met, number = search
    number[0] += 1
    cos = np.cos(pose[2] + motion.turn_step * np.arange(motion.headings)) * motion.forward_step
    sin = np.sin(pose[2] + motion.turn_step * np.arange(motion.headings)) * motion.forward_step
    places[0] = pose[:2]
    turns[0] = 0
    parents[0] = -1
    if np.hypot(pose[0] - goal[0], pose[1] - goal[1]) < motion.near:
        return 0
    met[0, int(pose[1] / motion.cell), int(pose[0] / motion.cell)] = number[0]
    first, count = 0, 1
    while first < count:
        for action in range(3):
            x, z, h = places[first, 0], places[first, 1], turns[first]
            if action == FORWARD:
                x, z = x + cos[h], z - sin[h]
                # A step from where the goal is not near never ends inside of the box.
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
            if action == FORWARD and np.hypot(x - goal[0], z - goal[1]) < motion.near:
                return count
            count += 1
        first += 1
    return -1


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
    """Return the actions that led to a state, int64 [n]."""
    actions = np.empty(max(_depth(search, state), 0), np.int64)
    for n in range(len(actions) - 1, -1, -1):
        parent = search.parents[state]
        turned = (search.turns[state] - search.turns[parent]) % headings
        actions[n] = FORWARD if turned == 0 else TURN_LEFT if turned == 1 else TURN_RIGHT
        state = parent
    return actions
