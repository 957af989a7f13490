"""Same seed, same mazes, starts, trajectories and frames: in any process, thread, batch position and import order."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mazes import renderer, simulator
from mazes.environment import MazeEnvironment
from mazes.layout import Layout, MazeConfig, generate_batch
from mazes.seeds import split_seeds

ROOT = Path(__file__).parents[1]
CONFIGS = {
    "random": MazeConfig(),
    "random, fine steps": MazeConfig(rows=5, columns=3, extra_openings=0.4, step_size="fine"),
    "fixed, brick": MazeConfig(kind="fixed", rows=2, columns=4, landmarks="none"),
    "imaze": MazeConfig(kind="imaze"),
    "randomised": MazeConfig(rows=4, domain_rand=True),
}
GOLDEN = {
    "random": "2b90c0cf9ef0fd27",
    "random, fine steps": "7cb4b692d824342b",
    "fixed, brick": "8e416f829de8a589",
    "imaze": "2f3e8bf9b6452da2",
    "randomised": "3d41bcc044c7a28c",
}


def trajectories(config, seeds, steps=300):
    """Play on by a fixed rule; return poses float64 [steps, B, 3], visits and mazes ended int [steps, B]."""
    world = MazeEnvironment(
        config, len(seeds), seeds=lambda row, episode: int(seeds[row]) + 1000 * episode, episode_steps=120, visit_cap=50
    )
    poses, visits, mazes = [], [], []
    for step in range(steps):
        # The rule knows a row by its maze alone, not by its place in the batch.
        world.step(
            ((world.seeds + np.uint64(step)) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)).astype(int) % 5 % 3
        )
        world.renew()
        poses.append(world.poses.copy())
        visits.append(world.visit.copy())
        mazes.append(world.seeds.copy())
    return np.stack(poses), np.stack(visits), np.stack(mazes)


def digest(*arrays):
    """Hash arrays; positions to a billionth of a metre, for a cosine's last bit is the machine's own."""
    sha = hashlib.sha256()
    for array in arrays:
        array = np.round(array * 1e9).astype(np.int64) if array.dtype == np.float64 else array
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def world_digest(config):
    """Hash mazes, the starts of six visits, and what comes of playing on."""
    seeds = split_seeds("validation", 0, 32)
    layouts = generate_batch(config, seeds)
    starts = [simulator.spawn(config, layouts, seeds, np.full(32, visit)) for visit in range(6)]
    return digest(*layouts, *starts, *trajectories(config, seeds))


def frames_digest():
    """Hash pictures and depths of every kind of maze."""
    seeds = split_seeds("validation", 0, 8)
    drawn = []
    for config in CONFIGS.values():
        layouts = generate_batch(config, seeds)
        poses = simulator.spawn(config, layouts, seeds, np.zeros(8, np.int64))
        drawn += [renderer.render(layouts, poses), renderer.render_depth(layouts, poses)]
    return digest(*drawn)


@pytest.mark.parametrize("name", CONFIGS)
def test_golden(name):
    """A seed means the same for ever and everywhere: published numbers rest on it."""
    assert world_digest(CONFIGS[name]) == GOLDEN[name]


@pytest.mark.parametrize(
    ("imports", "environment"),
    [
        ("import torch, nav_meta.learner, mazes.gymnasium_env", {"PYTHONHASHSEED": "1", "NUMBA_NUM_THREADS": "1"}),
        ("import mazes.paths, mazes.renderer, numpy", {"PYTHONHASHSEED": "2", "NUMBA_NUM_THREADS": "2"}),
    ],
)
def test_processes_import_orders_and_thread_counts(imports, environment):
    code = f"""
{imports}
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import test_determinism as t
print(*map(t.world_digest, t.CONFIGS.values()), t.frames_digest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*GOLDEN.values(), frames_digest()]


@pytest.mark.parametrize("name", CONFIGS)
def test_batch_positions(name):
    config, seeds = CONFIGS[name], split_seeds("validation", 0, 12)
    together = trajectories(config, seeds)
    order = np.random.default_rng(0).permutation(12)
    for one, other in zip(together, trajectories(config, seeds[order]), strict=True):
        assert np.array_equal(one[:, order], other)
    for one, other in zip(together, trajectories(config, seeds[7:8]), strict=True):
        assert np.array_equal(one[:, 7:8], other)


def test_frames_at_batch_positions():
    config, seeds = CONFIGS["random"], split_seeds("validation", 0, 12)
    layouts = generate_batch(config, seeds)
    poses = simulator.spawn(config, layouts, seeds, np.zeros(12, np.int64))
    frames, depths = renderer.render(layouts, poses), renderer.render_depth(layouts, poses)
    for rows in (np.random.default_rng(0).permutation(12), np.array([5]), np.array([3, 3, 3])):
        some = Layout(*(field[rows] for field in layouts))
        assert np.array_equal(renderer.render(some, poses[rows]), frames[rows])
        assert np.array_equal(renderer.render_depth(some, poses[rows]), depths[rows])


def test_threads():
    """Worlds stepped and drawn on four threads at once are those of one thread."""
    config = CONFIGS["random"]

    def play(first):
        seeds = split_seeds("validation", first, 4)
        layouts = generate_batch(config, seeds)
        poses = simulator.spawn(config, layouts, seeds, np.zeros(4, np.int64))
        return digest(*trajectories(config, seeds, steps=100), renderer.render(layouts, poses))

    alone = [play(first) for first in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(play, range(8))) == alone


@pytest.mark.parametrize("goal_moves", [False, True])
def test_a_saved_world_goes_on_as_if_never_stopped(goal_moves):
    config, limits = CONFIGS["random"], {"episode_steps": 40, "visit_cap": 15}
    one, other = (MazeEnvironment(config, 3, **limits, shaping=0.1, goal_moves=goal_moves) for _ in range(2))
    rng = np.random.default_rng(0)
    for step in range(100):
        actions = rng.integers(0, 3, size=3)
        one.step(actions)
        one.renew()
        if step == 60:
            assert (one.visit > 0).all()
            other.restore(one.state())
        elif step > 60:
            other.step(actions)
            other.renew()
            for a, b in zip((*one.time_step(), *one.hints()), (*other.time_step(), *other.hints()), strict=True):
                assert np.array_equal(a, b)


def test_a_saved_world_of_other_mazes_is_refused_before_anything_is_changed():
    world = MazeEnvironment(MazeConfig(rows=5, columns=5), 4)
    before = world.state()
    with pytest.raises(ValueError, match=r"of another size: _entered \[4, .*\], here \[4, "):
        world.restore(MazeEnvironment(MazeConfig(), 4, episode_steps=7).state())
    with pytest.raises(ValueError, match="holds 3 mazes, this one 4"):
        world.restore(MazeEnvironment(MazeConfig(rows=5, columns=5), 3).state())
    for name, value in world.state().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("actions", [[2], [2, 2], [2.0, 2.0, 2.0], [True, True, True], 2])
def test_what_is_no_action_for_each_maze_is_refused_before_anything_is_changed(actions):
    world = MazeEnvironment(MazeConfig(), 3)
    before = world.state()
    with pytest.raises(ValueError, match="actions must be 3 whole numbers"):
        world.step(np.array(actions))
    for name, value in world.state().items():
        np.testing.assert_array_equal(value, before[name])
