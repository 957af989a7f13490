"""What the encoder may be asked of a picture: which way it looks, and how far away the walls in it are.

After D1 of Mirowski et al. (2016), whose encoder says the depth of a grid of places in the picture, in classes. One row
is enough here, where all walls reach from the floor to the ceiling.
"""

import math

import numpy as np
from numba import njit

from mazes.rays import EAST, SOUTH, WEST, cast
from mazes.simulator import low_edge

COLUMNS = 8
"""Vertical stripes of the picture whose depth is asked."""
QUESTIONS = ("cosine of view", "sine of view", *(f"depth {column}" for column in range(COLUMNS)))
"""The heading in the maze's own frame, which light and outer walls tell; the wall's depth in each stripe's middle."""

DEPTH_SCALE = 2.0
"""Metres whose logarithm counts as 0."""
_NEAREST, _FARTHEST = 0.2, 12.0
"""Metres; walls nearer or farther count as there."""


def answers(open_: np.ndarray, poses: np.ndarray, half_width: float) -> np.ndarray:
    """Return what a camera sees that looks straight ahead, not tilted, from where the agent is.

    Args:
        open_: bool [B, cell rows, cell columns], as in `Layout`.
        poses: float64 [B, 3].
        half_width: tangent of the angle between the optical axis and the picture's edge.

    Returns:
        float32 [B, 10], of each of `QUESTIONS`; depths as log(metres along the optical axis / `DEPTH_SCALE`).
    """
    out = np.empty((len(poses), len(QUESTIONS)), np.float32)
    _write_batch(open_, poses, half_width, out)
    return out


@njit(nogil=True, cache=True)
def _write_batch(open_, poses, half_width, out):
    for b in range(len(poses)):
        write_one(open_[b], poses[b], half_width, out[b])


@njit
def write_one(open_, pose, half_width, out):
    """Write `answers` of one maze, float32 [10]."""
    x, z = pose[0], pose[1]
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    out[0], out[1] = cos, sin
    for column in range(COLUMNS):
        lateral = half_width * ((2 * column + 1) / COLUMNS - 1)
        i, j, side, _ = cast(open_, x, z, cos, sin, lateral)
        if side == EAST or side == WEST:
            depth = (low_edge(j + (side == EAST)) - x) / (cos + lateral * sin)
        else:
            depth = (low_edge(i + (side == SOUTH)) - z) / (lateral * cos - sin)
        out[2 + column] = math.log(min(max(depth, _NEAREST), _FARTHEST) / DEPTH_SCALE)
