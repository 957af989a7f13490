"""How near the fast world is to MiniWorld: pictures, depth, the goal box and motion, in figures and on a sheet."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.ndimage import maximum_filter, minimum_filter

from mazes import reference, renderer, simulator
from mazes.layout import (
    AGENT_RADIUS,
    BOX_RADIUS,
    LANDMARKS,
    PITCH,
    ROOM,
    STEP_SIZES,
    Layout,
    MazeConfig,
    generate_batch,
)
from mazes.seeds import split_seeds
from mazes.textures import FILES
from nav_meta import vision
from nav_meta.errors import UserError

IDENTICAL = 100.0
"""PSNR in dB that equal pictures count with; theirs would be infinite."""
POOR = 30.0
"""PSNR in dB below which a picture is counted as too far off."""
CENTIMETRE = 0.01

_GROUPS = ("kind", "size", "texture")
_COLUMNS = ("pairs", "mean_abs_difference", "psnr_mean", "psnr_min", "below_30_db")
_VIEWS = 8
"""Pictures of one configuration."""
_WALK = 250
"""Steps from one view."""
_BOX_PIXELS = 50
"""Fewer pixels of the goal box are too few for a ratio of their own."""


def varied(count: int, step_size: str = "fast", domain_rand: bool = False) -> list[MazeConfig]:
    """Return mazes of all kinds, of 2x2 to 8x8 rooms, from trees to open halls, with landmarks and without."""
    rng = np.random.default_rng(0)
    configs = []
    for k in range(count):  # periods without a common divisor: every option meets every other
        longer = 2 + k % 7
        rows, columns = rng.permutation([longer, rng.integers(2, longer + 1)])
        configs.append(
            MazeConfig(
                kind=("random", "random", "fixed", "imaze")[k % 4],
                rows=int(rows),
                columns=int(columns),
                extra_openings=(0.0, 0.1, 0.5, 1.0, 0.1, 0.1, 0.3, 0.0, 0.2)[k % 9],
                landmarks=LANDMARKS[k % 5 == 4],
                step_size=step_size,
                domain_rand=domain_rand,
            )
        )
    return configs


def random_views(config: MazeConfig, pairs: int, seed: int = 0) -> tuple[Layout, np.ndarray]:
    """Draw places from which to compare pictures.

    Every second one is in the goal's room and looks roughly towards the box; the others are anywhere.

    Returns:
        `pairs` mazes, and poses float64 [pairs, 3] that keep clear of walls and box.
    """
    rng = np.random.default_rng(seed)
    layouts = generate_batch(config, split_seeds("validation", seed << 20, pairs))
    poses = np.empty((pairs, 3))
    for k in range(pairs):
        open_, goal = layouts.open[k], layouts.goal[k]
        rooms = np.argwhere(open_[::2, ::2])
        at_goal = (goal[1::-1] // PITCH).astype(int)
        while True:
            r, c = at_goal if k % 2 else rooms[rng.integers(len(rooms))]
            x, z = c * PITCH + ROOM * rng.random(), r * PITCH + ROOM * rng.random()
            east, north = goal[0] - x, z - goal[1]
            if np.hypot(east, north) >= AGENT_RADIUS + BOX_RADIUS and simulator.is_free(open_, x, z, AGENT_RADIUS):
                break
        heading = np.arctan2(north, east) + rng.normal(0, 0.4) if k % 2 else rng.uniform(-np.pi, np.pi)
        poses[k] = x, z, heading
    return layouts, poses


def measure(
    pairs: int = 2000,
    height: int = 60,
    width: int = 80,
    seed: int = 0,
    sheet: Path | None = None,
    domain_rand: bool = False,
) -> dict[str, float]:
    """Compare pictures, depth and goal boxes with MiniWorld's at random views of `varied` mazes.

    Args:
        pairs: number of views, each in a maze of its own.
        height: rows of a picture.
        width: columns of a picture.
        seed: of the views.
        sheet: where to write a PNG with the eight worst views above eight random ones (left fast, then MiniWorld, then
            the absolute difference times 8).
        domain_rand: randomise how each maze looks.

    Returns:
        parity/pairs: number of views.
        parity/mean_abs_difference: of pictures, grey levels.
        parity/psnr_mean, parity/psnr_min: over the views, dB.
        parity/below_30_db: share of views whose PSNR is less.
        parity/<group>/<name>/...: the same five for the views of a kind of maze ("kind"), of mazes of so many rooms on
            their longer side ("size"), and of those most of whose wall is of one texture ("texture").
        parity/depth/within_1cm: share of pixels whose depth differs by a centimetre at most.
        parity/depth/wrong: share that differ by more, and from all that MiniWorld has in the eight pixels around: no
            matter of which surface an edge's pixel is given to.
        parity/depth/median_difference: metres.
        parity/box/views: views in which MiniWorld shows the goal box.
        parity/box/iou: pixels that the box touches in both pictures over those that it touches in either.
        parity/box/iou_min: of views in which it touches 50 pixels or more, the least.
        parity/box/mean_abs_difference: over the pixels that it touches in either, grey levels.

    Raises:
        UserError: there is no OpenGL here, or `sheet` cannot be written.
    """
    _require_opengl()
    configs = varied(-(-pairs // _VIEWS), domain_rand=domain_rand)
    opengl = reference.ReferenceRenderer(configs[0], height, width)
    groups, frames, depths, boxes = {name: [] for name in _GROUPS}, [], [], []
    for k, config in enumerate(_followed(configs, "pictures")):
        layouts, poses = random_views(config, min(_VIEWS, pairs - k * _VIEWS), seed=seed * len(configs) + k)
        hidden = layouts._replace(goal=layouts.goal + [1000.0, 1000.0, 0.0])
        fast, true = renderer.render(layouts, poses, height, width), opengl.render(layouts, poses)
        fast_depth, true_depth = renderer.render_depth(layouts, poses, height, width), opengl.depth(layouts, poses)
        fast_box = (fast != renderer.render(hidden, poses, height, width)).any(axis=-1)
        true_box = (true != opengl.render(hidden, poses)).any(axis=-1)
        frames += zip(fast, true, strict=True)
        depths.append(_depth_errors(fast_depth, true_depth))
        boxes += [_box_overlap(*views) for views in zip(fast, true, fast_box, true_box, strict=True)]
        groups["kind"] += [config.kind] * len(poses)
        groups["size"] += [str(max(config.rows, config.columns))] * len(poses)
        groups["texture"] += [FILES[texture][0] for texture in _main_texture(layouts, poses, height, width)]
    differences = np.array([np.abs(fast.astype(np.int16) - true).mean() for fast, true in frames])
    squares = np.array([((fast.astype(np.float64) - true) ** 2).mean() for fast, true in frames])
    psnr = 10 * np.log10(255**2 / np.maximum(squares, 255**2 / 10 ** (IDENTICAL / 10)))
    if sheet is not None:
        others = np.random.default_rng(seed).choice(pairs, size=min(8, pairs), replace=False)
        _write_sheet(sheet, [frames[k] for k in [*np.argsort(psnr)[:8], *others]])
    figures = _summary("parity", differences, psnr)
    for group, names in groups.items():
        for name in sorted(set(names)):
            chosen = np.array(names) == name
            figures |= _summary(f"parity/{group}/{name}", differences[chosen], psnr[chosen])
    for key, values in zip(("within_1cm", "wrong", "median_difference"), np.concatenate(depths, axis=1), strict=True):
        figures[f"parity/depth/{key}"] = float(np.mean(values))
    both, either, theirs, off = np.array(boxes).T
    figures["parity/box/views"] = int((theirs > 0).sum())
    figures["parity/box/iou"] = float(both.sum() / max(1, either.sum()))
    figures["parity/box/iou_min"] = float(min((both / np.maximum(1, either))[theirs >= _BOX_PIXELS], default=1.0))
    figures["parity/box/mean_abs_difference"] = float(off.sum() / max(1, either.sum()))
    return figures


def motion(steps: int = 100_000, seed: int = 0, domain_rand: bool = False) -> dict[str, float]:
    """Walk at random from equal states in MiniWorld's physics and in ours, for each step size.

    Every 250 steps both begin anew in another maze. Nothing is drawn.

    Returns:
        parity/motion/<step size>/steps: number of steps.
        .../position_difference, .../heading_difference: the largest ever, metres and radians.
        .../collisions, .../goals: steps forward that MiniWorld refused, and steps that ended near the goal.
        .../disagreements: steps of which one world says that they collided or reached the goal, and the other not.

    Raises:
        UserError: there is no OpenGL here, which MiniWorld cannot be imported without.
    """
    _require_opengl()
    figures = {}
    for step_size in STEP_SIZES:
        rng = np.random.default_rng(seed)
        walks = -(-steps // _WALK)
        world = None
        position = heading = 0.0
        collisions = goals = disagreements = 0
        for walk, config in enumerate(_followed(varied(walks, step_size, domain_rand), f"motion, {step_size}")):
            layouts, poses = random_views(config, 2, seed=seed * walks + walk)
            row = walk % 2  # every second walk begins near the goal
            layouts, poses = Layout(*(field[row : row + 1] for field in layouts)), poses[row : row + 1]
            maze = Layout(*(field[0] for field in layouts))
            if world is None:
                world = reference.make_reference(config, maze, 4, 4)
                world.render_obs = world._render_static = lambda: None
            else:
                world.show(maze, walls=world.walls)
            world.pose = poses[0]
            actions = rng.choice(3, size=min(_WALK, steps - walk * _WALK), p=[0.2, 0.1, 0.7])
            for step, action in enumerate(actions):
                drawn = simulator.draw_steps(config, np.array([walk], np.uint64), np.array([step]))
                before, theirs_before = poses[0].copy(), world.pose
                found = bool(simulator.step(config, layouts, poses, np.array([action]), drawn)[0])
                _, _, theirs_found, _, _ = world.step(int(action), None if drawn is None else drawn[0])
                theirs = world.pose
                position = max(position, np.hypot(*(theirs - poses[0])[:2]))
                heading = max(heading, abs(theirs[2] - poses[0, 2]))
                collided = action == simulator.FORWARD and np.array_equal(before, poses[0])
                theirs_collided = action == simulator.FORWARD and np.array_equal(theirs_before, theirs)
                collisions += theirs_collided
                goals += theirs_found
                disagreements += collided != theirs_collided or found != theirs_found
        for key, value in (
            ("steps", steps),
            ("position_difference", float(position)),
            ("heading_difference", float(heading)),
            ("collisions", int(collisions)),
            ("goals", int(goals)),
            ("disagreements", int(disagreements)),
        ):
            figures[f"parity/motion/{step_size}/{key}"] = value
    return figures


def table(figures: dict[str, float]) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text: all views that `measure` compared, then each group of them."""
    keys = ["parity"] + [
        key.removesuffix("/pairs") for key in figures if key.count("/") == 3 and key.endswith("/pairs")
    ]
    lines = [[key.removeprefix("parity/"), *(f"{figures[f'{key}/{name}']:.4g}" for name in _COLUMNS)] for key in keys]
    lines[0][0] = "all"
    return ["", "views", "mean difference", "PSNR, mean", "PSNR, least", "below 30 dB"], lines


def _require_opengl() -> None:
    problem = reference.available()
    if problem:
        raise UserError(problem)


def _followed(configs: list[MazeConfig], description: str) -> Any:
    """Show on stderr how far one is, where that is a terminal."""
    console = Console(stderr=True)
    return track(configs, description, console=console, transient=True, disable=not console.is_terminal)


def _summary(prefix: str, differences: np.ndarray, psnr: np.ndarray) -> dict[str, float]:
    values = (len(psnr), differences.mean(), psnr.mean(), psnr.min(), (psnr < POOR).mean())
    return {f"{prefix}/{name}": value for name, value in zip(_COLUMNS, map(float, values), strict=True)}


def _depth_errors(fast: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return for each picture the shares of pixels within a centimetre and of wrong ones, and the median difference."""
    error = np.abs(fast - true)
    near = error <= CENTIMETRE
    window = {"size": (1, 3, 3), "mode": "nearest"}
    inside = (fast >= minimum_filter(true, **window) - CENTIMETRE) & (
        fast <= maximum_filter(true, **window) + CENTIMETRE
    )
    pixels = (1, 2)
    return np.stack([near.mean(pixels), (~near & ~inside).mean(pixels), np.median(error, pixels)])


def _box_overlap(fast: np.ndarray, true: np.ndarray, fast_box: np.ndarray, true_box: np.ndarray) -> tuple[float, ...]:
    """Return how many pixels the box touches in both, in either and in MiniWorld's, and how far off they are in sum."""
    either = fast_box | true_box
    off = np.abs(fast[either].astype(np.int16) - true[either]).sum() / 3
    return (fast_box & true_box).sum(), either.sum(), true_box.sum(), off


def _main_texture(layouts: Layout, poses: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the wall texture, int64 [B], that most columns of each view show, seen by the usual level camera."""
    depth = renderer.render_depth(layouts._replace(look=np.empty((len(poses), 0))), poses, height, width)
    # Just above the horizon nothing is nearer than the wall.
    to_wall = 0.999 * depth[:, height // 2 - 1]
    lateral = (np.arange(width) + 0.5 - width / 2) * 2 * renderer.TAN_HALF_FOV / height
    cos, sin = np.cos(poses[:, 2:]), np.sin(poses[:, 2:])
    places = (poses[:, 1:2] + to_wall * (lateral * cos - sin), poses[:, :1] + to_wall * (cos + lateral * sin))
    i, j = (2 * (place // PITCH).astype(int) + (place % PITCH >= ROOM) for place in places)
    seen = layouts.texture[np.arange(len(poses))[:, None], i, j]
    return np.array([np.bincount(columns).argmax() for columns in seen])


def _write_sheet(path: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    fast, true = (np.stack(frames) for frames in zip(*pairs, strict=True))
    magnified = np.minimum(np.abs(fast.astype(np.int16) - true) * 8, 255).astype(np.uint8)
    triples = np.stack([fast, true, magnified], axis=1)
    vision.write_contact_sheet(path, triples.reshape(-1, *fast.shape[1:]), columns=6)
