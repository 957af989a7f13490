"""Pictures for Harlow's task: two-coloured patterns with patterned shapes on them, made from a fixed seed.

All are drawn one after the other, and one that resembles an earlier one at a glance is thrown away: any two of them can
be told apart from afar, those for training from the held-out ones too.
"""

from functools import cache

import numpy as np

COUNT = 1000
"""Pictures of each set, as in Wang et al. (2016), experiment 6."""
SETS = ("training", "held-out")
SIDE = 48
"""Rows and columns of a picture."""

GLANCE = 4
"""Rows and columns to which pictures are reduced to compare them."""
LEAST_DIFFERENCE = 28.0
"""Least root mean square difference between two pictures at a glance, grey levels."""

_SEED = 2016


def load(which: str) -> np.ndarray:
    """Return one of SETS, uint8 [COUNT, SIDE, SIDE, 3]; not to be written to.

    Raises:
        ValueError: there is no such set.
    """
    return _all()[number_of(which)]


def number_of(which: str) -> int:
    """Return the place of a set in SETS; errors as above."""
    if which not in SETS:
        raise ValueError(f"the set of pictures must be one of {', '.join(SETS)}, not {which!r}")
    return SETS.index(which)


def reduce(pictures: np.ndarray, side: int) -> np.ndarray:
    """Return pictures [N, S, S, 3] averaged to float64 [N, side, side, 3]; `side` divides S."""
    count, block = len(pictures), pictures.shape[1] // side
    return pictures.reshape(count, side, block, side, block, 3).mean((2, 4))


@cache
def _all() -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(_SEED))
    pictures = np.empty((len(SETS) * COUNT, SIDE, SIDE, 3), np.uint8)
    glances = np.empty((len(pictures), GLANCE * GLANCE * 3))
    count = 0
    while count < len(pictures):
        picture = _draw(generator)
        glance = reduce(picture[None], GLANCE).ravel()
        if (np.square(glances[:count] - glance).mean(1) >= LEAST_DIFFERENCE**2).all():
            pictures[count], glances[count] = picture, glance
            count += 1
    pictures.flags.writeable = False
    return pictures.reshape(len(SETS), COUNT, SIDE, SIDE, 3)


def _draw(generator: np.random.Generator) -> np.ndarray:
    """Return one picture, uint8 [SIDE, SIDE, 3]: a ground and up to three shapes, each filled with its own pattern."""
    centres = (2 * np.arange(SIDE) + 1) / SIDE - 1
    x, y = np.meshgrid(centres, centres)
    picture = _fill(x, y, generator)
    for _ in range(generator.integers(4)):
        picture += _shape(x, y, generator)[..., None] * (_fill(x, y, generator) - picture)
    return np.rint(255 * picture).astype(np.uint8)


def _fill(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return colours [SIDE, SIDE, 3] in [0, 1] at places in [-1, 1]: a pattern of two colours that contrast."""
    one, other = np.clip(1.4 * generator.random((2, 3)) - 0.2, 0, 1)
    while np.abs(one - other).mean() < 0.3:
        other = generator.random(3)
    return one + _pattern(x, y, generator)[..., None] * (other - one)


def _pattern(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return one of seven kinds of pattern at places in [-1, 1], values in [0, 1]."""
    angle, phase = generator.uniform(0, 2 * np.pi, 2)
    along, athwart = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    left, up = generator.uniform(-0.7, 0.7, 2)
    pitch = np.pi * generator.uniform(0.8, 3.2)
    kind = generator.integers(7)
    if kind == 0:  # nearly plain
        wave = 0.15 * along - 0.85
    elif kind == 1:  # grating
        wave = np.sin(pitch * along + phase)
    elif kind == 2:  # checks
        wave = np.sin(pitch * along + phase) * np.sin(pitch * athwart)
    elif kind == 3:  # rings
        wave = np.sin(2 * pitch * np.hypot(x - left, y - up) + phase)
    elif kind == 4:  # spokes
        wave = np.sin(generator.integers(2, 7) * np.arctan2(y - up, x - left) + phase)
    elif kind == 5:  # gradient
        wave = along
    else:  # blobs
        centres = generator.uniform(-1, 1, (6, 2))
        signs = generator.choice((-1, 1), 6)
        wave = sum(
            sign * np.exp(-6 * ((x - a) ** 2 + (y - b) ** 2)) for sign, (a, b) in zip(signs, centres, strict=True)
        )
    sharpness = generator.choice((1.0, 8.0))
    return 0.5 + 0.5 * np.clip(sharpness * wave, -1, 1)


def _shape(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return how much of each place a shape covers, [SIDE, SIDE] in [0, 1]: ellipse, square, bar, flower or star."""
    left, up = generator.uniform(-0.6, 0.6, 2)
    angle = generator.uniform(0, 2 * np.pi)
    across = np.cos(angle) * (x - left) + np.sin(angle) * (y - up)
    down = np.cos(angle) * (y - up) - np.sin(angle) * (x - left)
    across *= generator.uniform(0.6, 1.6)
    size = generator.uniform(0.35, 0.8)
    if generator.random() < 0.4:
        within = size - np.maximum(np.abs(across), np.abs(down))
    else:
        petals, depth = generator.integers(3, 8), generator.choice((0.0, 0.3, 0.5))
        within = size * (1 + depth * np.cos(petals * np.arctan2(down, across))) - np.hypot(across, down)
    return np.clip(0.5 + within * SIDE / 2, 0, 1)  # an edge is a pixel wide
