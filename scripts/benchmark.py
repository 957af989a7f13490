"""Measure the world, training, or how close the picture is to MiniWorld's."""

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from mazes.layout import MazeConfig
from nav_meta import benchmark, cuda_benchmark, parity, plots, ranks, report
from nav_meta.config import PRESETS
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.records import write_result


@dataclass(frozen=True)
class Options:
    """Measure the world, training, or how close the picture is to MiniWorld's."""

    what: Annotated[Literal["world", "train", "parity"], tyro.conf.Positional]
    """world: steps/s of mazes alone beside MiniWorld; train: steps/s end to end and its shares; parity: pictures
    against MiniWorld's."""
    maze: MazeConfig = field(default_factory=MazeConfig)
    """Which mazes (world, train); whether their looks are randomised (parity)."""
    height: int | None = None
    """Rows of the picture; by default 60 (30 for train)."""
    width: int | None = None
    """Columns of the picture; by default 80 (40 for train)."""
    batch: int = 128
    """Environments of a thread (world)."""
    threads: int = PRESETS["default"].workers
    """Threads (world); worker processes, of all ranks that torchrun starts (train)."""
    environments: int | None = None
    """Environments of all workers together; by default the preset's, on GPUs as many for each (train)."""
    pairs: int = 2000
    """Pictures compared, of mazes of every kind (parity)."""
    table: bool = False
    """Measure sizes of mazes and pictures, batches and threads too, beside MiniWorld and ViZDoom; two minutes (world).
    """
    plot: Path | None = None
    """Where to put a figure of the table, a PNG, PDF or SVG file (world)."""
    motion: int = 100_000
    """Steps compared for each step size (parity)."""
    sheet: Path | None = None
    """Where to put a picture of the worst frames and some others: ours, MiniWorld's, difference x 8 (parity)."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What to measure; cuda: 1,024 to 65,536 mazes on a GPU (world), in pictures whose sides are those above, or the
    preset gpu-3x3 on one GPU for each rank (train)."""
    json: Path | None = None
    """Write the figures here."""


def main() -> None:
    """Parse the command line, measure, print the figures."""
    options = tyro.cli(Options)
    with ranks.join(options.device):
        _measure(options)


def _measure(options: Options) -> None:
    usual = (30, 40) if options.what == "train" else (60, 80)
    height = usual[0] if options.height is None else options.height
    width = usual[1] if options.width is None else options.width
    plots.require_format(options.plot)
    if ranks.count() > 1 and options.what != "train":
        raise UserError(f"{options.what} is measured by one process: start it without torchrun.")
    if min(options.batch, options.threads, options.pairs, options.motion) < 1:
        raise UserError("--batch, --threads, --pairs and --motion must be at least 1.")
    try:
        on_gpu = options.device == "cuda"
        config, workers = PRESETS["gpu-3x3" if on_gpu else "default"], ranks.count() if on_gpu else options.threads
        environments = options.environments
        if environments is None:
            environments = config.learner.environments * (workers if on_gpu else 1)
        learner = replace(config.learner, environments=environments)
        config = replace(config, maze=options.maze, height=height, width=width, workers=workers, learner=learner)
    except ValueError as error:
        raise UserError(f"{error}.") from error
    if options.device == "cuda" and options.what == "parity":
        raise UserError("--device cuda measures world and train, not parity.")
    clock = time.perf_counter()
    if options.device == "cuda" and options.what == "world":
        try:
            rows = cuda_benchmark.measure(config.maze, height, width)
        except RuntimeError as error:
            raise UserError(f"{error}.") from error
        figures = cuda_benchmark.figures(rows)
        report.show(cuda_benchmark.table(rows), "medians of five rounds of an episode, new mazes included")
    elif options.what == "world":
        figures = benchmark.world(config, options.batch, options.threads)
        if options.table or options.plot:
            rows = benchmark.speeds(config, options.threads)
            figures |= benchmark.speed_figures(rows) | benchmark.resets(config)
            report.show(benchmark.speed_table(rows), "medians of five rounds; batch: environments of a thread")
            if options.plot:
                plots.plot_speeds(rows, options.plot)
    elif options.what == "train":
        figures = benchmark.training(config, options.device)
        if not ranks.lead():
            return
    else:
        domain_rand = options.maze.domain_rand
        figures = parity.measure(options.pairs, height, width, sheet=options.sheet, domain_rand=domain_rand)
        figures |= parity.motion(options.motion, domain_rand=domain_rand)
        report.show(parity.table(figures), "grey levels, dB, share of views")
    for key, value in figures.items():
        if key.startswith(("parity/depth", "parity/box", "parity/motion")):
            print(f"{key}  {value:,}" if isinstance(value, int) else f"{key}  {value:.5g}")
        elif options.what != "parity" and (key.count("/") == 1 or "/reset" in key):
            Console(highlight=False).print(f"{key}  {value:,.3f}" if value < 100 else f"{key}  {value:,.0f}")
    if options.json:
        write_result(options.json, figures, config, clock, config.steps)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
