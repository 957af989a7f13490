"""Configurations: mistakes are named, and the defaults fit every machine."""

import os

import pytest

from mazes.layout import MazeConfig
from models.agent import AgentConfig
from nav_meta.config import PRESETS, LearnerConfig, RunConfig


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 5, 6, 16, 64])
def test_the_defaults_fit_any_number_of_cores(cores, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(cores), raising=False)
    assert RunConfig().workers == max(power for power in (1, 2, 4) if power <= cores)


def test_presets_are_what_their_names_say():
    assert PRESETS["default"].maze == MazeConfig("random", 3, 3)
    assert PRESETS["imaze"].maze.kind == PRESETS["quick"].maze.kind == "imaze"
    assert PRESETS["quick"].steps < PRESETS["imaze"].steps < PRESETS["default"].steps


@pytest.mark.parametrize(("side", "environments"), [(3, 2048), (5, 4096), (7, 4096)])
def test_presets_for_a_gpu(side, environments):
    gpu, cpu = PRESETS[f"gpu-{side}x{side}"], PRESETS["default"]
    assert gpu.maze == MazeConfig("random", side, side) and gpu.learner.environments == environments
    batches = [run.learner.environments * run.learner.rollout // run.learner.minibatches for run in (gpu, cpu)]
    assert 8 <= batches[0] / batches[1] <= 16 and gpu.workers == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LearnerConfig(environments=0), "environments must be at least 1, not 0"),
        (lambda: LearnerConfig(episode=100, rollout=64), r"episode \(100\) must be a multiple of rollout \(64\)"),
        (lambda: LearnerConfig(optimizer="sgd"), "optimizer must be adam or rmsprop, not 'sgd'"),
        (lambda: LearnerConfig(lambda_=1.5), "lambda_ must be between 0 and 1, not 1.5"),
        (lambda: RunConfig(workers=3), r"environments \(128\) must split evenly among workers \(3\)"),
        (lambda: RunConfig(workers=0), "must split evenly"),
        (lambda: RunConfig(height=8), "height must be between 16 and 480, not 8"),
        (lambda: RunConfig(steps=0), "steps must be at least 1, not 0"),
        (lambda: RunConfig(seed=-1), "seed must be between 0 and 4194303, not -1"),
        (lambda: RunConfig(seed=1 << 22), "seed must be between 0 and 4194303, not 4194304"),
        (lambda: LearnerConfig(learning_rate=-1e-3), "learning_rate must be at least 0, not -0.001"),
        (lambda: LearnerConfig(learning_rate=float("inf")), "learning_rate must be at least 0, not inf"),
        (lambda: LearnerConfig(max_gradient_norm=float("nan")), "max_gradient_norm must be above 0, not nan"),
        (lambda: LearnerConfig(final_entropy=float("nan")), "final_entropy must be a number, not nan"),
        (lambda: AgentConfig(channels=(0, 32)), r"channels must be at least 1, not \(0, 32\)"),
        (lambda: RunConfig(agent=AgentConfig(features=0)), "features must be at least 1, not 0"),
        (lambda: LearnerConfig(clip=0.0), "clip must be above 0, or None, not 0.0"),
        (lambda: LearnerConfig(freeze_encoder=True, ask_view=True), "add --learner.no-ask-view"),
        (lambda: RunConfig(teacher="runs/one", learner=LearnerConfig(rollout=256, ask_view=True)), "no-ask-view"),
    ],
)
def test_what_would_fail_late_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
