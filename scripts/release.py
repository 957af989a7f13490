"""Make a run's agent the released one: its weights and configuration alone, in models/released.pt."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from nav_meta import checkpoint
from nav_meta.errors import exit_on_user_error
from nav_meta.loading import RELEASED, load_agent


@dataclass(frozen=True)
class Options:
    """Make a run's agent the released one: its weights and configuration alone, in models/released.pt."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A run's folder or a checkpoint."""
    out: Path = RELEASED
    """Where to write."""


def main() -> None:
    """Parse the command line, load, write."""
    options = tyro.cli(Options)
    loaded = load_agent(options.checkpoint)
    contents = {"config": asdict(loaded.config), "agent": loaded.agent.state_dict(), "step": loaded.step}
    checkpoint.save(options.out, contents)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB, step {loaded.step:,}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
