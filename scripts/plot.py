"""Plot the learning curves of runs; runs that differ by their seed alone become one curve with a band."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.plots import plot_runs
from nav_meta.records import read_config, read_metrics


@dataclass(frozen=True)
class Options:
    """Plot the learning curves of runs; runs that differ by their seed alone become one curve with a band."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs."""
    out: Path | None = None
    """The PNG file; by default plots/training.png in the first run's folder, or plots/comparison.png for several."""


def main() -> None:
    """Parse the command line, group the runs, plot them."""
    options = tyro.cli(Options)
    if not options.runs:
        raise UserError("name at least one run's folder.")
    groups: dict[str, list[Path]] = {}
    for run in options.runs:
        config = read_config(run)
        # How many threads a machine has is no property of an experiment.
        settings = {key: value for key, value in config.items() if key not in ("seed", "workers")}
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    curves = {}
    for runs in groups.values():
        rows = [read_metrics(run) for run in runs]
        if empty := [run for run, row in zip(runs, rows, strict=True) if not row]:
            raise UserError(f"{empty[0]} has no metrics yet: wait for its first update.")
        name = runs[0].resolve().name
        curves[name if len(runs) == 1 else f"{name} and {len(runs) - 1} more seeds"] = rows
    if len(curves) == 1:
        curves = {"": next(iter(curves.values()))}
    name = "training.png" if len(options.runs) == 1 else "comparison.png"
    path = options.out or options.runs[0] / "plots" / name
    plot_runs(curves, path)
    print(path)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
