"""Make a finished run's agent the released one: its weights, and beside them how it was trained and how it did."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nav_meta import checkpoint
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.files import write_atomically
from nav_meta.loading import RELEASED, load_agent
from nav_meta.records import read_commit

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Options:
    """Make a finished run's agent the released one: its weights, and beside them how it was trained and how it did."""

    run: Annotated[Path, tyro.conf.Positional]
    """A run's folder."""
    out: Path = RELEASED
    """Where to write the weights; a page with the configuration and the table of the test goes beside them."""


def main() -> None:
    """Parse the command line, load, write."""
    options = tyro.cli(Options)
    loaded = load_agent(options.run)
    try:
        table = (options.run / "table.md").read_text()
    except FileNotFoundError as error:
        raise UserError(f"{options.run} is not a finished run: it has no table.md.") from error
    contents = {"config": asdict(loaded.config), "agent": loaded.agent.state_dict(), "step": loaded.step}
    page = options.out.with_suffix(".md")
    text = (
        f"# {options.out.name}\n\n{loaded.step:,} steps, seed {loaded.config.seed}, "
        f"at commit {read_commit(options.run)}. "
        f"{loaded.config.final_mazes} test mazes, six visits to each "
        f"(`python scripts/evaluate.py {_in_repository(options.out)}`):"
        f"\n\n{table}\n```json\n{json.dumps(contents['config'], indent=2)}\n```\n"
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
