"""Domain randomisation as MiniWorld's `DEFAULT_PARAMS` define it: what an episode's maze looks like, and its steps.

A look is float64 [`SIZE`]: the parameters of `EPISODE` one after the other, uniform in their ranges, drawn from the
maze seed. Colours and lights are red, green and blue in [0, 1]. MiniWorld's `sky_color` is never in view, and MiniWorld
itself does not use its `bot_radius`.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from mazes import seeds as rng


class Range(NamedTuple):
    """A parameter of MiniWorld's and where its values lie."""

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]


EPISODE = (
    Range("light_pos", (-40, 2.5, -40), (40, 5, 40)),
    Range("light_color", (0.45,) * 3, (0.8,) * 3),
    Range("light_ambient", (0.35,) * 3, (0.55,) * 3),
    Range("obj_color_bias", (-0.2,) * 3, (0.2,) * 3),
    Range("cam_height", (1.45,), (1.55,)),  # metres
    Range("cam_fwd_disp", (-0.05,), (0.1,)),  # metres before the middle of the agent
    Range("cam_pitch", (-5,), (5,)),  # degrees upwards
    Range("cam_fov_y", (55,), (65,)),  # degrees
)
"""What is drawn once an episode."""

SIZE = sum(len(parameter.low) for parameter in EPISODE)
LIGHT_POS, LIGHT_COLOR, LIGHT_AMBIENT, OBJ_COLOR_BIAS, CAM_HEIGHT, CAM_FWD_DISP, CAM_PITCH, CAM_FOV_Y = np.cumsum(
    [0, *(len(parameter.low) for parameter in EPISODE[:-1])]
).tolist()
"""Where in a look each parameter begins."""

NAMES = tuple(parameter.name for parameter in EPISODE)

_LOW = np.concatenate([parameter.low for parameter in EPISODE])
_HIGH = np.concatenate([parameter.high for parameter in EPISODE])

FORWARD_STEP = (0.12 / 0.15, 0.17 / 0.15)
"""Shares of the usual step that a step forward is at least and at most."""
FORWARD_DRIFT = 0.05
"""Metres that a step forward goes to the right at most, or to the left."""
TURN_STEP = (10 / 15, 20 / 15)
"""Shares of the usual turn."""


def of(look: np.ndarray, name: str) -> np.ndarray | float:
    """Return a parameter of `EPISODE` from a look: float64 [3], or a number."""
    begin = sum(len(parameter.low) for parameter in EPISODE[: NAMES.index(name)])
    length = len(EPISODE[NAMES.index(name)].low)
    return look[begin : begin + length] if length > 1 else float(look[begin])


@njit(nogil=True, cache=True)
def draw(seed, look):
    """Write the look of a maze seed's episode."""
    key = rng.stream(seed, rng.LOOK)
    for k in range(len(look)):
        look[k] = _LOW[k] + (_HIGH[k] - _LOW[k]) * rng.uniform(key, k)


@njit(nogil=True, cache=True)
def draw_steps(seeds, counts, forward, turn, steps):
    """Write what moves next in B mazes, float64 [B, 3]: metres forward, metres to the right, radians of a turn.

    Args:
        seeds: maze seeds, uint64 [B].
        counts: steps made in the episode so far, int64 [B].
        forward: the usual step, metres.
        turn: the usual turn, degrees.
        steps: what is written to.
    """
    for b in range(len(seeds)):
        steps[b, 0], steps[b, 1], steps[b, 2] = draw_step(seeds[b], counts[b], forward, turn)


@njit(forceinline=True)
def draw_step(seed, count, forward, turn):
    """Return what `draw_steps` writes for one maze."""
    key = rng.stream(rng.stream(seed, rng.STEPS), count)
    return (
        forward * (FORWARD_STEP[0] + (FORWARD_STEP[1] - FORWARD_STEP[0]) * rng.uniform(key, 0)),
        FORWARD_DRIFT * (2 * rng.uniform(key, 1) - 1),
        turn * (TURN_STEP[0] + (TURN_STEP[1] - TURN_STEP[0]) * rng.uniform(key, 2)) * (np.pi / 180),
    )
