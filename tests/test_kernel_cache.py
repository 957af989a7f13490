"""Compiled kernels on disk: used again, but not when another file has changed what is in them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

STEP = """
import numpy as np
from mazes.layout import Layout, MazeConfig
from mazes.simulator import step

layout = Layout(np.ones((1, 1, 1), bool), np.zeros((1, 1, 1), np.uint8), np.full((1, 3), 9.0), None, None)
poses = np.array([[1.5, 1.5, 0.0]])
step(MazeConfig(), layout, poses, np.array([2]))
print(poses[0, 0])
"""
"""A step of 0.7 m towards the wall of a room of 3 m: an agent of a radius of up to 0.8 m makes it."""


@pytest.fixture
def walked(tmp_path):
    """Return where a step ends by a copy of the mazes, in a process of its own."""
    shutil.copytree(ROOT / "mazes", tmp_path / "mazes", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": "", "PYTHONDONTWRITEBYTECODE": "1"}

    def walk():
        command = [sys.executable, "-c", STEP]
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return float(result.stdout)

    return walk


def kept(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.nb[ic]")}


def test_a_kernel_is_compiled_again_when_a_constant_in_another_file_changes(walked, tmp_path):
    assert walked() == pytest.approx(2.2)
    layout = tmp_path / "mazes" / "layout.py"
    source = layout.read_text()
    assert "\nAGENT_RADIUS = 0.4\n" in source
    layout.write_text(source.replace("\nAGENT_RADIUS = 0.4\n", "\nAGENT_RADIUS = 0.9\n"))
    assert walked() == 1.5


def test_a_kernel_is_not_compiled_again_while_nothing_changes(walked, tmp_path):
    walked()
    before = kept(tmp_path)
    assert before
    walked()
    assert kept(tmp_path) == before
