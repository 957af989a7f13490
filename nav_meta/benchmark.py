"""How fast the world and the learner are, beside other worlds measured in the same call."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch.utils.flop_counter import FlopCounterMode

from mazes import reference
from mazes.environment import MazeEnvironment
from mazes.layout import MazeConfig
from nav_meta import cuda_benchmark, ranks, rivals
from nav_meta.config import RunConfig
from nav_meta.learner import Learner
from nav_meta.training import make_learner, make_task, prepare_device

SIDES = (3, 5, 7, 15)
"""Rooms along a side of the mazes of `speeds`."""
PICTURES = ((30, 40), (60, 80), (120, 160))
"""Height and width of the pictures of `speeds`."""
BATCHES = (1, 8, 64, 512)
"""Environments of a thread in `speeds`."""
BATCH = 128
"""Those of a thread where `speeds` varies something else."""

_ROUNDS = 5
"""Rivals take turns this many times, and medians are compared: other programs disturb both alike."""
_SECONDS = 1.0
_SHORT_SECONDS = 0.4
_STEPS = 4096
"""Environment steps of a thread between two looks at the clock, at least eight of each environment."""
_RESETS = 512
_EXCHANGES = 50
"""Of which the first fifth warm up."""


class Speed(NamedTuple):
    """One line of the table over sizes, batches and worlds."""

    world: str
    """ours, MiniWorld or ViZDoom."""
    side: int
    """Rooms along a side of the maze (ViZDoom: as of what it was measured beside)."""
    height: int
    width: int
    batch: int
    """Environments of each thread or process."""
    count: int
    """Threads, or a rival's processes."""
    steps_per_second: float
    times_miniworld: float | None
    """Of as many processes as this has threads, in the same rounds; None where that was not measured."""


def world(config: RunConfig, batch: int, threads: int) -> dict[str, float]:
    """Measure steps per second of the world alone: motion, respawns, new mazes and pictures, random actions.

    Args:
        config: mazes and picture size.
        batch: environments of each thread.
        threads: threads.

    Returns:
        world/steps_per_second: of the batched environment.
        world/gymnasium_steps_per_second: of a single environment of `gymnasium.make`.
        world/reset_microseconds: to begin an episode, a new maze included, for each of 512.
        Where there is OpenGL also
        world/miniworld_steps_per_second, world/two_miniworlds_steps_per_second: of one process of the real MiniWorld,
            and of two side by side.
        world/times_miniworld, world/times_two_miniworlds: the median of the rounds' ratios.
    """
    picture = config.height, config.width
    with ExitStack() as stack:
        ours = _player(config.maze, *picture, config.learner.episode, batch, threads)
        contest = {
            "steps_per_second": partial(rivals.rate, ours, _SECONDS),
            "gymnasium_steps_per_second": partial(rivals.rate, _gymnasium_player(config.maze, *picture), _SECONDS),
        }
        if reference.available() is None:
            processes = stack.enter_context(rivals.Processes(rivals.make_miniworld, 2))
            processes.prepare(config.maze, *picture)
            contest["miniworld_steps_per_second"] = partial(processes.rate, _SECONDS, 1)
            contest["two_miniworlds_steps_per_second"] = partial(processes.rate, _SECONDS, 2)
        rates = _take_turns(contest)
    figures = {f"world/{name}": median(rates[name]) for name in rates}
    for rival in ("miniworld", "two_miniworlds"):
        if theirs := rates.get(f"{rival}_steps_per_second"):
            figures[f"world/times_{rival}"] = _ratio(rates["steps_per_second"], theirs)
    figures["world/reset_microseconds"] = _reset_microseconds(config.maze, _RESETS)
    return figures


def speeds(config: RunConfig, threads: int) -> list[Speed]:
    """Measure the world over sizes of mazes and pictures and over batches, on one thread and more, beside rivals.

    Args:
        config: mazes and length of an episode; its sizes are replaced.
        threads: the higher number of threads, and of a rival's processes.
    """
    settings = [(side, 60, 80, BATCH) for side in SIDES]
    settings += [(3, *picture, BATCH) for picture in PICTURES if picture != (60, 80)]
    settings += [(3, 60, 80, batch) for batch in BATCHES]
    counts = sorted({1, threads})
    rows = []
    with ExitStack() as stack:
        others = {}
        if reference.available() is None:
            others["MiniWorld"] = stack.enter_context(rivals.Processes(rivals.make_miniworld, threads))
        if missing := rivals.vizdoom_missing():
            Console(stderr=True).print(missing, highlight=False, markup=False)
        else:
            others["ViZDoom"] = stack.enter_context(rivals.Processes(rivals.make_vizdoom, threads))
        for side, height, width, batch in track(settings, "world", console=Console(stderr=True), transient=True):
            maze = _square(config.maze, side)
            wanted = {"MiniWorld": (maze, height, width)} if batch == BATCH else {}
            if (side, height, width) == (3, *PICTURES[-1]):
                wanted["ViZDoom"] = height, width
            contest = {}
            for count in counts:
                play = _player(maze, height, width, config.learner.episode, batch, count)
                contest["ours", count] = partial(rivals.rate, play, _SHORT_SECONDS)
            for world in wanted.keys() & others.keys():
                others[world].prepare(*wanted[world])
                for count in counts:
                    contest[world, count] = partial(others[world].rate, _SHORT_SECONDS, count)
            rates = _take_turns(contest)
            for (world, count), mine in sorted(rates.items(), reverse=True):
                theirs = rates.get(("MiniWorld", count))
                times = _ratio(mine, theirs) if theirs and world != "MiniWorld" else None
                own = batch if world == "ours" else 1
                rows.append(Speed(world, side, height, width, own, count, median(mine), times))
    return rows


def resets(config: RunConfig) -> dict[str, float]:
    """Measure how long the beginning of an episode takes in mazes of all `SIDES`.

    Returns:
        world/<rooms>x<rooms>/reset_microseconds, .../alone: for each of 512 environments, and in a single one.
    """
    figures = {}
    for side in SIDES:
        figures[f"world/{side}x{side}/reset_microseconds"] = _reset_microseconds(_square(config.maze, side), _RESETS)
        figures[f"world/{side}x{side}/reset_microseconds/alone"] = _reset_microseconds(_square(config.maze, side), 1)
    return figures


def speed_figures(rows: Iterable[Speed]) -> dict[str, float]:
    """Return `world/<rooms>x<rooms>/<width>x<height>/<world>/<batch>x<count>/steps_per_second` and .../times_miniworld.

    Worlds are `ours`, `miniworld` and `vizdoom`; batch is the environments of each of so many threads or processes.
    """
    figures = {}
    for row in rows:
        key = f"world/{row.side}x{row.side}/{row.width}x{row.height}/{row.world.lower()}/{row.batch}x{row.count}"
        figures[f"{key}/steps_per_second"] = row.steps_per_second
        if row.times_miniworld:
            figures[f"{key}/times_miniworld"] = row.times_miniworld
    return figures


def speed_table(rows: Iterable[Speed]) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text."""
    lines = [
        [
            "ours, CPU" if row.world == "ours" else row.world,
            "its own" if row.world == "ViZDoom" else f"{row.side}x{row.side}",
            f"{row.width}x{row.height}",
            str(row.batch),
            str(row.count),
            f"{row.steps_per_second:,.0f}",
            f"{row.times_miniworld:.3g}" if row.times_miniworld else "",
        ]
        for row in rows
    ]
    return ["world", "rooms", "picture", "batch", "threads or processes", "steps/s", "times MiniWorld"], lines


def training(config: RunConfig, device: str = "cpu", updates: int = 8) -> dict[str, float]:
    """Measure training end to end: `train/steps_per_second` and the shares of acting, world and learning.

    Medians over `updates`. On a CUDA device, whose rollouts cannot be taken apart, the world is measured alone. Several
    ranks must all call it, and their exchange is measured too: see `_exchange`.

    train/megaflop_per_step: multiplications and additions of a step in products and convolutions, acting and learning.
    train/picture_kilobytes_per_step: the least that its picture moves through memory: see `_work`.
    train/of_compute, train/of_memory: of a CUDA device, these over what it was measured to do at best. What both leave
        is time in which it waits: for Python, for the next kernel, for the step before in an LSTM.

    Raises:
        UserError: there is no such device.
    """
    prepare_device(config, device)
    learner = make_learner(config, device)
    for _ in range(2):
        learner.update()  # the first compiles kernels and warms caches, the second captures a GPU's graph
    rows = [learner.update() for _ in range(updates)]
    figures = {
        f"train/{key}": median(row[f"time/{key}"] for row in rows)
        for key in ("steps_per_second", "act", "world", "learn")
    }
    flop, moved = _work(learner, config)
    figures |= {"train/megaflop_per_step": flop / 1e6, "train/picture_kilobytes_per_step": moved / 1e3}
    if device == "cuda":
        rate = figures["train/steps_per_second"] / ranks.count()
        figures["train/of_compute"] = flop * rate / cuda_benchmark.multiplied(learner.precision)
        figures["train/of_memory"] = moved * rate / cuda_benchmark.written()
        steps = config.learner.rollout
        seconds = cuda_benchmark.rollout_seconds(make_task(config, 0, device), steps)
        world = seconds * rate / (steps * learner.batch)
        figures |= {"train/world": world, "train/act": 1 - figures["train/learn"] - world}
    if ranks.count() > 1:
        seconds = config.learner.rollout * config.learner.environments / figures["train/steps_per_second"]
        figures |= _exchange(learner, seconds)
    return figures


def _work(learner: Learner, config: RunConfig) -> tuple[float, float]:
    """Return FLOP in products and convolutions, and bytes of pictures moved, of an environment step.

    A picture is drawn, read to act, and in each pass copied and read; read means also written and read in `precision`,
    twice when the gradient is found.
    """
    agent, passes = learner.agent, config.learner.passes
    picture = (1, 1, config.height, config.width, 3)
    nothing = torch.zeros(1, 1, dtype=torch.int64, device=agent.device)
    pixels = torch.zeros(picture, dtype=torch.uint8, device=agent.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        agent.unroll(pixels, nothing, nothing.float(), None, agent.initial_state(1))  # one step: LSTMs are products
    acted = 1 + 1 / config.learner.rollout  # the moment after the last action is looked at too
    size = learner.precision.itemsize
    moved = 1 + acted * (1 + 2 * size) + passes * (2 + 1 + 3 * size)
    return counter.get_total_flops() * (acted + 3 * passes), pixels.numel() * moved


def _exchange(learner: Learner, seconds: float) -> dict[str, float]:
    """Measure what ranks say to each other in an update, and what the model makes of it.

    The time of an update is that of a rank alone with its share of the environments, for each optimizer step that of a
    sum of the gradients, latency + 2 (n - 1) / n * bytes / bandwidth with n ranks, and once that of gathering losses.

    Args:
        learner: of this rank.
        seconds: what an update takes.

    Returns:
        train/gradient_megabytes: what is summed in a step.
        train/sum_milliseconds: of a step.
        train/gather_milliseconds: of an update.
        train/latency_milliseconds: a sum of one number.
        train/bandwidth_megabytes_per_second: as of the model.
        train/exchange: share of an update's time.
    """
    gradients = [torch.zeros_like(parameter) for parameter in learner.agent.parameters()]
    number = gradients[0].new_zeros(1)
    steps = learner.config.passes * learner.config.minibatches
    losses = [dict.fromkeys("abcdefg", 0.0) for _ in range(steps)]
    count, size = ranks.count(), sum(part.nbytes for part in gradients)
    whole, latency = _exchange_seconds(lambda: ranks.add(gradients)), _exchange_seconds(lambda: ranks.add([number]))
    gather = _exchange_seconds(lambda: ranks.gather([losses]))
    return {
        "train/gradient_megabytes": size / 1e6,
        "train/sum_milliseconds": 1e3 * whole,
        "train/gather_milliseconds": 1e3 * gather,
        "train/latency_milliseconds": 1e3 * latency,
        "train/bandwidth_megabytes_per_second": 2 * (count - 1) / count * size / 1e6 / max(whole - latency, 1e-9),
        "train/exchange": (steps * whole + gather) / seconds,
    }


def _exchange_seconds(work: Callable[[], object]) -> float:
    """Return the median time of what all ranks do together."""

    def once() -> float:
        ranks.gather([None])  # all begin together
        clock = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - clock

    return median([once() for _ in range(_EXCHANGES)][_EXCHANGES // 5 :])


def _player(maze: MazeConfig, height: int, width: int, episode: int, batch: int, threads: int) -> rivals.Play:
    """Return what steps `batch` of our environments on each thread."""
    generator = np.random.default_rng(0)
    environments = [
        MazeEnvironment(maze, batch, height=height, width=width, episode_steps=episode) for _ in range(threads)
    ]
    pool = ThreadPoolExecutor(threads)

    def play() -> int:
        actions = generator.integers(MazeEnvironment.actions, size=(max(8, _STEPS // batch), batch))

        def walk(environment: MazeEnvironment) -> None:
            for step in actions:
                environment.step(step)
                environment.renew()
                environment.time_step()

        list(pool.map(walk, environments))
        return actions.size * threads

    return play


def _gymnasium_player(maze: MazeConfig, height: int, width: int) -> rivals.Play:
    """Return what steps one environment as gymnasium's users have it."""
    generator = np.random.default_rng(0)
    environment = gymnasium.make("nav_meta/Maze-v0", height=height, width=width, **vars(maze))
    environment.reset(seed=0)

    def play() -> int:
        actions = generator.integers(MazeEnvironment.actions, size=256)
        for action in actions:
            *_, terminated, truncated, _ = environment.step(action)
            if terminated or truncated:
                environment.reset()
        return len(actions)

    return play


def _reset_microseconds(maze: MazeConfig, batch: int) -> float:
    """Return the median time in which an episode begins, microseconds for each of a batch of environments."""
    environment = MazeEnvironment(maze, batch, height=4, width=4, episode_steps=1)

    def seconds() -> Iterator[float]:
        for _ in range(50):
            environment.step(np.zeros(batch, np.int64))
            clock = time.perf_counter()
            environment.renew()
            yield time.perf_counter() - clock

    return 1e6 * median(seconds()) / batch


def _square(maze: MazeConfig, side: int) -> MazeConfig:
    return replace(maze, kind="random", rows=side, columns=side)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _take_turns(contest: dict[Any, Callable[[], float]]) -> dict[Any, list[float]]:
    """Let everybody in a contest say its rate once in each round; return their rates, round by round."""
    for rival in contest.values():
        rival()  # compiles kernels and warms caches
    rounds = [{name: rival() for name, rival in contest.items()} for _ in range(_ROUNDS)]
    return {name: [rates[name] for rates in rounds] for name in contest}
