"""Figures of an evaluation and of training, as PNG, PDF or SVG files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from nav_meta.errors import UserError
from nav_meta.files import write_atomically

if TYPE_CHECKING:
    from nav_meta.benchmark import Speed

Metrics = Mapping[str, float]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind people can tell apart."""
REFERENCE = "#222222"
FAINT = "#8a8f98"
_MARKERS = "osDv^PX"
_FORMATS = (".png", ".pdf", ".svg")


class Panel(NamedTuple):
    """One of the small plots of `plot_runs`."""

    title: str
    key: str
    reference: str = ""
    """Key of what is possible, dashed."""
    log: bool = False
    limits: tuple[float, float] | None = None
    """What lies outside of them is cut off, so that a bad beginning does not flatten the rest."""
    by_minutes: bool = False
    """Against minutes of training instead of steps; the last panel alone."""


PANELS = (
    Panel("first latency, steps (dashed: explorer)", "latency/first", "latency/explorer", log=True),
    Panel("later latency, steps (dashed: oracle)", "latency/later", "latency/oracle", log=True),
    Panel("memory score (1: shortest path)", "latency/memory_score", limits=(-1.0, 1.05)),
    Panel("success of later visits", "success/later"),
    Panel("speedup: first / later (dashed: ideal)", "latency/speedup", "latency/ideal_speedup"),
    Panel("return of an episode (mazes: goals found)", "return"),
    Panel("entropy of the policy, nats", "loss/entropy"),
    Panel("value: explained variance", "loss/explained_variance"),
    Panel("environment steps per second", "time/steps_per_second"),
    Panel("speedup by time (dashed: ideal)", "latency/speedup", "latency/ideal_speedup", by_minutes=True),
)


def plot_latency_by_visit(rows: Mapping[str, Metrics], path: Path) -> None:
    """Plot steps to the goal at each visit, with 95 % intervals.

    Args:
        rows: name -> the metrics of `evaluation.metrics` on the same mazes, the agent's first; oracle and explorer are
            in each of them, and the first's are drawn.
        path: the file, .png, .pdf or .svg.

    Raises:
        UserError: when it cannot be written.
    """
    figure = Figure(figsize=(8, 4.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    some = next(iter(rows.values()))
    visits = sum(key.startswith("latency/visit_") and key.count("/") == 1 for key in some)
    count = np.arange(1, visits + 1)
    controls = iter(zip(COLOURS[1:] * len(rows), _MARKERS[1:] * len(rows), strict=False))
    for number, (name, row) in enumerate(rows.items()):
        mean, low, high = (_by_visit(row, "visit", visits, end) for end in ("", "/low", "/high"))
        if name == "random walk":
            style = {"color": FAINT, "marker": "x", "linewidth": 1.5}
        elif number == 0:
            style = {"color": COLOURS[0], "marker": _MARKERS[0], "linewidth": 2.6}
        elif name == "recogniser":
            style = {"color": REFERENCE, "marker": "", "linestyle": ":", "linewidth": 2}
        else:
            colour, marker = next(controls)
            style = {"color": colour, "marker": marker, "linewidth": 1.8}
        axes.fill_between(count, low, high, color=style["color"], alpha=0.2, linewidth=0)
        axes.plot(count, mean, label=name.replace(", ", ",\n"), markersize=6, **style)
        if number == 0:
            for visit, side, align in ((1, -9, "right"), (visits, 9, "left")):
                value = mean[visit - 1]
                font = {"color": style["color"], "fontweight": "bold", "va": "center", "ha": align}
                axes.annotate(f"{value:.1f}", (visit, value), (side, 0), textcoords="offset points", **font)
    explorer, low, high = (some[f"latency/explorer{end}"] for end in ("", "/low", "/high"))
    interval = [[explorer - low], [high - explorer]]
    style = {"color": REFERENCE, "markersize": 13, "capsize": 3, "zorder": 5}
    axes.errorbar([1], [explorer], interval, fmt="*", label="explorer (goal unknown)", **style)
    oracle = _by_visit(some, "oracle", visits)
    axes.plot(count, oracle, "--", color=REFERENCE, linewidth=1.6, label="oracle (shortest path)")
    _log_steps(axes)
    axes.set_xticks(count, ["1\nfirst", *(f"{visit}" for visit in count[1:])])
    axes.set_xlabel("visit, each from a new place")
    axes.set_ylabel("steps to the goal (log scale)")
    axes.set_title("Goal latency by visit", loc="left", fontweight="bold")
    axes.margins(x=0.2, y=0.1)  # room for the two figures beside the first and last mark
    clean(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save(figure, path)


def plot_training(rows: Sequence[Metrics], path: Path) -> None:
    """Plot the learning curves of one run, the rows of its `metrics.jsonl`, as `plot_runs` does."""
    plot_runs({"": [rows]}, path)


def plot_runs(groups: Mapping[str, Sequence[Sequence[Metrics]]], path: Path) -> None:
    """Plot the learning curves of groups of runs, each group as its mean with a band from the lowest to the highest.

    Panels are those of `PANELS` of which the runs know something, and one for each figure of a validation.

    Args:
        groups: name -> runs that differ by their seed alone, each the rows of its `metrics.jsonl`.
        path: the file, .png, .pdf or .svg.

    Raises:
        UserError: when it cannot be written.
    """
    known = {key for runs in groups.values() for rows in runs for row in rows for key in row}
    panels = [Panel(key, key) for key in sorted(known) if key.startswith("validation/")]
    panels += [panel for panel in PANELS if panel.key in known]
    columns = -(-len(panels) // 2)
    figure = Figure(figsize=(3.6 * columns, 6.6), dpi=110, layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    by_steps = [axes for axes, panel in zip(grid.flat, panels, strict=False) if not panel.by_minutes]
    for axes in by_steps[1:]:
        axes.sharex(by_steps[0])
    for axes, panel in zip(grid.flat, panels, strict=False):
        for colour, (name, runs) in zip(COLOURS * len(groups), groups.items(), strict=False):
            if panel.by_minutes:
                runs = [_by_minutes(rows) for rows in runs]
            steps, values = _common(runs, panel.key)
            if not len(steps):
                continue
            many = len(steps) > 150  # one value an update: noisy
            mean = values.mean(0)
            if len(runs) > 1:
                axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
            elif many:
                axes.plot(steps, mean, color=colour, alpha=0.25, linewidth=0.8)
            line = _smooth(mean, len(steps) // 50) if many else mean
            axes.plot(steps, line, color=colour, linewidth=2, marker=None if many else "o", markersize=3.5, label=name)
            if panel.reference:
                steps, values = _common(runs, panel.reference)
                axes.plot(steps, values.mean(0), "--", color=REFERENCE if len(groups) == 1 else colour, linewidth=1.3)
        axes.set_title(panel.title, loc="left", fontsize=10)
        if panel.limits:
            axes.set_ylim(_cut(axes.get_ylim(), panel.limits))
        if panel.log:
            _log_steps(axes)
        if axes in grid[1]:
            axes.set_xlabel("minutes of training" if panel.by_minutes else "environment steps")
        clean(axes)
    grid[0, 0].xaxis.set_major_locator(MaxNLocator(5))  # shared, as is the formatter
    grid[0, 0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    if any(groups):
        lines = {line.get_label(): line for axes in grid.flat for line in axes.get_legend_handles_labels()[0]}
        figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4, frameon=False)
    save(figure, path)


def plot_speeds(rows: Sequence["Speed"], path: Path) -> None:
    """Plot steps per second over sizes of pictures, mazes and batches.

    Args:
        rows: those of `benchmark.speeds`.
        path: the file, .png, .pdf or .svg.

    Raises:
        UserError: when it cannot be written.
    """
    usual = max(row.batch for row in rows if row.side != 3)
    ours = [row for row in rows if row.world == "ours" and (row.side, row.height) == (3, 60)]
    rows = [row for row in rows if row.world != "ours" or row.batch == usual]
    panels = (
        ("pixels of the picture", [(row, row.height * row.width) for row in rows if row.side == 3]),
        ("rooms of the maze", [(row, row.side**2) for row in rows if row.height == 60]),
        ("environments of a thread", [(row, row.batch) for row in ours]),
    )
    worlds = dict(zip(("ours", "MiniWorld", "ViZDoom"), COLOURS, strict=False))
    figure = Figure(figsize=(14, 4.4), dpi=110, layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True)
    for axes, (label, points) in zip(grid, panels, strict=True):
        for world, count in sorted({(row.world, row.count) for row, _ in points}, reverse=True):
            line = sorted((x, row.steps_per_second) for row, x in points if (row.world, row.count) == (world, count))
            unit = (
                ("thread" if count == 1 else "threads")
                if world == "ours"
                else ("process" if count == 1 else "processes")
            )
            style = {"color": worlds[world], "marker": "o", "markersize": 5, "label": f"{world}, {count} {unit}"}
            axes.plot(*zip(*line, strict=True), "--" if count == 1 else "-", **style)
        ticks = sorted({x for _, x in points})
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        clean(axes)
    grid[0].set_ylabel("steps per second")
    grid[0].set_title("3x3 rooms", loc="left", fontsize=10)
    grid[1].set_title("80x60 pixels", loc="left", fontsize=10)
    grid[2].set_title("3x3 rooms, 80x60 pixels", loc="left", fontsize=10)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    save(figure, path)


def _by_visit(row: Metrics, what: str, visits: int, end: str = "") -> np.ndarray:
    return np.array([row[f"latency/{what}_{visit + 1}{end}"] for visit in range(visits)])


def _common(runs: Sequence[Sequence[Metrics]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps [S] that all runs reached and each run's values there, [runs, S]; S = 0 where one has none."""
    curves = [np.array([(row["step"], row[key]) for row in rows if key in row]).reshape(-1, 2) for rows in runs]
    curves = [curve[np.isfinite(curve[:, 1])] for curve in curves]
    if not all(len(curve) for curve in curves):
        return np.empty(0), np.empty((len(runs), 0))
    steps = curves[0][:, 0]
    steps = steps[(steps >= max(curve[0, 0] for curve in curves)) & (steps <= min(curve[-1, 0] for curve in curves))]
    return steps, np.stack([np.interp(steps, *curve.T) for curve in curves])


def _cut(drawn: tuple[float, float], limits: tuple[float, float]) -> tuple[float, float]:
    """Return the part of an axis within limits; all of it if nothing is, such as the scores of an untrained agent."""
    low, high = max(drawn[0], limits[0]), min(drawn[1], limits[1])
    return (low, high) if low < high else drawn


def _by_minutes(rows: Sequence[Metrics]) -> list[Metrics]:
    """Return the rows of a run with minutes in place of steps, counted from its speed: evaluations take no time."""
    minutes, last, timed = 0.0, 0.0, []
    for row in rows:
        if (speed := row.get("time/steps_per_second", 0.0)) > 0:
            minutes += (row["step"] - last) / speed / 60
            last = row["step"]
        timed.append({**row, "step": minutes})
    return timed


def _smooth(values: np.ndarray, reach: int) -> np.ndarray:
    """Return means over what lies within `reach` of each value."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    here = np.arange(len(values))
    begin, end = np.maximum(here - reach, 0), np.minimum(here + reach + 1, len(values))
    return (sums[end] - sums[begin]) / (end - begin)


def _log_steps(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def clean(axes: Axes) -> None:
    """Leave nothing of the frame but what helps to read the figure."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def require_format(path: Path | None) -> None:
    """Raise UserError, before hours of work, when a file's name does not say that it is a figure `save` can write."""
    if path is not None and path.suffix.lower() not in _FORMATS:
        raise UserError(f"cannot draw {path}: its name must end in {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}.")


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format its name ends in, whole or not at all; UserError when that or the disk refuses."""
    require_format(path)
    FigureCanvasAgg(figure)  # no global state and no window, unlike pyplot
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower())
    write_atomically(path, buffer.getvalue())
