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
_VARIANTS = {"cardboard": 4, "door_doom": 2, "grass": 2, "lava": 2, "marble": 2, "metal_grill": 2, "water": 3}
"""Of these walls MiniWorld has several files, of which domain randomisation picks one."""
_OTHERS = {"ceiling_tile_noborder": 1, "ceiling_tiles": 1, "concrete": 4, "drywall": 1, "rock": 1, "wood": 2}
OTHER_WALLS = tuple((name, number) for name, count in _OTHERS.items() for number in range(1, count + 1))
"""Names and numbers of the walls of `landmarks="other"`, a landmark each: what MiniWorld has beside, but
for doors, a floor and plain white."""
FILES = (
    *((name, 1) for name in TEXTURES),
    *((name, number) for name in WALL_TEXTURES for number in range(2, _VARIANTS.get(name, 1) + 1)),
    *OTHER_WALLS,
)
"""Names and numbers of all files: the textures, after them the variants, which the renderer knows by index too, and the
other walls."""
OTHER = len(FILES) - len(OTHER_WALLS)
"""Index of the first of the other walls."""
FIRST_OF = np.array([TEXTURES.index(name) if name in TEXTURES else FILES.index((name, n)) for name, n in FILES])
"""int64 [files]: which texture each is a variant of; the other walls are of themselves."""
VARIANT_COUNT = np.array([_VARIANTS.get(name, 1) if k < FLOOR else 1 for k, (name, _) in enumerate(FILES)])
"""int64 [files]: how many files domain randomisation picks from where a wall has this one."""
SECOND = np.array([FILES.index((name, 2)) if name in _VARIANTS else 0 for name in WALL_TEXTURES])
"""int64 [wall textures]: index of the second file of each, 0 where there is one; more follow it."""

TEXELS_PER_METRE = 512
"""MiniWorld `TEX_DENSITY`."""

LARGEST_SIDE = 1024
"""No texture is higher, in texels."""
BLOCK = 16
"""Columns of texels are filled up to whole blocks of this many."""


class Pyramids(NamedTuple):
    """All mip pyramids, one after the other."""

    texels: np.ndarray
    """uint8 [4 texels]: red, green, blue and 0 of each. A level is stored by columns from left to right, each from
    bottom to top and filled up to whole blocks: walls are drawn by column."""
    levels: np.ndarray
    """int64 [textures, levels, 5]: where a level begins, where its copy begins that is stretched to the height of the
    level below, its width and height in texels, and where in it the lowest texel's middle is, 2**-32 of its height; the
    last level is repeated."""
    repeats: np.ndarray
    """float64 [textures, 2]: repeats of the texture per metre, across and up."""


@cache
def load(variants: bool = False) -> Pyramids:
    """Return the pyramids of `TEXTURES`, or with `variants` of all `FILES`.

    Raises:
        FileNotFoundError: when MiniWorld or one of its texture files is not installed.
    """
    spec = find_spec("miniworld")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("MiniWorld, whose textures cover the walls, is missing: pip install miniworld==2.1.0")
    folder = Path(spec.origin).parent / "textures"
    files = FILES if variants else FILES[: len(TEXTURES)]
    images = [_read(folder / f"{name}_{number}.png") for name, number in files]
    pyramids = [_pyramid(image) for image in images]
    # One level more than the largest has, so that there always is a next one to mix with.
    depth = max(len(pyramid) for pyramid in pyramids) + 1
    levels = np.zeros((len(files), depth, 5), np.int64)
    parts: list[tuple[int, np.ndarray]] = []
    size = 0
    for texture, pyramid in enumerate(pyramids):
        for level, image in enumerate(pyramid):
            # There is no level below the lowest, whose copy is itself.
            copies = [image, _stretch(image, pyramid[level - 1].shape[1])] if level else [image]
            starts = []
            for copy in copies:
                starts.append(size)
                parts.append((size, copy))
                size += 4 * len(copy) * filled(copy.shape[1])
            levels[texture, level:] = starts[0], starts[-1], *image.shape[:2], 2**31 // image.shape[1]
        levels[texture, len(pyramid) :, 1] = levels[texture, -1, 0]  # as high as the last level
    texels = _zeros(size)
    for start, part in parts:
        width, height, _ = part.shape
        place = texels[start : start + 4 * width * filled(height)]
        place.reshape(width, -1, 4)[:, :height, :3] = part
    repeats = np.array([[TEXELS_PER_METRE / side for side in image.shape[:2]] for image in images])
    return Pyramids(texels, levels, repeats)


@njit(cache=True, forceinline=True)
def filled(height):
    """Return the length of a column of so many texels that is filled up to whole blocks."""
    return (height + BLOCK - 1) // BLOCK * BLOCK


def in_words(pyramids: Pyramids) -> Pyramids:
    """Return the same pyramids with texels uint32 [texels], so that a texel is read at once: red in the lowest byte."""
    return pyramids._replace(texels=pyramids.texels.view(np.uint32))


def _zeros(size: int) -> np.ndarray:
    """Return so many zero bytes that begin with a cache line: a block of texels then is one, not parts of two."""
    line = 4 * BLOCK
    space = np.zeros(size + line, np.uint8)
    start = -space.ctypes.data % line
    return space[start : start + size]


def _stretch(image: np.ndarray, height: int) -> np.ndarray:
    """Return the colours of a level uint8 [width, any height, 3] at the middles of the texels of a higher one."""
    side = image.shape[1]
    middles = (np.arange(height) + 0.5) * side / height - 0.5
    low = np.floor(middles).astype(np.int64)
    share = (middles - low)[:, None]
    return np.rint(image[:, low % side] * (1 - share) + image[:, (low + 1) % side] * share).astype(np.uint8)


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
    """Return the mip levels of an image uint8 [width, height, 3] as Mesa's glGenerateMipmap makes them."""
    levels = [image]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halve(_halve(levels[-1], axis=0), axis=1))  # across first: both are rounded
    return levels


def _halve(image: np.ndarray, axis: int) -> np.ndarray:
    """Halve an axis: linear filtering at the centres of the new texels, halves rounded up."""
    side = image.shape[axis]
    centres = (np.arange(max(1, side // 2)) + 0.5) * side / max(1, side // 2) - 0.5
    low = np.floor(centres).astype(np.int64)
    share = (centres - low).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
    below, above = image.take(low, axis), image.take(np.minimum(low + 1, side - 1), axis)
    return np.floor(below * (1 - share) + above * share + 0.5).astype(np.uint8)


@njit(cache=True)
def bake(pyramids, texture, level, light, width, height):
    """Return a texture under some light at a fractional mip level, resampled to so many strips of so many colours.

    A strip is a column from bottom to top, uint64 [height + 1]: grey levels of red, green and blue in 16 bits each
    from the lowest up. To be blended with, the lowest colour comes again after the highest, and the first strip after
    the last.
    """
    strips = np.zeros((width + 1, height + 1), np.uint64)
    for column in range(width + 1):
        for row in range(height + 1):
            for channel in range(3):
                grey = light * _trilinear(pyramids, texture, level, column / width, row / height, channel)
                strips[column, row] |= np.uint64(grey + 0.5) << np.uint64(16 * channel)
    return strips.reshape(-1)


@njit
def _trilinear(pyramids, texture, level, u, v, channel):
    low = int(level)
    finer = _bilinear(pyramids, texture, low, u, v, channel)
    return finer + (level - low) * (_bilinear(pyramids, texture, low + 1, u, v, channel) - finer)


@njit
def _bilinear(pyramids, texture, level, u, v, channel):
    """Return a channel of a mip level's colour at u repeats from the left and v from the bottom, as OpenGL does."""
    offset, _, width, height, _ = pyramids.levels[texture, level]
    stride = filled(height)
    x, y = u * width - 0.5, v * height - 0.5
    i, j = int(np.floor(x)), int(np.floor(y))
    total = 0.0
    for column, across in ((i, i + 1 - x), (i + 1, x - i)):
        for row, along in ((j, j + 1 - y), (j + 1, y - j)):
            texel = column % width * stride + row % height
            total += across * along * pyramids.texels[offset + 4 * texel + channel]
    return total
