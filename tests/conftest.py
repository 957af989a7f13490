"""What all tests share: one thread each, property tests that CI can repeat, OpenGL that is never skipped in silence."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]

# Before torch is imported. Tests run in several processes and start more of their own.
os.environ["OMP_NUM_THREADS"] = "1"
# The CUDA path runs on numba's simulator, which must be chosen before numba is imported, unless a GPU is asked for.
os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
os.environ["NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS"] = "0"  # of numba, when a test gives a GPU little to do
os.environ["WANDB_MODE"] = "offline"  # no test uploads to the account of whoever runs it
# Nor share what numba has compiled: two processes that compile one kernel for different types at the same moment may
# give both results the same file name, and the cache would then hold the wrong code for one of them.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / f"numba_{worker}")

hypothesis.settings.register_profile("nav_meta", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("nav_meta")

OPENGL_MISSING = "OpenGL is missing"
NO_GPU = "No GPU"


@cache
def opengl_problem() -> str:
    """Return why MiniWorld cannot draw here, or nothing. Importing it opens a context, hence the process of its own."""
    probe = """
import pyglet
pyglet.options["headless"] = True
import gymnasium, miniworld
gymnasium.make("MiniWorld-MazeS2-v0").reset()
"""
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120)
    return result.stderr.strip().splitlines()[-1] if result.returncode else ""


@pytest.fixture(scope="session")
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in this process, which spares the seconds that its imports take."""

    def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", [name, *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                runpy.run_path(str(ROOT / "scripts" / name), run_name="__main__")
        return subprocess.CompletedProcess([name, *arguments], end.value.code or 0, out.getvalue(), err.getvalue())

    return run


def pytest_runtest_setup(item):
    if item.get_closest_marker("opengl") and (problem := opengl_problem()):
        stop = pytest.fail if os.environ.get("NAV_META_REQUIRE_OPENGL") == "1" else pytest.skip
        stop(f"{OPENGL_MISSING}: {problem}")
    if item.get_closest_marker("cuda") and os.environ["NUMBA_ENABLE_CUDASIM"] != "0":
        pytest.skip(f"{NO_GPU} asked for: NUMBA_ENABLE_CUDASIM=0 python -m pytest tests/test_cuda.py")


def pytest_terminal_summary(terminalreporter):
    without_gpu = [r for r in terminalreporter.getreports("skipped") if NO_GPU in str(r.longrepr)]
    if without_gpu:
        terminalreporter.section("NO GPU", yellow=True, bold=True)
        terminalreporter.line(f"{len(without_gpu)} tests that need one were NOT run.", yellow=True, bold=True)
        terminalreporter.line(without_gpu[0].longrepr[2], yellow=True, bold=True)
    skipped = [r for r in terminalreporter.getreports("skipped") if OPENGL_MISSING in str(r.longrepr)]
    if skipped:
        terminalreporter.section("OPENGL IS MISSING", red=True, bold=True)
        for line in (
            f"{len(skipped)} tests that hold the fast world against real MiniWorld were NOT run.",
            skipped[0].longrepr[2],
            "Debian and Ubuntu, as root: sh scripts/install_system.sh",
        ):
            terminalreporter.line(line, red=True, bold=True)
