"""MiniWorld's own textures as mip pyramids, read from its installed files: importing MiniWorld itself needs OpenGL."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from PIL import Image

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
"""Bits that a colour channel takes in a packed texel. A weighted sum of packed texels is the packed weighted sum of
each channel, at one multiplication a texel, while the weights sum to at most 4 `WEIGHT`."""
WEIGHT = 1 << (CHANNEL_BITS - 10)
"""The weight of one of the four samples of a pixel at full brightness."""
ROUNDING = sum(2 * WEIGHT << CHANNEL_BITS * channel for channel in range(3))
"""Half a grey level of four samples, in each channel."""


class Pyramids(NamedTuple):
    """All mip pyramids, packed one after the other."""

    texels: np.ndarray
    """int64 [texels]: red, green and blue in `CHANNEL_BITS` bits each from the lowest up. A level is stored by columns
    from left to right, each from bottom to top: walls are drawn by column."""
    levels: np.ndarray
    """int64 [textures, levels, 3]: where a level begins, and the binary logarithms of its width and height; the last
    level is repeated."""
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
        raise FileNotFoundError("MiniWorld, whose textures cover the walls, is missing: pip install miniworld==2.1.0")
    folder = Path(spec.origin).parent / "textures"
    images = [_read(folder / f"{name}_1.png") for name in TEXTURES]
    pyramids = [_pyramid(image) for image in images]
    # One level more than the largest has, so that there always is a next one to mix with.
    depth = max(len(pyramid) for pyramid in pyramids) + 1
    texels = np.empty(sum(level.shape[0] * level.shape[1] for pyramid in pyramids for level in pyramid), np.int64)
    levels = np.zeros((len(TEXTURES), depth, 3), np.int64)
    offset = 0
    for texture, pyramid in enumerate(pyramids):
        for level, image in enumerate(pyramid):
            width, height = image.shape[:2]
            levels[texture, level:] = offset, width.bit_length() - 1, height.bit_length() - 1
            _pack(image.reshape(-1, 3), texels[offset : offset + width * height])
            offset += width * height
    repeats = np.array([[TEXELS_PER_METRE / side * 2.0**32 for side in image.shape[:2]] for image in images])
    return Pyramids(texels, levels, repeats)


@njit(nogil=True, cache=True)
def _pack(channels, texels):
    for i in range(len(texels)):
        red, green, blue = np.int64(channels[i, 0]), np.int64(channels[i, 1]), np.int64(channels[i, 2])
        texels[i] = red | green << CHANNEL_BITS | blue << (2 * CHANNEL_BITS)


def _read(path: Path) -> np.ndarray:
    """Return an image as uint8 [width, height, 3], each column from bottom to top as in OpenGL."""
    try:
        image = np.asarray(Image.open(path).convert("RGB"))
    except OSError as error:
        raise FileNotFoundError(
            f"MiniWorld's texture {path} cannot be read: pip install --force-reinstall miniworld==2.1.0"
        ) from error
    return np.ascontiguousarray(np.rot90(image, -1))


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Return the mip levels of an image uint8 [width, height, 3], as Mesa's glGenerateMipmap makes them.

    Only then are sides that are no power of two stretched to the next, which lets the renderer wrap around with a mask.
    """
    width, height = (1 << (side - 1).bit_length() for side in image.shape[:2])
    levels = [image]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halve(_halve(levels[-1], axis=0), axis=1))  # across first: both are rounded
    return [
        np.asarray(Image.fromarray(level).resize((max(1, height >> k), max(1, width >> k)), Image.Resampling.BILINEAR))
        for k, level in enumerate(levels)
    ]


def _halve(image: np.ndarray, axis: int) -> np.ndarray:
    """Halve an axis: linear filtering at the centres of the new texels, halves rounded up."""
    side = image.shape[axis]
    centres = (np.arange(max(1, side // 2)) + 0.5) * side / max(1, side // 2) - 0.5
    low = np.floor(centres).astype(np.int64)
    share = (centres - low).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
    below, above = image.take(low, axis), image.take(np.minimum(low + 1, side - 1), axis)
    return np.floor(below * (1 - share) + above * share + 0.5).astype(np.uint8)
