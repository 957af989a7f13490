"""All experiments one after another, at full or at small scale, and one page about them."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nav_meta.experiments.bandits import SETS, draw_regret_matrix, regret_matrix
from nav_meta.experiments.base import Experiment
from nav_meta.experiments.page import MATRIX, PAGE, write_page
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.training import (
    TaskConfig,
    Trained,
    finish,
    jobs_of,
    load,
    preset,
    train_all,
    without_reward,
)

QUICK_MINUTES = 4.0
"""Training time of everything together at small scale; tests and rivals take about as much again."""


class Item(NamedTuple):
    """One experiment of the plan."""

    experiment: Experiment
    config: TaskConfig
    seeds: int
    minutes: float
    """About how long it takes."""


def plan(names: Sequence[str], seeds: int, *, quick: bool, parallel: int) -> list[Item]:
    """Return what is to be done.

    Args:
        names: experiments.
        seeds: agents of each, unless the experiment asks for more.
        quick: one short-lived agent each instead.
        parallel: how many are trained at a time.
    """
    experiments = [EXPERIMENTS[name] for name in names]
    share = 1.0
    if quick:
        # An agent and a control each.
        share = min(1.0, QUICK_MINUTES * parallel / 2 / sum(one.training.minutes for one in experiments))
    items = []
    for experiment in experiments:
        config, training = preset(experiment.name), experiment.training
        count = 1 if quick else max(seeds, training.seeds)
        minutes = training.minutes * share * (count + 1) / parallel
        items.append(Item(experiment, replace(config, steps=max(1, int(config.steps * share))), count, minutes))
    return items


def describe(items: Sequence[Item]) -> tuple[list[str], list[list[str]]]:
    """Return the plan as headings and lines of a table."""
    lines = [
        [item.experiment.name, item.experiment.title, f"{item.config.steps:,}", str(item.seeds), f"{item.minutes:.1f}"]
        for item in items
    ]
    total = sum(item.minutes for item in items)
    return ["", "experiment", "steps", "seeds", "minutes"], [*lines, ["total", "", "", "", f"{total:.0f}"]]


def reproduce(items: Sequence[Item], folder: Path, command: str, *, parallel: int, wandb: str = "off") -> Path | None:
    """Train and test everything of the plan that `folder` does not hold yet; the page grows on the way.

    Returns:
        The page, or None when it was stopped before its end: the same call goes on.
    """
    bandits: dict[str, list[Trained]] = {}
    for number, item in enumerate(items, 1):
        name = item.experiment.name
        print(f"{number} of {len(items)}: {name}, about {item.minutes:.1f} minutes", file=sys.stderr)
        jobs = {
            "agent": jobs_of(item.config, folder / name / "agent", item.seeds),
            "agent-without-reward": jobs_of(without_reward(item.config), folder / name / "agent-without-reward", 1),
        }
        if not train_all([job for some in jobs.values() for job in some], parallel=parallel, wandb=wandb):
            return None
        agents = {row: [load(job) for job in some] for row, some in jobs.items()}
        finish(item.experiment, item.config, agents, folder / name)
        if item.experiment in SETS:
            bandits[name] = agents["agent"]
            if len(bandits) == len(SETS):
                players = {row: [one.policy for one in seeds] for row, seeds in bandits.items()}
                draw_regret_matrix(regret_matrix(players, episodes=item.experiment.test_episodes), folder / MATRIX)
        write_page(folder, EXPERIMENTS.values(), command)
    return folder / PAGE
