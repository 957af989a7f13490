"""The direction of the imports, and that importing does nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {"mazes", "models", "nav_meta", "scripts", "tests"}
ALLOWED = {  # which of ours each folder may import, beside itself
    "mazes": set(),
    "models": set(),
    "nav_meta": {"mazes", "models"},
    "scripts": {"mazes", "models", "nav_meta"},
}
ONLY_IN = {
    "miniworld": "mazes/reference.py",
    "sb3_contrib": "nav_meta/other_library.py",
    "stable_baselines3": "nav_meta/other_library.py",
    "torchvision": "nav_meta/vision.py",
    "vizdoom": "nav_meta/rivals.py",
}
FILES = [path.relative_to(ROOT) for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(path.parts[0] if node.level else node.module.partition(".")[0])
    return names


def test_every_folder_is_checked():
    assert {path.parts[0] for path in FILES} == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_arrows(path):
    folder = path.parts[0]
    names = imported(path)
    assert names & OURS <= ALLOWED[folder] | {folder} - {"scripts"}
    if folder == "models":
        assert names <= {"models", "torch"} | sys.stdlib_module_names
    for package, home in ONLY_IN.items():
        assert package not in names or path.as_posix() == home


def test_importing_does_no_work():
    """No environment variable or signal handler changes; nothing is loaded that needs OpenGL or is slow to load."""
    files = [path for path in FILES if path.parts[0] != "scripts"]
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files]
    code = f"""
import importlib, os, signal, sys
import matplotlib, numba, numpy, rich, scipy, torch
def state():
    environment = dict(os.environ)
    environment.pop("PYGAME_HIDE_SUPPORT_PROMPT", None)  # gymnasium's own doing
    return environment, {{s: signal.getsignal(s) for s in signal.valid_signals()}}, torch.get_num_threads()
before = state()
for module in {modules}:
    importlib.import_module(module)
too_much = {{"miniworld", "pyglet", "cv2", "torchvision", "moviepy", "vizdoom", "sb3_contrib"}} & set(sys.modules)
assert not too_much, too_much
assert state() == before
"""
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
