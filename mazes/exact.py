"""MiniWorld's picture from a camera that pitches, under any light, of mazes with a look (see `mazes.look`).

A ray (lateral, slope) of a camera pitched by p goes the same way as the ray (lateral / a, (sin p + slope cos p) / a) of
a level one, a = cos p - slope sin p, so the same planar rays settle what each sample sees; a metre of depth along the
pitched axis is a metres along the level one. Nothing is baked or packed, as in the faster `mazes.renderer`: colours are
floats, and each pixel's mip level is that of its own footprint, the longer of its sides' projections on the surface.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from mazes import look as looks
from mazes import textures
from mazes.layout import BOX_RADIUS, BOX_SIZE, Layout, require_array, require_each
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

LIGHTS = _WALLS + 4
"""Rows of what `write_lights` writes: the surfaces before `_WALLS`, and the four sides that a wall may be on."""


class Camera(NamedTuple):
    """From where, and how, a picture is taken."""

    x: float
    """Metres, as z and height."""
    z: float
    height: float
    cos: float
    """Of the heading, as sin."""
    sin: float
    cos_pitch: float
    sin_pitch: float
    pixel: float
    """Side of a pixel, as a tangent."""


def render(layouts: Layout, poses: np.ndarray, out: np.ndarray) -> None:
    """Draw what the agent sees in each of B mazes with looks into uint8 [B, height, width, 3].

    Raises:
        ValueError: mazes have no looks; poses are not as many, or lie outside of them; `out` is no such array.
    """
    _require_looks(layouts, poses)
    require_array("out", out, np.uint8, len(poses), None, None, 3)
    pyramids = textures.in_words(textures.load(variants=True))
    walls = np.empty(1, WALL_IN_VIEW)
    _render_batch(layouts.open, layouts.texture, layouts.goal, layouts.look, poses, pyramids, walls, out)


def render_depth(layouts: Layout, poses: np.ndarray, out: np.ndarray) -> None:
    """Write the depth at each pixel's centre, metres along the optical axis, into float32 [B, height, width].

    Raises:
        ValueError: as of `render`.
    """
    _require_looks(layouts, poses)
    require_array("out", out, np.float32, len(poses), None, None)
    walls = np.empty(1, WALL_IN_VIEW)
    _depth_batch(layouts.open, layouts.texture, layouts.goal, layouts.look, poses, walls, out)


def _require_looks(layouts: Layout, poses: np.ndarray) -> None:
    require_each(layouts, poses=poses)
    if not layouts.look.shape[1]:
        raise ValueError("layouts must be of mazes with domain_rand: these have no looks")


@njit(forceinline=True)
def aim(look, pose, height):
    """Return the `Camera` of a maze's look at the agent's pose, for pictures of so many rows."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    ahead = look[looks.CAM_FWD_DISP]
    pitch = math.radians(look[looks.CAM_PITCH])
    pixel = 2 * math.tan(math.radians(look[looks.CAM_FOV_Y]) / 2) / height
    camera_height = look[looks.CAM_HEIGHT]
    return Camera(
        pose[0] + ahead * cos, pose[1] - ahead * sin, camera_height, cos, sin, math.cos(pitch), math.sin(pitch), pixel
    )


@njit(forceinline=True)
def level(camera, rows):
    """Return the level slope of a ray that is `rows` above the picture's middle, and what `ahead` is.

    That is how many metres of level depth there are to one along the pitched axis.
    """
    slope = rows * camera.pixel
    ahead = camera.cos_pitch - slope * camera.sin_pitch
    return (camera.sin_pitch + slope * camera.cos_pitch) / ahead, ahead


@njit(forceinline=True)
def sample_from_left(k, width):
    """Return how many columns to the right of the optical axis sample k of the first column is."""
    return (2 * k + 1) / (2 * SAMPLES) - width / 2


@njit(forceinline=True)
def find_wall(open_, texture, camera, lateral, wall):
    """Fill in the wall that a ray meets unless it meets something else before.

    Returns:
        its number among the surfaces, and up to which lateral rays further right meet it too.
    """
    i, j, side, until = cast(open_, camera.x, camera.z, camera.cos, camera.sin, lateral)
    describe(wall, i, j, side, texture, camera.x, camera.z, camera.cos, camera.sin)
    return _WALLS + 4 * (i * open_.shape[1] + j) + side, until


@njit(forceinline=True)
def see(camera, lateral, slope, number, near, near_slope, goal, cos_goal, sin_goal):
    """Settle what a level camera's ray meets; the wall behind all has a number and 1 / depth as in `WALL_IN_VIEW`.

    Returns:
        the surface and its depth.
    """
    x, z, camera_height, cos, sin = camera.x, camera.z, camera.height, camera.cos, camera.sin
    dx, dz = cos + lateral * sin, lateral * cos - sin
    wall_depth = 1 / (near + near_slope * lateral)
    surface, depth = number, wall_depth
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
    norm = math.sqrt(light_x * light_x + light_y * light_y + light_z * light_z)
    cosine = max(0.0, (right * light_x + up * light_y + back * light_z) / norm)
    return _GLOBAL_AMBIENT + look[looks.LIGHT_AMBIENT + channel] + look[looks.LIGHT_COLOR + channel] * cosine


@njit
def write_lights(look, goal, lights):
    """Write each face's red, green and blue, float64 [`LIGHTS`, 3]: the box's colours, the brightness of all else."""
    cos, sin = np.cos(goal[2]), np.sin(goal[2])
    for channel in range(3):
        lights[_CEILING, channel] = min(1.0, _brightness(look, channel, 0.0, -1.0, 0.0))
        lights[_FLOOR, channel] = min(1.0, _brightness(look, channel, 0.0, 1.0, 0.0))
        # The wall on a cell's eastern side looks west.
        lights[_WALLS + EAST, channel] = min(1.0, _brightness(look, channel, -1.0, 0.0, 0.0))
        lights[_WALLS + WEST, channel] = min(1.0, _brightness(look, channel, 1.0, 0.0, 0.0))
        lights[_WALLS + NORTH, channel] = min(1.0, _brightness(look, channel, 0.0, 0.0, 1.0))
        lights[_WALLS + SOUTH, channel] = min(1.0, _brightness(look, channel, 0.0, 0.0, -1.0))
        colour = min(1.0, max(0.0, (channel == 0) + look[looks.OBJ_COLOR_BIAS + channel]))
        lights[_BOX_TOP, channel] = 255 * min(1.0, colour * _brightness(look, channel, 0.0, 1.0, 0.0))
        for side, (right, back) in enumerate(((cos, -sin), (sin, cos), (-cos, sin), (-sin, -cos))):
            light = _brightness(look, channel, right, 0.0, back)
            lights[_BOX_SIDES + side, channel] = 255 * min(1.0, colour * light)


@njit(forceinline=True)
def _look_up(pyramids, texture, across, up, texels_per_pixel):
    """Return the red, green and blue of a texture, `across` and `up` metres from its origin."""
    texels, levels = pyramids.texels, pyramids.levels
    level = min(max(np.float64(log2(texels_per_pixel)), 0.0), levels.shape[1] - 2.0)
    fine = min(np.int64(level), levels.shape[1] - 2)
    u, v = across * pyramids.repeats[texture, 0], up * pyramids.repeats[texture, 1]
    u, v = u - math.floor(u), v - math.floor(v)
    red = green = blue = 0.0
    for mip in range(fine, fine + 2):
        weight = level - fine if mip > fine else 1 - (level - fine)
        start, width, height = levels[texture, mip, 0] >> 2, levels[texture, mip, 2], levels[texture, mip, 3]
        length = textures.filled(height)
        s, t = u * width - 0.5, v * height - 0.5
        i, j = math.floor(s), math.floor(t)
        s, t = s - i, t - j
        left, right = (i if i >= 0 else width - 1) * length, (i + 1 if i + 1 < width else 0) * length
        low, high = j if j >= 0 else height - 1, j + 1 if j + 1 < height else 0
        for place, share in (
            (left + low, (1 - s) * (1 - t)),
            (left + high, (1 - s) * t),
            (right + low, s * (1 - t)),
            (right + high, s * t),
        ):
            texel = texels[np.uint64(start + place)]
            red += weight * share * (texel & np.uint32(255))
            green += weight * share * (texel >> np.uint32(8) & np.uint32(255))
            blue += weight * share * (texel >> np.uint32(16) & np.uint32(255))
    return red, green, blue


@njit(nogil=True, cache=True, error_model="numpy")
def _render_batch(open_, texture, goal, look, poses, pyramids, walls, out):
    seen = np.empty((SAMPLES, out.shape[2]), np.int64)
    lights = np.empty((LIGHTS, 3))
    for b in range(len(poses)):
        _draw(open_[b], texture[b], goal[b], look[b], poses[b], pyramids, walls, seen, lights, out[b])


@njit
def _draw(open_, texture, goal, look, pose, pyramids, walls, seen, lights, out):
    height, width = out.shape[0], out.shape[1]
    camera = aim(look, pose, height)
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    write_lights(look, goal, lights)
    wall = walls[0]
    for row in range(np.uint64(height)):
        for k in range(SAMPLES):
            slope, ahead = level(camera, height / 2 - row - SAMPLE_Y[k])
            step = camera.pixel / ahead
            from_left = sample_from_left(k, width)
            first = 0
            while first < width:
                number, until = find_wall(open_, texture, camera, (first + from_left) * step, wall)
                near, near_slope = wall.near, wall.near_slope
                end = max(first + 1, np.int64(min(np.float64(width), np.ceil(until / step - from_left))))
                for column in range(np.uint64(first), np.uint64(end)):
                    lateral = (column + from_left) * step
                    seen[k, column], _ = see(camera, lateral, slope, number, near, near_slope, goal, cos_goal, sin_goal)
                first = end
        slope, ahead = level(camera, height / 2 - row - 0.5)
        for column in range(np.uint64(width)):
            lateral = (column + 0.5 - width / 2) * camera.pixel / ahead
            red, green, blue = mix(seen, column, texture, camera, lateral, slope, ahead, pyramids, wall, lights)
            out[row, column, 0] = np.uint8(red)
            out[row, column, 1] = np.uint8(green)
            out[row, column, 2] = np.uint8(blue)


@njit(forceinline=True)
def mix(seen, column, texture, camera, lateral, slope, ahead, pyramids, wall, lights):
    """Return the colour of a pixel whose samples see the surfaces `seen[:, column]`: red, green, blue, all plus 0.5.

    Surfaces have the colours that they have on the level camera's ray (lateral, slope) through the pixel's middle.
    `wall` is room to work in.
    """
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
                r, g, b = lights[surface, 0], lights[surface, 1], lights[surface, 2]
            else:
                r, g, b = _shade(surface, texture, camera, lateral, slope, ahead, pyramids, wall, lights)
            red, green, blue = red + samples * r, green + samples * g, blue + samples * b
    return red / SAMPLES, green / SAMPLES, blue / SAMPLES


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
        number, light = texture[cell // columns, cell % columns], _WALLS + side
    texels = textures.TEXELS_PER_METRE * pixel * depth * math.sqrt(max(a * a + b * b, c * c + d * d))
    red, green, blue = _look_up(pyramids, number, across, up, max(texels, 1e-6))
    return red * lights[light, 0], green * lights[light, 1], blue * lights[light, 2]


@njit(nogil=True, cache=True, error_model="numpy")
def _depth_batch(open_, texture, goal, look, poses, walls, out):
    height, width = out.shape[1], out.shape[2]
    wall = walls[0]
    for b in range(len(poses)):
        camera = aim(look[b], poses[b], height)
        cos_goal, sin_goal = np.cos(goal[b, 2]), np.sin(goal[b, 2])
        for row in range(height):
            slope, ahead = level(camera, height / 2 - row - 0.5)
            for column in range(width):
                lateral = (column + 0.5 - width / 2) * camera.pixel / ahead
                number, _ = find_wall(open_[b], texture[b], camera, lateral, wall)
                _, depth = see(camera, lateral, slope, number, wall.near, wall.near_slope, goal[b], cos_goal, sin_goal)
                out[b, row, column] = depth / ahead
