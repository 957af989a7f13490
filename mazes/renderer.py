"""MiniWorld's first-person picture without OpenGL.

The camera never pitches, so walls are vertical in the picture and one planar ray settles what each sample of a column
sees: ceiling above, the wall that the ray meets, floor below, and the goal box in front. As in OpenGL with four samples
a pixel, *which* surface a sample sees is decided at the sample, *its colour* at the pixel's centre: mip-mapped textures
(trilinear) times the light of the face.

A place in the picture is (lateral, slope): tangents of the angles to the right of and above the optical axis. Depth is
measured along the optical axis, metres. Its inverse is linear in lateral on a plane, so that a wall is cast once, not
once a sample; a column adds up its surfaces, each weighted by the number of samples that see it.
"""

import numpy as np
from numba import njit

from mazes import textures
from mazes.layout import BOX_RADIUS, BOX_SIZE, Layout
from mazes.simulator import cell_of, is_open, low_edge

CAMERA_HEIGHT = 1.5
"""MiniWorld `Agent.cam_height`, metres."""
WALL_HEIGHT = 2.74
"""MiniWorld `DEFAULT_WALL_HEIGHT`, metres."""
TAN_HALF_FOV = np.tan(np.pi / 6)
"""MiniWorld `Agent.cam_fov_y` is 60 degrees."""

# OpenGL's fixed-function light in MiniWorld: ambient .45 plus the global ambient .2, and .7 times the cosine to a light
# at infinity towards (1, 3.5, 1). (`light_pos + [1]` adds to the NumPy array instead of appending w = 1: the light is
# directional.)
_AMBIENT = 0.65
_DIFFUSE = 0.7
_LIGHT_XZ = 1 / np.sqrt(1 + 3.5**2 + 1)
_LIT_WALL = _AMBIENT + _DIFFUSE * _LIGHT_XZ

# Sides of a cell, by the wall one sees there.
_EAST, _NORTH, _WEST, _SOUTH = range(4)

# What a sample's column consists of, from the top down; zone z has the rows from edges[z] to edges[z + 1].
_CEILING, _WALL, _FLOOR = range(3)

_SAMPLES = 4
_SAMPLE_Y = np.array([0.375, 0.875, 0.125, 0.625])
"""Rotated-grid sample positions below the upper edge of a pixel, from left to right, as OpenGL implementations place
four samples; the positions from the left edge are 1/8, 3/8, 5/8 and 7/8."""

_WALL_IN_VIEW = np.dtype(
    [
        ("end", np.int64),  # one past the last sample that sees it, counted from the left of the picture
        ("texture", np.uint64),
        ("light", np.float64),
        ("distance", np.float64),  # metres from the camera to its plane
        # At a lateral, 1 / depth = near + near_slope * lateral, and the texture's place is
        # across + depth * (turn + turn_slope * lateral) metres.
        ("near", np.float64),
        ("near_slope", np.float64),
        ("across", np.float64),
        ("turn", np.float64),
        ("turn_slope", np.float64),
    ]
)


def render(
    layouts: Layout, poses: np.ndarray, height: int = 30, width: int = 40, out: np.ndarray | None = None
) -> np.ndarray:
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
    walls = np.empty(_SAMPLES * out.shape[2], _WALL_IN_VIEW)
    _render_batch(layouts.open, layouts.texture, layouts.goal, poses, *textures.load(), walls, out)
    return out


def render_depth(layouts: Layout, poses: np.ndarray, height: int = 30, width: int = 40) -> np.ndarray:
    """Return the depth at each pixel's centre, float32 [B, height, width], metres along the optical axis."""
    out = np.empty((len(poses), height, width), np.float32)
    walls = np.empty(1, _WALL_IN_VIEW)
    _depth_batch(layouts.open, layouts.texture, layouts.goal, poses, walls, out)
    return out


@njit(forceinline=True)
def _cast(open_, x, z, cos, sin, lateral):
    """Follow a planar ray to the first wall.

    Returns:
        row and column of the last open cell and the side at which the ray ends; the lateral up to which rays further
        right take the same way through the cells, and so end at the same wall.
    """
    dx, dz = cos + lateral * sin, lateral * cos - sin
    i, j = cell_of(z), cell_of(x)
    until = np.inf
    while True:
        to_x, to_z = low_edge(j + (dx > 0)) - x, low_edge(i + (dz > 0)) - z
        through_x = abs(to_x * dz) < abs(to_z * dx)
        # The right-hand end of the cell's side that the ray crosses.
        if through_x:
            to_z = low_edge(i + (dx > 0)) - z
        else:
            to_x = low_edge(j + (dz <= 0)) - x
        forward = to_x * cos - to_z * sin
        if forward > 0:
            until = min(until, (to_x * sin + to_z * cos) / forward)
        if through_x:
            step = 1 if dx > 0 else -1
            if not is_open(open_, i, j + step):
                return i, j, _EAST if dx > 0 else _WEST, until
            j += step
        else:
            step = 1 if dz > 0 else -1
            if not is_open(open_, i + step, j):
                return i, j, _SOUTH if dz > 0 else _NORTH, until
            i += step


@njit(forceinline=True)
def _describe(wall, i, j, side, texture, x, z, cos, sin):
    """Fill in the wall on a side of cell (i, j), as seen from (x, z)."""
    mirrored = side == _EAST or side == _NORTH
    if side == _EAST or side == _WEST:
        wall.distance = low_edge(j + mirrored) - x
        wall.near, wall.near_slope = cos / wall.distance, sin / wall.distance
        wall.across, wall.turn, wall.turn_slope = z - low_edge(i + mirrored), -sin, cos
    else:
        wall.distance = low_edge(i + (not mirrored)) - z
        wall.near, wall.near_slope = -sin / wall.distance, cos / wall.distance
        wall.across, wall.turn, wall.turn_slope = x - low_edge(j + mirrored), cos, sin
    if mirrored:
        wall.across, wall.turn, wall.turn_slope = -wall.across, -wall.turn, -wall.turn_slope
    wall.light = _LIT_WALL if side == _WEST or side == _NORTH else _AMBIENT
    wall.texture = texture[i, j]


@njit(forceinline=True)
def _cast_box(goal, cos_goal, sin_goal, x, z, dx, dz):
    """Meet the goal box with a planar ray.

    Returns:
        depths at which the ray enters and leaves the box's outline (both infinite: it misses), and the brightness in
        [0, 1] of the side it enters through.
    """
    ox, oz = x - goal[0], z - goal[1]
    if (ox * dz - oz * dx) ** 2 > BOX_RADIUS**2 * (dx * dx + dz * dz):
        return np.inf, np.inf, 0.0
    # The box's own axes are (cos, -sin) and (sin, cos) in (x, z): OpenGL turns it about the vertical.
    px, pz = ox * cos_goal - oz * sin_goal, ox * sin_goal + oz * cos_goal
    qx, qz = dx * cos_goal - dz * sin_goal, dx * sin_goal + dz * cos_goal
    if qx == 0:
        qx = 1e-30
    if qz == 0:
        qz = 1e-30
    half_x, half_z = np.copysign(BOX_SIZE / 2, qx), np.copysign(BOX_SIZE / 2, qz)
    in_x, out_x = (-half_x - px) / qx, (half_x - px) / qx
    in_z, out_z = (-half_z - pz) / qz, (half_z - pz) / qz
    enter, leave = max(in_x, in_z), min(out_x, out_z)
    if enter >= leave or enter <= 0:
        return np.inf, np.inf, 0.0
    cosine = (sin_goal - cos_goal) * np.sign(qx) if in_x > in_z else -(sin_goal + cos_goal) * np.sign(qz)
    return enter, leave, min(1.0, _AMBIENT + _DIFFUSE * max(0.0, cosine * _LIGHT_XZ))


@njit(forceinline=True)
def _first_row(y, height):
    """Return the first row that begins at y or below, clipped to the picture."""
    return np.int64(np.ceil(min(y, height))) if y > 0 else 0


@njit(forceinline=True)
def _find_walls(open_, texture, x, z, cos, sin, pixel, height, walls, near, edges):
    """Fill in the walls in view from left to right, and by sample 1 / depth and the rows at which its zones begin."""
    centre = len(near) / 2 - 0.5
    samples_per_lateral = _SAMPLES / pixel
    first = n = 0
    while first < len(near):
        i, j, side, until = _cast(open_, x, z, cos, sin, (first - centre) / samples_per_lateral)
        wall = walls[n]
        _describe(wall, i, j, side, texture, x, z, cos, sin)
        wall.end = max(first + 1, np.int64(min(len(near), np.ceil(until * samples_per_lateral + centre))))
        for m in range(first, wall.end):
            near[m] = wall.near + wall.near_slope * (m - centre) / samples_per_lateral
            horizon = height / 2 - _SAMPLE_Y[m % _SAMPLES]
            edges[_WALL, m] = _first_row(horizon - (WALL_HEIGHT - CAMERA_HEIGHT) / pixel * near[m], height)
            edges[_FLOOR, m] = _first_row(horizon + CAMERA_HEIGHT / pixel * near[m], height)
        first = wall.end
        n += 1


@njit(forceinline=True)
def _find_box(goal, x, z, cos, sin, pixel, height, near, box):
    """Fill in by sample the rows at which the box's top and its side begin and the box ends, and its side's red."""
    box[:] = height
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    for m in range(len(near)):
        lateral = (m + 0.5 - len(near) / 2) * pixel / _SAMPLES
        enter, leave, light = _cast_box(goal, cos_goal, sin_goal, x, z, cos + lateral * sin, lateral * cos - sin)
        if enter * near[m] < 1:
            horizon = height / 2 - _SAMPLE_Y[m % _SAMPLES]
            drop = (CAMERA_HEIGHT - BOX_SIZE) / pixel
            box[0, m] = _first_row(horizon + drop / leave, height)
            box[1, m] = _first_row(horizon + drop / enter, height)
            box[2, m] = _first_row(horizon + CAMERA_HEIGHT / pixel / enter, height)
            box[3, m] = np.int64(255 * light * textures.WEIGHT + 0.5)


@njit(forceinline=True)
def _bilinear(texels, mip, weight, u, v):
    """Return `weight` times a mip level's colour, packed like its texels.

    u and v count repeats of the texture in units of 2**-32; negative ones wrap like all others.
    """
    offset, log_width, log_height = mip
    # Texel coordinates in 256ths; a texel has its colour at its centre, so half a texel is taken off.
    x = (u >> (24 - log_width)) - 128
    y = (v >> (24 - log_height)) - 128
    mask_x, mask_y = (1 << log_width) - 1, (1 << log_height) - 1
    left = offset + (((x >> 8) & mask_x) << log_height)
    right = offset + ((((x >> 8) + 1) & mask_x) << log_height)
    lower, upper = (y >> 8) & mask_y, ((y >> 8) + 1) & mask_y
    # Four weights, whose sum is exact.
    on_right = weight * (x & 255) >> 8
    on_left = weight - on_right
    upper_left, upper_right = on_left * (y & 255) >> 8, on_right * (y & 255) >> 8
    # Unsigned indices spare the check for negative ones.
    return (
        texels[np.uint64(left + lower)] * (on_left - upper_left)
        + texels[np.uint64(right + lower)] * (on_right - upper_right)
        + texels[np.uint64(left + upper)] * upper_left
        + texels[np.uint64(right + upper)] * upper_right
    )


@njit(forceinline=True)
def _trilinear(texels, mips, weight, share, u, v):
    """Return `weight` times the colour between two mip levels, of which the second has a share in 256ths."""
    coarser = weight * share >> 8
    return _bilinear(texels, mips[0], weight - coarser, u, v) + _bilinear(texels, mips[1], coarser, u, v)


@njit(forceinline=True)
def _mips(levels, texture, level):
    """Return offset and logarithms of the sides of the mip levels below and above `level` (in 256ths)."""
    low = np.uint64(level >> 8)
    high = low + np.uint64(1)
    return (
        (levels[texture, low, 0], levels[texture, low, 1], levels[texture, low, 2]),
        (levels[texture, high, 0], levels[texture, high, 1], levels[texture, high, 2]),
    )


@njit(forceinline=True)
def _level(texels_per_pixel, last):
    """Return the mip level that suits a pixel's footprint, in 256ths of a level, at most `last`."""
    return min(max(np.int64(256 * np.log2(texels_per_pixel)), 0), last << 8)


@njit(forceinline=True)
def _cover(edges, zone, box, first, end, changes):
    """Note by how much the number of samples from `first` to `end` that see a zone changes from row to row.

    Returns:
        rows from, to in which any of them may.
    """
    top, bottom = edges[zone, first], edges[zone + 1, first]
    for m in range(first, end):
        zone_top, zone_bottom = edges[zone, m], edges[zone + 1, m]
        changes[zone_top] += 1
        changes[zone_bottom] -= 1
        if box[0, m] < box[2, m]:
            changes[min(max(box[0, m], zone_top), zone_bottom)] -= 1
            changes[min(max(box[2, m], zone_top), zone_bottom)] += 1
        top, bottom = min(top, zone_top), max(bottom, zone_bottom)
    return top, bottom


@njit(forceinline=True)
def _add(total, colours, changes, top, bottom):
    """Add each row's colour to its total once for each sample that sees it, and clear `changes`."""
    samples = 0
    for k in range(bottom - top):
        row = np.uint64(top + k)
        samples += changes[row]
        changes[row] = 0
        total[row] += samples * colours[k]
    changes[bottom] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _render_batch(open_, texture, goal, poses, texels, levels, repeats, walls, out):
    height, width = out.shape[1], out.shape[2]
    pixel = 2 * TAN_HALF_FOV / height  # side of a pixel, as a tangent
    last_level = levels.shape[1] - 2
    # Depth of ceiling and floor by row, and their mip level.
    flat_depth = np.empty(height)
    flat_level = np.empty((width, height), np.int64)
    for row in range(height):
        slope = (height / 2 - row - 0.5) * pixel
        slope = slope if slope != 0 else 1e-6
        flat_depth[row] = (WALL_HEIGHT - CAMERA_HEIGHT if slope > 0 else -CAMERA_HEIGHT) / slope
        for column in range(width):
            lateral = (column + 0.5 - width / 2) * pixel
            # Along the ray a pixel covers 1 / slope times what it covers across it, always more.
            texels_across = textures.TEXELS_PER_METRE * pixel * flat_depth[row] * np.sqrt(1 + lateral * lateral)
            flat_level[column, row] = _level(texels_across / abs(slope), last_level)
    near = np.empty(_SAMPLES * width)
    edges = np.empty((4, _SAMPLES * width), np.int64)
    edges[0] = 0
    edges[3] = height
    box = np.empty((4, _SAMPLES * width), np.int64)
    # Of one column: sum over samples, colours of one surface, changes of the number of samples that see it.
    total = np.full(height, textures.ROUNDING)
    colours = np.empty(height, np.int64)
    changes = np.zeros(height + 1, np.int64)
    for b in range(len(poses)):
        x, z = poses[b, 0], poses[b, 1]
        cos, sin = np.cos(poses[b, 2]), np.sin(poses[b, 2])
        _find_walls(open_[b], texture[b], x, z, cos, sin, pixel, height, walls, near, edges)
        _find_box(goal[b], x, z, cos, sin, pixel, height, near, box)
        n = 0
        for column in range(width):
            lateral = (column + 0.5 - width / 2) * pixel
            dx, dz = cos + lateral * sin, lateral * cos - sin
            first, end = _SAMPLES * column, _SAMPLES * (column + 1)

            for zone, flat, light in ((_CEILING, textures.CEILING, _AMBIENT), (_FLOOR, textures.FLOOR, 1.0)):
                top, bottom = _cover(edges, zone, box, first, end, changes)
                weight = np.int64(light * textures.WEIGHT + 0.5)
                u, du = x * repeats[flat, 0], dx * repeats[flat, 0]
                v, dv = z * repeats[flat, 1], dz * repeats[flat, 1]
                for k in range(bottom - top):
                    row = np.uint64(top + k)
                    row_u, row_v = np.int64(u + flat_depth[row] * du), np.int64(v + flat_depth[row] * dv)
                    level = flat_level[column, row]
                    colours[k] = _trilinear(texels, _mips(levels, flat, level), weight, level & 255, row_u, row_v)
                _add(total, colours, changes, top, bottom)

            while first < end:
                wall = walls[n]
                wall_end = min(wall.end, end)
                top, bottom = _cover(edges, _WALL, box, first, wall_end, changes)
                # Beyond its end a wall's plane may be behind the centre of a pixel that sees the wall at its edge.
                depth = 1 / max(wall.near + wall.near_slope * lateral, 1e-6)
                # A pixel covers more of a wall that is seen at an angle.
                texels_across = textures.TEXELS_PER_METRE * pixel * depth * max(1.0, depth / abs(wall.distance))
                level = _level(texels_across, last_level)
                mips = _mips(levels, wall.texture, level)
                weight = np.int64(wall.light * textures.WEIGHT + 0.5)
                right = wall.across + depth * (wall.turn + wall.turn_slope * lateral)
                up = CAMERA_HEIGHT + (height / 2 - 0.5 - top) * pixel * depth
                u, v = np.int64(right * repeats[wall.texture, 0]), np.int64(up * repeats[wall.texture, 1])
                dv = np.int64(pixel * depth * repeats[wall.texture, 1])
                for k in range(bottom - top):
                    colours[k] = _trilinear(texels, mips, weight, level & 255, u, v - k * dv)
                _add(total, colours, changes, top, bottom)
                n += wall.end <= end
                first = wall_end

            for m in range(_SAMPLES * column, end):
                for row in range(box[0, m], box[2, m]):
                    total[row] += 255 * textures.WEIGHT if row < box[1, m] else box[3, m]
            for row in range(height):
                for channel in range(3):
                    out[b, row, column, channel] = total[row] >> (textures.CHANNEL_BITS * (channel + 1) - 8)
                total[row] = textures.ROUNDING


@njit(nogil=True, cache=True, error_model="numpy")
def _depth_batch(open_, texture, goal, poses, walls, out):
    height, width = out.shape[1], out.shape[2]
    pixel = 2 * TAN_HALF_FOV / height
    for b in range(len(poses)):
        x, z = poses[b, 0], poses[b, 1]
        cos, sin = np.cos(poses[b, 2]), np.sin(poses[b, 2])
        cos_goal, sin_goal = np.cos(goal[b, 2]), np.sin(goal[b, 2])
        for column in range(width):
            lateral = (column + 0.5 - width / 2) * pixel
            i, j, side, _ = _cast(open_[b], x, z, cos, sin, lateral)
            _describe(walls[0], i, j, side, texture[b], x, z, cos, sin)
            wall = 1 / (walls[0].near + walls[0].near_slope * lateral)
            enter, leave, _ = _cast_box(goal[b], cos_goal, sin_goal, x, z, cos + lateral * sin, lateral * cos - sin)
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
