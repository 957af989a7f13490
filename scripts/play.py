"""Find the goal yourself: the same mazes, visits and respawns that agents are given, in a window."""

import os
import secrets
import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from mazes.layout import MazeConfig
from mazes.seeds import SPLIT_SIZE
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.options import maze
from nav_meta.play import play


@dataclass(frozen=True)
class Options:
    """Find the goal yourself: arrow keys move, M shows the map, N takes another maze, Q leaves."""

    kind: Literal["random", "imaze", "fixed"] = "random"
    """Kind of maze."""
    rooms: int | None = None
    """Rooms along each side; by default 3."""
    step_size: Literal["fast", "fine"] = "fast"
    """fast: 0.7 m and 45 degrees; fine: 0.15 m and 15 degrees."""
    seed: int | None = None
    """Which training maze; by default any."""


def main() -> None:
    """Parse the command line, open the window."""
    options = tyro.cli(Options)
    if options.seed is not None and not 0 <= options.seed < SPLIT_SIZE:
        raise UserError("--seed must be between 0 and 2**62 - 1.")
    config = maze(MazeConfig(), options.kind, options.rooms, options.step_size)
    # OpenCV ends the process when it finds no display.
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError(
            "there is no display to open a window on: run this on a desktop, or film an agent with watch.py."
        )
    play(config, secrets.randbits(32) if options.seed is None else options.seed)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
