"""The benchmark: not how fast things are, but that it measures them and writes figures."""

import json

import pytest

from mazes import reference
from mazes.layout import MazeConfig
from models.agent import AgentConfig
from nav_meta import benchmark
from nav_meta.config import LearnerConfig, RunConfig

WORLD = ("benchmark.py", "world", "--batch", 4, "--threads", 2, "--height", 16, "--width", 20)


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(benchmark, "_ROUNDS", 2)
    monkeypatch.setattr(benchmark, "_SECONDS", 0.02)


def test_world_without_opengl(script, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "available", lambda: "no OpenGL")
    result = script(*WORLD, "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["world/steps_per_second"] > 0 and "world/times_miniworld" not in figures
    assert {"config", "git_commit", "seconds", "steps"} <= figures.keys()
    assert result.stdout.startswith("world/steps_per_second  ")


@pytest.mark.opengl
def test_world_beside_miniworld(script):
    result = script(*WORLD)
    assert result.returncode == 0, result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == ["world/steps_per_second", "world/miniworld_steps_per_second", "world/times_miniworld"]


def test_training_and_its_shares():
    config = RunConfig(
        maze=MazeConfig(rows=2, columns=2),
        agent=AgentConfig(features=16, reward_units=8, units=16),
        learner=LearnerConfig(environments=8, rollout=8, episode=16, minibatches=2),
        height=16,
        width=16,
        workers=2,
    )
    figures = benchmark.training(config, updates=2)
    assert figures["train/steps_per_second"] > 0
    assert figures["train/act"] + figures["train/world"] + figures["train/learn"] == pytest.approx(1, abs=0.2)
