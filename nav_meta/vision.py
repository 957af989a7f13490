"""torchvision, imported here and nowhere else, and only when a picture needs it."""

import importlib
import io
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from nav_meta.errors import UserError
from nav_meta.files import write_atomically

_NMS = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@cache
def torchvision() -> ModuleType:
    """Return the module torchvision.

    The Linux wheels on PyPI are built for CUDA: beside a CPU build of torch their compiled operators cannot load, and
    the import fails where it describes `torchvision::nms`. All but those operators is Python and works once the two
    that it asks for are declared. A torchvision that imports is left as it is.

    Raises:
        UserError: torchvision is missing or broken in another way.
    """
    try:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::nms does not exist" not in str(error):
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for schema in (_NMS, _NMS.replace("nms", "qnms")):
                _library().define(schema)
            return importlib.import_module("torchvision")
    except Exception as error:  # a broken package may raise anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"torchvision cannot be imported ({reason}); reinstall it with: pip install --force-reinstall --no-deps "
            "'torchvision>=0.28,<0.29'"
        ) from error


@cache
def _library() -> torch.library.Library:
    """Return torch's handle on the namespace `torchvision`; what it defines lasts as long as it does."""
    return torch.library.Library("torchvision", "FRAGMENT")


def contact_sheet(frames: np.ndarray, columns: int, scale: int = 1) -> np.ndarray:
    """Lay frames out in a grid, row by row, with a gap of two black pixels.

    Args:
        frames: uint8 [N, H, W, 3], N > 0.
        columns: frames in a row.
        scale: how many times as large each pixel is drawn.

    Returns:
        uint8 [H', W', 3].

    Raises:
        UserError: torchvision is missing or broken.
    """
    images = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    grid = torchvision().utils.make_grid
    if scale > 1:
        transforms = importlib.import_module("torchvision.transforms.v2.functional")
        size = [scale * side for side in images.shape[-2:]]
        images = transforms.resize(images, size, interpolation=transforms.InterpolationMode.NEAREST)
    return grid(images, nrow=columns).permute(1, 2, 0).numpy()


def write_contact_sheet(path: Path, frames: np.ndarray, columns: int, scale: int = 1) -> None:
    """Write a `contact_sheet` as a PNG file.

    Raises:
        UserError: torchvision is missing or broken, or the file cannot be written.
    """
    png = io.BytesIO()
    Image.fromarray(contact_sheet(frames, columns, scale)).save(png, "png")
    write_atomically(path, png.getvalue())
