"""The fast world against real MiniWorld: geometry, textures, light, depth and motion."""

import numpy as np
import pytest

from mazes import reference, renderer, simulator
from mazes.layout import STEP_SIZES, Layout, MazeConfig, generate_batch
from mazes.seeds import split_seeds
from nav_meta.errors import UserError
from nav_meta.parity import measure, random_views

CONFIGS = (
    MazeConfig(),
    MazeConfig(kind="imaze"),
    MazeConfig(kind="fixed", rows=2, columns=4),
    MazeConfig(rows=7, columns=5, extra_openings=0.5, landmarks="none"),
)
SIZES = ((30, 40), (60, 80), (120, 160))


def pick(layouts, rows):
    return Layout(*(field[rows] for field in layouts))


@pytest.mark.opengl
@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.landmarks}")
def test_pictures(config, height, width, tmp_path):
    result = measure(config, pairs=40, height=height, width=width, sheet=tmp_path / "new" / "sheet.png")
    assert result["parity/mean_abs_difference"] <= 1.5
    assert result["parity/psnr_mean"] >= 42
    assert result["parity/psnr_min"] >= 26
    assert (tmp_path / "new" / "sheet.png").stat().st_size > 1000


@pytest.mark.opengl
def test_every_wall_texture():
    """Each landmark on all walls of a maze, where a bad one cannot hide behind the others."""
    config = MazeConfig()
    layouts, poses = random_views(config, 16)
    layouts.texture[:] = np.arange(16)[:, None, None]
    fast = renderer.render(layouts, poses, 60, 80).astype(float)
    true = reference.ReferenceRenderer(config, 60, 80).render(layouts, poses)
    psnr = 10 * np.log10(255**2 / ((fast - true) ** 2).mean(axis=(1, 2, 3)))
    assert psnr.min() >= 24 and np.sort(psnr)[2] >= 38, psnr  # two textures have sides that are no power of two


@pytest.mark.opengl
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.landmarks}")
def test_depth(config):
    layouts, poses = random_views(config, 30)
    fast = renderer.render_depth(layouts, poses, 60, 80)
    true = reference.ReferenceRenderer(config, 60, 80).depth(layouts, poses)
    # MiniWorld's buffer resolves depth**2 / 2600; and where two surfaces meet, rounding decides which one it sees.
    error = np.abs(fast - true) - true**2 / 2600
    assert (error < 0.02).mean() > 0.999
    assert np.median(error) < 0.002


@pytest.mark.opengl
@pytest.mark.parametrize("step_size", STEP_SIZES)
@pytest.mark.parametrize("kind", ["random", "imaze"])
def test_motion(step_size, kind):
    config = MazeConfig(kind=kind, step_size=step_size)
    layouts, poses = random_views(config, 12)
    rng = np.random.default_rng(1)
    world = None
    goals = collisions = 0
    for row in range(12):
        maze, one = pick(layouts, row), pick(layouts, [row])
        if world is None:
            world = reference.make_reference(config, maze, 4, 4)
        else:
            world.show(maze, walls=world.walls)
        pose = poses[[row]]
        world.pose = pose[0]
        for action in rng.choice(3, size=100, p=[0.2, 0.1, 0.7]):
            before = pose.copy()
            found = simulator.step(config, one, pose, np.array([action]))[0]
            _, reward, over, _, _ = world.step(int(action))
            assert np.allclose(world.pose, pose[0], rtol=0, atol=1e-6)
            assert found == over == reward
            goals += found
            collisions += np.array_equal(pose, before)
    assert goals > 20 and collisions > 100


@pytest.mark.opengl
def test_rows_keep_their_own_walls():
    """Worlds that change in some rows only, and a second renderer in between, leave no trace of each other."""
    config = MazeConfig()
    seeds = split_seeds("test", 0, 6)
    layouts = generate_batch(config, seeds)
    poses = simulator.spawn(config, layouts, seeds, np.zeros(6, np.int64))
    expected = [
        reference.ReferenceRenderer(config, 12, 16).render(pick(layouts, [row]), poses[[row]])[0] for row in range(6)
    ]
    one, other = reference.ReferenceRenderer(config, 12, 16), reference.ReferenceRenderer(config, 12, 16)
    for rows in ([0, 1, 2], [0, 3, 2], [4, 3, 1], [5, 5, 0], [1, 2]):
        for drawn in (one, other):
            frames = drawn.render(pick(layouts, rows), poses[rows])
            assert np.array_equal(frames, [expected[row] for row in rows])


@pytest.mark.opengl
def test_a_reference_is_a_miniworld_environment():
    config = MazeConfig(kind="imaze")
    maze = pick(generate_batch(config, split_seeds("test", 0, 1)), 0)
    world = reference.make_reference(config, maze)
    observation, _ = world.reset()
    assert observation.shape == (60, 80, 3)
    assert np.array_equal(world.reset()[0], observation), "deterministic"
    assert np.allclose(world.goal, maze.goal)
    assert len(world.rooms) == maze.open.sum()


def test_missing_opengl_is_said_in_a_sentence(monkeypatch):
    """Whatever pyglet raises: no crash, and the reason is in the message."""

    def fail():
        raise OSError("libGL.so.1: cannot open\n shared object file")

    monkeypatch.setattr(reference, "_reference_class", fail)
    reference.available.cache_clear()
    try:
        problem = reference.available()
        assert "libGL.so.1: cannot open shared object file" in problem and "apt-get install" in problem
        for use in (lambda: reference.make_reference(None, None), lambda: reference.ReferenceRenderer(None)):
            with pytest.raises(RuntimeError, match="need OpenGL"):
                use()
        with pytest.raises(UserError, match="need OpenGL"):
            measure(MazeConfig())
    finally:
        monkeypatch.undo()
        reference.available.cache_clear()
