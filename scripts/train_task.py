"""Train agents on another experiment of the papers; compare them with exact optima and known algorithms."""

import sys
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nav_meta import report
from nav_meta.config import SEEDS, processors
from nav_meta.errors import STOPPED, UserError, exit_on_user_error, say
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.table import flat, lines
from nav_meta.experiments.training import (
    TaskConfig,
    finish,
    jobs_by_row,
    load,
    preset,
    stages_of,
    train_all,
)
from nav_meta.files import require_writable
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options:
    """Train agents on another experiment of the papers; compare them with exact optima and known algorithms."""

    task: Annotated[Literal[tuple(EXPERIMENTS)], tyro.conf.Positional]
    """Which experiment."""
    config: Annotated[TaskConfig, tyro.conf.arg(name="")]
    seeds: int = 1
    """Agents to train, with seeds SEED, SEED + 1, ...: the table shows their mean and each."""
    jobs: int = field(default_factory=processors)
    """How many to train at a time, each in a process of its own."""
    control: bool = False
    """Also train an agent that is never told its reward: it cannot learn within an episode."""
    out: Path | None = None
    """Folder of the runs; by default runs/TASK-TIME. What it already holds is not done again, and goes on where it was
    stopped."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: auto is online with a key and offline without."""
    json: Path | None = None
    """Write the figures of the table here."""


def main() -> int:
    """Parse the command line, train, show the table; return the exit code."""
    # The experiment decides what the other options' defaults are.
    named = [
        argument
        for before, argument in pairwise(sys.argv)
        if argument in EXPERIMENTS and before not in ("--out", "--json", "--start")  # a folder may have a task's name
    ]
    task = named[0] if named else next(iter(EXPERIMENTS))
    try:
        options = tyro.cli(Options, default=Options(tyro.MISSING, preset(task)))
    except ValueError as error:  # of TaskConfig: tyro only puts those of nested options into words
        raise UserError(f"{error}.") from error
    if options.seeds < 1 or options.jobs < 1:
        raise UserError("--seeds and --jobs must be at least 1.")
    if options.config.seed + options.seeds > SEEDS:
        raise UserError(f"--seed and --seeds must not lead beyond {SEEDS - 1}.")
    require_writable(options.json)
    clock = time.perf_counter()
    folder = options.out or Path("runs") / f"{task}-{time.strftime('%Y%m%d-%H%M%S')}"
    steps = 0
    for config, place in stages_of(options.config, folder):
        jobs = jobs_by_row(config, place, options.seeds, control=options.control)
        together = [job for some in jobs.values() for job in some]
        if not train_all(together, parallel=options.jobs, wandb=options.wandb):
            say(f"go on with the same options and --out {folder}")
            return STOPPED
        steps += config.steps * len(together)
    agents = {name: [load(job) for job in some] for name, some in jobs.items()}
    experiment = EXPERIMENTS[task]
    rows = finish(experiment, config, agents, folder)
    report.show(
        lines(rows, experiment.columns),
        f"{experiment.title}; in square brackets 95 % intervals over test episodes, in round ones each seed",
    )
    if options.json:
        write_result(options.json, flat(rows), config, clock, steps)
    for name in ("table.md", "figure.png"):
        say(str(folder / name))
    return 0


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
