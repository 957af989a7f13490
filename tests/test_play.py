import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mazes.layout import Layout, MazeConfig
from mazes.paths import oracle_actions
from nav_meta.drawing import BACKDROP
from nav_meta.play import Game

ROOT = Path(__file__).parents[1]
KEYS = [ord("a"), ord("d"), ord("w")]


def test_a_game():
    game = Game(MazeConfig(rows=2, columns=2), 5)
    assert game.picture().shape == (600, 720, 3)
    game.press(ord("m"))
    assert game.picture().shape == (600, 1260, 3)
    world = game._world
    layout = Layout(*(field[0] for field in world.layouts))
    way = oracle_actions(world.config, layout, world.poses[0].copy())
    for action in way:
        assert game.latencies == []
        game.press(KEYS[action])
        game.press(-1)  # no key
    assert game.latencies == [len(way)]
    seed = world.seeds[0]
    game.press(ord("n"))
    assert world.seeds[0] != seed and game.latencies == [] and np.isfinite(game.picture()).all()
    heading = world.poses[0, 2]
    game.press(ord("A"))  # with Caps Lock
    assert world.poses[0, 2] != heading and not game.over
    game.press(ord("Q"))
    assert game.over


def test_what_was_before_fits_beside_the_present_visit():
    game = Game(MazeConfig(rows=2, columns=2), 5)
    game.latencies, game._oracle = [1234] * 30, [1000] * 31
    line = game.picture()[548:572]
    assert (line[:, 710:] == BACKDROP).all() and (line[:, 222:228] == BACKDROP).all()
    assert (line[:, 600:700] != BACKDROP).any()


def test_without_a_display():
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "scripts" / "play.py"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "there is no display" in result.stderr and result.stderr.count("\n") == 1
