"""The fast picture against slow and literal versions of itself: every sample by its own ray, every colour by floats."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mazes import textures
from mazes.layout import BOX_SIZE, Layout, MazeConfig, generate_batch
from mazes.renderer import CAMERA_HEIGHT, TAN_HALF_FOV, WALL_HEIGHT, render, render_depth
from mazes.seeds import split_seeds
from mazes.simulator import is_free, is_open, low_edge, spawn

SAMPLES = [(0.125, 0.375), (0.375, 0.875), (0.625, 0.125), (0.875, 0.625)]
LIT, UNLIT = 0.65 + 0.7 / np.sqrt(1 + 3.5**2 + 1), 0.65


def scenes(count=24, **options):
    """Return mazes and poses, of which the first half look at the goal from nearby."""
    config = MazeConfig(**options)
    seeds = split_seeds("train", 0, count)
    layouts = generate_batch(config, seeds)
    poses = spawn(config, layouts, seeds, np.arange(count))
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, count)
    for b in range(count // 2):
        goal, angle = layouts.goal[b], angles[b]
        x, z = goal[0] - 0.9 * np.cos(angle), goal[1] + 0.9 * np.sin(angle)
        if is_free(layouts.open[b], x, z, 0.3):
            poses[b] = x, z, angle + 0.2
    return layouts, poses


def maze(layouts, b):
    return Layout(*(field[b] for field in layouts))


def see(layout, pose, lateral, slope):
    """Follow one ray in space to the first surface: (kind, depth, and for a wall its cell and side)."""
    x, z, heading = pose
    cos, sin = np.cos(heading), np.sin(heading)
    dx, dz = cos + lateral * sin, lateral * cos - sin
    hits = []
    for i in range(-1, layout.open.shape[0] + 1):
        for j in range(-1, layout.open.shape[1] + 1):
            if not is_open(layout.open, i, j):
                # A ray is in a solid cell while it is between both pairs of its sides.
                in_x, out_x = sorted((low_edge(k) - x) / dx for k in (j, j + 1))
                in_z, out_z = sorted((low_edge(k) - z) / dz for k in (i, i + 1))
                if 0 < max(in_x, in_z) < min(out_x, out_z):
                    hits.append((max(in_x, in_z), i, j, in_x > in_z))
    depth, i, j, by_x = min(hits)
    if by_x:
        hit = ("wall", depth, (i, j - int(np.sign(dx)), "E" if dx > 0 else "W"))
    else:
        hit = ("wall", depth, (i - int(np.sign(dz)), j, "S" if dz > 0 else "N"))
    if slope > 0 and (WALL_HEIGHT - CAMERA_HEIGHT) / slope < depth:
        hit = ("ceiling", (WALL_HEIGHT - CAMERA_HEIGHT) / slope, None)
    if slope < 0 and -CAMERA_HEIGHT / slope < depth:
        hit = ("floor", -CAMERA_HEIGHT / slope, None)
    # The box, in its own axes.
    goal_cos, goal_sin = np.cos(layout.goal[2]), np.sin(layout.goal[2])
    offset, ray = np.array([x, z]) - layout.goal[:2], np.array([dx, dz])
    axes = np.array([[goal_cos, -goal_sin], [goal_sin, goal_cos]])
    position = np.append(axes @ offset, CAMERA_HEIGHT - BOX_SIZE / 2)
    direction = np.append(axes @ ray, slope or 1e-12)
    ends = np.array([-BOX_SIZE / 2, BOX_SIZE / 2])[:, None]
    enter, leave = np.sort((ends - position) / direction, axis=0)
    if 0 < enter.max() < min(leave.min(), hit[1]):
        k = int(enter.argmax())
        normal = -np.sign(direction[k]) * (np.append(axes[k], 0) if k < 2 else np.array([0, 0, 1]))
        cosine = normal @ np.array([1, 1, 3.5]) / np.sqrt(1 + 3.5**2 + 1)
        hit = ("box", enter.max(), min(1.0, 0.65 + 0.7 * max(0.0, cosine)))
    return hit


def trilinear(texture, right, up, texels_per_pixel):
    """Look a colour up in floats, with one wrapped index at a time."""
    pyramids = textures.load()
    level = min(max(np.log2(texels_per_pixel), 0), pyramids.levels.shape[1] - 2)
    u, v = right * pyramids.repeats[texture, 0], up * pyramids.repeats[texture, 1]
    colour = np.zeros(3)
    for mip, share in ((int(level), 1 - level % 1), (int(level) + 1, level % 1)):
        offset, _, width, height, _ = (int(n) for n in pyramids.levels[texture, mip])
        stride = -(-height // textures.BLOCK) * textures.BLOCK
        s, t = u % 1 * width - 0.5, v % 1 * height - 0.5
        for column, across in ((np.floor(s), 1 - s % 1), (np.floor(s) + 1, s % 1)):
            for row, along in ((np.floor(t), 1 - t % 1), (np.floor(t) + 1, t % 1)):
                texel = offset + 4 * (int(column) % width * stride + int(row) % height)
                colour += share * across * along * pyramids.texels[texel : texel + 3]
    return colour


def shade(layout, pose, lateral, slope, pixel, hit):
    """Return the colour in the middle of a pixel of the surface that one of its samples sees."""
    kind, _, detail = hit
    x, z, heading = pose
    cos, sin = np.cos(heading), np.sin(heading)
    dx, dz = cos + lateral * sin, lateral * cos - sin
    scale = textures.TEXELS_PER_METRE * pixel
    if kind == "box":
        return np.array([255 * detail, 0, 0])
    if kind != "wall":
        depth = (WALL_HEIGHT - CAMERA_HEIGHT if kind == "ceiling" else -CAMERA_HEIGHT) / slope
        footprint = scale * depth * np.sqrt(1 + lateral**2) / abs(slope)
        texture, light = (textures.CEILING, UNLIT) if kind == "ceiling" else (textures.FLOOR, 1.0)
        return light * trilinear(texture, x + depth * dx, z + depth * dz, footprint)
    i, j, side = detail
    if side in "EW":
        depth = (low_edge(j + (side == "E")) - x) / dx
        along, start, stop, ray = z + depth * dz, low_edge(i), low_edge(i + 1), dx
    else:
        depth = (low_edge(i + (side == "S")) - z) / dz
        along, start, stop, ray = x + depth * dx, low_edge(j), low_edge(j + 1), dz
    right = stop - along if side in "EN" else along - start
    colour = trilinear(layout.texture[i, j], right, CAMERA_HEIGHT + slope * depth, scale * depth * max(1, 1 / abs(ray)))
    return (LIT if side in "WN" else UNLIT) * colour


@pytest.mark.parametrize(
    ("height", "width", "options"),
    [(30, 40, {}), (17, 23, {}), (64, 48, {"kind": "imaze"}), (240, 320, {"rows": 5, "extra_openings": 0.8})],
)
def test_pixels_are_those_of_the_slow_picture(height, width, options):
    layouts, poses = scenes(**options)
    picture = render(layouts, poses, height, width)
    pixel = 2 * TAN_HALF_FOV / height
    rng = np.random.default_rng(0)
    seen, errors = set(), []
    for b in np.repeat(np.arange(len(poses)), 40):
        row, column = rng.integers(height), rng.integers(width)
        layout = maze(layouts, b)
        lateral, slope = (column + 0.5 - width / 2) * pixel, (height / 2 - row - 0.5) * pixel
        colour = np.zeros(3)
        for right, down in SAMPLES:
            hit = see(layout, poses[b], lateral + (right - 0.5) * pixel, slope - (down - 0.5) * pixel)
            colour += shade(layout, poses[b], lateral, slope, pixel, hit) / len(SAMPLES)
            seen.add(hit[0])
        errors.append(np.abs(picture[b, row, column] - colour).max())
    # On walls the coarser mip level's peaks are blunted; ceiling and floor are the nearest of close strips and mip
    # levels; the box's outline mixes with all that its pixel shows.
    assert np.mean(errors) < 0.7 and np.quantile(errors, 0.99) < 6 and np.max(errors) < 24, np.sort(errors)[-40:]
    assert seen == {"wall", "ceiling", "floor", "box"}


@pytest.mark.parametrize(("height", "width"), [(30, 40), (17, 23)])
def test_depth_is_that_of_a_ray_in_space(height, width):
    layouts, poses = scenes(rows=4, extra_openings=0.5)
    depth = render_depth(layouts, poses, height, width)
    pixel = 2 * TAN_HALF_FOV / height
    rng = np.random.default_rng(0)
    for b in np.repeat(np.arange(len(poses)), 40):
        row, column = rng.integers(height), rng.integers(width)
        hit = see(maze(layouts, b), poses[b], (column + 0.5 - width / 2) * pixel, (height / 2 - row - 0.5) * pixel)
        assert depth[b, row, column] == pytest.approx(hit[1], rel=1e-5)


def test_a_picture_depends_on_its_own_scene_alone():
    """Neither the place in the batch, nor other threads, nor what `out` held before make a difference."""
    layouts, poses = scenes()
    whole = render(layouts, poses)
    order = np.random.default_rng(0).permutation(len(poses))
    shuffled = Layout(*(field[order] for field in layouts))
    np.testing.assert_array_equal(render(shuffled, poses[order]), whole[order])
    out = np.full_like(whole, 7)
    parts = [slice(b, b + 1) for b in range(len(poses))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda part: render(Layout(*(f[part] for f in layouts)), poses[part], out=out[part]), parts))
    np.testing.assert_array_equal(out, whole)


def test_headings_along_the_axes_and_full_turns():
    """Rays that run exactly along a wall's axis divide by zero somewhere; a full turn changes nothing to be seen."""
    layouts, poses = scenes(8)
    for turn in range(4):
        poses[:, 2] = turn * np.pi / 2 if turn else 0.0
        for width in (40, 41):
            picture, depth = render(layouts, poses, 31, width), render_depth(layouts, poses, 31, width)
            assert np.isfinite(depth).all() and (depth > 0).all()
            around = render(layouts, poses + [0, 0, 2 * np.pi], 31, width)
            assert np.abs(picture.astype(int) - around).mean() < 0.1
