"""The result table: agents beside a random walk, rivals that search and remember perfectly, and the shortest path.

All of them in the same mazes from the same starts; but a start keeps its distance from a goal that was moved.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from mazes import reference
from mazes.layout import MazeConfig
from nav_meta import evaluation
from nav_meta.evaluation import MakePolicy, MazeSet
from nav_meta.loading import Loaded

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
    maze: Mapping[str, Any] = MappingProxyType({})
    """Options of `MazeConfig` in which its mazes differ from everybody's; all else in them is the same."""
    renderer: Literal["fast", "miniworld"] | None = None
    """What draws its pictures, as of `evaluation.renderer_named`; None: what draws everybody's."""


def name_of(loaded: Loaded) -> str:
    """Return what an agent is called in a table."""
    agent = loaded.config.agent
    memory = {"stacked": "stacked LSTM", "single": "one LSTM", "none": "feed-forward"}[agent.memory]
    path = loaded.path.resolve()
    where = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
    without = [name for name, seen in (("reward", agent.see_reward), ("action", agent.see_action)) if not seen]
    return memory + (f" without {' and '.join(without)}" if without else "") + f" ({where})"


def players(agents: Iterable[Loaded]) -> dict[str, Player]:
    """Return agents as `compare` wants them; those that would be called the same are numbered."""
    named = {}
    for loaded in agents:
        name = plain = name_of(loaded)
        number = 1
        while name in named:
            number += 1
            name = f"{plain} #{number}"
        policy = evaluation.of_agent(loaded.agent, loaded.precision)
        named[name] = Player(policy, loaded.config.height, loaded.config.width)
    return named


def controls(name: str, player: Player) -> dict[str, Player]:
    """Return a player again, each time without something that its later visits may owe their shortness to."""
    return {
        f"{name}, memory wiped after each visit": player._replace(
            make_policy=evaluation.forgetting(player.make_policy)
        ),
        f"{name}, goal moved after the first visit": player._replace(goal_moves=True),
        f"{name}, landmarks removed": player._replace(maze={"landmarks": "none"}),
    }


def generalisation(name: str, player: Player, config: MazeConfig) -> dict[str, Player]:
    """Return a player again, each time in mazes that differ in one thing from `config`, those of its training.

    Real MiniWorld frames are among them where MiniWorld runs (`mazes.reference.available`).
    """
    # The I-maze has one size.
    kind = "random" if config.kind == "imaze" else config.kind
    changes = {f"{n}x{n} rooms": {"kind": kind, "rows": n, "columns": n} for n in (2, 3, 4, 5)}
    changes |= {
        "other wall textures": {"landmarks": "other"},
        "0.15 m and 15 degree steps": {"step_size": "fine"},
        "0.7 m and 45 degree steps": {"step_size": "fast"},
        "domain randomisation": {"domain_rand": True},
    }
    players = {
        f"{name}, {what}": player._replace(maze=change)
        for what, change in changes.items()
        if replace(config, **change) != config
    }
    if reference.available() is None:
        players[f"{name}, real MiniWorld frames"] = player._replace(renderer="miniworld")
    return players


def compare(
    agents: Mapping[str, Player],
    config: MazeConfig,
    mazes: MazeSet,
    *,
    visits: int = evaluation.VISITS,
    seed: int = 0,
    threads: int = 1,
    renderer: Literal["fast", "miniworld"] = "fast",
    recogniser: bool = False,
) -> Rows:
    """Play the same visits with each agent, with a random walk and, if asked for, with the recogniser.

    Each agent is measured by an explorer that sees a picture of its shape; the others by the first agent's.

    Raises:
        UserError: when MiniWorld is to draw and there is no OpenGL.
    """
    worlds = [replace(config, **player.maze) for player in agents.values()]
    painters = [player.renderer or renderer for player in agents.values()]
    # All of them before anybody plays: what is missing is said at once.
    renders = [evaluation.renderer_named(*painter) for painter in zip(painters, worlds, strict=True)]
    rows = {}
    for (name, player), world, painter, render in zip(agents.items(), worlds, painters, renders, strict=True):
        played = evaluation.run_visits(
            player.make_policy,
            world,
            mazes.seeds,
            visits=visits,
            height=player.height,
            width=player.width,
            seed=seed,
            threads=threads if painter == "fast" else 1,  # OpenGL belongs to one thread
            goal_moves=player.goal_moves,
            render=render,
        )
        # Ways do not depend on landmarks: those of the usual ones are remembered.
        possible = evaluation.references(
            replace(world, landmarks=config.landmarks), mazes, visits, player.goal_moves, player.width / player.height
        )
        rows[name] = evaluation.metrics(played, possible)
    first = next(iter(agents.values()))
    shape = first.width / first.height
    possible = evaluation.references(config, mazes, visits, width_over_height=shape)
    if recogniser:
        played = evaluation.run_recogniser(config, mazes, visits, threads, shape)
        rows["recogniser"] = evaluation.metrics(played, possible)
    rows["random walk"] = evaluation.metrics(
        evaluation.run_random_walk(config, mazes.seeds, visits=visits, seed=seed), possible
    )
    return rows


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text; intervals are 95 % bootstrap intervals over mazes."""
    lines = [[name, *(figure(row, key) for key in COLUMNS.values())] for name, row in rows.items()]
    some = next(iter(rows.values()))
    blank = [""] * len(COLUMNS)
    explorer = ["explorer (first visit)", figure(some, "latency/explorer"), *blank[1:]]
    oracle = ["oracle", figure(some, "latency/oracle_1"), figure(some, "latency/oracle"), *blank[2:]]
    return ["", *COLUMNS], [*lines, explorer, oracle]


def markdown(headed: tuple[list[str], list[list[str]]]) -> str:
    """Return a table as Markdown."""
    head, lines = headed
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


class _Console(Console):
    """Who has closed our output is told of by `errors.exit_on_user_error`, as everywhere, and not by rich."""

    def on_broken_pipe(self) -> None:
        raise  # rich calls this where it has caught BrokenPipeError


def show(
    headed: tuple[list[str], list[list[str]]], caption: str = "steps; in brackets 95 % bootstrap intervals over mazes"
) -> None:
    """Print a table to stdout."""
    head, lines = headed
    console = _Console() if _Console().is_terminal else _Console(width=200)
    drawn = Table(caption=caption)
    for heading in head:
        drawn.add_column(heading)
    for line in lines:
        drawn.add_row(*line)
    console.print(drawn)


def figure(row: Mapping[str, float], key: str) -> str:
    """Return a figure as text, with its interval where the row has one."""
    percent = key.startswith("success") or key == "improved"
    one = ".1%" if percent else ".1f" if row[key] >= 5 else ".2f"
    interval = f" [{row[f'{key}/low']:{one}}, {row[f'{key}/high']:{one}}]" if f"{key}/low" in row else ""
    return f"{row[key]:{one}}{interval}"
