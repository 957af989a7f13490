"""Pure functions of layouts and poses refuse what does not fit together: kernels do not look where an array ends."""

import numpy as np
import pytest

from mazes import exact, paths, renderer, simulator
from mazes.environment import MazeEnvironment
from mazes.layout import Layout, MazeConfig, empty_batch, generate_batch, moved_goals, write_batch
from mazes.seeds import split_seeds
from nav_meta import evaluation, two_episodes
from nav_meta.evaluation import MazeSet
from nav_meta.report import Player
from nav_meta.tasks.harlow import Harlow
from nav_meta.tasks.recall import Recall


def test_what_does_not_fit_together_is_refused():
    config, one = MazeConfig(), generate_batch(MazeConfig(), split_seeds("train", 0, 1))
    seeds, poses, inside = split_seeds("train", 0, 4), np.ones((4, 3)), np.ones((1, 3))
    calls = {
        "poses must be 1, one for each maze, not 4": [
            lambda: renderer.render(one, poses),
            lambda: renderer.render_depth(one, poses),
            lambda: simulator.step(config, one, poses, np.zeros(4, int)),
            lambda: paths.oracle_steps(config, one, poses),
            lambda: paths.explorer_steps(config, one, poses, 10),
            lambda: paths.recogniser_steps(config, one, poses[:, None], 10),
        ],
        r"out must be contiguous uint8 \[1, any, any, 3\]": [
            lambda: renderer.render(one, inside, out=np.empty((4, 6, 8, 3), np.uint8)),
            lambda: renderer.render(one, inside, out=np.empty((1, 6, 8, 2), np.uint8)),
            lambda: renderer.render(one, inside, out=np.empty((1, 6, 8, 3), np.float32)),
            lambda: renderer.render(one, inside, out=np.empty((1, 6, 16, 3), np.uint8)[:, :, ::2]),
        ],
        r"out must be contiguous uint8 \[1, 30, 40, 3\]": [
            lambda: MazeEnvironment(config, 1).time_step(np.empty((1, 60, 80, 3), np.uint8)),
            lambda: Harlow(1).time_step(np.empty((2, 30, 40, 3), np.uint8)),
        ],
        "poses must lie in the mazes": [
            lambda pose=pose: renderer.render(one, np.array([pose]))
            for pose in ((0.0, 1.0, 0.0), (1.0, 9.5, 0.0), (-50.0, 1.0, 0.0), (np.nan, 1.0, 0.0), (1.0, 1.0, np.inf))
        ],
        "layouts must be of mazes with domain_rand": [
            lambda: exact.render(one, inside, np.empty((1, 6, 8, 3), np.uint8)),
            lambda: exact.render_depth(one, inside, np.empty((1, 6, 8), np.float32)),
        ],
        "steps must be 1 for all or 1": [
            lambda: simulator.step(config, one, inside, np.zeros(1, int), np.zeros((0, 3))),
        ],
        "counts must be 4": [lambda: simulator.draw_steps(MazeConfig(domain_rand=True), seeds, np.zeros(1, int))],
        "poses must be 1, one for each field": [lambda: paths.look_up(config, paths.empty_fields(config, 1), poses)],
        "indices must be between 0 and 0": [
            lambda: paths.write_fields(config, one, paths.empty_fields(config, 1), np.array([5])),
        ],
        "fields must be 1": [lambda: paths.write_fields(config, one, paths.empty_fields(config, 4), np.array([0]))],
        "seeds must be 1, one for each maze": [lambda: write_batch(config, seeds, one)],
        "layouts must be of 3 x 3 rooms": [lambda: write_batch(config, seeds, empty_batch(MazeConfig(rows=2), 4))],
        "seeds must be whole numbers": [
            lambda: generate_batch(config, seeds.astype(float)),
            lambda: generate_batch(config, seeds[None]),
            lambda: moved_goals(config, -np.ones(2, int)),
            lambda: evaluation.run_visits(evaluation.RandomWalk, config, seeds + np.arange(4)),
        ],
        "seeds must be 1": [lambda: simulator.spawn(config, one, seeds, np.zeros(4, int))],
        "visits must be 1": [lambda: simulator.spawn(config, one, seeds[:1], np.zeros(4, int))],
        "poses must be x, z and heading each, float64": [
            lambda: renderer.render(one, inside[:, :2]),
            lambda: simulator.step(config, one, np.ones((1, 3), int), np.zeros(1, int)),
        ],
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
    starts = simulator.spawn(config, again, seeds, np.zeros(4, int))
    assert len(np.unique(paths.oracle_steps(config, again, starts))) > 1


def test_tasks_refuse_what_does_not_fit():
    task, state = Recall(4), Recall(1).state()
    for actions in (np.full(4, -1), np.full(4, 3), np.zeros(1, int), np.zeros(4), 0):
        with pytest.raises(ValueError, match="actions must be 4 whole numbers between 0 and 2"):
            task.step(actions)
    with pytest.raises(ValueError, match=r"the saved state is of other episodes: _step \[1\], here \[4\]"):
        task.restore(state)
    for phases in ([3], [0.5] * 4, [-5] * 4):
        with pytest.raises(ValueError, match="phases must be 4 whole numbers"):
            Harlow(4, phases=np.array(phases))


def test_what_is_remembered_of_mazes_cannot_be_written_to():
    possible = evaluation.references(MazeConfig(rows=2, columns=2), MazeSet("test", 0, 2), 2)
    with pytest.raises(ValueError, match="read-only"):
        possible.oracle[:] = 1000


def test_controls_have_no_place_in_the_other_protocol():
    agents = {"moved": Player(evaluation.RandomWalk, 8, 8, goal_moves=True)}
    with pytest.raises(ValueError, match="moved must play in the protocol's own mazes"):
        two_episodes.compare(agents, MazeConfig(), MazeSet("test", 0, 1))


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
