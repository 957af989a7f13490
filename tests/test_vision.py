"""The guard around torchvision, and what is drawn with it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nav_meta.vision import contact_sheet, torchvision

ROOT = Path(__file__).parents[1]


def run_beside_stub(tmp_path: Path, stub: str, code: str) -> str:
    """Return what `code` prints in a process where torchvision is `stub`."""
    (tmp_path / "torchvision.py").write_text(stub)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return result.stdout.strip()


def test_contact_sheet_places_frames_row_by_row():
    frames = np.random.default_rng(0).integers(1, 256, (5, 6, 8, 3), dtype=np.uint8)
    sheet = contact_sheet(frames, columns=3)
    assert sheet.dtype == np.uint8 and sheet.shape == (2 + 2 * (6 + 2), 2 + 3 * (8 + 2), 3)
    for n, frame in enumerate(frames):
        y, x = 2 + n // 3 * 8, 2 + n % 3 * 10
        assert np.array_equal(sheet[y : y + 6, x : x + 8], frame)
    assert not sheet[10:, 22:].any()  # the sixth place is empty


def test_contact_sheet_of_one_frame_is_the_frame():
    frames = np.full((1, 4, 6, 3), 7, dtype=np.uint8)
    assert np.array_equal(contact_sheet(frames, columns=4), frames[0])


def test_torchvision_is_imported_once():
    assert torchvision() is torchvision() is sys.modules["torchvision"]


@pytest.mark.parametrize(
    ("stub", "reason"),
    [
        ("raise OSError('no libcudart')", "OSError: no libcudart"),
        ("raise ModuleNotFoundError(\"No module named 'torchvision'\")", "No module named 'torchvision'"),
        ("raise RuntimeError('operator torchvision::nms does not exist')", "nms does not exist"),  # for good
    ],
)
def test_broken_torchvision_is_one_sentence(tmp_path, stub, reason):
    code = """
from nav_meta.errors import UserError
from nav_meta.vision import torchvision
try:
    torchvision()
except UserError as error:
    print(error)
"""
    message = run_beside_stub(tmp_path, stub, code)
    assert reason in message and "pip install" in message and "\n" not in message


def test_healthy_torchvision_is_not_patched(tmp_path):
    code = """
import torch
from nav_meta.vision import torchvision
print(torchvision().health, hasattr(torch.ops.torchvision, "nms"))
"""
    assert run_beside_stub(tmp_path, "health = 'good'", code) == "good False"


def test_cuda_torchvision_beside_cpu_torch_is_mended(tmp_path):
    stub = """
import torch
@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold): ...
@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold): ...
health = "mended"
"""
    assert run_beside_stub(tmp_path, stub, "import nav_meta.vision as v; print(v.torchvision().health)") == "mended"
