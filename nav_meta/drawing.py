"""Anti-aliased shapes and text on uint8 [H, W, 3] RGB images; OpenCV draws them, imported only when a picture is made.

Points are (x, y) in pixels and fractions of them, to the right and down from the image's upper left corner. All
functions draw in place.
"""

from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np

from nav_meta.errors import UserError

Colour = tuple[int, int, int]

# Okabe and Ito's palette, which colour-blind people can tell apart: first visits, later ones, what is possible.
FIRST: Colour = (230, 159, 0)
LATER: Colour = (86, 180, 233)
ORACLE: Colour = (240, 228, 66)
FAILED: Colour = (204, 121, 167)

BACKDROP: Colour = (17, 19, 25)
PANEL: Colour = (33, 37, 46)
INK: Colour = (236, 239, 245)
DIM: Colour = (150, 158, 175)

_SHIFT = 4
"""OpenCV takes coordinates in 16ths of a pixel."""
_NO_WRAP = (0, 1 << 20)
"""Columns that a line of text may take."""


@cache
def opencv() -> ModuleType:
    """Return the module cv2.

    Raises:
        UserError: it is missing or one of the system's libraries that it needs is.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"pictures need OpenCV, which cannot be imported ({error}); "
            "on Debian and Ubuntu, as root: sh scripts/install_system.sh"
        ) from error
    return cv2


def polygon(image: np.ndarray, points: np.ndarray, colour: Colour, alpha: float = 1.0) -> None:
    """Fill a polygon of points [N, 2]; `alpha` 0 is invisible, 1 opaque."""
    layer = image if alpha == 1 else image.copy()
    opencv().fillPoly(layer, [_fixed(points)], colour, opencv().LINE_AA, _SHIFT)
    _blend(image, layer, alpha)


def polyline(
    image: np.ndarray, points: np.ndarray, colour: Colour, width: float, alpha: float = 1.0, closed: bool = False
) -> None:
    """Draw a line through points [N, 2], `width` pixels wide."""
    layer = image if alpha == 1 else image.copy()
    line = max(1, round(width))
    opencv().polylines(layer, [_fixed(points)], closed, colour, line, opencv().LINE_AA, _SHIFT)
    _blend(image, layer, alpha)


def disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour, alpha: float = 1.0) -> None:
    """Fill a circle."""
    layer = image if alpha == 1 else image.copy()
    opencv().circle(layer, _fixed(centre).tolist(), _fixed_length(radius), colour, -1, opencv().LINE_AA, _SHIFT)
    _blend(image, layer, alpha)


def ring(image: np.ndarray, centre: np.ndarray, radius: float, colour: Colour, width: float) -> None:
    """Draw a circle, its line `width` pixels wide."""
    line = max(1, round(width))
    opencv().circle(image, _fixed(centre).tolist(), _fixed_length(radius), colour, line, opencv().LINE_AA, _SHIFT)


def veil(image: np.ndarray, colour: Colour, alpha: float) -> np.ndarray:
    """Return the image under a colour; `alpha` 0 is invisible, 1 opaque."""
    if alpha == 0:
        return image
    greys = (1 - alpha) * np.arange(256)[:, None] + alpha * np.array(colour)
    return opencv().LUT(image, greys.astype(np.uint8)[:, None])


def text(
    image: np.ndarray,
    words: str,
    at: tuple[float, float],
    size: float,
    colour: Colour = INK,
    weight: int = 400,
    align: Literal["left", "centre", "right"] = "left",
) -> None:
    """Write one line with its left end, middle or right end `at` a point of the baseline.

    `size` is in pixels; `weight` 400 is regular, 700 bold.
    """
    x = at[0] - text_width(words, size, weight) * {"left": 0.0, "centre": 0.5, "right": 1.0}[align]
    opencv().putText(image, words, (round(x), round(at[1])), colour, _font(), _size(size), weight, 0, _NO_WRAP)


def text_width(words: str, size: float, weight: int = 400) -> int:
    """Return how many pixels a line takes."""
    _, _, width, _ = opencv().getTextSize((0, 0), words, (0, 0), _font(), _size(size), weight, 0, _NO_WRAP)
    return width


@cache
def _font() -> object:
    return opencv().FontFace("sans")


def _size(size: float) -> int:
    return max(8, round(size))  # smaller ones cannot be read


def _fixed(points: np.ndarray) -> np.ndarray:
    # OpenCV counts from the centre of the first pixel.
    return np.round((np.asarray(points) - 0.5) * (1 << _SHIFT)).astype(np.int32)


def _fixed_length(length: float) -> int:
    return round(length * (1 << _SHIFT))


def _blend(image: np.ndarray, layer: np.ndarray, alpha: float) -> None:
    if layer is not image:
        opencv().addWeighted(layer, alpha, image, 1 - alpha, 0, dst=image)
