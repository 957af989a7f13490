"""The fast world against real MiniWorld: geometry, textures, light, depth and motion."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from mazes import look, reference, renderer, simulator
from mazes.layout import KINDS, STEP_SIZES, Layout, MazeConfig, generate, generate_batch
from mazes.seeds import split_seeds
from mazes.textures import FILES, OTHER, TEXTURES, WALL_TEXTURES
from nav_meta.errors import UserError
from nav_meta.parity import measure, motion, random_views, table, varied

SIZES = ((30, 40), (60, 80), (120, 160))


def pick(layouts, rows):
    return Layout(*(field[rows] for field in layouts))


@pytest.mark.opengl
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pictures(height, width, tmp_path):
    pairs = 64
    result = measure(pairs, height, width, sheet=tmp_path / "new" / "sheet.png")
    assert result["parity/mean_abs_difference"] <= 1.5
    assert result["parity/psnr_mean"] >= 42
    assert result["parity/psnr_min"] >= 34 and result["parity/below_30_db"] == 0
    assert result["parity/depth/within_1cm"] >= 0.998 and result["parity/depth/wrong"] <= 1e-4
    assert result["parity/depth/median_difference"] < 1e-3
    assert result["parity/box/views"] > pairs / 4
    assert result["parity/box/iou"] >= 0.98 and result["parity/box/iou_min"] >= 0.9
    assert result["parity/box/mean_abs_difference"] <= 1.5
    for group in ("kind", "size", "texture"):
        shares = [result[key] for key in result if key.startswith(f"parity/{group}/") and key.endswith("/pairs")]
        assert sum(shares) == result["parity/pairs"] == pairs and len(shares) >= 3
    headings, lines = table(result)
    assert lines[0][:2] == ["all", "64"] and {len(line) for line in lines} == {len(headings)}
    assert (tmp_path / "new" / "sheet.png").stat().st_size > 1000


@pytest.mark.opengl
@pytest.mark.parametrize(("height", "width"), SIZES[:2])
def test_randomised_pictures(height, width):
    """Lights, colours, files of textures, height, place, pitch and field of view of the camera as drawn."""
    result = measure(64, height, width, domain_rand=True)
    assert result["parity/mean_abs_difference"] <= 0.5
    assert result["parity/psnr_mean"] >= 46 and result["parity/psnr_min"] >= 38
    assert result["parity/depth/within_1cm"] >= 0.998 and result["parity/depth/wrong"] <= 1e-4
    assert result["parity/box/views"] > 16
    assert result["parity/box/iou"] >= 0.98 and result["parity/box/mean_abs_difference"] <= 1.0


@pytest.mark.opengl
def test_randomised_motion():
    result = motion(3000, domain_rand=True)
    for size in STEP_SIZES:
        figures = {key.rpartition("/")[2]: value for key, value in result.items() if f"/{size}/" in key}
        assert figures["position_difference"] <= 1e-6 and figures["heading_difference"] <= 1e-6
        assert figures["disagreements"] == 0 and figures["collisions"] > 300 and figures["goals"] > 30


@pytest.mark.opengl
def test_ranges_are_those_of_miniworld():
    reference.available()  # before the first import
    from miniworld.params import DEFAULT_PARAMS

    for parameter in look.EPISODE:
        theirs = DEFAULT_PARAMS.params[parameter.name]
        assert np.array_equal(parameter.low, np.ravel(theirs.min)) and np.array_equal(
            parameter.high, np.ravel(theirs.max)
        )
    for name, usual, (low, high) in (("forward_step", 0.15, look.FORWARD_STEP), ("turn_step", 15, look.TURN_STEP)):
        theirs = DEFAULT_PARAMS.params[name]
        assert (theirs.default, theirs.min, theirs.max) == pytest.approx((usual, usual * low, usual * high))
    assert (-look.FORWARD_DRIFT, look.FORWARD_DRIFT) == DEFAULT_PARAMS.params["forward_drift"][1:3]
    known = {*look.NAMES, "forward_step", "forward_drift", "turn_step"}
    assert DEFAULT_PARAMS.params.keys() - known == {"sky_color", "bot_radius"}, "out of sight, and not used"


def test_mazes_of_every_kind_are_compared():
    configs = varied(2000 // 8)
    assert {config.kind for config in configs} == set(KINDS)
    assert {(config.rows, config.columns) for config in configs} >= {(n, n) for n in range(2, 9)}
    assert all(2 <= side <= 8 for config in configs for side in (config.rows, config.columns))
    seen = set()
    for seed, config in enumerate(configs):
        seen |= set(random_views(config, 8, seed)[0].texture.flat)
    assert seen == set(range(len(WALL_TEXTURES)))


@pytest.mark.opengl
@pytest.mark.parametrize("domain_rand", [False, True])
def test_every_wall_texture(domain_rand):
    """Each landmark on all walls of a maze, where a bad one cannot hide behind the others."""
    config = MazeConfig(domain_rand=domain_rand)
    layouts, poses = random_views(config, len(FILES))
    variants = range(len(TEXTURES), OTHER) if domain_rand else ()
    walls = [*range(len(WALL_TEXTURES)), *variants, *range(OTHER, len(FILES))]
    layouts, poses = pick(layouts, walls), poses[walls]
    layouts.texture[:] = np.array(walls)[:, None, None]
    fast = renderer.render(layouts, poses, 60, 80).astype(float)
    true = reference.ReferenceRenderer(config, 60, 80).render(layouts, poses)
    psnr = 10 * np.log10(255**2 / ((fast - true) ** 2).mean(axis=(1, 2, 3)))
    assert psnr.min() >= 38, psnr


@pytest.mark.opengl
def test_motion():
    result = motion(5000)
    for size in STEP_SIZES:
        figures = {key.rpartition("/")[2]: value for key, value in result.items() if f"/{size}/" in key}
        assert figures["steps"] == 5000
        assert figures["position_difference"] <= 1e-6 and figures["heading_difference"] <= 1e-6
        assert figures["disagreements"] == 0
        assert figures["collisions"] > 500 and figures["goals"] > 50


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
def test_a_reference_may_die_on_another_thread():
    """Windows of pyglet may not: from then on MiniWorld would draw without multisampling."""
    config = MazeConfig()
    layouts, poses = random_views(config, 2)
    alive = [reference.ReferenceRenderer(config, 60, 80)]
    pictures = alive[0].render(layouts, poses)
    died, end = Event(), Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: (alive.clear(), died.set(), end.wait(60)))
        died.wait()
        later = [reference.ReferenceRenderer(config, 60, 80).render(layouts, poses) for _ in range(3)]
        end.set()
    assert all(np.array_equal(frames, pictures) for frames in later)


@pytest.mark.opengl
def test_missing_multisampling_is_said(monkeypatch):
    config = MazeConfig()
    maze = generate(config, 0)
    reference.make_reference(config, maze)  # before MiniWorld's modules are touched
    monkeypatch.setattr("miniworld.opengl.gl_info.have_extension", lambda name: False)
    with pytest.warns(UserWarning, match="no multisampling"):
        reference.make_reference(config, maze)


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
            measure(1)
        with pytest.raises(UserError, match="need OpenGL"):
            motion(1)
    finally:
        monkeypatch.undo()
        reference.available.cache_clear()
