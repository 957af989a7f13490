"""Command-line options that several scripts share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mazes.layout import MazeConfig
from nav_meta.errors import UserError


@dataclass(frozen=True)
class AgentInMaze:
    """A trained agent, and the mazes to put it in."""

    checkpoint: Annotated[Path | None, tyro.conf.Positional] = None
    """A run's folder or a checkpoint; by default the released agent."""
    kind: Literal["random", "imaze", "fixed"] | None = None
    """Kind of maze; by default the one that the agent was trained in."""
    rooms: int | None = None
    """Rooms along each side; by default as in training."""
    step_size: Literal["fast", "fine"] | None = None
    """fast: 0.7 m and 45 degrees; fine: 0.15 m and 15 degrees; by default as in training."""

    def maze(self, trained: MazeConfig) -> MazeConfig:
        """Return the mazes asked for, given those of training.

        Raises:
            UserError: there are no such mazes.
        """
        return maze(trained, self.kind, self.rooms, self.step_size)


def maze(usual: MazeConfig, kind: str | None, rooms: int | None, step_size: str | None) -> MazeConfig:
    """Return the mazes asked for; what is None is as in the usual ones.

    Raises:
        UserError: there are no such mazes.
    """
    if rooms is not None and (kind or usual.kind) == "imaze":
        raise UserError("--rooms is for random and fixed mazes: the I-maze has one size.")
    given = {"kind": kind, "step_size": step_size, "rows": rooms, "columns": rooms}
    try:
        return replace(usual, **{key: value for key, value in given.items() if value is not None})
    except ValueError as error:
        raise UserError(f"no such maze: {error}.") from error
