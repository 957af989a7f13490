"""Fuzzing: whatever legal options give a legal world, and each illegal one a ValueError that names it and its range."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legality import legal, reachable

from mazes import paths, renderer
from mazes.environment import MazeEnvironment
from mazes.gymnasium_env import MazeEnv, MazeVectorEnv
from mazes.layout import KINDS, LANDMARKS, RESPAWNS, STEP_SIZES, MazeConfig
from mazes.seeds import SPLITS, split_of
from mazes.textures import FILES

MAZES = {
    "kind": st.sampled_from(KINDS),
    "rows": st.integers(2, 15),
    "columns": st.integers(2, 15),
    "extra_openings": st.floats(0, 1),
    "landmarks": st.sampled_from(LANDMARKS),
    "step_size": st.sampled_from(sorted(STEP_SIZES)),
    "respawn_distance": st.floats(2, 3),
    "respawn": st.sampled_from(RESPAWNS),
    "domain_rand": st.booleans(),
}
LIMITS = {
    "episode_steps": st.none() | st.integers(1, 40),
    "visits": st.none() | st.integers(1, 3),
    "visit_cap": st.none() | st.integers(1, 20),
}
PICTURES = {"height": st.integers(4, 40), "width": st.integers(4, 40)}
STEPS = 50


def some(options):
    """Any of the options, each with any of its legal values."""
    return st.fixed_dictionaries({}, optional=options)


@settings(max_examples=100)
@given(
    some(MAZES),
    some(LIMITS | {"goal_moves": st.booleans()}),
    some(PICTURES),
    st.integers(1, 5),
    st.integers(0, 2**60),
    st.data(),
)
def test_legal_options_give_a_legal_world(maze, limits, picture, batch, first, data):
    config = MazeConfig(**maze)
    world = MazeEnvironment(
        config, batch, seeds=lambda row, episode: first + row + batch * episode, shaping=0.0, **limits, **picture
    )
    rng = np.random.default_rng(first)
    likely = data.draw(st.sampled_from([(0.1, 0.1, 0.8), (0.5, 0.2, 0.3)]))
    for _ in range(STEPS):
        assert reachable(world.layouts.open, world.layouts.start, world.layouts.goal) == batch
        assert legal(world.layouts.open, world.layouts.goal, world.poses) == batch
        assert world.layouts.texture.max() < (len(FILES) if config.domain_rand else sum(config.deck))
        world.step(rng.choice(3, size=batch, p=likely))
        now, hints = world.time_step(), world.hints()
        assert now.observation.shape == (batch, picture.get("height", 30), picture.get("width", 40), 3)
        for told in (*now, *hints, *world.ended):
            assert np.isfinite(told).all()
        assert set(np.unique(now.prev_reward)) <= {0, 1}
        assert (world.ended.latency >= 1).all() and (world.ended.found <= world.ended.ended).all()
        if limits.get("visit_cap"):
            assert (world.ended.latency <= limits["visit_cap"]).all()
        over = world.over
        assert np.array_equal(world.renew(), over) and not world.over.any()
        assert np.array_equal(world.time_step().first, over)
    depth = renderer.render_depth(world.layouts, world.poses, 6, 8)
    assert (depth > 0).all() and np.isfinite(depth).all()


@settings(max_examples=25)
@given(some(MAZES | {"rows": st.integers(2, 4), "columns": st.integers(2, 4)}), st.integers(0, 2**60))
def test_legal_options_give_a_way_to_the_goal(maze, seed):
    world = MazeEnvironment(MazeConfig(**maze), 1, seeds=lambda row, episode: seed, height=4, width=4, shaping=1.0)
    shortest = paths.oracle_steps(world.config, world.layouts, world.poses)[0]
    assert shortest >= 1
    explorer = paths.explorer_steps(world.config, world.layouts, world.poses, 10_000)[0]
    assert shortest <= 1.02 * explorer + 1 and explorer < 10_000  # searches merge positions that are close together
    world.step(np.array([2]))
    assert np.isfinite(world.hints().bonus).all()


@settings(max_examples=30)
@given(
    some(MAZES | PICTURES | LIMITS | {"split": st.sampled_from(sorted(SPLITS))}),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_legal_options_give_legal_gymnasium_environments(options, count, seed):
    if options.get("episode_steps", 512) is None and options.get("visits") is None:
        options["episode_steps"] = 30
    single, batch = MazeEnv(**options), MazeVectorEnv(count, **options)
    observation, info = single.reset(seed=seed)
    assert single.observation_space.contains(observation)
    assert SPLITS[options.get("split", "train")] == split_of(single._world.seeds)[0]
    rng = np.random.default_rng(seed)
    for step in range(1, STEPS):
        observation, reward, terminated, truncated, info = single.step(int(rng.integers(3)))
        assert single.observation_space.contains(observation)
        assert reward in (0.0, 1.0) and bool(reward) == info["goal_found"]
        assert terminated == (options.get("visits") is not None and info["visit"] >= options["visits"])
        limit = options.get("episode_steps", 512)
        assert truncated == (limit is not None and step >= limit)
        if terminated or truncated:
            break
    observations, _ = batch.reset(seed=seed)
    assert batch.observation_space.contains(observations)
    for _ in range(STEPS):
        observations, rewards, _, _, infos = batch.step(rng.integers(3, size=count))
        assert batch.observation_space.contains(observations) and rewards.shape == (count,)
        assert infos["visit"].shape == infos["latency"].shape == (count,)


BEYOND = {  # option -> what is never one of its values
    "kind": st.text(max_size=8).filter(lambda name: name not in KINDS) | st.none() | st.integers(),
    "landmarks": st.text(max_size=8).filter(lambda name: name not in LANDMARKS) | st.none() | st.booleans(),
    "step_size": st.text(max_size=8).filter(lambda name: name not in STEP_SIZES) | st.floats(),
    "respawn": st.text(max_size=8).filter(lambda name: name not in RESPAWNS) | st.none() | st.booleans(),
    "rows": st.integers(max_value=1) | st.integers(min_value=16) | st.sampled_from([math.nan, math.inf]),
    "columns": st.integers(max_value=1) | st.integers(min_value=16) | st.sampled_from([math.nan, -math.inf]),
    "extra_openings": st.floats(max_value=0, exclude_max=True) | st.floats(min_value=1, exclude_min=True),
    "domain_rand": st.none() | st.integers() | st.text(max_size=8),
    "respawn_distance": st.floats(max_value=2, exclude_max=True) | st.floats(min_value=3, exclude_min=True),
}
RANGES = {
    "kind": "one of random, imaze, fixed",
    "landmarks": "one of rooms, none",
    "step_size": "one of fast, fine",
    "respawn": "one of random, same",
    "rows": "2 and 15",
    "columns": "2 and 15",
    "extra_openings": "0 and 1",
    "respawn_distance": "2 and 3",
    "domain_rand": "True or False",
    "height": "4 and 4096",
    "width": "4 and 4096",
    "episode_steps": "at least 1",
    "visits": "at least 1",
    "visit_cap": "at least 1",
    "split": "one of train, validation, test",
    "render_mode": "None or rgb_array",
    "num_envs": "at least 1",
    "batch": "at least 1",
    "phases": "whole numbers of at least 0",
    "shaping": "at least 0",
    "coverage": "at least 0",
    "ask_view": "True or False",
    "ask_place": "True or False",
    "ask_trail": "True or False",
    "guided_search": "True or False",
    "goal_moves": "True or False",
}
NO_COUNT = st.integers(max_value=0) | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
NO_SIDE = st.integers(max_value=3) | st.integers(min_value=4097) | st.floats() | st.text(max_size=3) | st.none()
BEYOND_GYMNASIUM = BEYOND | {
    "height": NO_SIDE,
    "width": NO_SIDE,
    "episode_steps": NO_COUNT,
    "visits": NO_COUNT,
    "visit_cap": NO_COUNT,
    "split": st.text(max_size=5).filter(lambda name: name not in SPLITS) | st.none() | st.integers(),
    "render_mode": st.sampled_from(["human", "ansi", ""]) | st.integers(),
}
NO_NUMBER = st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
NO_WHOLE_NUMBER = NO_NUMBER | st.floats(2, 15).filter(lambda side: not side.is_integer())
WRONG_TYPES = {
    "rows": NO_WHOLE_NUMBER,
    "columns": NO_WHOLE_NUMBER,
    "extra_openings": NO_NUMBER,
    "respawn_distance": NO_NUMBER,
}


def refuses(make, name, value):
    with pytest.raises(ValueError) as refusal:
        make(**{name: value})
    message = str(refusal.value)
    assert name in message and RANGES[name] in message, message
    assert "\n" not in message


@pytest.mark.parametrize("name", BEYOND)
@given(data=st.data())
def test_illegal_mazes(name, data):
    refuses(MazeConfig, name, data.draw(BEYOND[name]))


@pytest.mark.parametrize("name", BEYOND_GYMNASIUM)
@given(data=st.data())
def test_illegal_gymnasium_environments(name, data):
    value = data.draw(BEYOND_GYMNASIUM[name])
    refuses(MazeEnv, name, value)
    refuses(lambda **options: MazeVectorEnv(2, **options), name, value)


@given(NO_COUNT)
def test_illegal_number_of_gymnasium_environments(value):
    refuses(MazeVectorEnv, "num_envs", value)


@pytest.mark.parametrize("name", WRONG_TYPES)
@given(data=st.data())
def test_mazes_of_wrong_types(name, data):
    refuses(MazeConfig, name, data.draw(WRONG_TYPES[name]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch", NO_COUNT),
        ("height", NO_SIDE),
        ("width", NO_SIDE),
        ("episode_steps", NO_COUNT),
        ("visits", NO_COUNT),
        ("visit_cap", NO_COUNT),
        ("phases", st.sampled_from([[-1], [0, 0], [], [0.5], 0]).map(np.array)),
        ("shaping", st.floats(max_value=0, exclude_max=True) | st.just(math.nan)),
        ("coverage", st.floats(max_value=0, exclude_max=True) | st.just(math.nan)),
        ("ask_view", NO_NUMBER | st.integers()),
        ("ask_place", NO_NUMBER | st.integers()),
        ("ask_trail", NO_NUMBER | st.integers()),
        ("guided_search", NO_NUMBER | st.integers()),
        ("goal_moves", NO_NUMBER | st.integers()),
    ],
)
@given(data=st.data())
def test_illegal_environments(name, values, data):
    def make(**options):
        return MazeEnvironment(MazeConfig(), **{"batch": 1} | options)

    refuses(make, name, data.draw(values))
