"""RL^2's own protocol: two episodes in each maze, alike to the last bit but for what the agent remembers."""

import json

import numpy as np
import pytest

from mazes.environment import TimeStep
from mazes.layout import MazeConfig
from nav_meta import two_episodes
from nav_meta.evaluation import MazeSet, Visits
from nav_meta.report import Player


def test_figures() -> None:
    """Four mazes; the second episode of the last is given up."""
    played = Visits(
        np.array([[100, 20], [60, 60], [20, 40], [220, 250]]), np.array([[1, 1], [1, 1], [1, 1], [1, 0]]) > 0
    )
    walked = Visits(np.full((4, 2), 250), np.zeros((4, 2), np.bool_))
    figures = two_episodes.figures(played, walked)
    assert {name: value for name, value in figures.items() if not name.endswith(("/low", "/high"))} == {
        "first/successful": pytest.approx(100),
        "second/successful": pytest.approx(40),
        "first/all": pytest.approx(100),
        "second/all": pytest.approx(92.5),
        "first/of_random": pytest.approx(0.4),
        "second/of_random": pytest.approx(0.37),
        "success/first": pytest.approx(1),
        "success/second": pytest.approx(0.75),
        "ratio": pytest.approx(0.925),
        "improved": pytest.approx(0.5),
    }
    assert figures["second/all/low"] < 92.5 < figures["second/all/high"]
    never = two_episodes.figures(walked, walked)
    assert np.isnan(never["first/successful"]) and never["first/of_random"] == 1
    assert two_episodes.table({"agent": figures, "nobody": never})[1][1][1] == ""


def test_both_episodes_begin_with_the_same_picture_and_end_after_250_steps() -> None:
    told: list[TimeStep] = []

    class Turning:
        def __init__(self, batch: int, seed: int) -> None:
            pass

        def __call__(self, moment: TimeStep) -> np.ndarray:
            told.append(moment)
            return np.zeros(len(moment.first), np.int64)

    player = Player(Turning, 16, 16)
    rows = two_episodes.compare({"agent": player}, MazeConfig(kind="imaze"), MazeSet("validation", 0, 1))
    assert rows["agent"]["first/all"] == rows["agent"]["second/all"] == two_episodes.CAP == len(told) // 2
    assert np.array_equal(told[0].observation, told[250].observation)
    assert [moment.first[0] for moment in (told[0], told[250])] == [True, False]
    assert list(rows) == ["agent", "random walk", *two_episodes.PUBLISHED]
    assert rows["SNAIL (ViZDoom)"]["ratio"] == pytest.approx(0.69, abs=0.005)
    published = rows["RL^2, best run (ViZDoom)"]
    assert published["first/all"] == pytest.approx(0.993 * 52.4 + 0.007 * 250)
    assert published["first/of_random"] == pytest.approx(published["first/all"] / 188.6)


def test_command(script, tmp_path) -> None:
    result = script("evaluate.py", "--rl2", "--mazes", 4, "--json", tmp_path / "rl2.json")
    assert result.returncode == 0 and "SNAIL (ViZDoom)" in result.stdout
    rows = json.loads((tmp_path / "rl2.json").read_text())["rows"]
    assert 0 < rows["stacked LSTM (released)"]["first/of_random"] < 1
    for option in (("--controls",), ("--rooms", 3)):
        result = script("evaluate.py", "--rl2", *option)
        assert result.returncode == 2 and f"leave out {option[0]}" in result.stderr
