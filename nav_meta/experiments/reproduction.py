"""All experiments one after another, at full or at small scale, and one page about them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nav_meta.errors import say
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.bandits import SETS, draw_regret_matrix, regret_matrix
from nav_meta.experiments.base import Experiment
from nav_meta.experiments.page import MATRIX, PAGE, write_page
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.training import Job, TaskConfig, finish, jobs_by_row, load, preset, train_all

QUICK_MINUTES = 2.0
"""Training time of everything together at small scale; starting, tests and rivals take three times as much."""


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
    # With the agents of some, others begin.
    names = dict.fromkeys(needed for name in names for needed in (*_before(name), name))
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
    jobs: dict[str, dict[str, list[Job]]] = {}
    stages: dict[int, list[Job]] = {}
    for item in items:
        name, config, start = item.experiment.name, item.config, item.experiment.training.start
        if start is not None:
            config = replace(config, start=str(folder / start))
        jobs[name] = jobs_by_row(config, folder / name, item.seeds, control=True)
        stages.setdefault(len(_before(name)), []).extend(job for some in jobs[name].values() for job in some)
    left = {name: sum(len(some) for some in rows.values()) for name, rows in jobs.items()}
    by_name = {item.experiment.name: item for item in items}
    bandits: dict[str, list[MakePolicy]] = {}

    def then(job: Job) -> None:
        name = job.config.task
        left[name] -= 1
        if left[name]:
            return
        experiment, config = by_name[name].experiment, by_name[name].config
        agents = {row: [load(job) for job in some] for row, some in jobs[name].items()}
        finish(experiment, config, agents, folder / name)
        if experiment in SETS:
            bandits[name] = [one.policy for one in agents["agent"]]
            if len(bandits) == len(SETS):
                draw_regret_matrix(regret_matrix(bandits, episodes=experiment.test_episodes), folder / MATRIX)
        write_page(folder, EXPERIMENTS.values(), command)
        say(f"{name} is done: {folder / name}")

    for _, stage in sorted(stages.items()):
        if not train_all(stage, parallel=parallel, wandb=wandb, then=then):
            return None
    return folder / PAGE


def _before(name: str) -> list[str]:
    """Return the experiments that must be trained first, in their order."""
    start = EXPERIMENTS[name].training.start
    return [] if start is None else [*_before(start), start]
