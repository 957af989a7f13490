"""Plot the learning curves of runs; runs that differ by their seed alone become one curve with a band."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.plots import plot_runs, require_format
from nav_meta.records import learning_curves


@dataclass(frozen=True)
class Options:
    """Plot the learning curves of runs; runs that differ by their seed alone become one curve with a band."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Folders of runs."""
    out: Path | None = None
    """The PNG, PDF or SVG file; by default plots/training.png in the first run's folder, or plots/comparison.png for
    several."""


def main() -> None:
    """Parse the command line, read the runs, plot them."""
    options = tyro.cli(Options)
    if not options.runs:
        raise UserError("name at least one run's folder.")
    require_format(options.out)
    curves = learning_curves(options.runs)
    if len(curves) == 1:
        curves = {"": next(iter(curves.values()))}
    name = "training.png" if len(options.runs) == 1 else "comparison.png"
    path = options.out or options.runs[0] / "plots" / name
    plot_runs(curves, path)
    print(path)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
