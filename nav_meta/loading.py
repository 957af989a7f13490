"""From a run folder or a checkpoint file to an agent that acts."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import torch

from mazes import view
from mazes.environment import MazeEnvironment, questions
from models.agent import Agent
from nav_meta import checkpoint
from nav_meta.config import RunConfig
from nav_meta.errors import UserError
from nav_meta.learner import precision_of


class Loaded(NamedTuple):
    """A trained agent and what is known about it."""

    agent: Agent
    config: RunConfig
    precision: torch.dtype
    step: int
    path: Path


RELEASED = Path(__file__).parent.parent / "models" / "released.pt"
"""The agent that ships with the project; models/released.md tells how it was trained."""


def load_agent(path: Path | None = None) -> Loaded:
    """Load the agent of a checkpoint file, or of a run folder's newest good checkpoint; the released one by default.

    Raises:
        UserError: when there is none, or it is damaged, foreign, or of a newer schema.
    """
    path = RELEASED if path is None else Path(path)
    if path.is_dir():
        path, contents = checkpoint.load_latest(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    else:
        contents = checkpoint.load(path)
    if not {"config", "agent", "step"} <= contents.keys():
        raise _no_maze_agent(path)
    config = config_from_dict(RunConfig, contents["config"], path)
    view_size = len(view.QUESTIONS) if config.learner.ask_view else 0
    observation = (config.height, config.width, 3)
    agent = Agent(config.agent, observation, MazeEnvironment.actions, len(questions_of(config)), view_size)
    try:
        agent.load_state_dict(contents["agent"])
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} do not fit the net that its configuration describes: use another checkpoint."
        ) from error
    agent.to(memory_format=torch.channels_last).eval()
    torch.set_num_threads(1)
    return Loaded(agent, config, precision_of(config.learner), contents["step"], path)


def questions_of(config: RunConfig) -> tuple[str, ...]:
    """Return by name what the auxiliary head of a run's agent is asked."""
    return questions(config.learner.ask_view, config.learner.ask_place, config.learner.ask_trail)


def config_from_dict(kind: type, values: dict[str, Any], source: Path) -> Any:
    """Build a configuration dataclass from the nested dict that `dataclasses.asdict` made of one.

    Raises:
        UserError: when options do not fit, as those of another version of the program would not.
    """
    if not isinstance(values, dict):
        raise UserError(f"{source} is damaged: it has {values!r} where options should be.")
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(values) - known):
        if "task" in unknown:  # a run of train_task.py
            raise _no_maze_agent(source)
        raise UserError(
            f"{source} was written by another version: it has the unknown option {unknown[0]}; use that version."
        )
    arguments = {}
    for name, value in values.items():
        if is_dataclass(hints[name]):
            value = config_from_dict(hints[name], value, source)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source} holds an option that does not fit: {error}.") from error


def _no_maze_agent(source: Path) -> UserError:
    return UserError(f"{source} holds no maze agent: name a run of train_nav.py or one of its checkpoints.")
