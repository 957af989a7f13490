"""How fast the world and the learner are, beside the real MiniWorld measured in the same call."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from mazes import reference
from mazes.environment import MazeEnvironment
from mazes.layout import generate
from nav_meta.config import RunConfig
from nav_meta.training import make_learner

_ROUNDS = 5
"""Rivals take turns this many times, and medians are compared: other programs disturb both alike."""
_SECONDS = 1.0


def world(config: RunConfig, batch: int, threads: int) -> dict[str, float]:
    """Measure steps per second of the world alone: motion, respawns, new mazes and pictures, random actions.

    Args:
        config: mazes and picture size.
        batch: environments of each thread.
        threads: threads.

    Returns:
        `world/steps_per_second`, and where there is OpenGL `world/miniworld_steps_per_second` of one process and their
        ratio `world/times_miniworld`.
    """
    generator = np.random.default_rng(0)
    environments = [
        MazeEnvironment(
            config.maze, batch, height=config.height, width=config.width, episode_steps=config.learner.episode
        )
        for _ in range(threads)
    ]
    pool = ThreadPoolExecutor(threads)

    def ours(actions: np.ndarray) -> int:
        def play(environment: MazeEnvironment) -> None:
            for step in actions:
                environment.step(step)
                environment.renew()
                environment.time_step()

        list(pool.map(play, environments))
        return len(actions) * batch * threads

    rivals: dict[str, Callable[[], float]] = {
        "world/steps_per_second": lambda: _rate(
            lambda: ours(generator.integers(MazeEnvironment.actions, size=(8, batch)))
        )
    }
    if reference.available() is None:
        miniworld = reference.make_reference(config.maze, generate(config.maze, 0), config.height, config.width)
        left = config.maze.visit_cap

        def theirs() -> int:
            nonlocal left
            for action in generator.integers(MazeEnvironment.actions, size=32):
                miniworld.step(action)
            left -= 32
            if left <= 0:  # MiniWorld's own mazes last this long
                miniworld.reset()
                left = config.maze.visit_cap
            return 32

        rivals["world/miniworld_steps_per_second"] = lambda: _rate(theirs)
    figures = _take_turns(rivals)
    if "world/miniworld_steps_per_second" in figures:
        figures["world/times_miniworld"] = (
            figures["world/steps_per_second"] / figures["world/miniworld_steps_per_second"]
        )
    return figures


def training(config: RunConfig, updates: int = 8) -> dict[str, float]:
    """Measure training end to end: `train/steps_per_second` and the shares of acting, world and learning.

    Medians over `updates`.
    """
    learner = make_learner(config)
    learner.update()  # compiles kernels and warms caches
    rows = [learner.update() for _ in range(updates)]
    figures = {
        f"train/{key}": median(row[f"time/{key}"] for row in rows)
        for key in ("steps_per_second", "act", "world", "learn")
    }
    return figures


def _rate(work: Callable[[], int]) -> float:
    """Return units per second of something that returns how many it did."""
    done, clock = 0, time.perf_counter()
    while (seconds := time.perf_counter() - clock) < _SECONDS:
        done += work()
    return done / seconds


def _take_turns(rivals: dict[str, Callable[[], float]]) -> dict[str, float]:
    for rival in rivals.values():
        rival()
    rounds = [{name: rival() for name, rival in rivals.items()} for _ in range(_ROUNDS)]
    return {name: median(figures[name] for figures in rounds) for name in rivals}
