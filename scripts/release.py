"""Make a run's agent the released one: its weights, and beside them how it was trained and how it does."""

import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nav_meta import checkpoint, report
from nav_meta.config import MOST_MAZES
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.evaluation import MazeSet
from nav_meta.files import write_atomically
from nav_meta.loading import RELEASED, load_agent
from nav_meta.records import read_commit

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """Make a run's agent the released one: its weights, and beside them how it was trained and how it does."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder."""
    out: Path = RELEASED
    """Where to write the weights; a page with the configuration and the table of the test goes beside them."""
    temperature: float = 1.0
    """What the policy's logits are divided by for good: below 1 the agent is surer of its actions. To be chosen on
    validation mazes."""
    mazes: int = 1000
    """Number of test mazes."""


def main() -> None:
    """Parse the command line, load, test, write."""
    options = tyro.cli(Options)
    if not 0 < options.temperature < math.inf or not 1 <= options.mazes <= MOST_MAZES:
        raise UserError(f"--temperature must be above 0 and finite, and --mazes between 1 and {MOST_MAZES}.")
    if options.out.suffix == ".md":
        raise UserError("--out must not end in .md: there the table goes, beside the weights.")
    loaded = load_agent(options.run)
    commit = read_commit(options.run)  # before the test: a checkpoint without its run has none
    loaded.agent.cool(options.temperature)
    mazes = MazeSet("test", 0, options.mazes)
    (player,) = report.players([loaded]).values()
    rows = report.compare({"agent": player}, loaded.config.maze, mazes, threads=os.cpu_count() or 1)
    contents = {"config": asdict(loaded.config), "agent": loaded.agent.state_dict(), "step": loaded.step}
    page = options.out.with_suffix(".md")
    asked = f" --mazes {options.mazes}" if options.mazes != Options.mazes else ""
    cooled = f"; logits divided by {options.temperature}" if options.temperature != 1 else ""
    text = (
        f"# {options.out.name}\n\n{loaded.step:,} steps, seed {loaded.config.seed}, "
        f"at commit {commit}{cooled}. "
        f"{options.mazes} test mazes, six visits to each "
        f"(`python scripts/evaluate.py {_in_repository(options.out)}{asked}`):"
        f"\n\n{report.markdown(report.table(rows))}\n```json\n{json.dumps(contents['config'], indent=2)}\n```\n"
    )
    checkpoint.save(options.out, contents)
    write_atomically(page, text.encode())
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, step {loaded.step:,}; {page}", file=sys.stderr)


def _in_repository(path: Path) -> Path:
    """Return the path as a command that is given in the repository's folder names it."""
    path = path.resolve()
    return path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
