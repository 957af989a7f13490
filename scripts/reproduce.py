"""Reproduce the papers' experiments beside navigation, and write one page with their tables and figures."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from nav_meta import report
from nav_meta.config import SEEDS, processors
from nav_meta.errors import STOPPED, UserError, exit_on_user_error, say
from nav_meta.experiments.page import figures_of
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.reproduction import describe, plan, reproduce
from nav_meta.files import require_writable
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options:
    """Reproduce the papers' experiments beside navigation, and write one page with their tables and figures."""

    quick: bool = False
    """Everything at small scale in ten minutes: one agent each, which has not learnt much."""
    seeds: int = 3
    """Agents trained for each experiment, and more for those that ask for more."""
    jobs: int = field(default_factory=processors)
    """How many to train at a time, each in a process of its own."""
    only: tuple[Literal[tuple(EXPERIMENTS)], ...] | None = None
    """Only these experiments."""
    out: Path | None = None
    """Folder of the runs and the page; by default runs/reproduce or runs/reproduce-quick. What it already holds is not
    done again, and goes on where it was stopped."""
    wandb: Literal["auto", "online", "offline", "off"] = "off"
    """Weights & Biases: auto is online with a key and offline without."""
    json: Path | None = None
    """Write each experiment's figures here."""


def main() -> int:
    """Parse the command line, list what there is to do, do it; return the exit code."""
    options = tyro.cli(Options)
    if not 1 <= options.seeds <= SEEDS or options.jobs < 1:
        raise UserError(f"--seeds must be between 1 and {SEEDS}, and --jobs at least 1.")
    if options.only == ():
        raise UserError("--only needs the names of experiments; leave it out for all of them.")
    require_writable(options.json)
    clock = time.perf_counter()
    folder = options.out or Path("runs") / ("reproduce-quick" if options.quick else "reproduce")
    items = plan(options.only or tuple(EXPERIMENTS), options.seeds, quick=options.quick, parallel=options.jobs)
    report.show(describe(items), "minutes include the control that is never told its reward")
    command = " ".join(["python", *sys.argv])
    page = reproduce(items, folder, command, parallel=options.jobs, wandb=options.wandb)
    if page is None:
        say(f"go on with: {command}")
        return STOPPED
    print(page)
    if options.json:
        steps = sum(item.config.steps * (item.seeds + 1) for item in items)
        write_result(options.json, figures_of(folder, [item.experiment for item in items]), options, clock, steps)
    return 0


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
