"""Train sb3-contrib's RecurrentPPO on real MiniWorld for some minutes; put it beside one of our agents in the table."""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from nav_meta import other_library, report
from nav_meta.config import MOST_MAZES, SEEDS
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.evaluation import MazeSet
from nav_meta.files import require_writable
from nav_meta.loading import load_agent
from nav_meta.options import AgentInMaze
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options(AgentInMaze):
    """Train sb3-contrib's RecurrentPPO on real MiniWorld for some minutes; put it beside one of our agents."""

    minutes: float = 26.0
    """How long to train, in minutes; by default as long as the preset `default` takes on two cores."""
    mazes: int = 300
    """Number of test mazes."""
    renderer: Literal["fast", "miniworld"] = "fast"
    """What draws the test mazes for both; miniworld: real MiniWorld frames, which takes long."""
    seed: int = 0
    """Of weights and actions."""
    json: Path | None = None
    """Write the figures here."""


def main() -> None:
    """Parse the command line, train, evaluate, print the table."""
    options = tyro.cli(Options)
    if not 0 < options.minutes < math.inf or not 1 <= options.mazes <= MOST_MAZES or not 0 <= options.seed < SEEDS:
        raise UserError(
            f"--minutes must be more than 0 and finite, --mazes between 1 and {MOST_MAZES}, "
            f"--seed between 0 and {SEEDS - 1}."
        )
    require_writable(options.json)
    clock = time.perf_counter()
    ours = load_agent(options.checkpoint)
    config = options.maze(ours.config.maze)
    trained = other_library.train(config, options.minutes, options.seed)
    players = report.players([ours])
    steps = [ours.step, trained.steps]
    players["RecurrentPPO (sb3-contrib)"] = report.Player(
        trained.make_policy, other_library.HEIGHT, other_library.WIDTH
    )
    rows = report.compare(
        players,
        config,
        MazeSet("test", 0, options.mazes),
        seed=options.seed,
        threads=1,  # sb3 draws from torch's one generator
        renderer=options.renderer,
    )
    for name, count in zip(players, steps, strict=True):
        rows[name]["steps"] = count
    report.show(report.table(rows))
    for name, count in zip(players, steps, strict=True):
        print(f"{name}: {count:,} environment steps of training")
    if options.json:
        write_result(options.json, {"minutes": options.minutes, "rows": rows}, config, clock, trained.steps)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
