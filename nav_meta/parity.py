"""How near the fast pictures are to MiniWorld's own: figures, and a sheet of pictures to look at."""

from pathlib import Path

import numpy as np

from mazes import reference, renderer, simulator
from mazes.layout import AGENT_RADIUS, BOX_RADIUS, PITCH, ROOM, Layout, MazeConfig, generate_batch
from mazes.seeds import split_seeds
from nav_meta import vision
from nav_meta.errors import UserError

IDENTICAL = 100.0
"""PSNR in dB that equal pictures count with; theirs would be infinite."""


def random_views(config: MazeConfig, pairs: int, seed: int = 0) -> tuple[Layout, np.ndarray]:
    """Draw places from which to compare pictures.

    Every second one is in the goal's room and looks roughly towards the box; the others are anywhere.

    Returns:
        `pairs` mazes, and poses float64 [pairs, 3] that keep clear of walls and box.
    """
    rng = np.random.default_rng(seed)
    layouts = generate_batch(config, split_seeds("validation", 0, pairs))
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
    config: MazeConfig,
    pairs: int = 200,
    height: int = 60,
    width: int = 80,
    seed: int = 0,
    sheet: Path | None = None,
) -> dict[str, float]:
    """Compare the fast pictures with MiniWorld's at random views.

    Args:
        config: which mazes.
        pairs: number of views.
        height: rows of a picture.
        width: columns of a picture.
        seed: of the views.
        sheet: where to write a PNG with the four worst views above four others (left fast, then MiniWorld, then the
            absolute difference times 8).

    Returns:
        `parity/mean_abs_difference` in grey levels, and over the views `parity/psnr_mean` and `parity/psnr_min` in dB.

    Raises:
        UserError: there is no OpenGL here, or `sheet` cannot be written.
    """
    problem = reference.available()
    if problem:
        raise UserError(problem)
    layouts, poses = random_views(config, pairs, seed)
    fast = renderer.render(layouts, poses, height, width)
    true = reference.ReferenceRenderer(config, height, width).render(layouts, poses)
    difference = np.abs(fast.astype(np.float64) - true)
    psnr = 10 * np.log10(255**2 / np.maximum((difference**2).mean(axis=(1, 2, 3)), 255**2 / 10 ** (IDENTICAL / 10)))
    if sheet is not None:
        shown = np.concatenate([np.argsort(psnr)[:4], np.arange(min(4, pairs))])
        magnified = np.minimum(difference * 8, 255).astype(np.uint8)
        triples = np.stack([fast[shown], true[shown], magnified[shown]], axis=1)
        vision.write_contact_sheet(sheet, triples.reshape(-1, height, width, 3), columns=6)
    return {
        "parity/mean_abs_difference": float(difference.mean()),
        "parity/psnr_mean": float(psnr.mean()),
        "parity/psnr_min": float(psnr.min()),
    }
