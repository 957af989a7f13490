"""Layouts: connected, reproducible from the seed, fair to the agent, and never shared by training and evaluation."""

import hashlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from mazes import seeds, simulator
from mazes.environment import MazeEnvironment
from mazes.layout import (
    AGENT_RADIUS,
    BOX_RADIUS,
    GAP,
    KINDS,
    LANDMARKS,
    PITCH,
    ROOM,
    STEP_SIZES,
    MazeConfig,
    generate,
    generate_batch,
    moved_goals,
)
from mazes.textures import BRICK, OTHER_WALLS, WALL_TEXTURES

CONFIGS = st.builds(
    MazeConfig,
    kind=st.sampled_from(KINDS),
    rows=st.integers(2, 15),
    columns=st.integers(2, 15),
    extra_openings=st.floats(0, 1),
    landmarks=st.sampled_from(LANDMARKS),
)
SEEDS = st.integers(0, 2**64 - 1)


@given(CONFIGS, SEEDS)
def test_every_room_can_be_reached(config, seed):
    maze = generate(config, seed)
    rooms, gaps = maze.open[::2, ::2], maze.open.sum() - maze.open[::2, ::2].sum()
    assert rooms.sum() == config.rooms
    assert label(maze.open)[1] == 1
    assert not maze.open[1::2, 1::2].any(), "where four rooms meet there is a pillar"
    if config.kind == "imaze" or config.extra_openings == 0:
        assert gaps == config.rooms - 1, "a tree"
    elif config.extra_openings == 1:
        assert gaps == 2 * config.rooms - config.rows - config.columns, "no wall is left"


@given(CONFIGS, SEEDS)
def test_goals_and_starts(config, seed):
    maze = generate(config, seed)
    rooms = []
    for x, z, heading in (maze.goal, moved_goals(config, np.array([seed], np.uint64))[0]):
        r, c = int(z // PITCH), int(x // PITCH)
        assert maze.open[2 * r, 2 * c]
        for place, low in ((x, c * PITCH), (z, r * PITCH)):
            assert low + BOX_RADIUS <= place <= low + ROOM - BOX_RADIUS, "the box keeps clear of walls and of openings"
        assert -np.pi <= heading < np.pi
        if config.kind == "imaze":
            assert r in (0, 2) and c in (0, 4)
        rooms.append((r, c))
    assert rooms[0] != rooms[1], "the goal moves to another room"
    assert maze.start.any() and maze.open[::2, ::2][maze.start].all()
    if config.kind == "imaze":
        assert np.argwhere(maze.start).tolist() == [[1, 1], [1, 2], [1, 3]]
    else:
        assert maze.start.all()


@given(CONFIGS, SEEDS)
def test_textures_do_not_repeat_before_all_are_used(config, seed):
    maze = generate(config, seed)
    rooms = maze.texture[::2, ::2][maze.open[::2, ::2]]
    if config.landmarks == "none":
        assert (maze.texture == BRICK).all()
        return
    first, count = config.deck
    assert count == len(OTHER_WALLS if config.landmarks == "other" else WALL_TEXTURES)
    counts = np.bincount(rooms - first, minlength=count)
    assert len(counts) == count
    assert counts.max() - counts.min() <= 1
    for i, j in np.argwhere(maze.open):
        assert maze.texture[i, j] == maze.texture[i - i % 2, j - j % 2], "a gap looks like the room before it"


@given(CONFIGS, st.lists(SEEDS, min_size=1, max_size=5))
def test_batch_is_many_single_ones(config, some):
    batch = generate_batch(config, np.array(some, np.uint64))
    moved = moved_goals(config, np.array(some, np.uint64))
    for row, seed in enumerate(some):
        for field, single in zip(batch, generate(config, seed), strict=True):
            assert np.array_equal(field[row], single)
        assert np.array_equal(moved[row], moved_goals(config, np.array([seed], np.uint64))[0])


@given(CONFIGS, SEEDS)
def test_landmarks_change_textures_alone(config, seed):
    """Walls, goals and starts are the same without landmarks: what it costs to lose them can be measured."""
    one, seeds_ = np.ones(1, np.int64), np.array([seed], np.uint64)
    alike = [replace(config, landmarks=landmarks) for landmarks in LANDMARKS]
    here, *others = (generate_batch(other, seeds_) for other in alike)
    for there in others:
        for name, a, b in zip(here._fields, here, there, strict=True):
            assert name == "texture" or np.array_equal(a, b)
    starts = [simulator.spawn(other, maze, seeds_, one) for other, maze in zip(alike, (here, *others), strict=True)]
    goals = [moved_goals(other, seeds_) for other in alike]
    assert all(np.array_equal(starts[0], start) for start in starts)
    assert all(np.array_equal(goals[0], goal) for goal in goals)


@given(CONFIGS, SEEDS, SEEDS)
def test_what_stays_for_ever(config, one, other):
    a, b = generate(config, one), generate(config, other)
    same = np.array_equal(a.open, b.open) and np.array_equal(a.texture, b.texture)
    if config.kind != "random":
        assert same
    if one != other:
        assert config.kind == "imaze" or not np.array_equal(a.goal, b.goal)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MazeConfig(), "21898fe2e2fb7e30"),
        (MazeConfig(rows=7, columns=12, extra_openings=0.4), "ae333df814cc47dc"),
        (MazeConfig(kind="fixed", landmarks="none"), "f2e2a59826caa567"),
        (MazeConfig(kind="imaze"), "5ed5280548833153"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_golden(config, expected):
    """A seed means the same maze for ever and everywhere: published numbers rest on it."""
    mazes = generate_batch(config, seeds.split_seeds("test", 0, 100))
    starts = simulator.spawn(config, mazes, seeds.split_seeds("test", 0, 100), np.arange(100) % 6)
    digest = hashlib.sha256()
    for field in (*mazes, starts):
        digest.update(np.ascontiguousarray(field).tobytes())
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_the_goal_moves_to_all_other_rooms_equally_often(kind):
    config, drawn = MazeConfig(kind=kind, rows=2), seeds.split_seeds("test", 0, 6000)
    places = [(generate_batch(config, drawn).goal, moved_goals(config, drawn))[n][:, 1::-1] // PITCH for n in (0, 1)]
    pairs = np.unique(np.concatenate(places, axis=1), axis=0, return_counts=True)[1]
    rooms = 4 if kind == "imaze" else 6
    assert len(pairs) == rooms * (rooms - 1)
    assert abs(pairs / pairs.mean() - 1).max() < 0.35


def test_random_mazes_differ():
    large = generate_batch(MazeConfig(rows=6, columns=6), seeds.split_seeds("train", 0, 2000))
    assert len(np.unique(large.open.reshape(2000, -1), axis=0)) == 2000
    mazes = generate_batch(MazeConfig(), seeds.split_seeds("train", 0, 2000))
    assert len(np.unique(mazes.texture[:, 0, 0])) == len(WALL_TEXTURES)
    cells = (mazes.goal[:, :2] // PITCH).astype(int)
    share = np.bincount(cells[:, 1] * 3 + cells[:, 0], minlength=9) / 2000
    assert abs(share - 1 / 9).max() < 0.03, "the goal is in every room equally often"


@given(st.sampled_from(sorted(seeds.SPLITS)), st.integers(0, 2**62 - 10), st.integers(0, 10))
def test_splits_never_meet(split, first, count):
    drawn = seeds.split_seeds(split, first, count)
    assert drawn.dtype == np.uint64 and len(np.unique(drawn)) == count
    assert (seeds.split_of(drawn) == seeds.SPLITS[split]).all()


@pytest.mark.parametrize("arguments", [("train", -1, 3), ("train", 2**62 - 1, 2), ("train", 0, -1), ("all", 0, 1)])
def test_seeds_beyond_a_split(arguments):
    with pytest.raises(ValueError, match="split must be one of|must lie in"):
        seeds.split_seeds(*arguments)


def test_training_draws_training_mazes():
    world = MazeEnvironment(MazeConfig(), 3, episode_steps=2, height=4, width=4)
    drawn = []
    for _ in range(10):
        drawn += world.seeds.tolist()
        world.step(np.zeros(3, np.int64))
        world.step(np.zeros(3, np.int64))
        world.renew()
    assert len(set(drawn)) == 30, "each maze once"
    assert (seeds.split_of(np.array(drawn, np.uint64)) == seeds.SPLITS["train"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "spiral"}, "kind must be one of random, imaze, fixed, not 'spiral'"),
        ({"landmarks": "art"}, "landmarks must be one of rooms, none"),
        ({"step_size": "slow"}, "step_size must be one of fast, fine"),
        ({"rows": 1}, "rows must be between 2 and 15, not 1"),
        ({"columns": 16}, "columns must be between 2 and 15, not 16"),
        ({"extra_openings": -0.1}, "extra_openings must be between 0 and 1"),
        ({"extra_openings": float("nan")}, "extra_openings must be between 0 and 1"),
        ({"respawn_distance": 9.0}, "respawn_distance must be between 2 and 3"),
    ],
)
def test_illegal_options(options, message):
    with pytest.raises(ValueError, match=message):
        MazeConfig(**options)


def test_numbers_of_a_config():
    assert MazeConfig(kind="imaze", rows=9, columns=9).rooms == 9
    assert MazeConfig(rows=2, columns=2).visit_cap == 300 and MazeConfig().visit_cap == 360
    for name, (metres, degrees) in STEP_SIZES.items():
        config = MazeConfig(step_size=name)
        assert config.headings * degrees == 360
        assert config.near == pytest.approx(BOX_RADIUS + AGENT_RADIUS + 1.1 * metres)
    assert ROOM + GAP == PITCH


def test_numbers_of_every_kind_are_taken():
    config = MazeConfig(extra_openings=np.float16(0.5), respawn_distance=Fraction(5, 2))
    assert config == MazeConfig(extra_openings=0.5, respawn_distance=2.5)
    assert type(config.extra_openings) is type(config.respawn_distance) is float
    with pytest.raises(ValueError, match="kind must be one of random"):
        MazeConfig(kind=np.array(["random", "fixed"]))
