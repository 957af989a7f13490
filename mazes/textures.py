"""MiniWorld's own textures as mip pyramids, read from its installed files without importing it (importing it needs OpenGL)."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

WALL_TEXTURES = (
    "brick_wall",
    "airduct_grate",
    "asphalt",
    "cardboard",
    "cinder_blocks",
    "door_doom",
    "grass",
    "lava",
    "logo_mila",
    "marble",
    "metal_grill",
    "picket_fence",
    "slime",
    "stucco",
    "water",
    "wood_planks",
)
"""Names of the landmarks; the one at index `BRICK` is MiniWorld's plain maze wall."""
BRICK = 0
FLOOR = len(WALL_TEXTURES)
CEILING = FLOOR + 1
TEXTURES = (*WALL_TEXTURES, "floor_tiles_bw", "concrete_tiles")
"""All textures of a maze; the renderer knows each by its index here."""

TEXELS_PER_METRE = 512
"""MiniWorld `TEX_DENSITY`."""


CHANNEL_BITS = 21
"""Bits that a colour channel takes in a packed texel."""
WEIGHT = 1 << (CHANNEL_BITS - 8)
"""The weights of a filter sum to this: the weighted sum of packed texels is then the packed sum of each channel, at one multiplication a texel."""


class Pyramids(NamedTuple):
    """All mip pyramids, packed one after the other."""

    texels: np.ndarray
    """int64 [texels]: red, green and blue in `CHANNEL_BITS` bits each from the lowest up; rows go from bottom to top, as in OpenGL."""
    levels: np.ndarray
    """int64 [textures, levels, 3]: where a level begins, and the binary logarithms of its width and height; the last level is repeated."""
    repeats: np.ndarray
    """float64 [textures, 2]: repeats of the texture per metre, across and up, in units of 2**-32 repeats."""


@cache
def load() -> Pyramids:
    """Return the pyramids of `TEXTURES`.

    Raises:
        FileNotFoundError: when MiniWorld or one of its texture files is not installed.
    """
    spec = find_spec("miniworld")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package miniworld, whose textures cover the walls, is missing: pip install miniworld==2.1.0")
    folder = Path(spec.origin).parent / "textures"
    images = [_read(folder / f"{name}_1.png") for name in TEXTURES]
    pyramids = [_pyramid(image) for image in images]
    # One level more than the largest has, so that there always is a next one to mix with.
    depth = max(len(pyramid) for pyramid in pyramids) + 1
    levels = np.zeros((len(TEXTURES), depth, 3), np.int64)
    packed = []
    length = 0
    for texture, pyramid in enumerate(pyramids):
        for level, image in enumerate(pyramid):
            height, width = image.shape[:2]
            levels[texture, level:] = length, width.bit_length() - 1, height.bit_length() - 1
            packed.append(_pack(image))
            length += width * height
    repeats = [(TEXELS_PER_METRE / image.shape[1] * 2.0**32, TEXELS_PER_METRE / image.shape[0] * 2.0**32) for image in images]
    return Pyramids(np.concatenate(packed), levels, np.array(repeats))


def _pack(image: np.ndarray) -> np.ndarray:
    channels = image.reshape(-1, 3).astype(np.int64)
    return channels[:, 0] | channels[:, 1] << CHANNEL_BITS | channels[:, 2] << 2 * CHANNEL_BITS


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"MiniWorld's texture {path} cannot be read: pip install --force-reinstall miniworld==2.1.0")
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[::-1])


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Halve an image down to one texel, each level the area average of the one before (glGenerateMipmap).

    Sides that are no power of two are first stretched to the next, which lets the renderer wrap around with a bit mask.
    """
    width, height = (1 << (side - 1).bit_length() for side in image.shape[1::-1])
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = [image]
    while max(levels[-1].shape[:2]) > 1:
        height, width = (max(1, side // 2) for side in levels[-1].shape[:2])
        levels.append(cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA))
    return levels
