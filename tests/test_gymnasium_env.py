"""The gymnasium environments keep gymnasium's contract, and the batched one is as many single ones."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import mazes
from mazes.gymnasium_env import MazeEnv, MazeVectorEnv

NAME = "nav_meta/Maze-v0"


def test_checker():
    assert mazes.__name__ == "mazes"  # importing it registers
    check_env(gymnasium.make(NAME, render_mode="rgb_array").unwrapped)
    check_env(gymnasium.make(NAME, kind="imaze", visits=2, episode_steps=None).unwrapped, skip_render_check=True)


def test_made_by_name():
    single = gymnasium.make(NAME, rows=2, columns=4, height=60, width=80)
    assert single.observation_space.shape == (60, 80, 3) and single.action_space.n == 3
    batch = gymnasium.make_vec(NAME, num_envs=3)
    assert isinstance(batch, VectorEnv) and isinstance(batch.unwrapped, MazeVectorEnv)
    assert batch.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    observation, _ = batch.reset(seed=0)
    assert batch.observation_space.contains(observation)


def test_seed_decides_all():
    def play(seed):
        env = MazeEnv(episode_steps=20)
        frames = []
        for begin in (seed, None):
            frames.append(env.reset(seed=begin)[0])
            frames += [env.step(action)[0] for action in (0, 2, 2, 1, 2)]
        return np.stack(frames)

    assert np.array_equal(play(3), play(3))
    assert not np.array_equal(play(3), play(4))
    assert not np.array_equal(*np.split(play(3), 2)), "the second episode is in another maze"


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 2, "columns": 2, "episode_steps": 40, "visit_cap": 15},
        {"rows": 2, "columns": 2, "episode_steps": None, "visits": 2, "visit_cap": 25},
        {"kind": "imaze", "episode_steps": 33, "visits": 3, "visit_cap": 11, "split": "test"},
    ],
)
def test_batch_is_many_single_ones(options):
    options = options | {"height": 12, "width": 16}
    count = 4
    fast = MazeVectorEnv(count, **options)
    slow = SyncVectorEnv([lambda: MazeEnv(**options)] * count, autoreset_mode=AutoresetMode.SAME_STEP)
    rng = np.random.default_rng(0)
    ends = 0
    one, other = fast.reset(seed=5), slow.reset(seed=5)
    for step in range(130):
        if step == 100:
            one, other = fast.reset(), slow.reset()
        assert_equal(one, other)
        actions = rng.choice(3, size=count, p=[0.3, 0.2, 0.5])
        one, other = fast.step(actions), slow.step(actions)
        ends += "final_obs" in one[-1]
        assert one[1].dtype == other[1].dtype
    assert ends


def assert_equal(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, tuple) or getattr(one, "dtype", np.dtype(int)).hasobject:
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert np.array_equal(one, other)


def test_a_copy_goes_its_own_way():
    options = {"height": 12, "width": 16, "episode_steps": 3}
    for make in (lambda: MazeEnv(**options), lambda: MazeVectorEnv(2, **options)):
        original, other = make(), make()
        original.reset(seed=0), other.reset(seed=0)
        copies = copy.deepcopy(original), pickle.loads(pickle.dumps(original))
        actions = 2 if isinstance(original, MazeEnv) else np.full(2, 2)

        def play(env, actions=actions):
            frames = [env.step(actions)[0] for _ in range(3)]
            return np.stack([*frames, env.reset()[0]])

        expected = play(other)
        for env in (*copies, original):
            assert np.array_equal(play(env), expected)


@pytest.mark.parametrize("seed", [np.int64(3), np.array([3, 4]), [3, np.int64(4)], (3, 4)])
def test_seeds_of_every_kind(seed):
    expected, _ = MazeVectorEnv(2).reset(seed=3)
    found, _ = MazeVectorEnv(2).reset(seed=seed)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("seed", [3.5, [3.5, 4], "ab", ["3", "4"]])
def test_seeds_of_no_kind(seed):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        MazeVectorEnv(2).reset(seed=seed)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_unknown_options(make):
    with pytest.raises(TypeError, match="rooms is no option of these mazes, which are: kind, rows, .*, render_mode"):
        make("nav_meta/Maze-v0", rooms=5)


def test_generators_are_those_of_single_environments():
    many = MazeVectorEnv(2)
    single = SyncVectorEnv([MazeEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    assert many.np_random == many.np_random_seed == ()
    for env in (many, single):
        env.reset(seed=7)
    assert many.np_random_seed == single.np_random_seed == (7, 8)
    assert [own.integers(2**40) for own in many.np_random] == [own.integers(2**40) for own in single.np_random]


def test_visits_are_told():
    env = MazeEnv(rows=2, columns=2, episode_steps=2000, height=4, width=4)
    _, info = env.reset(seed=1)
    assert info == {"visit": 0, "goal_found": False, "latency": 0}
    rng = np.random.default_rng(0)
    truncated, steps, latencies, found = False, 0, [], 0
    while not truncated:
        _, reward, terminated, truncated, info = env.step(rng.choice(3, p=[0.2, 0.2, 0.6]))
        steps += 1
        assert not terminated
        assert reward == info["goal_found"] == bool(info["latency"])
        if info["goal_found"]:
            latencies.append(info["latency"])
            assert info["latency"] == steps - found
            found = steps
        assert info["visit"] == len(latencies)
    assert steps == 2000
    assert latencies


def test_render():
    assert MazeEnv().render() is None
    env = MazeEnv(render_mode="rgb_array")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.render()
    env.reset(seed=0)
    assert env.render().shape == (480, 640, 3)
    batch = MazeVectorEnv(2, render_mode="rgb_array")
    batch.reset(seed=0)
    assert len(batch.render()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 1}, "rows must be between 2 and 15"),
        ({"kind": "spiral"}, "kind must be one of random"),
        ({"extra_openings": 2}, "extra_openings must be between 0 and 1"),
        ({"height": 2}, "height must be between 4 and 4096"),
        ({"width": 40.5}, "width must be a whole number"),
        ({"episode_steps": 0}, "episode_steps must be at least 1"),
        ({"visits": -1}, "visits must be at least 1"),
        ({"visit_cap": 0}, "visit_cap must be at least 1"),
        ({"episode_steps": None}, "episode_steps or visits"),
        ({"split": ["test"]}, "split must be one of train, validation, test"),
        ({"split": "all"}, "split must be one of train, validation, test"),
        ({"render_mode": "human"}, "render_mode must be None or rgb_array"),
    ],
)
def test_illegal_options(options, message):
    with pytest.raises(ValueError, match=message):
        MazeEnv(**options)
    with pytest.raises(ValueError, match=message):
        MazeVectorEnv(2, **options)


def test_illegal_use():
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        MazeVectorEnv(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        MazeEnv().step(0)
    with pytest.raises(ValueError, match="a list of 2"):
        MazeVectorEnv(2).reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="a list of 2"):
        MazeVectorEnv(2).reset(seed=[])
    with pytest.raises(ValueError, match="reset_mask is not known"):
        MazeVectorEnv(2).reset(options={"reset_mask": np.array([True, False])})
    mazes = MazeVectorEnv(2)
    mazes.reset(seed=0)
    for actions in ([0, 3], [-1, 0], [0], [0.0, 1.0], [[0, 1]]):
        with pytest.raises(ValueError, match="actions must be 2 whole numbers between 0 and 2"):
            mazes.step(np.array(actions))
