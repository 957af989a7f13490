"""Soak: very many steps, after each of which the world must still be a legal one, and memory that does not grow.

The short version is in the normal tests; `make test-slow ARGS="-k soak -s"` plays 10^8 steps, or as many as
NAV_META_SOAK_STEPS says. Pictures are drawn now and then only, else they would take nearly all the time.
"""

import os
import resource
import sys
import time

import numpy as np
import pytest
from legality import legal, reachable

from mazes import paths, renderer
from mazes.environment import MazeEnvironment
from mazes.layout import GAP, KINDS, ROOM, MazeConfig
from mazes.seeds import SPLITS, split_of

CONFIGS = (
    MazeConfig(),
    MazeConfig(rows=7, columns=4, extra_openings=0.5, step_size="fine", landmarks="none"),
    MazeConfig(kind="imaze"),
    MazeConfig(kind="fixed", rows=2, columns=2, extra_openings=1.0, respawn_distance=2.0),
    MazeConfig(rows=15, columns=15, extra_openings=0.0),
)
BATCH = 2048
EPISODE = 500
DRAWN = 250  # steps between pictures
PLAYS = {"dashing": (0.1, 0.1, 0.8), "turning left for ever": (1.0, 0.0, 0.0), "dithering": (0.4, 0.4, 0.2)}


def soak(config, steps, play="dashing", batch=BATCH):
    """Play, check after each step; return visits ended and how far peak memory grew after the first tenth, MiB."""
    rng = np.random.default_rng(0)
    world = MazeEnvironment(config, batch, height=12, width=16, episode_steps=EPISODE, visit_cap=200)
    turned = np.zeros(batch, np.int64)
    visits, warm = 0, None
    check_mazes(config, world.layouts, world.seeds)
    for step in range(-(-steps // batch)):
        actions = rng.choice(3, size=batch, p=PLAYS[play])
        world.step(actions)
        turned += np.where(actions == 0, 1, np.where(actions == 1, -1, 0))
        turned[world.ended.ended] = 0
        over = world.renew()
        if over.any():
            turned[over] = 0
            check_mazes(config, world.layouts, world.seeds)
        visits += world.ended.ended.sum()

        assert np.isfinite(world.poses).all()
        assert legal(world.layouts.open, world.layouts.goal, world.poses) == batch, "a wall, or the box"
        # Headings are not wrapped, as in MiniWorld: they are where the visit began plus whole turns.
        assert np.allclose(world.poses[:, 2], world.starts[:, 2] + turned * config.turn_step, rtol=0, atol=1e-9)
        assert (world.visit_step < 200).all() and (world.episode_step < EPISODE).all()
        if step % DRAWN == 0:
            check_pictures(config, world, rng)
        if step * batch >= steps // 10 and warm is None:
            warm = peak_memory()
    return visits, peak_memory() - warm


def check_mazes(config, layouts, seeds):
    """From every room in which the agent may be put there is a way to the goal's."""
    assert (split_of(seeds) == SPLITS["train"]).all()
    assert np.isfinite(layouts.goal).all()
    assert reachable(layouts.open, layouts.start, layouts.goal) == len(seeds)


def check_pictures(config, world, rng):
    frames = world.time_step().observation
    assert frames.shape == (world.batch, 12, 16, 3) and frames.dtype == np.uint8
    assert (frames.reshape(world.batch, -1).std(axis=1) > 0).all(), "one colour alone"
    rows = rng.choice(world.batch, size=8)
    layouts = type(world.layouts)(*(field[rows] for field in world.layouts))
    depth = renderer.render_depth(layouts, world.poses[rows], 12, 16)
    assert np.isfinite(depth).all() and (depth > 0).all()
    if config.rows <= 7 and config.step_size == "fast":
        # The way there is one of real steps: a search over the positions that they lead to.
        assert (paths.oracle_steps(config, layouts, world.poses[rows]) >= 0).all()


def peak_memory():
    """Return the most memory that this process ever held, MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.rows}x{config.columns}")
def test_short_soak(config):
    visits, _ = soak(config, 40_000, batch=64)
    assert visits > 100


@pytest.mark.parametrize("play", PLAYS)
def test_however_one_plays(play):
    soak(MazeConfig(), 20_000, play, batch=64)


def test_the_checks_can_fail():
    """An agent in a wall, one in the box and a goal behind walls are noticed."""
    world = MazeEnvironment(MazeConfig(), 3, height=4, width=4)
    open_, goal, poses = world.layouts.open, world.layouts.goal, world.poses
    assert legal(open_, goal, poses) == 3 and reachable(open_, world.layouts.start, goal) == 3
    poses[0, :2] = goal[0, :2]
    poses[1, :2] = ROOM + GAP / 2, ROOM + GAP / 2  # the pillar where four rooms meet
    assert legal(open_, goal, poses) == 1
    open_[2, 1::2] = open_[2, :, 1::2] = False
    assert reachable(open_, world.layouts.start, goal) == 2


@pytest.mark.slow
def test_soak():
    total = int(float(os.environ.get("NAV_META_SOAK_STEPS", "1e8")))
    for config in CONFIGS:
        clock = time.perf_counter()
        visits, growth = soak(config, total // len(CONFIGS))
        seconds = time.perf_counter() - clock
        print(
            f"{config.kind} {config.rows}x{config.columns} {config.step_size}: {total // len(CONFIGS):,} steps, "
            f"{visits:,} visits, {seconds:.0f} s, peak memory {growth:+.1f} MiB",
            flush=True,
        )
        assert growth < 8
    assert {config.kind for config in CONFIGS} == set(KINDS)
