"""What makes a world a legal one, by the definition: slower and simpler than the code that must keep to it."""

import numpy as np
from numba import njit

from mazes.layout import AGENT_RADIUS, BOX_RADIUS, GAP, PITCH, ROOM


@njit
def legal(open_, goal, poses):
    """Count the agents that keep clear of the box and of each solid cell; by the definition, not as the simulator."""
    count = 0
    for b in range(len(poses)):
        x, z = poses[b, 0], poses[b, 1]
        clear = (x - goal[b, 0]) ** 2 + (z - goal[b, 1]) ** 2 >= (AGENT_RADIUS + BOX_RADIUS) ** 2 - 1e-9
        row, column = int(z // PITCH), int(x // PITCH)
        inside = False
        for i in range(2 * row - 1, 2 * row + 4):
            for j in range(2 * column - 1, 2 * column + 4):
                west, north = j // 2 * PITCH + j % 2 * ROOM, i // 2 * PITCH + i % 2 * ROOM
                east, south = west + (GAP if j % 2 else ROOM), north + (GAP if i % 2 else ROOM)
                if 0 <= i < open_.shape[1] and 0 <= j < open_.shape[2] and open_[b, i, j]:
                    inside |= west <= x <= east and north <= z <= south
                else:
                    dx, dz = max(west - x, 0.0, x - east), max(north - z, 0.0, z - south)
                    clear &= dx * dx + dz * dz >= AGENT_RADIUS**2 - 1e-9
        count += clear and inside
    return count


@njit
def reachable(open_, start, goal):
    """Count the mazes in which all start rooms are connected with the goal's."""
    count = 0
    rows, columns = open_.shape[1:]
    for b in range(len(open_)):
        seen = np.zeros((rows, columns), np.bool_)
        queue = np.empty((rows * columns, 2), np.int64)
        queue[0] = 2 * int(goal[b, 1] // PITCH), 2 * int(goal[b, 0] // PITCH)
        seen[queue[0, 0], queue[0, 1]] = True
        good = open_[b, queue[0, 0], queue[0, 1]]
        first, last = 0, 1
        while first < last:
            for di, dj in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                i, j = queue[first, 0] + di, queue[first, 1] + dj
                if 0 <= i < rows and 0 <= j < columns and open_[b, i, j] and not seen[i, j]:
                    seen[i, j] = True
                    queue[last] = i, j
                    last += 1
            first += 1
        for r in range(start.shape[1]):
            for c in range(start.shape[2]):
                good &= seen[2 * r, 2 * c] or not start[b, r, c]
        count += good
    return count
