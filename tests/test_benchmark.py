"""The benchmark: not how fast things are, but that it measures them and writes figures."""

import json
import time

import pytest
import torch
from PIL import Image

from mazes import reference
from mazes.layout import MazeConfig
from models.agent import AgentConfig
from nav_meta import benchmark, cuda_benchmark, rivals
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
    assert figures["world/gymnasium_steps_per_second"] > 0 and 0 < figures["world/reset_microseconds"] < 1000


@pytest.mark.opengl
def test_world_beside_miniworld(script):
    result = script(*WORLD)
    assert result.returncode == 0, result.stderr
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert names == [
        "world/steps_per_second",
        "world/gymnasium_steps_per_second",
        "world/miniworld_steps_per_second",
        "world/two_miniworlds_steps_per_second",
        "world/times_miniworld",
        "world/times_two_miniworlds",
        "world/reset_microseconds",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("what", ["world", "train", "parity"])
def test_no_gpu_is_said_so(script, what):
    result = script("benchmark.py", what, "--device", "cuda")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and len(result.stderr.splitlines()) == 1
    assert ("not parity" if what == "parity" else "torch finds no CUDA device") in result.stderr


def test_figures_of_a_gpu():
    rows = [cuda_benchmark.CudaSpeed(1024, 2e6, 1e6, 0.5, 0.25), cuda_benchmark.CudaSpeed(8192, 9e6, 8e6, 0.75, 0.5)]
    figures = cuda_benchmark.figures(rows)
    assert figures["world/steps_per_second"] == 9e6
    assert figures["world/cuda/1024/of_memory"] == 0.25 and len(figures) == 9
    heads, lines = cuda_benchmark.table(rows)
    assert len(heads) == len(lines[0]) and lines[1] == ["8,192", "9,000,000", "8,000,000", "75%", "50%"]


def test_table_and_its_figure(script, tmp_path, monkeypatch):
    """Without rivals: every size, batch and number of threads has its line, its figures and its place in the plot."""
    monkeypatch.setattr(reference, "available", lambda: "no OpenGL")
    monkeypatch.setattr(rivals, "vizdoom_missing", lambda: "ViZDoom is not installed")
    monkeypatch.setattr(benchmark, "_SHORT_SECONDS", 0.001)
    monkeypatch.setattr(benchmark, "SIDES", (2, 3))
    monkeypatch.setattr(benchmark, "BATCHES", (1, 4))
    result = script(*WORLD, "--plot", tmp_path / "speeds.png", "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "ViZDoom is not installed" in result.stderr
    assert result.stdout.count("ours, CPU") == 2 * 6 and "MiniWorld │" not in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    for picture, batch in (("80x60", 1), ("80x60", 4), ("40x30", 128), ("160x120", 128)):
        for threads in (1, 2):
            assert figures[f"world/3x3/{picture}/ours/{batch}x{threads}/steps_per_second"] > 0
    assert all(figures[f"world/{side}x{side}/reset_microseconds{end}"] > 0 for side in (2, 3) for end in ("", "/alone"))
    with Image.open(tmp_path / "speeds.png") as image:
        assert min(image.size) > 400


def test_rivals_in_processes():
    """Both processes answer, rates add up, and each contest's ratio is of its own rounds."""
    with rivals.Processes(make_counter, 2) as processes:
        processes.prepare(0.01, 5)
        one, two = processes.rate(0.1, 1), processes.rate(0.1)
        assert 0 < one <= 500 and one < two <= 1000
        processes.prepare(0.01, 50)
        assert processes.rate(0.1, 1) > 500
    rates = benchmark._take_turns({"ours": iter([0, 10, 30]).__next__, "theirs": iter([0, 1, 2]).__next__})
    assert rates == {"ours": [10, 30], "theirs": [1, 2]} and benchmark._ratio(*rates.values()) == 12.5


def test_a_process_that_dies_is_noticed():
    with rivals.Processes(make_counter, 1) as processes, pytest.raises(EOFError):
        processes.prepare("a", "b")


def make_counter(seconds, steps):
    def play():
        time.sleep(seconds)
        return steps

    return play


def test_vizdoom(monkeypatch):
    """It is played where it is installed; elsewhere a sentence says how to get it."""
    if missing := rivals.vizdoom_missing():
        assert "pip install" in missing
    else:
        assert rivals.make_vizdoom(120, 160)() > 0


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
    # Multiplications of one look: two convolutions, the linear layer, two LSTMs, the heads. Looked at nine times in
    # eight steps, and learnt from twice, which takes three looks each.
    look = 4 * 4 * 16 * 75 + 32 * 144 + 32 * 16 + 32 * (17 + 8) + 64 * (27 + 16) + 16 * 10
    assert figures["train/megaflop_per_step"] == pytest.approx(2 * look * (9 / 8 + 6) / 1e6)
