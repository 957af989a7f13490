"""Evaluate a trained agent on held-out mazes: first against later goal latency."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from mazes import reference
from nav_meta import evaluation, plots, report, two_episodes
from nav_meta.config import MOST_MAZES, MOST_VISITS, SEEDS
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.evaluation import MazeSet
from nav_meta.loading import load_agent
from nav_meta.options import AgentInMaze
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options(AgentInMaze):
    """Evaluate a trained agent on held-out mazes: first against later goal latency."""

    mazes: int = 1000
    """Number of test mazes."""
    visits: int = evaluation.VISITS
    """Visits to each: one first and the others later."""
    renderer: Literal["fast", "miniworld"] = "fast"
    """miniworld shows the agent real MiniWorld frames; needs OpenGL."""
    seed: int = 0
    """Of the actions drawn."""
    compare: tuple[Path, ...] = ()
    """More runs or checkpoints for the table, such as a feed-forward control."""
    controls: bool = False
    """Add the first agent with its memory wiped after each visit, with the goal moved to another room after the first
    visit, and without landmarks."""
    generalisation: bool = False
    """Add the first agent in mazes other than it was trained in: smaller and larger, with other wall textures, in steps
    of 0.15 m and 15 degrees, with domain randomisation, and as real MiniWorld frames. Each row is measured by the
    oracle and the explorer of its own mazes."""
    recogniser: bool = False
    """Add one who searches as the explorer does, remembers all it has seen and knows any room again in which it was,
    but is not told where it is put: about what a perfect memory is worth. A minute or two for 1000 mazes of 5x5."""
    rl2: bool = False
    """RL^2's own protocol instead: 5x5 rooms, two episodes of at most 250 steps from the same place."""
    plot: Path | None = None
    """Draw steps by visit here, a PNG, PDF or SVG file."""
    json: Path | None = None
    """Write the figures here."""


NOT_WITH_RL2 = ("controls", "generalisation", "recogniser", "plot", "renderer", "kind", "rooms", "visits")
"""Options that RL^2's protocol leaves no room for."""


def main() -> None:
    """Parse the command line, evaluate, print the table."""
    options = tyro.cli(Options)
    if not 1 <= options.mazes <= MOST_MAZES or not 2 <= options.visits <= MOST_VISITS:
        raise UserError(
            f"--mazes must be between 1 and {MOST_MAZES}, and --visits between 2, a first and a later one, "
            f"and {MOST_VISITS}."
        )
    if not 0 <= options.seed < SEEDS:
        raise UserError(f"--seed must be between 0 and {SEEDS - 1}.")
    plots.require_format(options.plot)
    if options.rl2 and (unheard := [name for name in NOT_WITH_RL2 if getattr(options, name) != getattr(Options, name)]):
        raise UserError(f"--rl2 is a table of its own, of given mazes and visits: leave out --{unheard[0]}.")
    if options.generalisation and options.plot:
        raise UserError("--plot shows agents in the same mazes, and --generalisation is about others: leave one out.")
    clock = time.perf_counter()
    agents = [load_agent(path) for path in (options.checkpoint, *options.compare)]
    config = options.maze(agents[0].config.maze)
    players = report.players(agents)
    if options.rl2:
        rows = two_episodes.compare(
            players, config, MazeSet("test", 0, options.mazes), seed=options.seed, threads=os.cpu_count() or 1
        )
        caption = "steps of the episodes that reach the goal, then of all, as ratios and shares are; 95 % intervals"
        report.show(two_episodes.table(rows), caption)
        if options.json:
            write_result(options.json, {"rows": rows}, two_episodes.mazes_of(config), clock, agents[0].step)
        return
    name, first = next(iter(players.items()))
    again = {name: first}
    if options.generalisation:
        if missing := reference.available():
            print(f"no row of real MiniWorld frames: {missing}", file=sys.stderr)
        again |= report.generalisation(name, first, config)
    if options.controls:
        again |= report.controls(name, first)
    players = again | players
    rows = report.compare(
        players,
        config,
        MazeSet("test", 0, options.mazes),
        visits=options.visits,
        seed=options.seed,
        threads=os.cpu_count() or 1,
        renderer=options.renderer,
        recogniser=options.recogniser,
    )
    caption = "steps; in brackets 95 % bootstrap intervals over mazes"
    if options.generalisation:
        caption += "; random walk, explorer and oracle: in the mazes of the first row"
    report.show(report.table(rows), caption)  # first, whatever becomes of the files
    if options.json:
        figures = {**next(iter(rows.values())), "rows": rows}
        write_result(options.json, figures, config, clock, agents[0].step)
    if options.plot:
        plots.plot_latency_by_visit(rows, options.plot)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
