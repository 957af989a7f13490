"""Domain randomisation: drawn from the maze seed alone, in its ranges, and nothing changes where it is off."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

import mazes  # noqa: F401  registers nav_meta/Maze-v0
from mazes import look, renderer, simulator
from mazes.environment import MazeEnvironment
from mazes.layout import LANDMARKS, STEP_SIZES, Layout, MazeConfig, generate, generate_batch
from mazes.seeds import split_seeds
from mazes.textures import FILES, FIRST_OF, OTHER, TEXTURES
from nav_meta.parity import random_views

USUAL = {
    "light_pos": (0, 2.5, 0),
    "light_color": (0.7,) * 3,
    "light_ambient": (0.45,) * 3,
    "obj_color_bias": (0,) * 3,
    "cam_height": 1.5,
    "cam_fwd_disp": 0,
    "cam_pitch": 0,
    "cam_fov_y": 60,
}
"""MiniWorld's defaults."""


def looking(**parameters):
    """Return the look of these parameters, the others as usual."""
    return np.concatenate([np.atleast_1d((USUAL | parameters)[name]).astype(float) for name in look.NAMES])


def scenes(count=16, **options):
    config = MazeConfig(**options)
    seeds = split_seeds("validation", 0, count)
    layouts = generate_batch(config, seeds)
    return config, layouts, simulator.spawn(config, layouts, seeds, np.zeros(count, int))


@given(st.integers(0, 2**64 - 1), st.sampled_from(LANDMARKS), st.integers(2, 5))
def test_a_look_is_in_its_ranges(seed, landmarks, rows):
    config = MazeConfig(rows=rows, landmarks=landmarks, domain_rand=True)
    one, plain = generate(config, seed), generate(MazeConfig(rows=rows, landmarks=landmarks), seed)
    for parameter in look.EPISODE:
        values = np.ravel(look.of(one.look, parameter.name))
        assert (values >= parameter.low).all() and (values < parameter.high).all()
    # All else is the maze that it would be without, but for the files of its textures.
    assert plain.look.shape == (0,)
    for field in ("open", "goal", "start"):
        assert np.array_equal(getattr(one, field), getattr(plain, field))
    assert np.array_equal(FIRST_OF[one.texture], plain.texture)
    assert np.array_equal(generate(config, seed).look, one.look)


def test_looks_and_files_are_uniform():
    layouts = generate_batch(MazeConfig(rows=4, columns=4, domain_rand=True), split_seeds("train", 0, 3000))
    low, high = (np.concatenate([getattr(p, end) for p in look.EPISODE]) for end in ("low", "high"))
    shares = (layouts.look - low) / (high - low)
    assert np.abs(shares.mean(0) - 0.5).max() < 0.03 and np.abs(shares.std(0) - 12**-0.5).max() < 0.02
    assert np.abs(np.corrcoef(shares.T) - np.eye(look.SIZE)).max() < 0.08
    counts = np.bincount(layouts.texture[:, ::2, ::2].ravel(), minlength=len(FILES))
    for number, name in enumerate(TEXTURES):
        files = counts[FIRST_OF == number]
        if counts[number]:
            assert files.min() > 0.8 * files.mean(), name
    assert [name for name, number in FILES[:OTHER] if number == 1] == list(TEXTURES)


def test_a_neutral_look_is_the_usual_picture():
    """The exact picture of MiniWorld's defaults and the fast one are two ways to the same pixels."""
    _, layouts, poses = scenes()
    neutral = layouts._replace(look=np.tile(looking(), (16, 1)))
    for height, width in ((30, 40), (61, 80)):
        fast, exact = renderer.render(layouts, poses, height, width), renderer.render(neutral, poses, height, width)
        error = np.abs(fast.astype(int) - exact)
        assert error.mean() < 1 and np.quantile(error, 0.999) < 16
        depth, exact_depth = (renderer.render_depth(some, poses, height, width) for some in (layouts, neutral))
        assert np.allclose(depth, exact_depth, rtol=1e-5)


def test_each_parameter_does_what_it_says():
    layouts, poses = random_views(MazeConfig(), 16)  # half of them towards the box

    def see(**parameters):
        dressed = layouts._replace(look=np.tile(looking(**parameters), (16, 1)))
        return renderer.render(dressed, poses, 60, 80).astype(float), renderer.render_depth(dressed, poses, 61, 81)

    usual, depth = see()
    dark = see(light_ambient=(0.35, 0.45, 0.45))[0]
    assert (dark[..., 0] <= usual[..., 0]).all() and dark[..., 0].mean() < 0.95 * usual[..., 0].mean()
    assert np.array_equal(dark[..., 1:], usual[..., 1:])
    # What is in the middle of a level picture is four rows lower in one that looks up by as much.
    pitch = np.arctan(4 * 2 * renderer.TAN_HALF_FOV / 61)
    up = see(cam_pitch=np.degrees(pitch))[1]
    assert np.allclose(up[:, 34, 40], depth[:, 30, 40] * np.cos(pitch), rtol=1e-5)
    # A step forward brings everything straight ahead nearer.
    assert np.allclose(see(cam_fwd_disp=0.1)[1][:, 30, 40], depth[:, 30, 40] - 0.1, atol=1e-4)
    # The lowest row of a wider view sees the floor, where it does, nearer by; from higher up, farther off.
    floor = 1.5 * 61 / (2 * 30 * renderer.TAN_HALF_FOV)
    assert depth[:, 60].max() == pytest.approx(floor, rel=1e-5)
    assert see(cam_height=1.55)[1][:, 60].max() == pytest.approx(floor * 1.55 / 1.5, rel=1e-5)
    wide = np.tan(np.radians(32.5)) / renderer.TAN_HALF_FOV
    assert see(cam_fov_y=65)[1][:, 60].max() == pytest.approx(floor / wide, rel=1e-5)
    # The box takes on green and blue.
    green = see(obj_color_bias=(-0.2, 0.2, 0.1))[0]
    changed = (green != usual).any(-1)
    assert changed.any() and (green[changed] - usual[changed])[:, 1].max() > 20


@given(st.sampled_from(sorted(STEP_SIZES)), st.integers(0, 2**62), st.integers(0, 2**40))
def test_steps_are_in_their_ranges(step_size, seed, count):
    config = MazeConfig(step_size=step_size, domain_rand=True)
    forward, drift, turn = simulator.draw_steps(config, np.array([seed], np.uint64), np.array([count]))[0]
    metres, degrees = STEP_SIZES[step_size]
    assert metres * 0.12 / 0.15 <= forward <= config.longest_step + 1e-12
    assert abs(drift) <= 0.05
    assert degrees * 10 / 15 <= np.degrees(turn) <= degrees * 20 / 15 + 1e-9
    # From where an agent may be, no step reaches the other side of a wall: walls are seen 0.4 m away on both.
    assert np.hypot(forward, drift) < 0.8


def test_steps_vary_from_step_to_step_and_maze_to_maze():
    config = MazeConfig(domain_rand=True)
    seeds = split_seeds("train", 0, 50)
    drawn = np.stack([simulator.draw_steps(config, seeds, np.full(50, count)) for count in range(20)])
    assert len(np.unique(drawn[..., 0])) == len(np.unique(drawn[..., 2])) == 1000
    assert simulator.draw_steps(MazeConfig(), seeds, np.zeros(50, int)) is None
    world = MazeEnvironment(config, 50, episode_steps=100)
    before = world.poses.copy()
    world.step(np.full(50, simulator.TURN_LEFT))
    turns = world.poses[:, 2] - before[:, 2]
    assert len(np.unique(turns.round(9))) == 50 and 30 <= np.degrees(turns).min() and np.degrees(turns).max() <= 60


def test_a_picture_depends_on_its_own_scene_alone():
    _, layouts, poses = scenes(domain_rand=True)
    whole = renderer.render(layouts, poses)
    order = np.random.default_rng(0).permutation(len(poses))
    some = Layout(*(field[order] for field in layouts))
    assert np.array_equal(renderer.render(some, poses[order]), whole[order])


def test_gymnasium():
    environment = gymnasium.make("nav_meta/Maze-v0", domain_rand=True, rows=2, columns=2).unwrapped
    check_env(environment)
    many = gymnasium.make_vec("nav_meta/Maze-v0", num_envs=3, domain_rand=True)
    first, _ = many.reset(seed=5)
    one, _ = gymnasium.make("nav_meta/Maze-v0", domain_rand=True).reset(seed=6)
    assert np.array_equal(first[1], one)
    assert not np.array_equal(one, gymnasium.make("nav_meta/Maze-v0").reset(seed=6)[0])
