"""How fast the world is on a CUDA device, over numbers of mazes, beside what its memory would allow."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from mazes.layout import MazeConfig
from nav_meta.graphs import Replayed
from nav_meta.tasks import Task

BATCHES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Mazes at once."""

_ROUNDS = 5
_STEPS = 32
"""Steps of a graph; `renew` follows each, as it follows a rollout."""
_EPISODE = 512
_COPIED = 1 << 30
"""Bytes written to measure the memory."""
_SIDE = 8192
"""Of the matrices that are multiplied to measure the processors."""


class CudaSpeed(NamedTuple):
    """What B mazes took on the device; medians of rounds of a whole episode."""

    batch: int
    steps_per_second: float
    """Steps, pictures and new mazes; the steps between two renewals are one CUDA graph."""
    queued_steps_per_second: float
    """The same with each kernel queued from Python."""
    draw_share: float
    """Share of the time of the first that drawing alone takes."""
    of_memory: float
    """Bytes of pictures written per second over `written`."""


def measure(maze: MazeConfig, height: int, width: int, batches: Iterable[int] = BATCHES) -> list[CudaSpeed]:
    """Measure the world on the current CUDA device, random actions.

    Raises:
        RuntimeError: when there is none that torch and numba can use.
    """
    from mazes import cuda  # numba looks for CUDA then

    cuda.use_device(torch.cuda.current_device() if torch.cuda.is_available() else 0)
    memory = written()
    return [_measure(maze, height, width, batch, memory) for batch in batches]


def _measure(maze: MazeConfig, height: int, width: int, batch: int, memory: float) -> CudaSpeed:
    from mazes.cuda import CudaMazeEnvironment

    renewals = _EPISODE // _STEPS
    phases = np.arange(batch) % renewals * _STEPS
    world = CudaMazeEnvironment(maze, batch, height=height, width=width, episode_steps=_EPISODE, phases=phases)
    actions = torch.randint(world.actions, (_STEPS, batch), device="cuda")
    frames = torch.empty((batch, height, width, 3), dtype=torch.uint8, device="cuda")

    def play() -> None:
        for step in actions:
            world.step(step)
            world.time_step(frames)

    def draw() -> None:
        for _ in range(_STEPS):
            world.time_step(frames)

    def episode(rollout: Callable[[], None]) -> float:
        return _seconds(lambda: [(rollout(), world.renew()) for _ in range(renewals)])

    device = torch.device(world.device)
    as_graph, queued, drawing = episode(Replayed(play, device)), episode(play), episode(Replayed(draw, device))
    rate = _EPISODE * batch / as_graph
    return CudaSpeed(batch, rate, _EPISODE * batch / queued, drawing / as_graph, rate * height * width * 3 / memory)


def rollout_seconds(world: Task, steps: int) -> float:
    """Return how long so many steps of a learner's world alone take as a graph: motion, pictures, hints, new mazes."""
    actions = torch.randint(world.actions, (steps, world.batch), device=world.device)
    frames = torch.empty((world.batch, *world.observation_shape), dtype=torch.uint8, device=world.device)

    def play() -> None:
        for step in actions:
            world.step(step)
            world.time_step(frames)
            world.hints()

    replayed = Replayed(play, torch.device(world.device))
    replayed()
    return _seconds(lambda: (replayed(), world.renew()))


def written() -> float:
    """Return how many bytes a second the device writes to its memory, measured."""
    memory = torch.empty(_COPIED, dtype=torch.uint8, device="cuda")
    return 16 * _COPIED / _seconds(lambda: [memory.fill_(1) for _ in range(16)])


def multiplied(precision: torch.dtype) -> float:
    """Return how many multiplications and additions a second the device does in a large product, measured."""
    factors = [torch.randn(_SIDE, _SIDE, device="cuda", dtype=precision) for _ in range(2)]
    return 16 * 2 * _SIDE**3 / _seconds(lambda: [torch.mm(*factors) for _ in range(16)])


def figures(rows: list[CudaSpeed]) -> dict[str, float]:
    """Return the rows as `world/cuda/<mazes>/<what>`, and the best as `world/steps_per_second`."""
    found = {f"world/cuda/{row.batch}/{name}": getattr(row, name) for row in rows for name in CudaSpeed._fields[1:]}
    return {"world/steps_per_second": max(row.steps_per_second for row in rows)} | found


def table(rows: Iterable[CudaSpeed]) -> tuple[list[str], list[list[str]]]:
    """Return the rows for people."""
    names = ["mazes", "steps/s", "queued from Python", "drawing", "of the memory's speed"]
    return names, [
        [
            f"{row.batch:,}",
            f"{row.steps_per_second:,.0f}",
            f"{row.queued_steps_per_second:,.0f}",
            f"{row.draw_share:.0%}",
            f"{row.of_memory:.0%}",
        ]
        for row in rows
    ]


def _seconds(work: Callable[[], object]) -> float:
    """Return how long the device takes for what is queued, the median of rounds after one that warms up."""
    work()
    times = []
    for _ in range(_ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return float(np.median(times))
