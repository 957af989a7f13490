"""How the agent moves: MiniWorld's rules, for a batch of mazes at once.

A pose is (x, z, heading): metres and radians. Heading 0 looks along +x (east) and a left turn increases it, so the
agent looks along (cos heading, -sin heading) in (x, z). A step forward that would bring the agent's circle into a wall
or into the goal box is not made at all (`MiniWorldEnv.move_agent`, miniworld 2.1.0); there is no sliding.
"""

import math

import numpy as np
from numba import njit

from mazes import look
from mazes import seeds as rng
from mazes.layout import (
    AGENT_RADIUS,
    BOX_RADIUS,
    GAP,
    PITCH,
    ROOM,
    STEP_SIZES,
    Layout,
    MazeConfig,
    require_actions,
    require_each,
    require_seeds,
)

ACTIONS = ("turn left", "turn right", "forward")
TURN_LEFT, TURN_RIGHT, FORWARD = range(3)


def step(
    config: MazeConfig, layouts: Layout, poses: np.ndarray, actions: np.ndarray, steps: np.ndarray | None = None
) -> np.ndarray:
    """Make one action in each of B mazes.

    Args:
        config: step sizes.
        layouts: B mazes.
        poses: float64 [B, 3], changed in place.
        actions: int [B], indices into `ACTIONS`.
        steps: those of `draw_steps`; None: the usual ones.

    Returns:
        bool [B]: is the agent near the goal now (`MiniWorldEnv.near`).

    Raises:
        ValueError: poses or actions are not as many as mazes, or there is no such action.
    """
    require_each(layouts, poses=poses)
    actions = require_actions(actions, len(poses), len(ACTIONS))
    found = np.empty(len(poses), np.bool_)
    steps = usual_steps(config) if steps is None else steps
    if len(steps) not in (1, len(poses)):
        raise ValueError(f"steps must be 1 for all or {len(poses)}, one for each maze, not {len(steps)}")
    _step_batch(layouts.open, layouts.goal, poses, actions, steps, config.near, found)
    return found


def draw_steps(config: MazeConfig, seeds: np.ndarray, counts: np.ndarray) -> np.ndarray | None:
    """Return what the next action makes in B mazes with domain randomisation; without it, None.

    A pure function of the maze seeds uint64 [B] and of how many steps the episodes have had, int64 [B].

    Returns:
        float64 [B, 3]: the step forward in metres, its drift to the right in metres, and the turn in radians.
    """
    if not config.domain_rand:
        return None
    if len(counts) != len(seeds):
        raise ValueError(f"counts must be {len(seeds)}, as many as seeds, not {len(counts)}")
    steps = np.empty((len(seeds), 3))
    look.draw_steps(seeds, counts, *STEP_SIZES[config.step_size], steps)
    return steps


def usual_steps(config: MazeConfig) -> np.ndarray:
    """Return what every action makes where nothing is drawn, float64 [1, 3] as of `draw_steps`."""
    return np.array([[config.forward_step, 0.0, config.turn_step]])


def spawn(config: MazeConfig, layouts: Layout, seeds: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """Return the poses float64 [B, 3] at which visits int [B] of the mazes of `seeds` uint64 [B] begin.

    A pure function of the maze seed and the number of the visit: whatever an agent did before, its k-th visit begins
    where every other agent's does. Uniform over free places of the start rooms at least `config.respawn_distance` from
    the goal; where `config.respawn` is "same", that of the first visit every time, as long as the goal stays.

    Raises:
        ValueError: seeds or visits are not as many as mazes.
    """
    seeds = require_seeds(seeds)
    require_each(layouts, seeds=seeds, visits=visits)
    if config.respawn == "same":
        visits = np.zeros_like(visits)
    poses = np.empty((len(seeds), 3))
    visits = visits.astype(np.int64)  # of one type, else numba would compile once for each
    _spawn_batch(layouts.open, layouts.start, layouts.goal, seeds, visits, config.respawn_distance, poses)
    return poses


@njit(nogil=True, cache=True)
def _step_batch(open_, goal, poses, actions, steps, near, found):
    for b in range(len(poses)):
        forward, drift, turn = steps[min(b, len(steps) - 1)]
        found[b] = move(open_[b], goal[b], poses[b], actions[b], forward, turn, near, drift)


@njit(nogil=True, cache=True)
def move(open_, goal, pose, action, forward_step, turn_step, near, drift=0.0):
    """Make one action in one maze; changes `pose`, returns whether the goal is near."""
    if action == FORWARD:
        cos, sin = np.cos(pose[2]), np.sin(pose[2])
        x = pose[0] + cos * forward_step + sin * drift
        z = pose[1] - sin * forward_step + cos * drift
        if is_free(open_, x, z, AGENT_RADIUS) and np.hypot(x - goal[0], z - goal[1]) >= AGENT_RADIUS + BOX_RADIUS:
            pose[0] = x
            pose[1] = z
    elif action == TURN_LEFT:
        pose[2] += turn_step
    else:
        pose[2] -= turn_step
    return np.hypot(pose[0] - goal[0], pose[1] - goal[1]) < near


@njit(inline="always")
def cell_of(x):
    """Return the index along one axis of the cell that holds a coordinate: even in a room, odd in a gap."""
    k = np.int64(math.floor(x / PITCH))
    return 2 * k + np.int64(x - k * PITCH >= ROOM)


@njit(inline="always")
def room_of(x):
    """Return the index along one axis of a coordinate's room; a gap belongs to the room before it."""
    return cell_of(x) // 2


@njit(inline="always")
def towards(quarter):
    """Return the row and column that one comes nearer to with a quarter ahead: 0 east, 1 north, 2 west, 3 south."""
    return (quarter == 3) - (quarter == 1), (quarter == 0) - (quarter == 2)


@njit(inline="always")
def low_edge(i):
    """Return the coordinate in metres at which cell i begins along an axis."""
    return i // 2 * PITCH + (i % 2) * ROOM


@njit(inline="always")
def is_open(open_, i, j):
    """Return whether cell (i, j) is open; everything outside of the maze is solid."""
    return 0 <= i < open_.shape[0] and 0 <= j < open_.shape[1] and open_[i, j]


@njit(nogil=True, cache=True)
def is_free(open_, x, z, radius):
    """Return whether a circle of less than half a room's side in radius keeps clear of all walls.

    MiniWorld asks for the distance to wall segments; the distance to the solid cells they enclose is the same for a
    point outside them, and walls are so thin that no step ends further than a radius inside one.
    """
    i0, i1 = cell_of(z - radius), cell_of(z + radius)
    j0, j1 = cell_of(x - radius), cell_of(x + radius)
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            if not is_open(open_, i, j) and distance(i, j, x, z) < radius:
                return False
    return True


@njit(nogil=True, cache=True)
def distance(i, j, x, z):
    """Return how far a place is from cell (i, j), metres; 0 inside."""
    dz = max(low_edge(i) - z, 0.0, z - low_edge(i + 1))
    dx = max(low_edge(j) - x, 0.0, x - low_edge(j + 1))
    return math.sqrt(dx * dx + dz * dz)


@njit(nogil=True, cache=True)
def _spawn_batch(open_, start, goal, seeds, visits, distance, poses):
    for b in range(len(seeds)):
        put(open_[b], start[b], goal[b], seeds[b], visits[b], distance, poses[b])


@njit(forceinline=True)
def put(open_, start, goal, seed, visit, distance, pose):
    """Write the pose at which a visit begins in the maze of a seed."""
    key = rng.stream(rng.stream(seed, rng.SPAWN), visit)
    rows, columns = start.shape
    counter = 0
    while True:
        r = rng.below(key, counter, rows)
        c = rng.below(key, counter + 1, columns)
        x = c * PITCH - GAP / 2 + PITCH * rng.uniform(key, counter + 2)
        z = r * PITCH - GAP / 2 + PITCH * rng.uniform(key, counter + 3)
        counter += 4
        is_far = np.hypot(x - goal[0], z - goal[1]) >= distance
        if start[r, c] and is_far and is_free(open_, x, z, AGENT_RADIUS):
            break
    pose[0] = x
    pose[1] = z
    pose[2] = np.pi * (2 * rng.uniform(key, counter) - 1)
