"""What a planar ray meets in a maze: scalar functions that all pictures are made with.

A place in the picture of a camera that does not pitch is (lateral, slope): tangents of the angles to the right of and
above the optical axis. Depth is measured along the optical axis, metres. Its inverse is linear in lateral on a plane,
so that a wall is cast once, not once a sample.
"""

import math

import numpy as np
from numba import njit

from mazes.layout import BOX_RADIUS, BOX_SIZE
from mazes.simulator import cell_of, is_open, low_edge

WALL_HEIGHT = 2.74
"""MiniWorld `DEFAULT_WALL_HEIGHT`, metres."""

# Sides of a cell, by the wall one sees there.
EAST, NORTH, WEST, SOUTH = range(4)

SAMPLES = 4
SAMPLE_Y = np.array([0.375, 0.875, 0.125, 0.625])
"""Rotated-grid sample positions below the upper edge of a pixel, from left to right, as OpenGL implementations place
four samples; the positions from the left edge are 1/8, 3/8, 5/8 and 7/8."""

WALL_IN_VIEW = np.dtype(
    [
        ("end", np.int64),  # one past the last sample that sees it, counted from the left of the picture
        ("texture", np.int64),
        ("side", np.int64),
        ("distance", np.float64),  # metres from the camera to its plane
        # At a lateral, 1 / depth = near + near_slope * lateral, and the texture's place is
        # across + depth * (turn + turn_slope * lateral) metres.
        ("near", np.float64),
        ("near_slope", np.float64),
        ("across", np.float64),
        ("turn", np.float64),
        ("turn_slope", np.float64),
    ],
    align=True,  # numba would have a GPU read and write fields byte by byte otherwise
)


@njit(forceinline=True)
def cast(open_, x, z, cos, sin, lateral):
    """Follow a planar ray to the first wall.

    Returns:
        row and column of the last open cell and the side at which the ray ends; the lateral up to which rays further
        right take the same way through the cells, and so end at the same wall.
    """
    dx, dz = cos + lateral * sin, lateral * cos - sin
    i, j = cell_of(z), cell_of(x)
    until = np.inf
    while True:
        to_x, to_z = low_edge(j + (dx > 0)) - x, low_edge(i + (dz > 0)) - z
        through_x = abs(to_x * dz) < abs(to_z * dx)
        # The right-hand end of the cell's side that the ray crosses.
        if through_x:
            to_z = low_edge(i + (dx > 0)) - z
        else:
            to_x = low_edge(j + (dz <= 0)) - x
        forward = to_x * cos - to_z * sin
        if forward > 0:
            until = min(until, (to_x * sin + to_z * cos) / forward)
        if through_x:
            step = 1 if dx > 0 else -1
            if not is_open(open_, i, j + step):
                return i, j, EAST if dx > 0 else WEST, until
            j += step
        else:
            step = 1 if dz > 0 else -1
            if not is_open(open_, i + step, j):
                return i, j, SOUTH if dz > 0 else NORTH, until
            i += step


@njit(forceinline=True)
def describe(wall, i, j, side, texture, x, z, cos, sin):
    """Fill in the wall on a side of cell (i, j), as seen from (x, z)."""
    mirrored = side == EAST or side == NORTH
    if side == EAST or side == WEST:
        wall.distance = low_edge(j + mirrored) - x
        wall.near, wall.near_slope = cos / wall.distance, sin / wall.distance
        wall.across, wall.turn, wall.turn_slope = z - low_edge(i + mirrored), -sin, cos
    else:
        wall.distance = low_edge(i + (not mirrored)) - z
        wall.near, wall.near_slope = -sin / wall.distance, cos / wall.distance
        wall.across, wall.turn, wall.turn_slope = x - low_edge(j + mirrored), cos, sin
    if mirrored:
        wall.across, wall.turn, wall.turn_slope = -wall.across, -wall.turn, -wall.turn_slope
    wall.side = side
    wall.texture = texture[i, j]


@njit(forceinline=True)
def cast_box(goal, cos_goal, sin_goal, x, z, dx, dz):
    """Meet the goal box with a planar ray.

    Returns:
        depths at which the ray enters and leaves the box's outline (both infinite: it misses), and the x and z of the
        normal of the side it enters through.
    """
    ox, oz = x - goal[0], z - goal[1]
    if (ox * dz - oz * dx) ** 2 > BOX_RADIUS**2 * (dx * dx + dz * dz):
        return np.inf, np.inf, 0.0, 0.0
    # The box's own axes are (cos, -sin) and (sin, cos) in (x, z): OpenGL turns it about the vertical.
    px, pz = ox * cos_goal - oz * sin_goal, ox * sin_goal + oz * cos_goal
    qx, qz = dx * cos_goal - dz * sin_goal, dx * sin_goal + dz * cos_goal
    if qx == 0:
        qx = 1e-30
    if qz == 0:
        qz = 1e-30
    half_x, half_z = math.copysign(BOX_SIZE / 2, qx), math.copysign(BOX_SIZE / 2, qz)
    in_x, out_x = (-half_x - px) / qx, (half_x - px) / qx
    in_z, out_z = (-half_z - pz) / qz, (half_z - pz) / qz
    enter, leave = max(in_x, in_z), min(out_x, out_z)
    if enter >= leave or enter <= 0:
        return np.inf, np.inf, 0.0, 0.0
    if in_x > in_z:
        return enter, leave, -math.copysign(1.0, qx) * cos_goal, math.copysign(1.0, qx) * sin_goal
    return enter, leave, -math.copysign(1.0, qz) * sin_goal, -math.copysign(1.0, qz) * cos_goal


@njit(forceinline=True)
def log2(x):
    """Return the binary logarithm of a positive number to within 0.01, without a call that keeps loops from vectors."""
    bits = np.float32(x).view(np.int32)
    mantissa = np.int32(bits & 0x7FFFFF | 0x3F800000).view(np.float32)
    return (bits >> 23) - 127 + ((-1 / 3) * mantissa + 2) * mantissa - 5 / 3
