"""RL^2's own protocol for mazes (Duan et al. 2016, section 3.3): two episodes in each, alike to the last bit.

The goal and the place where the agent begins are the same in both, as in the paper's figure 6; only what it remembers
can make the second shorter. The paper's mazes are "5 x 5 grid cells", taken to be rooms here.
An episode is given up after 250 steps. The paper reports the mean length of the trajectories that reach the goal,
which flatters who gives up often; so the length with those given up counted as 250 is here beside it, and ratios and
shares of the random walk's length are of that. So, it seems, are the figures of Mishra et al. (2018): their random
walk's 188.6 steps are more than it can take on average when it arrives (with the same chance at every step, less than
half of 250).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mazes.layout import MazeConfig
from nav_meta import evaluation
from nav_meta.evaluation import MazeSet, Visits
from nav_meta.report import Player, Rows, figure

CAP = 250
"""Steps of an episode at the most."""
ROOMS = 5
"""Rooms along each side of the paper's small mazes."""

PUBLISHED = {
    "RL^2, best run (ViZDoom)": {
        "first/successful": 52.4, "second/successful": 39.1, "success/first": 0.993, "success/second": 0.996,
        "improved": 0.917,
    },
    "SNAIL (ViZDoom)": {"first/all": 50.3, "second/all": 34.8},
    "random walk (ViZDoom)": {"first/all": 188.6, "second/all": 187.7},
}  # fmt: skip
"""Duan et al. (2016), table 3; Mishra et al. (2018), table 5. Their steps are not MiniWorld's: compare ratios."""

COLUMNS = {
    "first": "first/successful",
    "second": "second/successful",
    "second / first": "ratio",
    "first / random": "first/of_random",
    "second / random": "second/of_random",
    "success, first": "success/first",
    "success, second": "success/second",
    "improved": "improved",
    "first, all": "first/all",
    "second, all": "second/all",
}
"""Heading -> figure."""


def mazes_of(config: MazeConfig) -> MazeConfig:
    """Return the protocol's mazes, in all else like those of `config`."""
    return replace(config, kind="random", rows=ROOMS, columns=ROOMS, respawn="same")


def compare(
    agents: Mapping[str, Player], config: MazeConfig, mazes: MazeSet, *, seed: int = 0, threads: int = 1
) -> Rows:
    """Play both episodes in each maze with each agent, and with a random walk.

    Returns:
        `figures` of each, and for the published ones what is known of them.

    Raises:
        ValueError: something is taken away from a player, as from a control, for which this protocol has no room.
    """
    for name, player in agents.items():
        if player.goal_moves or player.maze or player.renderer:
            raise ValueError(f"{name} must play in the protocol's own mazes: leave out goal_moves, maze and renderer")
    world, seeds = mazes_of(config), mazes.seeds
    walked = evaluation.run_random_walk(world, seeds, visits=2, seed=seed, cap=CAP)
    rows = {}
    for name, player in agents.items():
        played = evaluation.run_visits(
            player.make_policy,
            world,
            seeds,
            visits=2,
            height=player.height,
            width=player.width,
            seed=seed,
            threads=threads,
            cap=CAP,
        )
        rows[name] = figures(played, walked)
    rows["random walk"] = figures(walked, walked)
    published = {name: dict(row) for name, row in PUBLISHED.items()}
    random = published["random walk (ViZDoom)"]
    for row in published.values():
        for episode in ("first", "second"):
            if (share := row.get(f"success/{episode}")) is not None:
                row[f"{episode}/all"] = share * row[f"{episode}/successful"] + (1 - share) * CAP
            row[f"{episode}/of_random"] = row[f"{episode}/all"] / random[f"{episode}/all"]
        row["ratio"] = row["second/all"] / row["first/all"]
    return rows | published


def figures(played: Visits, walked: Visits) -> dict[str, float]:
    """Return the protocol's figures, each with the ends of its interval as `<key>/low` and `<key>/high`.

    Intervals are 95 % bootstrap intervals over mazes; figures of which there are none, such as the mean length of no
    trajectory, are not numbers. `improved` is, as in the paper, the share of mazes whose second episode is no longer
    than the first; so two that are given up count as well.

    Args:
        played: two visits in each of N mazes.
        walked: those of a random walk in the same mazes.
    """
    count = len(played.latency)
    weights = np.concatenate([np.full((1, count), 1 / count), evaluation.resamples(count)])
    means = {}
    for episode, name in enumerate(("first", "second")):
        latency, found = played.latency[:, episode], played.found[:, episode]
        share, steps = weights @ found, weights @ (latency * found)
        means[f"{name}/successful"] = np.divide(steps, share, out=np.full_like(steps, np.nan), where=share > 0)
        means[f"{name}/all"] = weights @ latency
        means[f"{name}/of_random"] = means[f"{name}/all"] / (weights @ walked.latency[:, episode])
        means[f"success/{name}"] = share
    means["ratio"] = means["second/all"] / means["first/all"]
    means["improved"] = weights @ (played.latency[:, 1] <= played.latency[:, 0])
    return evaluation.with_intervals(means)


def table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text."""
    lines = []
    for name, row in rows.items():
        known = {key: value for key, value in row.items() if not np.isnan(value)}
        lines.append([name, *(figure(known, key) if key in known else "" for key in COLUMNS.values())])
    return ["", *COLUMNS], lines
