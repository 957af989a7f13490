"""From an experiment to trained agents and their table: one seed after another, then all play the same tests."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from models.agent import AgentConfig
from nav_meta import evaluation, report
from nav_meta.config import LearnerConfig, processors
from nav_meta.evaluation import MakePolicy
from nav_meta.experiments.base import Experiment, Played
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.table import Rows, lines, rows_of
from nav_meta.files import write_atomically
from nav_meta.learner import Learner
from nav_meta.records import CONFIG
from nav_meta.tasks.episodes import EpisodicTask
from nav_meta.tracking import Tracker
from nav_meta.training import run

TEST_EPISODES = 1000
_VALIDATION_SEED = 1 << 20
"""What is looked at during training is not what the tables are made from."""
_VALIDATION_EPISODES = 256
_EVALUATIONS = 20
_CHECKPOINTS = 10


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
    seed: int = 0
    """Of weights, tasks and actions."""
    workers: int = field(default_factory=processors)
    """Threads, each with its share of the environments; gradients are averaged."""

    def __post_init__(self) -> None:
        """Check what would fail late.

        Raises:
            ValueError: names the option and its range.
        """
        self.learner.check_split(self.workers)
        for name in ("steps", "seed"):
            if getattr(self, name) < (name == "steps"):
                raise ValueError(f"{name} must be at least {int(name == 'steps')}, not {getattr(self, name)}")

    @property
    def evaluate_every(self) -> int:
        """Steps between two evaluations."""
        return max(1, self.steps // _EVALUATIONS)

    @property
    def checkpoint_every(self) -> int:
        """Steps between two checkpoints."""
        return max(1, self.steps // _CHECKPOINTS)


def preset(name: str) -> TaskConfig:
    """Return how an experiment's agent is trained."""
    training = EXPERIMENTS[name].training
    return TaskConfig(name, training.agent, training.learner, training.steps)


def without_reward(config: TaskConfig) -> TaskConfig:
    """Return the control that is never told its reward: without it nothing can be found out within an episode."""
    return replace(config, agent=replace(config.agent, see_reward=False))


class Trained(NamedTuple):
    """One seed's agent."""

    policy: MakePolicy
    """The agent with its weights frozen."""
    played: Played
    """What it did in the test episodes."""


def train_seeds(config: TaskConfig, folder: Path, seeds: int, *, wandb: str = "auto") -> list[Trained] | None:
    """Train with seeds config.seed, config.seed + 1, ... and let each agent play the test episodes.

    Whatever of it `folder` already holds is not done again: trained agents are loaded, a run that was stopped goes on.

    Returns:
        Each seed's agent, or None when a run was stopped before its end.

    Raises:
        UserError: when `folder` holds runs with other options, the disk is full, or training diverged.
    """
    trained = []
    for seed in range(config.seed, config.seed + seeds):
        one = _train(replace(config, seed=seed), folder / f"seed-{seed}", wandb)
        if one is None:
            return None
        trained.append(one)
    return trained


def finish(experiment: Experiment, config: TaskConfig, agents: Mapping[str, Sequence[Trained]], folder: Path) -> Rows:
    """Let the rivals play; write `table.md`, `result.json` and the experiment's figure; return the table's rows."""
    players = {name: [trained.played for trained in seeds] for name, seeds in agents.items()}
    for name, make_policy in experiment.baselines().items():
        players[name] = [experiment.play(make_policy, episodes=TEST_EPISODES)]
    rows = rows_of(players, experiment.known())
    write_atomically(folder / "table.md", report.markdown(lines(rows, experiment.columns)).encode())
    result = {"config": asdict(config), "seeds": len(agents["agent"]), "rows": rows}
    write_atomically(folder / "result.json", json.dumps(result, indent=1).encode())
    experiment.draw(players, folder / "figure.png")
    return rows


def _train(config: TaskConfig, folder: Path, wandb: str) -> Trained | None:
    experiment = EXPERIMENTS[config.task]
    # A folder that holds another run is found out by `run`, which compares the configurations.
    resume = (folder / CONFIG).exists()
    tracker = Tracker(folder, asdict(config), wandb)
    learner = Learner(config.learner, config.agent, _make_tasks(experiment, config), config.steps, config.seed)
    policy = evaluation.of_agent(learner.agent, learner.precision)

    def test(episodes: int, seed: int) -> Played:
        return experiment.play(policy, episodes=episodes, seed=seed, show_reward=config.agent.see_reward)

    def validate() -> dict[str, float]:
        figures = test(_VALIDATION_EPISODES, _VALIDATION_SEED).figures
        return {f"validation/{key}": float(np.nanmean(values)) for key, values in figures.items()}

    if not run(learner, config, folder, tracker, validate, resume=resume, command="the same command"):
        tracker.finish()
        return None
    played = test(TEST_EPISODES, 0)
    tracker.log(learner.step, {f"test/{key}": float(np.nanmean(values)) for key, values in played.figures.items()})
    experiment.draw({"agent": [played]}, folder / "figure.png")
    tracker.log_image(learner.step, "figure", folder / "figure.png")
    tracker.finish()
    return Trained(policy, played)


def _make_tasks(experiment: Experiment, config: TaskConfig) -> list[EpisodicTask]:
    learner = config.learner
    batch = learner.environments // config.workers
    phases = np.arange(batch) % (learner.episode // learner.rollout) * learner.rollout
    return [
        experiment.make_task(batch, config.seed * 1000 + worker, phases=phases, show_reward=config.agent.see_reward)
        for worker in range(config.workers)
    ]
