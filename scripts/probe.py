"""Probe what a trained agent's memory knows: where the goal is, and where the agent itself is."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from nav_meta import plots, probe, report
from nav_meta.config import MOST_MAZES, SEEDS
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.evaluation import MazeSet
from nav_meta.loading import load_agent
from nav_meta.options import AgentInMaze
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options(AgentInMaze):
    """Probe what a trained agent's memory knows: where the goal is, and where the agent itself is."""

    mazes: int = 300
    """Validation mazes to fit the probes in, and as many test mazes to test them in."""
    seed: int = 0
    """Of the actions drawn, and of the moments."""
    plot: Path | None = None
    """Draw the figures here, a PNG, PDF or SVG file."""
    json: Path | None = None
    """Write the figures here."""


def main() -> None:
    """Parse the command line, play, probe, print the table."""
    options = tyro.cli(Options)
    if not 2 <= options.mazes <= MOST_MAZES or not 0 <= options.seed < SEEDS:
        raise UserError(f"--mazes must be between 2 and {MOST_MAZES}, and --seed between 0 and {SEEDS - 1}.")
    plots.require_format(options.plot)
    clock = time.perf_counter()
    loaded = load_agent(options.checkpoint)
    config = options.maze(loaded.config.maze)
    fitting, testing = (
        probe.record(loaded, config, MazeSet(split, 0, options.mazes).seeds, options.seed)
        for split in ("validation", "test")
    )
    figures = probe.figures(fitting, testing)
    report.show(probe.table(figures), probe.CAPTION)  # first, whatever becomes of the files
    if options.json:
        write_result(options.json, figures, config, clock, loaded.step)
    if options.plot:
        probe.plot(figures, options.plot)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
