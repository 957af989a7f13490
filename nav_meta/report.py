"""The result table: agents beside a random walk, an explorer without prior knowledge, and the shortest path.

All of them in the same mazes from the same starts; but a start keeps its distance from a goal that was moved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from mazes.environment import Renderer
from mazes.layout import MazeConfig
from mazes.renderer import render as fast
from nav_meta import evaluation
from nav_meta.evaluation import MakePolicy, MazeSet
from nav_meta.loading import RELEASED, Loaded

COLUMNS = {
    "first": "latency/first",
    "later": "latency/later",
    "speedup": "latency/speedup",
    "later / oracle": "latency/later_over_oracle",
    "first / explorer": "latency/first_over_explorer",
    "memory score": "latency/memory_score",
    "success, first": "success/first",
    "success, later": "success/later",
    "SPL": "spl",
}
"""Heading -> metric."""

Rows = dict[str, dict[str, float]]
"""Name -> metrics with intervals."""


class Player(NamedTuple):
    """Who plays, and what is taken away from it."""

    make_policy: MakePolicy
    height: int
    """Rows of its pictures."""
    width: int
    """Columns of its pictures."""
    goal_moves: bool = False
    """The goal is in another room from the second visit on."""
    landmarks: bool = True
    """False: all walls are brick; otherwise the mazes are the same."""


def name_of(loaded: Loaded) -> str:
    """Return what an agent is called in a table."""
    agent = loaded.config.agent
    memory = {"stacked": "stacked LSTM", "single": "one LSTM", "none": "feed-forward"}[agent.memory]
    where = "released" if loaded.path == RELEASED else loaded.path.parent.parent.name
    without = [name for name, seen in (("reward", agent.see_reward), ("action", agent.see_action)) if not seen]
    return memory + (f" without {' and '.join(without)}" if without else "") + f" ({where})"


def players(agents: Iterable[Loaded]) -> dict[str, Player]:
    """Return agents as `compare` wants them; those that would be called the same are numbered."""
    named = {}
    for loaded in agents:
        name = name_of(loaded)
        same = sum(other.partition(" #")[0] == name for other in named)
        policy = evaluation.of_agent(loaded.agent, loaded.precision)
        named[f"{name} #{same + 1}" if same else name] = Player(policy, loaded.config.height, loaded.config.width)
    return named


def controls(name: str, player: Player) -> dict[str, Player]:
    """Return a player again, each time without something that its later visits may owe their shortness to."""
    return {
        f"{name}, memory wiped after each visit": player._replace(
            make_policy=evaluation.forgetting(player.make_policy)
        ),
        f"{name}, goal moved after the first visit": player._replace(goal_moves=True),
        f"{name}, landmarks removed": player._replace(landmarks=False),
    }


def compare(
    agents: Mapping[str, Player],
    config: MazeConfig,
    mazes: MazeSet,
    *,
    visits: int = evaluation.VISITS,
    seed: int = 0,
    threads: int = 1,
    render: Renderer = fast,
) -> Rows:
    """Play the same visits with each agent, and with a random walk."""
    rows = {}
    for name, player in agents.items():
        played = evaluation.run_visits(
            player.make_policy,
            config if player.landmarks else replace(config, landmarks="none"),
            mazes.seeds,
            visits=visits,
            height=player.height,
            width=player.width,
            seed=seed,
            threads=threads,
            goal_moves=player.goal_moves,
            render=render,
        )
        # Ways do not depend on landmarks.
        rows[name] = evaluation.metrics(played, evaluation.references(config, mazes, visits, player.goal_moves))
    walked = evaluation.run_random_walk(config, mazes.seeds, visits=visits, seed=seed)
    rows["random walk"] = evaluation.metrics(walked, evaluation.references(config, mazes, visits))
    return rows


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text; intervals are 95 % bootstrap intervals over mazes."""
    lines = [[name, *(_figure(row, key) for key in COLUMNS.values())] for name, row in rows.items()]
    some = next(iter(rows.values()))
    blank = [""] * len(COLUMNS)
    explorer = ["explorer (first visit)", _figure(some, "latency/explorer"), *blank[1:]]
    oracle = ["oracle", _figure(some, "latency/oracle_1"), _figure(some, "latency/oracle"), *blank[2:]]
    return ["", *COLUMNS], [*lines, explorer, oracle]


def markdown(headed: tuple[list[str], list[list[str]]]) -> str:
    """Return a table as Markdown."""
    head, lines = headed
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def show(
    headed: tuple[list[str], list[list[str]]], caption: str = "steps; in brackets 95 % bootstrap intervals over mazes"
) -> None:
    """Print a table to stdout."""
    head, lines = headed
    console = Console() if Console().is_terminal else Console(width=200)
    drawn = Table(caption=caption)
    for heading in head:
        drawn.add_column(heading)
    for line in lines:
        drawn.add_row(*line)
    console.print(drawn)


def _figure(row: Mapping[str, float], key: str) -> str:
    if key.startswith("success"):
        return f"{row[key]:.1%} [{row[f'{key}/low']:.1%}, {row[f'{key}/high']:.1%}]"
    digits = 1 if row[key] >= 5 else 2
    return f"{row[key]:.{digits}f} [{row[f'{key}/low']:.{digits}f}, {row[f'{key}/high']:.{digits}f}]"
