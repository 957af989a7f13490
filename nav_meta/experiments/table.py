"""An experiment's table: a row for each player, a column for each figure."""

from collections.abc import Mapping, Sequence

import numpy as np

from nav_meta.experiments.base import Played

Rows = dict[str, dict[str, float]]
"""Name of the row -> figure -> value, the mean of the seeds' means. Beside `figure` there are `figure/low` and
`figure/high` where more than one episode was played, the 95 % interval over episodes, which are the same for all seeds,
and `figure/seed-K` for each of several seeds."""


def rows_of(players: Mapping[str, Sequence[Played]], known: Mapping[str, Mapping[str, float]]) -> Rows:
    """Return the table: who played (one `Played` for each seed), then what is known without playing."""
    rows = {name: _row(seeds) for name, seeds in players.items()}
    return rows | {name: dict(figures) for name, figures in known.items()}


def flat(rows: Rows) -> dict[str, float]:
    """Return the same as `figure/row` -> value, as `--json` writes it."""
    figures = {}
    for name, row in rows.items():
        for key, value in row.items():
            figure, _, detail = key.partition("/")
            figures["/".join(filter(None, (figure, name, detail)))] = value
    return figures


def lines(rows: Rows, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text; a figure that a row has not stays blank."""
    head = ["", *(column.replace("_", " ") for column in columns)]
    return head, [[name, *(_text(row, column) for column in columns)] for name, row in rows.items()]


def _row(seeds: Sequence[Played]) -> dict[str, float]:
    row = {}
    for figure in seeds[0].figures:
        each = np.stack([played.figures[figure] for played in seeds])  # [seeds, episodes]: the same episodes for all
        counts = (~np.isnan(each)).sum(1, keepdims=True)
        means = np.where(counts, np.nansum(each, 1, keepdims=True) / np.maximum(1, counts), np.nan)
        measured = np.count_nonzero(counts)
        row[figure] = mean = float(np.nansum(means) / measured) if measured else float("nan")
        if (counts > 1).any():
            # How far each episode moves the mean. A hard one is hard for every seed: these add up before they are
            # squared. Thousands of independent episodes: their mean is as good as normal.
            moved = np.nansum((each - means) / np.maximum(1, counts), 0) / measured
            half = 1.96 * float(np.square(moved).sum()) ** 0.5
            row |= {f"{figure}/low": mean - half, f"{figure}/high": mean + half}
        if len(seeds) > 1:
            row |= {f"{figure}/seed-{k}": float(one) for k, one in enumerate(means[:, 0])}
    return row


def _text(row: Mapping[str, float], figure: str) -> str:
    if figure not in row:
        return ""
    text = _number(row[figure])
    if f"{figure}/low" in row:
        text += f" [{_number(row[f'{figure}/low'])}, {_number(row[f'{figure}/high'])}]"
    seeds = [value for key, value in row.items() if key.startswith(f"{figure}/seed-")]
    return f"{text} ({', '.join(_number(value) for value in seeds)})" if seeds else text


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
