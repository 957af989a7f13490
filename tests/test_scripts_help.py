"""Every script explains itself, and says what it does not know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path.name for path in (ROOT / "scripts").glob("*.py"))
NEEDED = {"benchmark.py": ["world"], "release.py": ["run"], "train_task.py": ["two-step"]}
"""What a script cannot do without."""


def test_there_are_scripts():
    assert "train_nav.py" in SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "scripts" / name, "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower() and result.stderr == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_unknown_option(name, script):
    result = script(name, *NEEDED.get(name, []), "--no-such-option")
    assert result.returncode != 0
    assert "no-such-option" in result.stderr and "Traceback" not in result.stderr
