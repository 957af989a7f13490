"""MiniWorld's picture from a camera that pitches, under any light, of mazes with a look (see `mazes.look`).

A ray (lateral, slope) of a camera pitched by p goes the same way as the ray (lateral / a, (sin p + slope cos p) / a) of
a level one, a = cos p - slope sin p, so the same planar rays settle what each sample sees; a metre of depth along the
pitched axis is a metres along the level one. Nothing is baked or packed, as in the faster `mazes.renderer`: colours are
floats, and each pixel's mip level is that of its own footprint, the longer of its sides' projections on the surface.
"""

import numpy as np
from numba import njit

from mazes import look as looks
from mazes import textures
from mazes.layout import BOX_RADIUS, BOX_SIZE, Layout
from mazes.rays import (
    EAST,
    NORTH,
    SAMPLE_Y,
    SAMPLES,
    SOUTH,
    WALL_HEIGHT,
    WALL_IN_VIEW,
    WEST,
    cast,
    cast_box,
    describe,
    log2,
)

_GLOBAL_AMBIENT = 0.2
"""OpenGL's own `GL_LIGHT_MODEL_AMBIENT`."""

# What a ray may meet: these, and from _WALLS on the sides of cells.
_CEILING, _FLOOR, _BOX_TOP, _BOX_SIDES, _WALLS = 0, 1, 2, 3, 7


def render(layouts: Layout, poses: np.ndarray, out: np.ndarray) -> None:
    """Draw what the agent sees in each of B mazes with looks into uint8 [B, height, width, 3]."""
    pyramids = textures.load(variants=True)
    walls = np.empty(1, WALL_IN_VIEW)
    _render_batch(layouts.open, layouts.texture, layouts.goal, layouts.look, poses, pyramids, walls, out)


def render_depth(layouts: Layout, poses: np.ndarray, out: np.ndarray) -> None:
    """Write the depth at each pixel's centre, metres along the optical axis, into float32 [B, height, width]."""
    walls = np.empty(1, WALL_IN_VIEW)
    _depth_batch(layouts.open, layouts.texture, layouts.goal, layouts.look, poses, walls, out)


@njit(forceinline=True)
def _camera(look, pose, height):
    """Return the camera's x, z and height, cosine and sine of heading and of pitch, and a pixel's side as a tangent."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    ahead = look[looks.CAM_FWD_DISP]
    pitch = np.radians(look[looks.CAM_PITCH])
    pixel = 2 * np.tan(np.radians(look[looks.CAM_FOV_Y]) / 2) / height
    camera_height = look[looks.CAM_HEIGHT]
    return pose[0] + ahead * cos, pose[1] - ahead * sin, camera_height, cos, sin, np.cos(pitch), np.sin(pitch), pixel


@njit(forceinline=True)
def _level(slope, cos_pitch, sin_pitch):
    """Return the level slope of a pitched camera's ray, and the metres of level depth to one along the pitched axis."""
    ahead = cos_pitch - slope * sin_pitch
    return (sin_pitch + slope * cos_pitch) / ahead, ahead


@njit(forceinline=True)
def _see(slope, wall_depth, camera_height, goal, cos_goal, sin_goal, x, z, dx, dz):
    """Settle what a level camera's ray (dx, slope, dz) meets before a wall at some depth, which it meets otherwise.

    Returns:
        the surface, `_WALLS` for the wall, and its depth.
    """
    surface, depth = _WALLS, wall_depth
    if slope * wall_depth > WALL_HEIGHT - camera_height:
        surface, depth = _CEILING, (WALL_HEIGHT - camera_height) / slope
    elif slope * wall_depth < -camera_height:
        surface, depth = _FLOOR, -camera_height / slope
    # The box is lower than the camera.
    if slope < 0 and ((x - goal[0]) * dz - (z - goal[1]) * dx) ** 2 < BOX_RADIUS**2 * (dx * dx + dz * dz):
        enter, leave, normal_x, normal_z = cast_box(goal, cos_goal, sin_goal, x, z, dx, dz)
        to_top = -(camera_height - BOX_SIZE) / slope
        if max(enter, to_top) < min(leave, depth):
            if to_top > enter:
                return _BOX_TOP, to_top
            # The sides are those of +x, +z, -x and -z of the box's own axes, (cos, -sin) and (sin, cos).
            on_x = normal_x * cos_goal - normal_z * sin_goal
            on_z = normal_x * sin_goal + normal_z * cos_goal
            side = (0 if on_x > 0 else 2) if abs(on_x) > abs(on_z) else (1 if on_z > 0 else 3)
            return _BOX_SIDES + side, enter
    return surface, depth


@njit(forceinline=True)
def _brightness(look, channel, right, up, back):
    """Return the light that falls on a face with this normal (x, y, z) in a channel, before it is cut off at 1."""
    # `light_pos + [1]` adds to the NumPy array instead of appending w = 1: the light is infinitely far away.
    light_x, light_y, light_z = look[looks.LIGHT_POS] + 1, look[looks.LIGHT_POS + 1] + 1, look[looks.LIGHT_POS + 2] + 1
    norm = np.sqrt(light_x * light_x + light_y * light_y + light_z * light_z)
    cosine = max(0.0, (right * light_x + up * light_y + back * light_z) / norm)
    return _GLOBAL_AMBIENT + look[looks.LIGHT_AMBIENT + channel] + look[looks.LIGHT_COLOR + channel] * cosine


@njit
def _light(look, goal, lights, box):
    """Fill in the brightness of ceiling, floor and walls float64 [6, 3], and the colours of the box float64 [5, 3]."""
    cos, sin = np.cos(goal[2]), np.sin(goal[2])
    for channel in range(3):
        lights[_CEILING, channel] = min(1.0, _brightness(look, channel, 0.0, -1.0, 0.0))
        lights[_FLOOR, channel] = min(1.0, _brightness(look, channel, 0.0, 1.0, 0.0))
        # The wall on a cell's eastern side looks west.
        lights[2 + EAST, channel] = min(1.0, _brightness(look, channel, -1.0, 0.0, 0.0))
        lights[2 + WEST, channel] = min(1.0, _brightness(look, channel, 1.0, 0.0, 0.0))
        lights[2 + NORTH, channel] = min(1.0, _brightness(look, channel, 0.0, 0.0, 1.0))
        lights[2 + SOUTH, channel] = min(1.0, _brightness(look, channel, 0.0, 0.0, -1.0))
        colour = min(1.0, max(0.0, (channel == 0) + look[looks.OBJ_COLOR_BIAS + channel]))
        box[0, channel] = 255 * min(1.0, colour * _brightness(look, channel, 0.0, 1.0, 0.0))
        for side, (right, back) in enumerate(((cos, -sin), (sin, cos), (-cos, sin), (-sin, -cos))):
            box[1 + side, channel] = 255 * min(1.0, colour * _brightness(look, channel, right, 0.0, back))


@njit(forceinline=True)
def _look_up(pyramids, texture, across, up, texels_per_pixel):
    """Return the red, green and blue of a texture, `across` and `up` metres from its origin."""
    texels, levels = pyramids.texels, pyramids.levels
    level = min(max(np.float64(log2(texels_per_pixel)), 0.0), levels.shape[1] - 2.0)
    fine = min(np.int64(level), levels.shape[1] - 2)
    u, v = across * pyramids.repeats[texture, 0], up * pyramids.repeats[texture, 1]
    u, v = u - np.floor(u), v - np.floor(v)
    red = green = blue = 0.0
    for mip in range(fine, fine + 2):
        weight = level - fine if mip > fine else 1 - (level - fine)
        start, width, height = levels[texture, mip, 0], levels[texture, mip, 2], levels[texture, mip, 3]
        length = 4 * ((height + textures.BLOCK - 1) // textures.BLOCK * textures.BLOCK)
        s, t = u * width - 0.5, v * height - 0.5
        i, j = np.int64(np.floor(s)), np.int64(np.floor(t))
        s, t = s - i, t - j
        left, right = (i if i >= 0 else width - 1) * length, (i + 1 if i + 1 < width else 0) * length
        low, high = 4 * (j if j >= 0 else height - 1), 4 * (j + 1 if j + 1 < height else 0)
        for place, share in (
            (left + low, (1 - s) * (1 - t)),
            (left + high, (1 - s) * t),
            (right + low, s * (1 - t)),
            (right + high, s * t),
        ):
            texel = np.uint64(start + place)
            red += weight * share * texels[texel]
            green += weight * share * texels[texel + np.uint64(1)]
            blue += weight * share * texels[texel + np.uint64(2)]
    return red, green, blue


@njit(nogil=True, cache=True, error_model="numpy")
def _render_batch(open_, texture, goal, look, poses, pyramids, walls, out):
    seen = np.empty((SAMPLES, out.shape[2]), np.int64)
    lights, box = np.empty((6, 3)), np.empty((5, 3))
    for b in range(len(poses)):
        _draw(open_[b], texture[b], goal[b], look[b], poses[b], pyramids, walls, seen, lights, box, out[b])


@njit
def _draw(open_, texture, goal, look, pose, pyramids, walls, seen, lights, box, out):
    height, width = out.shape[0], out.shape[1]
    x, z, camera_height, cos, sin, cos_pitch, sin_pitch, pixel = camera = _camera(look, pose, height)
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    _light(look, goal, lights, box)
    wall = walls[0]
    for row in range(np.uint64(height)):
        for k in range(SAMPLES):
            slope, ahead = _level((height / 2 - row - SAMPLE_Y[k]) * pixel, cos_pitch, sin_pitch)
            step = pixel / ahead
            from_left = (2 * k + 1) / (2 * SAMPLES) - width / 2
            first = 0
            while first < width:
                i, j, side, until = cast(open_, x, z, cos, sin, (first + from_left) * step)
                describe(wall, i, j, side, texture, x, z, cos, sin)
                near, near_slope = wall.near, wall.near_slope
                number = _WALLS + 4 * (i * open_.shape[1] + j) + side
                end = max(first + 1, np.int64(min(np.float64(width), np.ceil(until / step - from_left))))
                for column in range(np.uint64(first), np.uint64(end)):
                    lateral = (column + from_left) * step
                    dx, dz = cos + lateral * sin, lateral * cos - sin
                    depth = 1 / (near + near_slope * lateral)
                    surface, _ = _see(slope, depth, camera_height, goal, cos_goal, sin_goal, x, z, dx, dz)
                    seen[k, column] = number if surface == _WALLS else surface
                first = end
        slope, ahead = _level((height / 2 - row - 0.5) * pixel, cos_pitch, sin_pitch)
        for column in range(np.uint64(width)):
            lateral = (column + 0.5 - width / 2) * pixel / ahead
            red = green = blue = 0.5 * SAMPLES  # rounded in the end
            left = SAMPLES
            k = 0
            while left > 0:
                surface, samples, is_new = seen[k, column], 0, True
                for other in range(SAMPLES):
                    same = seen[other, column] == surface
                    samples += same
                    is_new &= not same or other >= k
                k += 1
                if is_new:
                    left -= samples
                    if _BOX_TOP <= surface < _WALLS:
                        face = surface - _BOX_TOP
                        r, g, b = box[face, 0], box[face, 1], box[face, 2]
                    else:
                        r, g, b = _shade(surface, texture, camera, lateral, slope, ahead, pyramids, wall, lights)
                    red, green, blue = red + samples * r, green + samples * g, blue + samples * b
            out[row, column, 0] = np.uint8(red / SAMPLES)
            out[row, column, 1] = np.uint8(green / SAMPLES)
            out[row, column, 2] = np.uint8(blue / SAMPLES)


@njit(forceinline=True)
def _shade(surface, texture, camera, lateral, slope, ahead, pyramids, wall, lights):
    """Return the colour of ceiling, floor or a wall where a level camera's ray through a pixel's middle meets it."""
    x, z, camera_height, cos, sin, cos_pitch, sin_pitch, pixel = camera
    columns = texture.shape[1]
    # The ray, and how it changes from column to column and from row to row, all seen from the pitched camera.
    dx, dy, dz = ahead * (cos + lateral * sin), ahead * slope, ahead * (lateral * cos - sin)
    right_x, right_z = sin, cos
    up_x, up_y, up_z = -sin_pitch * cos, cos_pitch, sin_pitch * sin
    if surface == _CEILING or surface == _FLOOR:
        above = WALL_HEIGHT - camera_height if surface == _CEILING else -camera_height
        # Past its end a surface's plane may be behind the middle of a pixel that sees it at the edge.
        depth = max(above / dy if dy != 0 else 1e4, 0.0)
        turn = up_y / dy if dy != 0 else 0.0
        depth = min(depth, 1e4)
        across, up = x + depth * dx, z + depth * dz
        a, b = right_x, right_z
        c, d = up_x - dx * turn, up_z - dz * turn
        number, light = (textures.CEILING, _CEILING) if surface == _CEILING else (textures.FLOOR, _FLOOR)
    else:
        cell, side = (surface - _WALLS) // 4, (surface - _WALLS) % 4
        describe(wall, cell // columns, cell % columns, side, texture, x, z, cos, sin)
        level_depth = 1 / max(wall.near + wall.near_slope * lateral, 1e-4)
        depth = level_depth / ahead
        across = wall.across + level_depth * (wall.turn + wall.turn_slope * lateral)
        up = camera_height + level_depth * slope
        if side == EAST or side == WEST:
            a, b = right_z - dz * right_x / dx, -dy * right_x / dx
            c, d = up_z - dz * up_x / dx, up_y - dy * up_x / dx
        else:
            a, b = right_x - dx * right_z / dz, -dy * right_z / dz
            c, d = up_x - dx * up_z / dz, up_y - dy * up_z / dz
        number, light = texture[cell // columns, cell % columns], 2 + side
    texels = textures.TEXELS_PER_METRE * pixel * depth * np.sqrt(max(a * a + b * b, c * c + d * d))
    red, green, blue = _look_up(pyramids, number, across, up, max(texels, 1e-6))
    return red * lights[light, 0], green * lights[light, 1], blue * lights[light, 2]


@njit(nogil=True, cache=True, error_model="numpy")
def _depth_batch(open_, texture, goal, look, poses, walls, out):
    height, width = out.shape[1], out.shape[2]
    for b in range(len(poses)):
        x, z, camera_height, cos, sin, cos_pitch, sin_pitch, pixel = _camera(look[b], poses[b], height)
        cos_goal, sin_goal = np.cos(goal[b, 2]), np.sin(goal[b, 2])
        for row in range(height):
            slope, ahead = _level((height / 2 - row - 0.5) * pixel, cos_pitch, sin_pitch)
            for column in range(width):
                lateral = (column + 0.5 - width / 2) * pixel / ahead
                i, j, side, _ = cast(open_[b], x, z, cos, sin, lateral)
                describe(walls[0], i, j, side, texture[b], x, z, cos, sin)
                wall = 1 / (walls[0].near + walls[0].near_slope * lateral)
                dx, dz = cos + lateral * sin, lateral * cos - sin
                _, depth = _see(slope, wall, camera_height, goal[b], cos_goal, sin_goal, x, z, dx, dz)
                out[b, row, column] = depth / ahead
