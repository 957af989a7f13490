"""Film a trained agent in a maze it has never seen."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from mazes.seeds import SPLIT_SIZE, split_seeds
from nav_meta import evaluation, report, video
from nav_meta.config import MOST_VISITS
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.loading import load_agent
from nav_meta.options import AgentInMaze


@dataclass(frozen=True)
class Options(AgentInMaze):
    """Film a trained agent in a maze it has never seen."""

    seed: int = 0
    """Which test maze, and the seed of the actions drawn in it."""
    visits: int = evaluation.VISITS
    """Visits to the goal."""
    renderer: Literal["fast", "miniworld"] = "fast"
    """miniworld shows the agent, and films, real MiniWorld frames; needs OpenGL."""
    out: Path | None = None
    """The film, .mp4, or .webp for a small one that web pages show; by default an mp4 in videos/."""
    height: int | None = None
    """Rows of the film; by default 720, and 360 for .webp."""


def main() -> None:
    """Parse the command line, play, film."""
    options = tyro.cli(Options)
    if not 1 <= options.visits <= MOST_VISITS or not 0 <= options.seed < SPLIT_SIZE:
        raise UserError(f"--visits must be between 1 and {MOST_VISITS}, and --seed between 0 and 2**62 - 1.")
    if options.height is not None and not 240 <= options.height <= 2160:
        raise UserError("--height must be between 240 and 2160 rows.")
    if options.out is not None and options.out.suffix not in (".mp4", ".webp"):
        raise UserError(f"--out must end in .mp4 or .webp, not {options.out.name!r}.")
    loaded = load_agent(options.checkpoint)
    config = options.maze(loaded.config.maze)
    render = evaluation.renderer_named(options.renderer, config)
    size = (loaded.config.height, loaded.config.width)
    trajectory = evaluation.record(
        evaluation.of_agent(loaded.agent, loaded.precision),
        config,
        int(split_seeds("test", options.seed, 1)[0]),
        visits=options.visits,
        height=size[0],
        width=size[1],
        seed=options.seed,
        render=render,
    )
    shape = "imaze" if config.kind == "imaze" else f"{config.kind}_{config.rows}x{config.columns}"
    path = options.out or Path("videos") / f"{shape}_maze_{options.seed}.mp4"
    write = video.write_webp if path.suffix == ".webp" else video.write_video
    rows = {} if options.height is None else {"height": options.height}
    write(trajectory, path, observation=size, title=report.name_of(loaded), render=render, **rows)
    for number, visit in enumerate(video.visits_of(trajectory), start=1):
        end = "" if visit.found else "  (given up)"
        print(f"visit {number}: {visit.steps:4} steps, shortest {visit.oracle}{end}", file=sys.stderr)
    print(path)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
