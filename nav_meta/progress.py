"""How a run is doing, on stderr: a live line on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from nav_meta.errors import say

SHOWN = {"return": "return", "latency/first": "first", "latency/later": "later"}  # metric -> its short name

_WINDOW_SECONDS = 60.0  # steps/s and time left are averages over it
_PLAIN_SECONDS = 10.0  # between two plain lines


class Progress:
    """Steps/s, time left, return and latencies of a run of `total_steps` environment steps; a context manager.

    Runs beside each other are told apart by their `label`, and write plain lines.
    """

    def __init__(self, total_steps: int, label: str = "") -> None:
        self._total = total_steps
        self._times: deque[tuple[float, int]] = deque()  # (seconds, step), the last window
        self._latest: dict[str, float] = {}
        self._printed = -_PLAIN_SECONDS
        self._label = label
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal and not label
        self._bar = Bar(BarColumn(10), TextColumn("{task.description}"), console=self._console)
        self._task = self._bar.add_task("starting", total=total_steps)

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show the run at `step`; of `metrics` those in SHOWN, each kept until it comes again."""
        now = time.monotonic()
        self._times.append((now, step))
        while now - self._times[0][0] > _WINDOW_SECONDS and len(self._times) > 2:
            self._times.popleft()
        self._latest |= {key: value for key, value in metrics.items() if key in SHOWN and value is not None}
        if self._live:
            self._bar.update(self._task, completed=step, description=self._line(step))
        elif now - self._printed >= _PLAIN_SECONDS or step >= self._total:
            self._printed = now
            say(f"{self._label}step {step:,}  {self._line(step)}")

    def message(self, text: str) -> None:
        """A line that stays."""
        if self._live:
            self._console.print(text, markup=False, soft_wrap=True)
        else:
            say(self._label + text)

    def _line(self, step: int) -> str:
        """All of it in 80 columns, with a bar of 10 before it."""
        parts = [f"{min(step / self._total, 1):.0%}"]  # the last update may go beyond
        (start, first), (end, _) = self._times[0], self._times[-1]
        if step > first and end > start:
            speed = (step - first) / (end - start)
            left = int(max(0, self._total - step) / speed)
            parts += [f"{speed:,.0f} steps/s", f"{left // 60}:{left % 60:02d} left"]
        parts += [f"{name} {self._latest[key]:.1f}" for key, name in SHOWN.items() if key in self._latest]
        return "  ".join(parts)
