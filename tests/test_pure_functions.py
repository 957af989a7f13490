"""Pure functions of layouts and poses refuse what does not fit together: kernels do not look where an array ends."""

import numpy as np
import pytest

from mazes import paths, renderer, simulator
from mazes.layout import Layout, MazeConfig, generate_batch
from mazes.seeds import split_seeds


def test_as_many_poses_as_mazes():
    config, one = MazeConfig(), generate_batch(MazeConfig(), split_seeds("train", 0, 1))
    seeds, poses = split_seeds("train", 0, 4), np.zeros((4, 3))
    calls = {
        "poses must be 1, one for each maze, not 4": [
            lambda: renderer.render(one, poses),
            lambda: renderer.render_depth(one, poses),
            lambda: simulator.step(config, one, poses, np.zeros(4, int)),
            lambda: paths.oracle_steps(config, one, poses),
            lambda: paths.explorer_steps(config, one, poses, 10),
            lambda: paths.recogniser_steps(config, one, poses[:, None], 10),
        ],
        "out must be 1": [lambda: renderer.render(one, poses[:1], out=np.empty((4, 6, 8, 3), np.uint8))],
        "seeds must be 1": [lambda: simulator.spawn(config, one, seeds, np.zeros(4, int))],
        "visits must be 1": [lambda: simulator.spawn(config, one, seeds[:1], np.zeros(4, int))],
        "poses must be x, z and heading each": [lambda: renderer.render(one, np.zeros((1, 2)))],
        "actions must be 1 whole numbers between 0 and 2": [
            lambda: simulator.step(config, one, poses[:1], np.array([7])),
            lambda: simulator.step(config, one, poses[:1], np.zeros(2, int)),
        ],
    }
    for message, wrong in calls.items():
        for call in wrong:
            with pytest.raises(ValueError, match=message):
                call()
    again = Layout(*(field[np.zeros(4, int)] for field in one))  # as the message says
    assert (
        len(np.unique(paths.oracle_steps(config, again, simulator.spawn(config, again, seeds, np.zeros(4, int))))) > 1
    )


def test_mazes_no_larger_than_the_configuration():
    seven = generate_batch(MazeConfig(rows=7, columns=7), split_seeds("train", 0, 1))
    (layout,) = zip(*seven, strict=True)
    poses = simulator.spawn(MazeConfig(), seven, split_seeds("train", 0, 1), np.zeros(1, int))
    for call in (
        lambda: paths.oracle_steps(MazeConfig(), seven, poses),
        lambda: paths.explorer_steps(MazeConfig(), seven, poses, 10),
        lambda: paths.oracle_actions(MazeConfig(), Layout(*layout), poses[0]),
        lambda: paths.explorer_actions(MazeConfig(rows=7), Layout(*layout), poses[0], 10),
    ):
        with pytest.raises(ValueError, match="config must be of mazes as large as these, 7 x 7 rooms, not"):
            call()
