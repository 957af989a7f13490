"""MiniWorld's first-person picture without OpenGL.

The camera never pitches, so walls are vertical in the picture: one planar ray settles what each sample of a column
sees: ceiling above, the wall that the ray meets, floor below, and the goal box in front. As in OpenGL with four samples
a pixel, *which* surface a sample sees is decided at the sample, *its colour* at the pixel's centre: mip-mapped textures
(trilinear) times the light of the face.

Mazes whose look is randomised have cameras that pitch, and other lights; `mazes.exact` draws those.

Surfaces are drawn from back to front: ceiling and floor by rows, which have one depth each, then walls by columns, for
the same reason, then the box. Either way a pixel is one linear lookup along a *strip*, a column of a texture between
whole texels and whole mip levels: baked once for ceiling and floor, blended for each column of a wall. Only where some
of a pixel's samples see a surface and others do not are they counted.

Colours are packed: red, green and blue from the lowest 16 bits up, 256ths of a grey level in a picture, half grey
levels in a wall's strip, whole ones in those of ceiling and floor. A weighted sum of packed colours is the packed
weighted sum of each channel. All that is drawn is `HALF` a grey level brighter than it is seen, so that to round it is
to drop what is less than a grey level.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from mazes import exact, textures
from mazes.layout import BOX_RADIUS, BOX_SIZE, Layout, require_array, require_each
from mazes.prefetch import prefetch
from mazes.rays import NORTH, SAMPLE_Y, SAMPLES, WALL_HEIGHT, WALL_IN_VIEW, WEST, cast, cast_box, describe, log2

CAMERA_HEIGHT = 1.5
"""MiniWorld `Agent.cam_height`, metres."""
TAN_HALF_FOV = np.tan(np.pi / 6)
"""MiniWorld `Agent.cam_fov_y` is 60 degrees."""

# OpenGL's fixed-function light in MiniWorld: ambient .45 plus the global ambient .2, and .7 times the cosine to a light
# at infinity towards (1, 3.5, 1). (`light_pos + [1]` adds to the NumPy array instead of appending w = 1: the light is
# directional.)
_AMBIENT = 0.65
_DIFFUSE = 0.7
_LIGHT_XZ = 1 / np.sqrt(1 + 3.5**2 + 1)
_LIT_WALL = _AMBIENT + _DIFFUSE * _LIGHT_XZ

_SHARE_BITS = 7
"""Between two texels of a wall's strip there are 2 to this power places."""
GREY_BITS = _SHARE_BITS + 1
"""Binary digits of a packed colour in a picture that are less than a grey level."""
HALF = 0x0001_0001_0001 << GREY_BITS - 1
"""Half a grey level of each channel of a picture."""
_GROUND_BITS = GREY_BITS // 2
"""Between two texels of ceiling or floor, which are closer, there are 2 to this power places each way."""
BELOW_QUARTERS = np.uint64(0x0003_0003_0003)
"""The bits of a packed colour that are lost when it is divided by four, one part for each sample."""

_LEVEL_STEPS = 4
"""Ceiling and floor are baked at mip levels this many to an octave."""
FIXED = 2.0**32
"""Places in a texture are counted in 2**-32 repeats, and then in 2**-64, so that whole repeats drop out by overflow."""


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

    Raises:
        ValueError: poses are not as many as mazes, or lie outside of them; `out` is no such array.
    """
    if out is None:
        out = np.empty((len(poses), height, width, 3), np.uint8)
    if layouts.look.shape[1]:
        exact.render(layouts, poses, out)
        return out
    require_each(layouts, poses=poses)
    require_array("out", out, np.uint8, len(poses), None, None, 3)
    height, width = out.shape[1:3]
    walls = np.empty(SAMPLES * width, WALL_IN_VIEW)
    # Most mazes have the usual textures alone, which are read sooner.
    variants = bool(layouts.texture.max(initial=0) >= len(textures.TEXTURES))
    pyramids, ground = textures.load(variants), bake_ground(height, width)
    _render_batch(layouts.open, layouts.texture, layouts.goal, poses, pyramids, ground, walls, out)
    return out


class Ground(NamedTuple):
    """Ceiling and floor of pictures of one size. A row has the same depth and mip levels wherever the agent is."""

    strips: np.ndarray
    """uint64: packed colours of all baked mip levels, see `textures.bake`."""
    start: np.ndarray
    """uint64 [height, width]: where the mip level of a pixel begins."""
    log_width: np.ndarray
    """uint64 [height]: binary logarithm of the number of strips of the row's mip levels, the last one not counted."""
    log_height: np.ndarray
    """uint64 [height]: that of their length, the last colour not counted."""
    depth: np.ndarray
    """float64 [height]: metres."""
    repeats: np.ndarray
    """float64 [height, 2]: of the texture, per metre, across and up."""


@cache
def bake_ground(height: int, width: int) -> Ground:
    """Bake ceiling and floor for pictures of one size."""
    pyramids = textures.load()
    pixel = 2 * TAN_HALF_FOV / height
    lateral = (np.arange(width) + 0.5 - width / 2) * pixel
    start = np.empty((height, width), np.uint64)
    logarithms = np.empty((2, height), np.uint64)
    depth = np.empty(height)
    texture = np.empty(height, np.int64)
    begins: dict[tuple[int, ...], int] = {}
    baked: list[np.ndarray] = []
    size = 0
    for row in range(height):
        slope = (height / 2 - row - 0.5) * pixel or 1e-6
        texture[row], light, up = (
            (textures.CEILING, _AMBIENT, WALL_HEIGHT - CAMERA_HEIGHT)
            if slope > 0
            else (textures.FLOOR, 1.0, -CAMERA_HEIGHT)
        )
        depth[row] = up / slope
        # Along the ray a pixel covers 1 / slope times what it covers across it, always more.
        texels = textures.TEXELS_PER_METRE * pixel * depth[row] * np.sqrt(1 + lateral**2) / abs(slope)
        last = pyramids.levels.shape[1] - 2
        levels = np.rint(_LEVEL_STEPS * np.clip(np.log2(texels), 0, last)).astype(int)
        # At least twice as wide and high as the texture at this level: blending is good then for the next level too.
        sides = 2 * pyramids.levels[texture[row], levels.min() // _LEVEL_STEPS, 2:4]
        log_width, log_height = (int(side - 1).bit_length() for side in sides)
        logarithms[:, row] = log_width, log_height
        for level in np.unique(levels):
            key = (texture[row], level, log_width, log_height)
            if key not in begins:
                begins[key] = size
                size_baked = 1 << log_width, 1 << log_height
                baked.append(textures.bake(pyramids, texture[row], level / _LEVEL_STEPS, light, *size_baked))
                size += len(baked[-1])
            start[row, levels == level] = begins[key]
    return Ground(np.concatenate(baked), start, *logarithms, depth, pyramids.repeats[texture])


def render_depth(layouts: Layout, poses: np.ndarray, height: int = 30, width: int = 40) -> np.ndarray:
    """Return the depth at each pixel's centre, float32 [B, height, width], metres along the optical axis.

    Raises:
        ValueError: poses are not as many as mazes, or lie outside of them.
    """
    out = np.empty((len(poses), height, width), np.float32)
    if layouts.look.shape[1]:
        exact.render_depth(layouts, poses, out)
        return out
    require_each(layouts, poses=poses)
    walls = np.empty(1, WALL_IN_VIEW)
    _depth_batch(layouts.open, layouts.texture, layouts.goal, poses, walls, out)
    return out


class _Work(NamedTuple):
    """What is known of one frame while it is drawn. Samples are counted from the left of the picture."""

    horizon: np.ndarray
    """float64 [samples]: rows from the picture's upper edge to the sample's level with the camera."""
    near: np.ndarray
    """float64 [samples]: 1 / depth of the wall."""
    edges: np.ndarray
    """int64 [2, samples]: the rows at which the wall and the floor begin."""
    box: np.ndarray
    """int64 [4, samples]: the rows at which the box's top and its side begin and the box ends, and its side's red."""
    reach: np.ndarray
    """int64 [4, columns]: first row in which a sample sees a wall, in which all do, not all do, none does any more."""
    spans: np.ndarray
    """int64 [2, rows]: first and one past the last column in which ceiling or floor are in view."""
    on_wall: np.ndarray
    """int64 [4, columns]: what `place_on` says."""
    behind: np.ndarray
    """uint64 [rows]: colours of a column before walls are drawn there."""
    strip: np.ndarray
    """uint64 [texels]: packed colours of a wall's column from the floor up, the first one again after the last."""
    channels: np.ndarray
    """uint16 [4 texels]: `strip`, by channel."""
    canvas: np.ndarray
    """uint64 [rows, columns]: packed colours."""


@njit
def _make_work(height, width):
    samples = SAMPLES * width
    horizon = np.empty(samples)
    for m in range(samples):
        horizon[m] = height / 2 - SAMPLE_Y[m % SAMPLES]
    strip = np.empty(textures.LARGEST_SIDE + 1, np.uint64)
    return _Work(
        horizon,
        np.empty(samples),
        np.empty((2, samples), np.int64),
        np.empty((4, samples), np.int64),
        np.empty((4, width), np.int64),
        np.empty((2, height), np.int64),
        np.empty((4, width), np.int64),
        np.empty(height, np.uint64),
        strip,
        strip.view(np.uint16),
        np.zeros((height, width), np.uint64),
    )


@njit(forceinline=True)
def _row_below(y, height):
    """Return the first row that begins at y or below, clipped to the picture."""
    return np.int64(math.ceil(min(max(y, 0.0), np.float64(height))))


@njit(forceinline=True)
def find_walls(open_, texture, x, z, cos, sin, pixel, height, centre, walls, work):
    """Fill in the walls in view from left to right, and `near` and `edges`; the optical axis is at sample `centre`."""
    samples = len(work.near)
    samples_per_lateral = SAMPLES / pixel
    first = n = 0
    while first < samples:
        i, j, side, until = cast(open_, x, z, cos, sin, (first - centre) / samples_per_lateral)
        wall = walls[n]
        describe(wall, i, j, side, texture, x, z, cos, sin)
        wall.end = max(first + 1, np.int64(math.ceil(min(np.float64(samples), until * samples_per_lateral + centre))))
        near, slope = wall.near, wall.near_slope / samples_per_lateral
        for m in range(np.uint64(first), np.uint64(wall.end)):
            nearness = near + slope * (m - centre)
            work.near[m] = nearness
            work.edges[0, m] = _row_below(work.horizon[m] - (WALL_HEIGHT - CAMERA_HEIGHT) / pixel * nearness, height)
            work.edges[1, m] = _row_below(work.horizon[m] + CAMERA_HEIGHT / pixel * nearness, height)
        first = wall.end
        n += 1


@njit(forceinline=True)
def find_box(goal, x, z, cos, sin, pixel, height, centre, work):
    """Fill in `box` where the box may be in view; the optical axis is at sample `centre`.

    Returns:
        the first sample there, and one past the last.
    """
    samples = len(work.near)
    samples_per_lateral = SAMPLES / pixel
    # The box's outline is within a circle, and that in a square with sides along the optical axis.
    ahead = (goal[0] - x) * cos - (goal[1] - z) * sin
    right = (goal[0] - x) * sin + (goal[1] - z) * cos
    first, end = 0, samples
    if ahead < -BOX_RADIUS:
        end = 0
    elif ahead > BOX_RADIUS + 0.01:
        left, right = right - BOX_RADIUS, right + BOX_RADIUS
        left /= ahead + math.copysign(BOX_RADIUS, left)
        right /= ahead - math.copysign(BOX_RADIUS, right)
        first = np.int64(min(max(left * samples_per_lateral + centre, 0.0), np.float64(samples)))
        end = np.int64(min(max(right * samples_per_lateral + centre + 1, 0.0), np.float64(samples)))
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    drop = (CAMERA_HEIGHT - BOX_SIZE) / pixel
    for m in range(first, end):
        lateral = (m - centre) / samples_per_lateral
        dx, dz = cos + lateral * sin, lateral * cos - sin
        enter, leave, normal_x, normal_z = cast_box(goal, cos_goal, sin_goal, x, z, dx, dz)
        if enter * work.near[m] < 1:
            work.box[0, m] = _row_below(work.horizon[m] + drop / leave, height)
            work.box[1, m] = _row_below(work.horizon[m] + drop / enter, height)
            work.box[2, m] = _row_below(work.horizon[m] + CAMERA_HEIGHT / pixel / enter, height)
            light = min(1.0, _AMBIENT + _DIFFUSE * max(0.0, (normal_x + normal_z) * _LIGHT_XZ))
            work.box[3, m] = HALF + np.int64(255 * light * (1 << GREY_BITS))
        else:
            work.box[0, m] = work.box[1, m] = work.box[2, m] = height
    return first, end


@njit(forceinline=True)
def _find_reach(edges, reach):
    for column in range(np.uint64(reach.shape[1])):
        top, inner_top, inner_bottom, bottom = 1 << 30, 0, 1 << 30, 0
        for k in range(SAMPLES):
            m = np.uint64(SAMPLES) * column + np.uint64(k)
            top, inner_top = min(top, edges[0, m]), max(inner_top, edges[0, m])
            inner_bottom, bottom = min(inner_bottom, edges[1, m]), max(bottom, edges[1, m])
        reach[0, column], reach[1, column], reach[2, column], reach[3, column] = top, inner_top, inner_bottom, bottom


@njit(forceinline=True)
def _find_spans(reach, spans):
    width, height = reach.shape[1], spans.shape[1]
    spans[0] = width
    spans[1] = 0
    for end in range(2):
        ceiling, floor = 0, height  # all rows of either up to here have been met, going inwards from this end
        for k in range(width):
            column = width - 1 - k if end else k
            while ceiling < reach[1, np.uint64(column)]:
                spans[end, ceiling] = column + end
                ceiling += 1
            while floor > reach[2, np.uint64(column)]:
                floor -= 1
                spans[end, floor] = column + end


@njit(forceinline=True)
def wrap(place):
    """Return a place in 2**-32 repeats of a texture in 2**-64 repeats, less whole ones; negative ones wrap too."""
    return np.uint64(np.int64(place)) << np.uint64(32)


@njit(forceinline=True)
def mix(lower, upper, share, bits=_SHARE_BITS):
    """Return the colour between two of a strip's, so many bits of a share above the first."""
    share &= np.uint64((1 << bits) - 1)
    return (lower << np.uint64(bits)) + (upper - lower) * share


@njit(forceinline=True)
def place_in(place, height):
    """Return the colour of a strip of `height` at or below a place (2**-64 repeats), and the share of the next one."""
    # Said to be 32 bits long, both factors are multiplied in one operation.
    texels = np.uint64(np.uint32(place >> np.uint64(32))) * np.uint64(np.uint32(height))
    return texels >> np.uint64(32), texels >> np.uint64(32 - _SHARE_BITS)


@njit(forceinline=True)
def _look_up(strip, place, height):
    """Return the colour at a place, 2**-64 repeats above the lowest of a strip of `height` colours."""
    texel, share = place_in(place, height)
    return mix(strip[texel], strip[texel + np.uint64(1)], share)


@njit(forceinline=True)
def look_between(strips, start, u, v, log_width, log_height):
    """Return the colour at a place in the strips of a texture that start here, blended both ways, plus `HALF`."""
    length = (np.uint64(1) << log_height) + np.uint64(1)
    across, up, bits = np.uint64(64) - log_width, np.uint64(64) - log_height, np.uint64(_GROUND_BITS)
    column = u >> across
    # The column times the length, by a shift: products are what a processor does least of at once.
    texel, share = start + (column << log_height) + column + (v >> up), v >> (up - bits)
    left = mix(strips[texel], strips[texel + np.uint64(1)], share, _GROUND_BITS)
    texel += length
    right = mix(strips[texel], strips[texel + np.uint64(1)], share, _GROUND_BITS)
    return mix(left, right, u >> (across - bits), _GROUND_BITS) + np.uint64(HALF)


@njit(forceinline=True)
def _draw_ground(ground, x, z, cos, sin, pixel, spans, canvas):
    """Draw ceiling and floor from the first to the last column of each row where they are in view."""
    height, width = canvas.shape
    for row in range(np.uint64(height)):
        first, end = np.uint64(spans[0, row]), np.uint64(max(spans[0, row], spans[1, row]))
        depth = ground.depth[row]
        lateral = (first + 0.5 - width / 2) * pixel
        across, up = ground.repeats[row, 0] * FIXED, ground.repeats[row, 1] * FIXED
        log_width, log_height = ground.log_width[row], ground.log_height[row]
        u, du = wrap((x + depth * (cos + lateral * sin)) * across), wrap(depth * pixel * sin * across)
        v, dv = wrap((z + depth * (lateral * cos - sin)) * up), wrap(depth * pixel * cos * up)
        for column in range(first, end):
            canvas[row, column] = look_between(ground.strips, ground.start[row, column], u, v, log_width, log_height)
            u += du
            v += dv


@njit(forceinline=True)
def light_on(side):
    """Return the brightness in [0, 1] of the wall on a side of a cell."""
    return _LIT_WALL if side == WEST or side == NORTH else _AMBIENT


@njit(forceinline=True)
def plane_of(wall, pyramids):
    """Return what `place_on` needs to know of a wall."""
    across, up = pyramids.repeats[wall.texture, 0] * FIXED, pyramids.repeats[wall.texture, 1] * FIXED
    highest = (pyramids.levels.shape[1] - 1 << 8) - 1
    distance = abs(wall.distance)
    return wall.near, wall.near_slope, distance, wall.across, wall.turn, wall.turn_slope, across, up, highest


@njit(forceinline=True)
def place_on(plane, lateral, pixel, height):
    """Say how a column sees a wall.

    Returns:
        the mip level in 256ths; the place in the texture from the left, that from the floor in row 0, and what it loses
        from row to row, in 2**-32 repeats.
    """
    near, near_slope, distance, along, turn, turn_slope, across, up, highest = plane
    # Beyond its end a wall's plane may be behind the centre of a pixel that sees the wall at its edge.
    depth = 1 / max(near + near_slope * lateral, 1e-4)
    # A pixel covers more of a wall that is seen at an angle.
    texels = textures.TEXELS_PER_METRE * pixel * depth * max(1.0, depth / distance)
    return (
        min(max(np.int64(256 * log2(texels)), 0), highest),
        np.int64((along + depth * (turn + turn_slope * lateral)) * across),
        np.int64((CAMERA_HEIGHT + (height - 1) / 2 * pixel * depth) * up),
        np.int64(pixel * depth * up),
    )


@njit(forceinline=True)
def _beside(u, width, stride):
    """Return where in a mip level the columns of texels left and right of a place begin, and the share of the right."""
    x = ((u & 0xFFFF_FFFF) * width >> 24) - 128  # 256ths; a texel has its colour at its centre
    left = x >> 8
    right = left + 1 if left + 1 < width else 0
    return 4 * stride * (left if left >= 0 else width - 1), 4 * stride * right, x & 255


@njit(forceinline=True)
def _part(texel, weight):
    """Return a product that is known to fit in 16 bits; without saying so at each step it would be made in 64."""
    return np.uint16(np.uint16(texel) * weight)


@njit(forceinline=True)
def columns_at(levels, texture, level, u, light):
    """Say of what a wall's column at a place u and a mip level (256ths) is blended.

    Returns:
        where the two columns of texels begin that are beside it at the finer level, and those at the coarser one; their
        weights, 256ths that together are the light; what `lit` adds; the height of the texture at this level.
    """
    fine, coarse = level >> 8, (level >> 8) + 1
    height = levels[texture, fine, 3]
    stride = textures.filled(height)
    a, b, share_b = _beside(u, levels[texture, fine, 2], stride)
    c, d, share_d = _beside(u, levels[texture, coarse, 2], stride)
    a, b = np.uint64(levels[texture, fine, 0] + a), np.uint64(levels[texture, fine, 0] + b)
    c, d = np.uint64(levels[texture, coarse, 1] + c), np.uint64(levels[texture, coarse, 1] + d)
    total = np.int64(256 * light)
    coarse_total = total * (level & 255) >> 8
    weight_b, weight_d = (total - coarse_total) * share_b >> 8, coarse_total * share_d >> 8
    weight_a, weight_c = total - coarse_total - weight_b, coarse_total - weight_d
    weights = np.uint16(weight_a), np.uint16(weight_b), np.uint16(weight_c), np.uint16(weight_d)
    # To round to half grey levels, one of them (`HALF`), and what light whole weights leave over, as of a middle grey.
    return (a, b, c, d), weights, np.uint16(64 + 128 + 128 * (256 * light - total)), height


@njit(forceinline=True)
def lit(a, b, c, d, weight_a, weight_b, weight_c, weight_d, rest):
    """Return one channel of a strip's colour plus `HALF`, half grey levels, from four texels; sums fit in 16 bits."""
    fine_total = np.uint16(_part(a, weight_a) + _part(b, weight_b))
    coarse_total = np.uint16(_part(c, weight_c) + _part(d, weight_d))
    return np.uint16(np.uint16(np.uint16(fine_total + coarse_total) + rest) >> np.uint16(7))


@njit(error_model="numpy")  # by itself, since compilers run out of registers for it among all the rest
def _blend_blocks(texels, a, b, c, d, weight_a, weight_b, weight_c, weight_d, rest, channels, start, end):
    """Blend channels from start to end: whole blocks of 64, so that compilers can make vectors of it."""
    for n in range(start, end):
        channels[n] = lit(
            texels[a + n], texels[b + n], texels[c + n], texels[d + n], weight_a, weight_b, weight_c, weight_d, rest
        )


@njit(forceinline=True)
def _blend(texels, levels, texture, level, light, u, low, high, strip, channels):
    """Write a wall's column at a place u and a mip level (256ths) to `strip`, at least from low to high (2**-32).

    Returns:
        the height of the texture at this level.
    """
    (a, b, c, d), (weight_a, weight_b, weight_c, weight_d), rest, height = columns_at(levels, texture, level, u, light)
    blocks = textures.filled(height) // textures.BLOCK
    begin, turns = low & 0xFFFF_FFFF, (high >> 32) - (low >> 32)
    first, last = begin * height >> 32, ((high & 0xFFFF_FFFF) * height >> 32) + 1
    first, end = first >> 4, (last >> 4) + 1
    again = turns > 0 or last == height  # the texture begins again
    if again and (turns > 1 or end >= first):
        first, end, again = 0, blocks, False
    stride = np.uint64(64 * blocks)
    for _ in range(1 + again):
        start, stop = np.uint64(64 * first), np.uint64(64 * (blocks if again else end))
        # Textures run from right to left in the picture, a texel or two of the finer level a column.
        for n in range(start, stop, np.uint64(64)):
            prefetch(texels, a - np.uint64(2) * stride + n)
            prefetch(texels, a - np.uint64(3) * stride + n)
            prefetch(texels, c - np.uint64(2) * stride + n)
        _blend_blocks(texels, a, b, c, d, weight_a, weight_b, weight_c, weight_d, rest, channels, start, stop)
        first, again = 0, False
    strip[np.uint64(height)] = strip[0]
    return np.uint64(height)


@njit(forceinline=True)
def seen_by(edges, zone, first, end, row):
    """Return how many of some samples see in a row what begins at the edges of a zone and ends at the next zone's."""
    samples, row = 0, np.int64(row)  # numba would compare a uint64 with an int64 as floats
    for m in range(np.uint64(first), np.uint64(end)):
        samples += (edges[zone, m] <= row) & (row < edges[zone + 1, m])
    return samples


@njit(forceinline=True)
def replace(total, old, new, samples):
    """Let some of the four samples that make a total see a new colour instead of an old one."""
    new, old = (new & ~BELOW_QUARTERS) >> np.uint64(2), (old & ~BELOW_QUARTERS) >> np.uint64(2)
    return total + np.uint64(samples) * (new - old)


@njit(forceinline=True)
def _prepare(texels, levels, texture, light, on_wall, top, bottom, strip, channels):
    """Blend the strip that a column sees from row top to bottom of a wall.

    Returns:
        the place in it in the first row and what it loses from row to row (2**-64 repeats), and its height.
    """
    level, u, v, dv = on_wall
    v -= levels[texture, level >> 8, 4] + top * dv  # from its lowest texel's middle on
    low = v - (bottom - 1 - top) * dv
    length = _blend(texels, levels, texture, level, light, u, low, v, strip, channels)
    return np.uint64(v) << np.uint64(32), np.uint64(dv) << np.uint64(32), length


@njit(forceinline=True)
def _draw_wall(pyramids, wall, first, end, pixel, work):
    """Draw columns first to end, which see one wall alone."""
    canvas, edges, reach, on_wall = work.canvas, work.edges, work.reach, work.on_wall
    strip, channels, texels, levels = work.strip, work.channels, pyramids.texels, pyramids.levels
    texture, light = wall.texture, light_on(wall.side)
    height, width = canvas.shape
    plane = plane_of(wall, pyramids)
    for k in range(np.uint64(first), np.uint64(end)):
        lateral = (k + 0.5 - width / 2) * pixel
        on_wall[0, k], on_wall[1, k], on_wall[2, k], on_wall[3, k] = place_on(plane, lateral, pixel, height)
    for k in range(np.uint64(first), np.uint64(end)):
        top, inner_top, inner_bottom, bottom = reach[0, k], reach[1, k], reach[2, k], reach[3, k]
        inner_top = min(inner_top, bottom)
        inner_bottom = max(inner_top, inner_bottom)
        on_column = on_wall[0, k], on_wall[1, k], on_wall[2, k], on_wall[3, k]
        v, dv, length = _prepare(texels, levels, texture, light, on_column, top, bottom, strip, channels)
        left, right = np.uint64(SAMPLES) * k, np.uint64(SAMPLES) * k + np.uint64(SAMPLES)
        for row in range(np.uint64(top), np.uint64(inner_top)):
            colour = _look_up(strip, v, length)
            samples = seen_by(edges, 0, left, right, row)
            canvas[row, k] = replace(canvas[row, k], canvas[row, k], colour, samples)
            v -= dv
        for row in range(np.uint64(inner_top), np.uint64(inner_bottom)):
            canvas[row, k] = _look_up(strip, v, length)
            v -= dv
        for row in range(np.uint64(inner_bottom), np.uint64(bottom)):
            colour = _look_up(strip, v, length)
            samples = seen_by(edges, 0, left, right, row)
            canvas[row, k] = replace(canvas[row, k], canvas[row, k], colour, samples)
            v -= dv


@njit(forceinline=True)
def _draw_seam(pyramids, walls, n, column, pixel, work):
    """Draw a column in which wall n meets the next ones.

    Returns:
        the number of the wall on which the next column begins.
    """
    canvas, edges, behind = work.canvas, work.edges, work.behind
    height, width = canvas.shape
    k = np.uint64(column)
    for row in range(np.uint64(height)):
        # In quarters nothing is left over, where walls take all four samples, of what an earlier frame drew here.
        behind[row] = canvas[row, k] = canvas[row, k] & ~BELOW_QUARTERS
    first, end = SAMPLES * column, SAMPLES * (column + 1)
    while first < end:
        wall = walls[n]
        wall_end = min(wall.end, end)
        top, inner_top, inner_bottom, bottom = height, 0, height, 0
        for m in range(np.uint64(first), np.uint64(wall_end)):
            top, inner_top = min(top, edges[0, m]), max(inner_top, edges[0, m])
            inner_bottom, bottom = min(inner_bottom, edges[1, m]), max(bottom, edges[1, m])
        on_wall = place_on(plane_of(wall, pyramids), (column + 0.5 - width / 2) * pixel, pixel, height)
        light = light_on(wall.side)
        v, dv, length = _prepare(
            pyramids.texels, pyramids.levels, wall.texture, light, on_wall, top, bottom, work.strip, work.channels
        )
        for row in range(np.uint64(top), np.uint64(bottom)):
            colour = _look_up(work.strip, v, length)
            all_see = inner_top <= np.int64(row) < inner_bottom
            samples = wall_end - first if all_see else seen_by(edges, 0, first, wall_end, row)
            canvas[row, k] = replace(canvas[row, k], behind[row], colour, samples)
            v -= dv
        n += wall.end <= end
        first = wall_end
    return n


@njit(forceinline=True)
def _draw_walls(pyramids, walls, pixel, work):
    n = column = np.int64(0)  # not Python's, for which numba would compile what follows twice
    while column < work.canvas.shape[1]:
        end = walls[n].end // SAMPLES
        if column < end:
            _draw_wall(pyramids, walls[n], column, end, pixel, work)
            n += walls[n].end == SAMPLES * end
            column = end
        else:
            n = _draw_seam(pyramids, walls, n, column, pixel, work)
            column += 1


@njit(forceinline=True)
def _draw_box(box, first, end, canvas):
    """Draw the box where samples first to end see it: all in its side's colour, then its top over that."""
    red = np.uint64(HALF + (255 << GREY_BITS))
    for column in range(first // SAMPLES, (end + SAMPLES - 1) // SAMPLES):
        left, right = max(first, SAMPLES * column), min(end, SAMPLES * (column + 1))
        side, top, bottom = np.uint64(0), len(canvas), 0
        for m in range(left, right):
            if box[0, m] < box[2, m]:
                side, top, bottom = np.uint64(box[3, m]), min(top, box[0, m]), max(bottom, box[2, m])
        for row in range(top, bottom):
            on_top, on_side = seen_by(box, 0, left, right, row), seen_by(box, 1, left, right, row)
            total = replace(canvas[row, column], canvas[row, column], side, on_top + on_side)
            canvas[row, column] = replace(total, side, red, on_top)


@njit(error_model="numpy")  # by itself and without a loop over channels, or compilers do not make vectors of it
def _keep_grey_levels(colours, frame):
    """Write the whole grey levels of packed colours, read as bytes, to a picture."""
    for n in range(np.uint64(len(colours) // 8)):
        colour, pixel = np.uint64(8) * n, np.uint64(3) * n
        frame[pixel] = colours[colour + np.uint64(1)]
        frame[pixel + np.uint64(1)] = colours[colour + np.uint64(3)]
        frame[pixel + np.uint64(2)] = colours[colour + np.uint64(5)]


@njit(nogil=True, cache=True, error_model="numpy")
def _render_batch(open_, texture, goal, poses, pyramids, ground, walls, out):
    height, width = out.shape[1], out.shape[2]
    pixel = 2 * TAN_HALF_FOV / height  # side of a pixel, as a tangent
    centre = SAMPLES * width / 2 - 0.5
    work = _make_work(height, width)
    colours = work.canvas.reshape(-1).view(np.uint8)
    frames = out.reshape(len(out), -1)
    for b in range(len(poses)):
        x, z = poses[b, 0], poses[b, 1]
        cos, sin = np.cos(poses[b, 2]), np.sin(poses[b, 2])
        find_walls(open_[b], texture[b], x, z, cos, sin, pixel, height, centre, walls, work)
        box_first, box_end = find_box(goal[b], x, z, cos, sin, pixel, height, centre, work)
        _find_reach(work.edges, work.reach)
        _find_spans(work.reach, work.spans)
        _draw_ground(ground, x, z, cos, sin, pixel, work.spans, work.canvas)
        _draw_walls(pyramids, walls, pixel, work)
        _draw_box(work.box, box_first, box_end, work.canvas)
        _keep_grey_levels(colours, frames[b])


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
            i, j, side, _ = cast(open_[b], x, z, cos, sin, lateral)
            describe(walls[0], i, j, side, texture[b], x, z, cos, sin)
            wall = 1 / (walls[0].near + walls[0].near_slope * lateral)
            enter, leave, _, _ = cast_box(goal[b], cos_goal, sin_goal, x, z, cos + lateral * sin, lateral * cos - sin)
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
