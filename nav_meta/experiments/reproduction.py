"""All experiments one after another, at full or at small scale, and one page about them."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nav_meta.experiments.bandits import SETS, draw_regret_matrix, regret_matrix
from nav_meta.experiments.base import Experiment
from nav_meta.experiments.page import write_page
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.training import TaskConfig, Trained, finish, preset, train_seeds, without_reward

QUICK_MINUTES = 4.0
"""Training time of everything together at small scale; tests and rivals take about as much again."""


class Item(NamedTuple):
    """One experiment of the plan."""

    experiment: Experiment
    config: TaskConfig
    seeds: int
    minutes: float
    """About how long, on two cores; the control that is never told its reward included."""


def plan(names: Sequence[str], seeds: int, *, quick: bool) -> list[Item]:
    """Return what is to be done.

    Args:
        names: experiments.
        seeds: agents of each, unless the experiment asks for more.
        quick: one short-lived agent each instead.
    """
    experiments = [EXPERIMENTS[name] for name in names]
    if quick:
        seeds, share = 1, QUICK_MINUTES / 2 / sum(experiment.training.minutes for experiment in experiments)
    else:
        share = 1.0
    items = []
    for experiment in experiments:
        config = preset(experiment.name)
        count = seeds if quick else max(seeds, experiment.training.seeds)
        config = replace(config, steps=max(1, int(config.steps * min(1.0, share))))
        items.append(Item(experiment, config, count, experiment.training.minutes * min(1.0, share) * (count + 1)))
    return items


def describe(items: Sequence[Item]) -> tuple[list[str], list[list[str]]]:
    """Return the plan as headings and lines of a table."""
    lines = [
        [item.experiment.name, item.experiment.title, f"{item.config.steps:,}", str(item.seeds), f"{item.minutes:.1f}"]
        for item in items
    ]
    total = sum(item.minutes for item in items)
    return ["", "experiment", "steps", "seeds", "minutes"], [*lines, ["total", "", "", "", f"{total:.0f}"]]


def reproduce(items: Sequence[Item], folder: Path, command: str, *, wandb: str = "off") -> Path | None:
    """Train and test everything of the plan that `folder` does not hold yet; the page grows on the way.

    Returns:
        The page, or None when a run was stopped before its end: the same call goes on.
    """
    page, matrix = None, None
    bandits: dict[str, list[Trained]] = {}
    for number, item in enumerate(items, 1):
        name = item.experiment.name
        print(f"{number} of {len(items)}: {name}, about {item.minutes:.1f} minutes", file=sys.stderr)
        agents = {}
        for row, config, seeds in (
            ("agent", item.config, item.seeds),
            ("agent-without-reward", without_reward(item.config), 1),
        ):
            trained = train_seeds(config, folder / name / row, seeds, wandb=wandb)
            if trained is None:
                return None
            agents[row] = trained
        finish(item.experiment, item.config, agents, folder / name)
        if item.experiment in SETS:
            bandits[name] = agents["agent"]
        if len(bandits) == len(SETS) and matrix is None:
            matrix = folder / "matrix.png"
            draw_regret_matrix(
                regret_matrix({row: [one.policy for one in seeds] for row, seeds in bandits.items()}), matrix
            )
        page = write_page(folder, [one.experiment for one in items], command, matrix)
    return page
