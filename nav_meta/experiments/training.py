"""From an experiment to trained agents and their table: one seed after another, then all play the same tests."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor

from mazes.layout import require_number
from models.agent import Agent, AgentConfig
from nav_meta import checkpoint, evaluation, report
from nav_meta.config import SEEDS, LearnerConfig
from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import Experiment, Played
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.table import Rows, lines, rows_of
from nav_meta.files import write_atomically, write_json
from nav_meta.learner import Learner, precision_of
from nav_meta.records import CONFIG, require_same
from nav_meta.tasks.episodes import EpisodicTask
from nav_meta.tracking import Tracker
from nav_meta.training import Stop, run

_VALIDATION_SEED = 1 << 20
"""What is looked at during training is not what the tables are made from."""
_VALIDATION_EPISODES = 256
_EVALUATIONS = 20
_EVALUATION_STEPS = 100_000
"""Least steps between two evaluations, each of which takes about as long as some ten thousand."""
_CHECKPOINTS = 10
_OF_MAZES = ("ask_place", "ask_trail", "ask_view", "coverage", "guided_search")
"""Options of the learner that only mazes know."""


@dataclass(frozen=True)
class TaskConfig:
    """One seed's training run in an experiment."""

    task: tyro.conf.Suppress[str]
    """Name of the experiment."""
    agent: AgentConfig
    """Which net."""
    learner: LearnerConfig
    """How it learns."""
    steps: int
    """Steps to train for."""
    start: str | None = None
    """Folder of finished runs whose weights to begin with, seed for seed; None: those of the experiment of shorter
    episodes that the preset names, which is trained first, or random ones."""
    seed: int = 0
    """Of weights, tasks and actions."""
    workers: int = 1
    """Processes, each with its share of the environments; gradients are averaged."""

    def __post_init__(self) -> None:
        """Check what would fail late.

        Raises:
            ValueError: names the option and its range.
        """
        self.learner.check_split(self.workers)
        task = EXPERIMENTS[self.task].make_task(1, 0)
        if self.learner.episode != task.episode_steps:
            raise ValueError(
                f"learner.episode must be {task.episode_steps}, the steps of an episode of {self.task}, "
                f"not {self.learner.episode}"
            )
        if len(task.observation_shape) == 3:
            require_number("features", self.agent.features, 1)  # pictures cannot be read as they are
        for option in _OF_MAZES:
            if getattr(self.learner, option):
                raise ValueError(f"learner.{option} is for mazes: {self.task} has nothing of the kind")
        if self.learner.shaping or self.learner.hint:
            task.help_learner(shaping=self.learner.shaping, hint=self.learner.hint > 0)
        if self.agent.critic_units and not self.learner.hint:
            raise ValueError("critic_units must be 0 where hint is 0: there is nothing to tell the critic")
        require_number("steps", self.steps, 1)
        require_number("seed", self.seed, 0, SEEDS - 1)

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return max(_EVALUATION_STEPS, self.steps // _EVALUATIONS)

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints."""
        return max(1, self.steps // _CHECKPOINTS)


def preset(name: str) -> TaskConfig:
    """Return how an experiment's agent is trained."""
    training = EXPERIMENTS[name].training
    return TaskConfig(name, training.agent, training.learner, training.steps)


def stages_of(config: TaskConfig, folder: Path) -> list[tuple[TaskConfig, Path]]:
    """Return what is trained first, because its agents' weights are begun with, and then the experiment itself."""
    start = EXPERIMENTS[config.task].training.start
    if start is None or config.start is not None:
        return [(config, folder)]
    first = preset(start)
    agent = replace(config.agent, span=first.agent.span)
    first = replace(first, agent=agent, seed=config.seed, workers=config.workers)
    return [*stages_of(first, folder / start), (replace(config, start=str(folder / start)), folder)]


def without_reward(config: TaskConfig) -> TaskConfig:
    """Return the control that is never told its reward: without it nothing can be found out within an episode."""
    return replace(config, agent=replace(config.agent, see_reward=False))


class Job(NamedTuple):
    """One seed's training, and where it goes."""

    config: TaskConfig
    folder: Path


def jobs_of(config: TaskConfig, folder: Path, seeds: int) -> list[Job]:
    """Return the trainings of seeds config.seed, config.seed + 1, ... in folders of their own."""
    return [
        Job(replace(config, seed=seed), folder / f"seed-{seed}") for seed in range(config.seed, config.seed + seeds)
    ]


def jobs_by_row(config: TaskConfig, folder: Path, seeds: int, *, control: bool) -> dict[str, list[Job]]:
    """Return an experiment's trainings by their row in its table: agents, and one not told its reward as a control."""
    jobs = {"agent": jobs_of(config, folder / "agent", seeds)}
    if control:
        name = "agent-without-reward"
        jobs[name] = jobs_of(without_reward(config), folder / name, 1)
    return jobs


def train(job: Job, wandb: str = "auto", label: str = "") -> bool:
    """Train one seed's agent and test it; a run that was stopped goes on.

    Returns:
        False when it was stopped before its end.

    Raises:
        UserError: when the folder holds a run with other options, there are no weights to start with or they are of
            another net, the disk is full, or training diverged.
    """
    config, folder = job
    experiment = EXPERIMENTS[config.task]
    resume = (folder / CONFIG).exists()
    weights = _weights_to_start(job) if config.start and not resume else None
    tracker = Tracker(folder, asdict(config), wandb)
    learner = Learner(
        config.learner, config.agent, partial(_make_task, config), config.workers, config.steps, config.seed
    )
    if weights:
        try:
            learner.agent.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"the agents in {config.start} are other nets: give this run their --agent options."
            ) from error
    policy = evaluation.of_agent(learner.agent, learner.precision)

    def test(episodes: int, seed: int) -> Played:
        return experiment.play(policy, episodes=episodes, seed=seed, show_reward=config.agent.see_reward)

    def validate() -> dict[str, float]:
        figures = test(_VALIDATION_EPISODES, _VALIDATION_SEED).figures
        return {f"validation/{key}": float(np.nanmean(values)) for key, values in figures.items()}

    finished = run(learner, config, folder, tracker, validate, resume=resume, command="the same command", label=label)
    if finished:
        played = test(experiment.test_episodes, 0)
        tracker.log(learner.step, {f"test/{key}": float(np.nanmean(values)) for key, values in played.figures.items()})
        experiment.draw({"agent": [played]}, folder / "figure.png")
        tracker.log_image(learner.step, "figure", folder / "figure.png")
    tracker.finish()
    return finished


def train_all(
    jobs: Sequence[Job], *, parallel: int, wandb: str = "auto", then: Callable[[Job], object] = lambda job: None
) -> bool:
    """Train what is not trained yet, so many at a time, each in a process of its own.

    The nets of these tasks are so small that threads would mostly wait for each other's turn in Python.

    Args:
        jobs: in their order.
        parallel: how many at a time.
        wandb: as for `train`.
        then: called here with each job once its agent is trained.

    Returns:
        False when they were stopped before the end: the same call goes on.

    Raises:
        UserError: as `train`; of a process that has failed, which has told why.
    """
    waiting = []
    for job in jobs:
        if _is_done(job):
            then(job)
        else:
            waiting.append(job)
    for job in waiting:
        if job.config.start and not (job.folder / CONFIG).exists():
            _weights_to_start(job)  # they are to be missed now, not once others have been trained
    if parallel == 1 or len(waiting) < 2:
        for job in waiting:
            if not train(job, wandb):
                return False
            then(job)
        return True
    spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    taken, done = spawn.Value("i", 0), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=_train_apart, args=(waiting, taken, done, wandb))
        for _ in range(min(parallel, len(waiting)))
    ]
    finished = 0
    with Stop() as stop:
        try:
            for process in processes:
                process.start()
            while finished < len(waiting):
                ended = [process.exitcode for process in processes if process.exitcode is not None]
                if not done.empty():
                    then(waiting[done.get()])
                    finished += 1
                elif stop.asked or any(ended) or len(ended) == len(processes):
                    break
                else:
                    time.sleep(0.2)
        finally:
            for process in processes:
                process.terminate()  # which is the signal that lets it save
            for process in processes:
                process.join()
    if finished < len(waiting) and not stop.asked:
        raise UserError("a training run failed, see above; mend that and give the same command to go on.")
    return finished == len(waiting)


class Trained(NamedTuple):
    """One seed's agent."""

    policy: MakePolicy
    """The agent with its weights frozen."""
    played: Played
    """What it did in the test episodes."""


def load(job: Job) -> Trained:
    """Load a trained agent and let it play the test episodes.

    Raises:
        UserError: when there is none, or it is damaged.
    """
    config, folder = job
    _, contents = checkpoint.load_latest(folder / "checkpoints")
    experiment = EXPERIMENTS[config.task]
    task = experiment.make_task(2, 0)
    task.help_learner(hint=config.learner.hint > 0)
    agent = Agent(config.agent, task.observation_shape, task.actions, task.hint_size)
    agent.load_state_dict(contents["agent"])
    agent.to(memory_format=torch.channels_last).eval()
    policy = evaluation.of_agent(agent, precision_of(config.learner))
    return Trained(
        policy, experiment.play(policy, episodes=experiment.test_episodes, show_reward=config.agent.see_reward)
    )


def finish(experiment: Experiment, config: TaskConfig, agents: Mapping[str, Sequence[Trained]], folder: Path) -> Rows:
    """Let the rivals play; write `table.md`, `result.json` and the experiment's figure; return the table's rows."""
    players = {name: [trained.played for trained in seeds] for name, seeds in agents.items()}
    for name, make_policy in experiment.baselines().items():
        players[name] = [experiment.play(make_policy, episodes=experiment.test_episodes)]
    rows = rows_of(players, experiment.known())
    write_atomically(folder / "table.md", report.markdown(lines(rows, experiment.columns)).encode())
    result = {"config": asdict(config), "seeds": len(agents["agent"]), "rows": rows}
    write_json(folder / "result.json", result)
    experiment.draw(players, folder / "figure.png")
    return rows


def _weights_to_start(job: Job) -> dict[str, Tensor]:
    """Return those of the run that is called like this one: agent or control, and seed."""
    _, contents = checkpoint.load_latest(Path(job.config.start, job.folder.parent.name, job.folder.name, "checkpoints"))
    return contents["agent"]


def _is_done(job: Job) -> bool:
    if not (job.folder / CONFIG).exists():
        return False
    require_same(job.folder, asdict(job.config))
    try:
        _, contents = checkpoint.load_latest(job.folder / "checkpoints")
    except UserError:  # stopped before its first checkpoint, or all are damaged: `train` tells
        return False
    return contents["step"] >= job.config.steps


def _train_apart(jobs: Sequence[Job], taken: Synchronized, done: SimpleQueue, wandb: str) -> None:
    """Train, in a process of its own, job after job that no other has taken; the exit code tells how it went."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C is for the parent, which passes it on once

    def take() -> int:
        with taken.get_lock():
            taken.value += 1
            return taken.value - 1

    def work() -> None:
        while (index := take()) < len(jobs):
            job = jobs[index]
            if not train(job, wandb, f"{job.config.task} {job.folder.parent.name} {job.folder.name}: "):
                return
            done.put(index)

    sys.exit(exit_on_user_error(work))


def _make_task(config: TaskConfig, worker: int) -> EpisodicTask:
    learner = config.learner
    batch = learner.environments // config.workers
    task = EXPERIMENTS[config.task].make_task(
        batch, config.seed * 1000 + worker, phases=learner.phases(batch, worker), show_reward=config.agent.see_reward
    )
    task.help_learner(shaping=learner.shaping, hint=learner.hint > 0)
    return task
