"""MiniWorld's first-person picture without OpenGL.

The camera never pitches, so walls are vertical in the picture and one planar ray per sample column settles what is seen in it: ceiling above, the
wall that the ray meets, floor below, and the goal box in front. As in OpenGL with four samples a pixel, *which* surface a sample sees is decided at
the sample, *its colour* at the pixel's centre: mip-mapped textures (trilinear) times the light of the face.

A sample's place in the picture is (lateral, slope): tangents of the angles to the right of and above the optical axis.
Depth is measured along the optical axis, metres.
"""

import numpy as np
from numba import njit

from mazes import textures
from mazes.layout import BOX_SIZE, Layout
from mazes.simulator import cell_of, is_open, low_edge

CAMERA_HEIGHT = 1.5
"""MiniWorld `Agent.cam_height`, metres."""
WALL_HEIGHT = 2.74
"""MiniWorld `DEFAULT_WALL_HEIGHT`, metres."""
TAN_HALF_FOV = np.tan(np.pi / 6)
"""MiniWorld `Agent.cam_fov_y` is 60 degrees."""

# OpenGL's fixed-function light in MiniWorld: ambient .45 plus the global ambient .2, and .7 times the cosine to a light at infinity towards (1, 3.5, 1).
# (`light_pos + [1]` adds to the NumPy array instead of appending w = 1: the light is directional.)
_AMBIENT = 0.65
_DIFFUSE = 0.7
_LIGHT_XZ = 1 / np.sqrt(1 + 3.5**2 + 1)
_LIT_WALL = _AMBIENT + _DIFFUSE * _LIGHT_XZ

# Sides of a cell, by the wall one sees there.
_EAST, _NORTH, _WEST, _SOUTH = range(4)

# Surfaces that a sample can see, beside the walls, whose code is 4 * cell + side.
_CEILING, _FLOOR, _BOX_TOP, _BOX_SIDE = -1, -2, -3, -4  # box sides are -4 to -7

_SAMPLE_X = np.array([0.375, 0.875, 0.125, 0.625])
_SAMPLE_Y = np.array([0.875, 0.625, 0.375, 0.125])
"""Rotated-grid sample positions in a pixel from its upper left corner, as OpenGL implementations place four samples."""


def render(layouts: Layout, poses: np.ndarray, height: int = 30, width: int = 40, out: np.ndarray | None = None) -> np.ndarray:
    """Return what the agent sees in each of B mazes.

    Args:
        layouts: B mazes.
        poses: float64 [B, 3] x, z (metres) and heading (radians).
        height: rows of the picture.
        width: columns of the picture.
        out: an array to write to.

    Returns:
        uint8 [B, height, width, 3].
    """
    if out is None:
        out = np.empty((len(poses), height, width, 3), np.uint8)
    _render_batch(layouts.open, layouts.texture, layouts.goal, poses, *textures.load(), out)
    return out


def render_depth(layouts: Layout, poses: np.ndarray, height: int = 30, width: int = 40) -> np.ndarray:
    """Return the depth at each pixel's centre, float32 [B, height, width], metres along the optical axis."""
    out = np.empty((len(poses), height, width), np.float32)
    _depth_batch(layouts.open, layouts.goal, poses, out)
    return out


@njit(forceinline=True)
def _cast(open_, x, z, dx, dz):
    """Follow a planar ray to the first wall; (dx, dz) is forward plus lateral times right, so its parameter is the depth.

    Returns:
        depth in metres, and the wall's code: 4 * (index of the open cell it belongs to) + side.
    """
    i, j = cell_of(z), cell_of(x)
    step_i = 1 if dz > 0 else -1
    step_j = 1 if dx > 0 else -1
    inv_x = 1 / dx if dx != 0 else 1e30
    inv_z = 1 / dz if dz != 0 else 1e30
    t_x = (low_edge(j + (dx > 0)) - x) * inv_x if dx != 0 else 1e30
    t_z = (low_edge(i + (dz > 0)) - z) * inv_z if dz != 0 else 1e30
    while True:
        if t_x < t_z:
            if not is_open(open_, i, j + step_j):
                return t_x, 4 * (i * open_.shape[1] + j) + (_EAST if dx > 0 else _WEST)
            j += step_j
            t_x = (low_edge(j + (dx > 0)) - x) * inv_x
        else:
            if not is_open(open_, i + step_i, j):
                return t_z, 4 * (i * open_.shape[1] + j) + (_SOUTH if dz > 0 else _NORTH)
            i += step_i
            t_z = (low_edge(i + (dz > 0)) - z) * inv_z


@njit(forceinline=True)
def _cast_box(goal, cos_goal, sin_goal, x, z, dx, dz):
    """Meet the goal box with a planar ray.

    Returns:
        depths at which the ray enters and leaves the box's outline (entry 1e30: it misses), and the code of the side it enters through.
    """
    ox, oz = x - goal[0], z - goal[1]
    # The box's own axes are (cos, -sin) and (sin, cos) in (x, z): OpenGL turns it about the vertical.
    px, pz = ox * cos_goal - oz * sin_goal, ox * sin_goal + oz * cos_goal
    qx, qz = dx * cos_goal - dz * sin_goal, dx * sin_goal + dz * cos_goal
    if qx == 0:
        qx = 1e-30
    if qz == 0:
        qz = 1e-30
    half = BOX_SIZE / 2
    in_x, out_x = (-half * np.sign(qx) - px) / qx, (half * np.sign(qx) - px) / qx
    in_z, out_z = (-half * np.sign(qz) - pz) / qz, (half * np.sign(qz) - pz) / qz
    enter, leave = max(in_x, in_z), min(out_x, out_z)
    if enter >= leave or enter <= 0:
        return 1e30, 1e30, 0
    if in_x > in_z:
        side = _BOX_SIDE - (1 if qx > 0 else 0)
    else:
        side = _BOX_SIDE - (3 if qz > 0 else 2)
    return enter, leave, side


@njit(forceinline=True)
def _box_light(side, cos_goal, sin_goal):
    """Return the brightness in [0, 1] of a box side, given its code."""
    sign = 1 if side == _BOX_SIDE or side == _BOX_SIDE - 2 else -1
    cosine = (cos_goal - sin_goal) if side >= _BOX_SIDE - 1 else (sin_goal + cos_goal)
    return min(1.0, _AMBIENT + _DIFFUSE * max(0.0, sign * cosine * _LIGHT_XZ))


@njit(forceinline=True)
def _bilinear(texels, offset, log_width, log_height, u, v, share):
    """Return share / WEIGHT of a mip level's colour, as packed sums of weighted texels.

    u and v count repeats of the texture in units of 2**-32; negative ones wrap like all others.
    """
    # Texel coordinates in 256ths; a texel has its colour at its centre, so half a texel is taken off.
    x = (u >> (24 - log_width)) - 128
    y = (v >> (24 - log_height)) - 128
    x0, y0 = (x >> 8) & ((1 << log_width) - 1), (y >> 8) & ((1 << log_height) - 1)
    x1, y1 = (x0 + 1) & ((1 << log_width) - 1), (y0 + 1) & ((1 << log_height) - 1)
    upper = share * (y & 255) >> 8
    lower = share - upper
    upper_right, lower_right = upper * (x & 255) >> 8, lower * (x & 255) >> 8
    row0, row1 = offset + (y0 << log_width), offset + (y1 << log_width)
    return (
        texels[row0 + x0] * (lower - lower_right)
        + texels[row0 + x1] * lower_right
        + texels[row1 + x0] * (upper - upper_right)
        + texels[row1 + x1] * upper_right
    )


@njit(forceinline=True)
def _sample(texels, levels, repeats, texture, right, up, level, light):
    """Return a texture's colour at (right, up) metres times light, trilinear between the mip levels around `level` (in 256ths)."""
    u = np.int64(right * repeats[texture, 0])
    v = np.int64(up * repeats[texture, 1])
    low = level >> 8
    share = (level & 255) * (textures.WEIGHT >> 8)
    packed = _bilinear(
        texels, levels[texture, low, 0], levels[texture, low, 1], levels[texture, low, 2], u, v, textures.WEIGHT - share
    ) + _bilinear(texels, levels[texture, low + 1, 0], levels[texture, low + 1, 1], levels[texture, low + 1, 2], u, v, share)
    mask = (1 << textures.CHANNEL_BITS) - 1
    return light * (packed & mask), light * ((packed >> textures.CHANNEL_BITS) & mask), light * (packed >> (2 * textures.CHANNEL_BITS))


@njit(forceinline=True)
def _level(texels_per_pixel, last):
    """Return the mip level that suits a pixel's footprint, in 256ths of a level, at most `last`."""
    return min(max(np.int64(256 * np.log2(texels_per_pixel)), 0), last << 8)


@njit(forceinline=True)
def _wall_plane(wall, columns, x, z, dx, dz, cos, sin, pixel):
    """Where a column's central ray meets the plane of a wall, which it may do beyond the wall's edge.

    Returns:
        depth; metres from the wall's left edge; texels per pixel; brightness.
    """
    side = wall % 4
    i, j = wall // 4 // columns, wall // 4 % columns
    if side == _EAST or side == _WEST:
        depth = (low_edge(j + (side == _EAST)) - x) / dx
        along = z + depth * dz
        right = low_edge(i + 1) - along if side == _EAST else along - low_edge(i)
        # A pixel to the side turns the ray by (sin, cos) * pixel: how far its end slides along the plane, per depth.
        slide = cos - dz * sin / dx
    else:
        depth = (low_edge(i + (side == _SOUTH)) - z) / dz
        along = x + depth * dx
        right = along - low_edge(j) if side == _SOUTH else low_edge(j + 1) - along
        slide = sin - dx * cos / dz
    light = _LIT_WALL if side == _WEST or side == _NORTH else _AMBIENT
    return depth, right, textures.TEXELS_PER_METRE * pixel * depth * max(1.0, abs(slide)), light


@njit(nogil=True, cache=True)
def _render_batch(open_, texture, goal, poses, texels, levels, repeats, out):
    height = out.shape[1]
    pixel = 2 * TAN_HALF_FOV / height  # side of a pixel, as a tangent
    # Depth of the ceiling and the floor by row, and their mip level.
    level_depth = np.empty(height)
    level_level = np.empty((height, out.shape[2]), np.int64)
    for row in range(height):
        slope = (height / 2 - row - 0.5) * pixel
        slope = slope if slope != 0 else 1e-30
        level_depth[row] = (WALL_HEIGHT - CAMERA_HEIGHT if slope > 0 else -CAMERA_HEIGHT) / slope
        for column in range(out.shape[2]):
            lateral = (column + 0.5 - out.shape[2] / 2) * pixel
            # Along the ray a pixel covers 1 / slope times what it covers across it, always more.
            footprint = textures.TEXELS_PER_METRE * pixel * level_depth[row] * np.sqrt(1 + lateral * lateral) / abs(slope)
            level_level[row, column] = _level(footprint, levels.shape[1] - 2)
    for b in range(len(poses)):
        _render_one(open_[b], texture[b], goal[b], poses[b], texels, levels, repeats, pixel, level_depth, level_level, out[b])


@njit(nogil=True, cache=True)
def _render_one(open_, texture, goal, pose, texels, levels, repeats, pixel, level_depth, level_level, out):
    height, width = out.shape[0], out.shape[1]
    columns = open_.shape[1]
    x, z = pose[0], pose[1]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    horizon = height / 2
    ceiling_rise = (WALL_HEIGHT - CAMERA_HEIGHT) / pixel
    floor_drop = CAMERA_HEIGHT / pixel
    box_drop = (CAMERA_HEIGHT - BOX_SIZE) / pixel
    wall = np.empty(4, np.int64)
    # Rows, counted to the sample, at which one surface gives way to the next.
    ceiling_ends = np.empty(4)
    floor_begins = np.empty(4)
    box_side = np.empty(4, np.int64)
    box_top_begins = np.empty(4)
    box_side_begins = np.empty(4)
    box_side_ends = np.empty(4)
    seen = np.empty(4, np.int64)
    for column in range(width):
        has_box = False
        for k in range(4):
            lateral = (column + _SAMPLE_X[k] - width / 2) * pixel
            dx, dz = cos + lateral * sin, lateral * cos - sin
            depth, wall[k] = _cast(open_, x, z, dx, dz)
            ceiling_ends[k] = horizon - ceiling_rise / depth - _SAMPLE_Y[k]
            floor_begins[k] = horizon + floor_drop / depth - _SAMPLE_Y[k]
            enter, leave, box_side[k] = _cast_box(goal, cos_goal, sin_goal, x, z, dx, dz)
            if enter < depth:
                has_box = True
                box_top_begins[k] = horizon + box_drop / leave - _SAMPLE_Y[k]
                box_side_begins[k] = horizon + box_drop / enter - _SAMPLE_Y[k]
                box_side_ends[k] = horizon + floor_drop / enter - _SAMPLE_Y[k]
            else:
                box_top_begins[k] = 1e30
                box_side_begins[k] = 1e30
                box_side_ends[k] = -1e30
        # Rows in which all four samples see the same surface.
        one_wall = wall[0] == wall[1] and wall[0] == wall[2] and wall[0] == wall[3] and not has_box
        ceiling_only = min(ceiling_ends[0], ceiling_ends[1], ceiling_ends[2], ceiling_ends[3])
        wall_from = max(ceiling_ends[0], ceiling_ends[1], ceiling_ends[2], ceiling_ends[3]) if one_wall else 1e30
        wall_to = min(floor_begins[0], floor_begins[1], floor_begins[2], floor_begins[3])
        floor_only = max(floor_begins[0], floor_begins[1], floor_begins[2], floor_begins[3]) if not has_box else 1e30

        lateral = (column + 0.5 - width / 2) * pixel
        dx, dz = cos + lateral * sin, lateral * cos - sin
        shaded_wall = np.int64(-1)
        depth = right = light = 0.0
        wall_texture = wall_level = np.int64(0)
        for row in range(height):
            samples = 1
            if row < ceiling_only:
                surface = np.int64(_CEILING)
            elif row >= floor_only:
                surface = np.int64(_FLOOR)
            elif row >= wall_from and row < wall_to:
                surface = wall[0]
            else:
                for k in range(4):
                    if row >= box_top_begins[k] and row < box_side_ends[k]:
                        seen[k] = _BOX_TOP if row < box_side_begins[k] else box_side[k]
                    elif row < ceiling_ends[k]:
                        seen[k] = _CEILING
                    elif row >= floor_begins[k]:
                        seen[k] = _FLOOR
                    else:
                        seen[k] = wall[k]
                surface = seen[0]
                samples = 1 if seen[0] == seen[1] and seen[0] == seen[2] and seen[0] == seen[3] else 4
            red = green = blue = 0.0
            r = g = b = 0.0
            for k in range(samples):
                if samples == 4:
                    surface = seen[k]
                if k == 0 or surface != seen[k - 1]:
                    if surface >= 0:
                        if surface != shaded_wall:
                            shaded_wall = surface
                            depth, right, footprint, light = _wall_plane(surface, columns, x, z, dx, dz, cos, sin, pixel)
                            light /= textures.WEIGHT
                            wall_level = _level(abs(footprint) + 1e-30, levels.shape[1] - 2)
                            wall_texture = np.int64(texture[surface // 4 // columns, surface // 4 % columns])
                        up = CAMERA_HEIGHT + (horizon - row - 0.5) * pixel * depth
                        r, g, b = _sample(texels, levels, repeats, wall_texture, right, up, wall_level, light)
                    elif surface == _CEILING or surface == _FLOOR:
                        flat, brightness = (textures.CEILING, _AMBIENT / textures.WEIGHT) if surface == _CEILING else (textures.FLOOR, 1.0 / textures.WEIGHT)
                        d = level_depth[row]
                        r, g, b = _sample(texels, levels, repeats, flat, x + d * dx, z + d * dz, level_level[row, column], brightness)
                    else:
                        r = 255 * (1.0 if surface == _BOX_TOP else _box_light(surface, cos_goal, sin_goal))
                        g = b = 0.0
                red += r
                green += g
                blue += b
            share = 1.0 / samples
            out[row, column, 0] = np.uint8(red * share + 0.5)
            out[row, column, 1] = np.uint8(green * share + 0.5)
            out[row, column, 2] = np.uint8(blue * share + 0.5)


@njit(nogil=True, cache=True)
def _depth_batch(open_, goal, poses, out):
    height, width = out.shape[1], out.shape[2]
    pixel = 2 * TAN_HALF_FOV / height
    for b in range(len(poses)):
        x, z = poses[b, 0], poses[b, 1]
        cos, sin = np.cos(poses[b, 2]), np.sin(poses[b, 2])
        cos_goal, sin_goal = np.cos(goal[b, 2]), np.sin(goal[b, 2])
        for column in range(width):
            lateral = (column + 0.5 - width / 2) * pixel
            dx, dz = cos + lateral * sin, lateral * cos - sin
            wall, _ = _cast(open_[b], x, z, dx, dz)
            enter, leave, _ = _cast_box(goal[b], cos_goal, sin_goal, x, z, dx, dz)
            for row in range(height):
                slope = (height / 2 - row - 0.5) * pixel
                depth = wall
                if slope > 0:
                    depth = min(depth, (WALL_HEIGHT - CAMERA_HEIGHT) / slope)
                elif slope < 0:
                    depth = min(depth, -CAMERA_HEIGHT / slope)
                    box_top = -(CAMERA_HEIGHT - BOX_SIZE) / slope
                    if box_top < leave:
                        depth = min(depth, max(enter, box_top))
                out[b, row, column] = depth
