import numpy as np
import pytest

from mazes import paths, search
from mazes.environment import MazeEnvironment
from mazes.layout import PITCH, ROOM, MazeConfig, empty_batch, generate_batch
from mazes.seeds import split_seeds
from mazes.simulator import FORWARD, spawn


def begun(config, layouts, poses):
    """Return searches that begin there, and the ways of their mazes."""
    ways = search.find_ways(config, 4 / 3)
    some = search.empty_search(config, len(poses))
    search.begin(some, ways, layouts, poses, np.arange(len(poses)))
    return some, ways


def test_what_is_in_the_picture_is_seen():
    """From the middle of the western of three rooms in a row, looking east and then west."""
    config = MazeConfig(rows=2, columns=3)
    layouts = empty_batch(config, 2)
    layouts.open[:, 0] = True  # the southern row is solid
    layouts.goal[:] = PITCH * 2 + ROOM / 2, ROOM / 2, 0
    poses = np.array([[ROOM / 2, ROOM / 2, 0.0], [ROOM / 2, ROOM / 2, np.pi]])
    some, _ = begun(config, layouts, poses)
    assert not some.unseen[:, 1].any()  # nothing to be seen in what is solid
    east, west = some.unseen[:, 0]
    # Of the own room what is ahead, but not its corners, which are 45 degrees aside; all of the next.
    assert east[0].tolist() == [[True, True, True], [True, False, False], [True, True, True]]
    assert not east[1].any() and not east[2].any() and some.sighted[0]
    assert west[0].tolist() == [[True, True, True], [False, False, True], [True, True, True]]
    assert west[1].all() and west[2].all() and not some.sighted[1]
    # Who has seen too little of each room is where there is something to search; who has seen the next two is not.
    assert some.away[1, 0].tolist() == [[0.0] * 4] * 3
    assert some.away[0, 0, 1:].min() > 0


@pytest.mark.parametrize("config", [MazeConfig(), MazeConfig(rows=2, step_size="fine")], ids=["fast", "fine"])
def test_estimates_against_the_shortest_way(config):
    """With one room left unseen, in whose middle the goal is. Estimates lead through the middles of doors: a detour."""
    count = 200
    seeds = split_seeds("train", 0, count)
    layouts = generate_batch(config, seeds)
    poses = spawn(config, layouts, seeds, np.zeros(count, np.int64))
    layouts.goal[:, :2] = (layouts.goal[:, :2] // PITCH) * PITCH + ROOM / 2
    some, ways = begun(config, layouts, poses)
    some.unseen[:] = False
    rows, columns = (np.int64(layouts.goal[:, axis] // PITCH) for axis in (1, 0))
    some.unseen[np.arange(count), rows, columns] = True
    search.measure(some, ways, layouts)
    outside = (np.int64(poses[:, 1] // PITCH) != rows) | (np.int64(poses[:, 0] // PITCH) != columns)
    shortest = paths.oracle_steps(config, layouts, poses)
    nearer = np.zeros((count, 3), np.float32)
    before = poses.copy()
    estimates = np.zeros(count)
    for b in np.flatnonzero(outside):
        estimates[b] = search._steps_to_search(some.unseen[b], some.away[b], ways, layouts.open[b], *poses[b])
    inside = (PITCH / 2 - config.near) / config.forward_step
    error = (estimates + inside - shortest)[outside]
    assert 0 < error.mean() < 0.15 * shortest[outside].mean()
    assert error.std() < 0.15 * shortest[outside].mean()
    # What actions are worth, and what is paid for one, is the difference of two such estimates.
    told = search.progress(config, some, ways, layouts, poses, None, outside, nearer)
    assert (told == outside).all()
    poses[:, 2] += config.turn_step
    paid = search.advance(some, ways, layouts, before, poses, outside)
    np.testing.assert_allclose(paid[outside], nearer[outside, 0], atol=1e-4)
    assert (paid[~outside] == 0).all()


def follow(world, noise, steps):
    """Do what `hints` say is best, at times something else; return latencies of first visits and mean bonuses."""
    generator = np.random.default_rng(0)
    latency = np.zeros(world.batch, np.int64)
    paid = np.zeros(world.batch)
    for _ in range(steps):
        hints = world.hints()
        searching = latency == 0
        actions = np.where(hints.known[:, -1], hints.target[:, -3:].argmax(axis=1), FORWARD)
        other = generator.random(world.batch) < noise
        actions[other] = generator.integers(0, 3, other.sum())
        world.step(actions)
        paid[searching] += world.hints().bonus[searching]
        done = searching & world.ended.ended
        latency[done] = world.ended.latency[done]
    return latency, paid


def test_who_follows_it_searches_almost_as_the_explorer_does():
    """And is paid for nearly each step, however far the goal is."""
    config = MazeConfig()
    world = MazeEnvironment(config, 200, height=6, width=8, visit_cap=400, shaping=0.1, guided_search=True)
    explorer = paths.explorer_steps(config, world.layouts, world.poses, 400)
    latency, paid = follow(world, 0.1, 400)
    assert explorer.mean() < latency.mean() < 1.5 * explorer.mean()
    assert 0.7 < paid.mean() / (0.1 * latency.mean()) < 1


def test_without_it_first_visits_are_paid_nothing():
    world = MazeEnvironment(MazeConfig(), 100, height=6, width=8, visit_cap=50, shaping=0.1)
    first = world.visit == 0
    assert not world.hints().known.any()
    for _ in range(20):
        world.step(np.full(100, FORWARD))
        first &= world.visit == 0
        assert not world.hints().bonus[first].any()


def test_what_is_known_when():
    """What actions are worth always; where the goal is from when it has been in sight, or been reached."""
    world = MazeEnvironment(MazeConfig(kind="imaze"), 64, height=6, width=8, shaping=0.1, guided_search=True)
    generator = np.random.default_rng(1)
    sighted = False
    for _ in range(150):
        hints = world.hints()
        knows = (world.visit > 0) | world.state()["_sighted"]
        assert (hints.known[:, :3] == knows[:, None]).all() and hints.known[:, 3:].all()
        sighted |= (knows & (world.visit == 0)).any()
        world.step(generator.choice(3, size=64, p=(0.2, 0.2, 0.6)))
    assert sighted and (world.visit > 0).any()
    assert not world.state()["_sighted"][world.visit > 0].any()


def test_a_search_goes_on_where_it_was_saved():
    options = {"height": 6, "width": 8, "shaping": 0.1, "guided_search": True}
    world, other = (MazeEnvironment(MazeConfig(rows=5, columns=5), 16, **options) for _ in range(2))
    generator = np.random.default_rng(2)
    for _ in range(40):
        world.step(generator.choice(3, size=16, p=(0.2, 0.2, 0.6)))
    other.restore(world.state())
    for _ in range(40):
        for ours, theirs in zip(world.hints(), other.hints(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        actions = generator.choice(3, size=16, p=(0.2, 0.2, 0.6))
        world.step(actions)
        other.step(actions)
