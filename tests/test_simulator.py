"""Motion: nobody ends in a wall or in the box; starts depend on maze and visit alone. For MiniWorld: test_parity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mazes.layout import AGENT_RADIUS, BOX_RADIUS, GAP, KINDS, PITCH, STEP_SIZES, Layout, MazeConfig, generate_batch
from mazes.simulator import ACTIONS, FORWARD, TURN_LEFT, TURN_RIGHT, cell_of, is_free, low_edge, spawn, step

SEEDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8).map(lambda some: np.array(some, np.uint64))
CONFIGS = st.builds(
    MazeConfig,
    kind=st.sampled_from(KINDS),
    rows=st.integers(2, 15),
    columns=st.integers(2, 15),
    extra_openings=st.floats(0, 1),
    step_size=st.sampled_from(sorted(STEP_SIZES)),
    respawn_distance=st.floats(2, 3),
)


def rows_of(layouts, rows):
    return Layout(*(field[rows] for field in layouts))


def to_goal(layouts, poses):
    return np.hypot(*(poses[:, :2] - layouts.goal[:, :2]).T)


@given(CONFIGS, SEEDS, st.integers(0, 2**32 - 1))
def test_never_in_a_wall_nor_in_the_box(config, seeds, seed):
    layouts = generate_batch(config, seeds)
    poses = spawn(config, layouts, seeds, np.zeros(len(seeds), np.int64))
    rng = np.random.default_rng(seed)
    for _ in range(60):
        before = poses.copy()
        actions = rng.choice(3, size=len(seeds), p=[0.15, 0.15, 0.7])
        found = step(config, layouts, poses, actions)
        moved = np.hypot(*(poses - before)[:, :2].T)
        assert np.all((moved == 0) | (actions == FORWARD) & (abs(moved - config.forward_step) < 1e-12))
        turned = np.select([actions == TURN_LEFT, actions == TURN_RIGHT], [config.turn_step, -config.turn_step], 0)
        assert np.allclose(poses[:, 2] - before[:, 2], turned, atol=1e-12)
        assert np.array_equal(found, to_goal(layouts, poses) < config.near)
        assert (to_goal(layouts, poses) >= AGENT_RADIUS + BOX_RADIUS).all()
        for open_, (x, z, _) in zip(layouts.open, poses, strict=True):
            assert is_free(open_, x, z, AGENT_RADIUS)
            assert open_[cell_of(z), cell_of(x)]


@given(CONFIGS, SEEDS, st.integers(0, 10))
def test_starts(config, seeds, visit):
    layouts = generate_batch(config, seeds)
    visits = np.full(len(seeds), visit)
    poses = spawn(config, layouts, seeds, visits)
    assert (to_goal(layouts, poses) >= config.respawn_distance).all()
    assert (abs(poses[:, 2]) <= np.pi).all()
    for layout, (x, z, _) in zip(zip(*layouts, strict=True), poses, strict=True):
        open_, _, _, start, _ = layout
        assert open_[cell_of(z), cell_of(x)]
        assert is_free(open_, x, z, AGENT_RADIUS)
        r, c = int((z + GAP / 2) // PITCH), int((x + GAP / 2) // PITCH)  # a room and half of the gaps around it
        assert start[r, c]
    # Pure: whatever else is in the batch, and however often one asks.
    order = np.random.default_rng(visit).permutation(len(seeds))
    assert np.array_equal(spawn(config, rows_of(layouts, order), seeds[order], visits), poses[order])
    assert np.array_equal(spawn(config, rows_of(layouts, [0]), seeds[:1], visits[:1]), poses[:1])


@given(SEEDS, st.integers(1, 10))
def test_with_the_same_respawn_every_visit_begins_where_the_first_did(seeds, visit):
    config = MazeConfig(respawn="same")
    layouts = generate_batch(config, seeds)
    first, later = (spawn(config, layouts, seeds, np.full(len(seeds), number)) for number in (0, visit))
    assert np.array_equal(first, later)
    elsewhere = spawn(MazeConfig(), layouts, seeds, np.full(len(seeds), visit))
    assert (elsewhere != later).all()


def test_starts_of_one_maze_are_spread_evenly():
    config = MazeConfig()
    seeds = np.full(4000, 7, np.uint64)
    layouts = generate_batch(config, seeds)
    poses = spawn(config, layouts, seeds, np.arange(4000))
    cells = (poses[:, :2] // PITCH).astype(int)
    rooms = np.bincount(cells[:, 1] * 3 + cells[:, 0], minlength=9)
    goal = (layouts.goal[0, :2] // PITCH).astype(int)
    assert rooms[goal[1] * 3 + goal[0]] < 100
    far = np.abs(np.stack(np.divmod(np.arange(9), 3), axis=1) - goal[::-1]).max(axis=1) > 1
    assert rooms[far].min() > 300
    assert abs(poses[:, 2].mean()) < 0.1 and abs(poses[:, 2].std() - np.pi / np.sqrt(3)) < 0.05


@given(CONFIGS, SEEDS)
def test_a_batch_steps_as_single_mazes(config, seeds):
    layouts = generate_batch(config, seeds)
    together = spawn(config, layouts, seeds, np.zeros(len(seeds), np.int64))
    alone = together.copy()
    actions = np.arange(len(seeds)) % len(ACTIONS)
    found = step(config, layouts, together, actions)
    for row in range(len(seeds)):
        pose = alone[row : row + 1]
        assert step(config, rows_of(layouts, [row]), pose, actions[row : row + 1])[0] == found[row]
        assert np.array_equal(pose[0], together[row])


@pytest.mark.parametrize("size", STEP_SIZES)
def test_a_full_circle(size):
    config = MazeConfig(step_size=size)
    seeds = np.zeros(1, np.uint64)
    layouts = generate_batch(config, seeds)
    poses = spawn(config, layouts, seeds, np.zeros(1, np.int64))
    begin = poses.copy()
    for _ in range(config.headings):
        step(config, layouts, poses, np.array([TURN_LEFT]))
    assert np.allclose(poses - begin, [[0, 0, 2 * np.pi]])


@given(st.integers(-4 * 60, 4 * 60))
def test_cells_tile_the_axis(quarters):
    x = quarters / 4  # cells begin at quarters of a metre
    cell = cell_of(x)
    assert low_edge(cell) <= x < low_edge(cell + 1)
