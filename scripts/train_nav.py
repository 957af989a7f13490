"""Train an agent to find goals in mazes it has never seen, evaluate it, and film it."""

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from nav_meta import ranks
from nav_meta.config import PRESETS, RunConfig
from nav_meta.errors import STOPPED, UserError, exit_on_user_error
from nav_meta.files import require_writable
from nav_meta.records import CONFIG, write_result
from nav_meta.training import resumed_config, train


@dataclass(frozen=True)
class Options:
    """Train an agent to find goals in mazes it has never seen, evaluate it, and film it."""

    config: Annotated[RunConfig, tyro.conf.arg(name="")]
    preset: Literal["default", "sparse", "imaze", "quick", "gpu-3x3", "gpu-5x5", "gpu-7x7"] = "default"
    """default: random 3x3 mazes, half an hour on two cores; sparse: the same from the reward at the goal alone, as in
    the papers; imaze: the papers' experiment 7, seven minutes; quick: everything once in three minutes; gpu-3x3 and so
    on: thousands of random mazes at once, for --device cuda; 3x3 in two minutes on one H100."""
    out: Path | None = None
    """Folder of the run; by default runs/PRESET-TIME."""
    resume: Path | None = None
    """Continue the run in this folder, bit for bit, as it was started but for --workers; --device, --wandb, --compare
    and --json are to be given again."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute; cuda: the mazes too, one worker and one GPU for each rank that torchrun starts."""
    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: auto is online with a key and offline without."""
    compare: tuple[Path, ...] = ()
    """Runs or checkpoints to list in the final table too, such as a feed-forward control."""
    json: Path | None = None
    """Write the final figures here."""


def main() -> int:
    """Parse the command line, train, write the figures; return the exit code."""
    # The preset, or the run to continue, decides what the other options' defaults are.
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=PRESETS)
    early.add_argument("--resume", type=Path)
    given, _ = early.parse_known_args()
    defaults = resumed_config(given.resume) if given.resume else PRESETS[given.preset or "default"]
    try:
        options = tyro.cli(Options, default=Options(config=defaults))
    except ValueError as error:  # of RunConfig: tyro only puts those of nested options into words
        raise UserError(f"{error}.") from error
    if options.resume and (given.preset or options.out):
        raise UserError("--resume goes on in the run's own folder with its own options: leave out --preset and --out.")
    if ranks.may_restart() and not (options.out or options.resume):
        raise UserError("with torchrun's --max-restarts, name the run's folder with --out: else it is not found again.")
    folder = options.resume or options.out or Path("runs") / f"{options.preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    resume = options.resume is not None or (ranks.restarted() and (folder / CONFIG).exists())
    require_writable(options.json)
    clock = time.perf_counter()
    with ranks.join(options.device):
        figures = train(
            options.config, folder, command=_command(options, folder),
            device=options.device, resume=resume, wandb=options.wandb, compare=options.compare,
        )  # fmt: skip
        if figures is None:
            return STOPPED if ranks.lead() else 0
    if options.json:
        write_result(options.json, figures, options.config, clock, options.config.steps)
    return 0


def _command(options: Options, folder: Path) -> str:
    """Return what goes on with the run."""
    words = ["python", "scripts/train_nav.py", "--resume", folder]
    for name in ("device", "wandb", "json"):
        if getattr(options, name) != getattr(Options, name):
            words += [f"--{name}", getattr(options, name)]
    if options.compare:
        words += ["--compare", *options.compare]
    return shlex.join(map(str, words))


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
