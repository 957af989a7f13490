"""One page with all experiments' figures and tables, made from what `training.finish` left in their folders."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

from nav_meta import report
from nav_meta.errors import UserError
from nav_meta.experiments.base import Experiment
from nav_meta.experiments.table import flat, lines
from nav_meta.files import write_atomically

PAGE = "README.md"
MATRIX = "matrix.png"
"""Picture of the train x test matrix of Wang et al. (2016), experiment 2."""

_HEAD = """# The experiments of both papers

Made by `{command}`. Means over test episodes that no training run can draw; in square brackets 95 % intervals over
episodes, in round ones each seed's mean. Rows named after the paper hold what it reports. Figures show the mean over
seeds and the range of all of them.

"""


def write_page(folder: Path, experiments: Iterable[Experiment], command: str) -> None:
    """Write PAGE into `folder`, which holds a folder for each finished experiment; `command` is what made it."""
    text = _HEAD.format(command=command)
    for experiment in experiments:
        if (result := _result(folder, experiment)) is None:
            continue
        agents = f"{result['seeds']} agents, {result['steps']:,} steps each"
        text += f"## {experiment.name}\n\n{experiment.title}. {agents}.\n\n"
        text += report.markdown(lines(result["rows"], experiment.columns))
        text += f"\n![{experiment.name}]({experiment.name}/figure.png)\n\n"
    if (folder / MATRIX).exists():
        text += f"## Trained on one set of arms, tested on another\n\n![matrix]({MATRIX})\n"
    write_atomically(folder / PAGE, text.encode())


def figures_of(folder: Path, experiments: Iterable[Experiment]) -> dict[str, float]:
    """Return the figures of all experiments that are finished in `folder`: `experiment/figure/row` -> value."""
    figures: dict[str, float] = {}
    for experiment in experiments:
        if result := _result(folder, experiment):
            figures |= {f"{experiment.name}/{key}": value for key, value in flat(result["rows"]).items()}
    return figures


def _result(folder: Path, experiment: Experiment) -> dict | None:
    path = folder / experiment.name / "result.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text())
        rows = {
            name: {figure: math.nan if value is None else float(value) for figure, value in row.items()}
            for name, row in result["rows"].items()
        }
        return {"seeds": int(result["seeds"]), "steps": int(result["config"]["steps"]), "rows": rows}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: delete it and give the same command, which makes it again.") from error
