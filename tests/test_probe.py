"""Probes must find what is there, and nothing that is not."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from mazes.environment import MazeEnvironment, questions
from mazes.layout import GAP, PITCH, MazeConfig
from mazes.seeds import split_seeds
from models.agent import Agent, AgentConfig
from nav_meta import checkpoint, probe
from nav_meta.config import RunConfig
from nav_meta.errors import UserError
from nav_meta.loading import load_agent
from nav_meta.probe import PARTS, PHASES, TARGETS, Moments, Probe

CONFIG = MazeConfig(rows=2, columns=2)
MAZES = 24
CLASSES = 4


def untrained(folder: Path, memory: str = "stacked") -> Path:
    """Return the checkpoint of a small agent that has learnt nothing; in 2x2 rooms it finds the goal all the same."""
    sizes = {"channels": (4, 8), "features": 16, "reward_units": 8, "units": 12}
    config = RunConfig(maze=CONFIG, height=16, width=16, agent=AgentConfig(memory=memory, **sizes))
    torch.manual_seed(0)
    agent = Agent(
        config.agent, (config.height, config.width, 3), MazeEnvironment.actions, len(questions(False, False, False))
    )
    path = checkpoint.path_of(folder / memory / "checkpoints", 0)
    checkpoint.save(path, {"config": asdict(config), "agent": agent.state_dict(), "step": 0})
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Moments:
    loaded = load_agent(untrained(tmp_path_factory.mktemp("agents")))
    return probe.record(loaded, CONFIG, split_seeds("validation", 0, 12), seed=3)


def drawn(seed: int, code: float) -> Moments:
    """Return moments of mazes in which LSTM-2 holds every truth in a linear code and the features hold nothing."""
    generator = np.random.default_rng(seed)
    places = (2 * MAZES, len(PHASES), 12)
    maze, phase, visit_step = (axis.ravel() for axis in np.indices(places))
    count = len(maze)
    truth = {target: generator.integers(CLASSES, size=count) for target in TARGETS}
    told = np.concatenate([np.eye(CLASSES)[labels] for labels in truth.values()], axis=1)
    code = code * told @ np.random.default_rng(0).normal(size=(told.shape[1], 40))
    states = {
        "features": generator.normal(size=(count, 10)).astype(np.float32),
        "lstm2": (code + generator.normal(size=(count, 40))).astype(np.float32),
    }
    return Moments(states, truth, maze, phase, visit_step.astype(np.int32))


def test_a_linear_code_is_found_and_noise_is_at_chance() -> None:
    figures = probe.figures(drawn(1, code=3), drawn(2, code=3))
    for target in TARGETS:
        for part in PARTS:
            known, blank = (f"probe/{state}/{target}/{part}" for state in ("lstm2", "features"))
            assert figures[f"{known}/accuracy/low"] > 0.9
            assert figures[f"{known}/accuracy/low"] <= figures[f"{known}/accuracy"] <= figures[f"{known}/accuracy/high"]
            assert abs(figures[f"{blank}/accuracy"] - 1 / CLASSES) < 0.1
            # Some class is at least as frequent as all are on average, in these moments as in those of the fit.
            assert 1 / CLASSES <= figures[f"{blank}/chance"] == figures[f"{known}/chance"] < 0.35
    assert figures["probe/moments/after"] == 12 * 2 * MAZES == 4 * figures["probe/moments/after_early"]


def test_knowing_the_mazes_it_was_fitted_in_helps_no_probe() -> None:
    """States that name their maze, and nothing else, tell a maze's label where they were fitted only."""
    names = np.random.default_rng(0).normal(size=(2 * MAZES, 60)).astype(np.float32)
    labels = np.random.default_rng(1).integers(CLASSES, size=2 * MAZES)
    maze = np.repeat(np.arange(MAZES), 20)
    fitted = Probe(names[maze], labels[maze], maze)
    assert (fitted.predict(names[:MAZES]) == labels[:MAZES]).mean() > 0.8
    assert (fitted.predict(names[MAZES:]) == labels[MAZES:]).mean() < 0.5


def test_labels_need_not_be_consecutive() -> None:
    states = np.repeat(np.eye(3, dtype=np.float32), 8, axis=0)
    labels = np.repeat([2, 5, 11], 8)
    np.testing.assert_array_equal(Probe(states, labels, np.arange(24)).predict(np.eye(3, dtype=np.float32)), [2, 5, 11])


def test_moments_are_what_they_are_called(recorded: Moments) -> None:
    count = len(recorded.maze)
    sizes = {name: values.shape for name, values in recorded.states.items()}
    assert sizes == {"features": (count, 16), "lstm1": (count, 2 * 8), "lstm2": (count, 2 * 12)}
    assert all(values.dtype == np.float32 for values in recorded.states.values())
    assert list(recorded.truth) == list(TARGETS) and all(len(labels) == count for labels in recorded.truth.values())
    assert set(recorded.maze) == set(range(12))
    assert max(np.unique([recorded.maze, recorded.phase], axis=1, return_counts=True)[1]) <= 24
    in_sight = recorded.part(PARTS["in_sight"])
    assert set(in_sight.truth["goal_direction"]) <= {7, 0, 1}, "what is in the picture is ahead"
    assert (recorded.part(PARTS["after_early"]).visit_step < 3).all()
    assert {0, 3, 4} & set(recorded.part(PARTS["after"]).truth["goal_direction"]) != set()
    for maze in range(12):
        assert len(set(recorded.truth["goal_room"][recorded.maze == maze])) == 1, "the goal stays"


def test_truths_by_hand() -> None:
    environment = MazeEnvironment(MazeConfig(), 3, height=16, width=16)
    environment.layouts.goal[:] = 2 * PITCH + 1, PITCH + 1, 0  # the middle room of the eastern column
    environment.poses[0] = 1, PITCH + 1, 0  # two rooms to the west of it, looking east
    environment.poses[1] = 2 * PITCH + 1, 1, np.pi / 2  # to the north of it, looking north
    environment.poses[2] = 2 * PITCH - GAP / 4, PITCH + 1, -np.pi / 2  # in the gap to its west, looking south
    truths = probe.truths(environment)
    assert set(truths) == set(TARGETS)
    np.testing.assert_array_equal(truths["goal_direction"], [0, 4, 2])  # ahead, behind, to the left
    np.testing.assert_array_equal(truths["goal_distance"], [2, 1, 0])
    np.testing.assert_array_equal(truths["goal_room"], [5, 5, 5])
    np.testing.assert_array_equal(truths["room"], [3, 2, 5])
    np.testing.assert_array_equal(truths["heading"], [0, 2, 6])
    np.testing.assert_array_equal(truths["goal_landmark"], environment.layouts.texture[:, 2, 4])
    np.testing.assert_array_equal(truths["landmark"], environment.layouts.texture[[0, 1, 2], [2, 0, 2], [0, 4, 4]])


def test_moments_kept_are_drawn_evenly() -> None:
    sample = probe._Sample(200, seed=0)
    mazes = np.arange(200)
    for step in range(100):
        sample.add(mazes, np.zeros(200, np.int64), {"visit_step": np.full(200, step)})
    kept = sample.moments()
    assert len(kept.maze) == 200 * 24
    assert all(len(set(kept.visit_step[kept.maze == maze])) == 24 for maze in mazes)
    assert abs(kept.visit_step.mean() - 49.5) < 2


def test_an_agent_without_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no LSTM to probe"):
        probe.record(load_agent(untrained(tmp_path, "none")), CONFIG, split_seeds("test", 0, 2))


def test_one_lstm_is_probed_as_the_second(tmp_path: Path) -> None:
    moments = probe.record(load_agent(untrained(tmp_path, "single")), CONFIG, split_seeds("test", 0, 2))
    assert list(moments.states) == ["features", "lstm2"]


def test_a_phase_without_moments_is_refused(recorded: Moments) -> None:
    never = recorded._replace(phase=np.zeros_like(recorded.phase))
    with pytest.raises(UserError, match="too few of these mazes"):
        probe.figures(recorded, never)


def test_script(tmp_path: Path, script) -> None:
    json_path, plot = tmp_path / "figures.json", tmp_path / "plots" / "probe.png"
    result = script("probe.py", untrained(tmp_path), "--mazes", 12, "--json", json_path, "--plot", plot)
    assert result.returncode == 0 and result.stderr == ""
    assert "goal's direction" in result.stdout and "LSTM-1" in result.stdout and "chance" in result.stdout
    figures = json.loads(json_path.read_text())
    for name in ("accuracy", "accuracy/low", "accuracy/high", "chance"):
        assert 0 <= figures[f"probe/lstm2/goal_direction/after/{name}"] <= 1
    assert plot.read_bytes().startswith(b"\x89PNG") and {"config", "git_commit", "seconds"} <= figures.keys()


def test_script_refuses_what_cannot_be(tmp_path: Path, script) -> None:
    for options, said in (
        ((untrained(tmp_path, "none"),), "no LSTM"),
        (("--mazes", 1), "--mazes must be between 2 and 100000"),
    ):
        result = script("probe.py", *options)
        assert result.returncode == 2 and said in result.stderr and result.stderr.count("\n") == 1
