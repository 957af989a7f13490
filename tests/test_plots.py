import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from nav_meta import plots
from nav_meta.errors import UserError

ROOT = Path(__file__).parents[1]


def figures(first: float, later: float, visits: int = 4) -> dict[str, float]:
    means = {f"latency/visit_{k + 1}": later if k else first for k in range(visits)}
    means |= {f"latency/oracle_{k + 1}": 13.0 for k in range(visits)} | {"latency/explorer": 24.0}
    return {
        key + end: value * by for key, value in means.items() for end, by in (("", 1), ("/low", 0.9), ("/high", 1.1))
    }


def training(seed: int = 0, updates: int = 200) -> list[dict[str, float]]:
    noise = np.random.default_rng(seed).normal(size=updates)
    rows = []
    for update in range(updates):
        row = {"step": 1000 * update, "return": update + noise[update], "loss/entropy": 1.0, "loss/policy": 0.0}
        if update % 20 == 0:
            row |= {"latency/first": 90.0, "latency/later": 300 / (update + 1), "latency/oracle": 13.0}
        rows.append(row)
    return rows


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and np.ptp(np.array(image)) > 200
        return image.size


def test_latency_by_visit(tmp_path):
    path = tmp_path / "plots" / "latency.png"
    before = matplotlib.get_backend(auto_select=False)
    plots.plot_latency_by_visit({"agent": figures(28, 17)}, path)
    alone = path.read_bytes()
    plots.plot_latency_by_visit(
        {"agent": figures(28, 17), "feed-forward": figures(33, 32), "random walk": figures(230, 230)}, path
    )
    assert min(size(path)) > 500 and path.read_bytes() != alone
    assert matplotlib.get_backend(auto_select=False) == before


@pytest.mark.parametrize("updates", [1, 30, 200])
def test_training(tmp_path, updates):
    plots.plot_training(training(updates=updates), tmp_path / "training.png")
    assert min(size(tmp_path / "training.png")) > 500


def test_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="cannot write"):
        plots.plot_training(training(), tmp_path / "file" / "training.png")
    assert (tmp_path / "file").read_text() == "kept"


def test_runs_meet_on_the_steps_that_all_reached():
    short = [{"step": step, "return": 2.0 * step} for step in (0, 10, 20)]
    long = [{"step": step, "return": 4.0 * step} for step in (0, 15, 30)] + [{"step": 40, "return": float("nan")}]
    steps, values = plots._common([short, long], "return")
    np.testing.assert_array_equal(steps, [0, 10, 20])
    np.testing.assert_allclose(values, [[0, 20, 40], [0, 40, 80]])
    steps, values = plots._common([short, long], "no such metric")
    assert len(steps) == 0


def test_minutes_are_counted_from_the_speed_of_each_update():
    rows = [
        {"step": 600, "time/steps_per_second": 10.0},
        {"step": 600, "latency/speedup": 1.0},
        {"step": 1200, "time/steps_per_second": float("nan")},
        {"step": 1800, "time/steps_per_second": 20.0},
        {"step": 1800, "latency/speedup": 2.0},
    ]
    assert [row["step"] for row in plots._by_minutes(rows)] == [1, 1, 1, 2, 2]
    steps, values = plots._common([plots._by_minutes(rows)], "latency/speedup")
    np.testing.assert_array_equal(steps, [1, 2])
    np.testing.assert_array_equal(values, [[1, 2]])
    assert len({panel.title for panel in plots.PANELS}) == 10


def test_smoothing_keeps_lines_straight_and_means_apart():
    line = np.arange(20.0)
    np.testing.assert_allclose(plots._smooth(line, 3)[3:-3], line[3:-3])
    np.testing.assert_allclose(plots._smooth(line, 3)[[0, -1]], [1.5, 17.5])
    np.testing.assert_array_equal(plots._smooth(line, 0), line)


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "scripts" / "plot.py", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_axes_are_cut_at_limits_but_never_empty():
    assert plots._cut((-9.0, 0.5), (-1.0, 1.05)) == (-1.0, 0.5)
    assert plots._cut((0.2, 3.0), (-1.0, 1.05)) == (0.2, 1.05)
    assert plots._cut((-12.0, -10.0), (-1.0, 1.05)) == (-12.0, -10.0)


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_format_is_what_the_name_says(name, magic, tmp_path):
    plots.plot_training(training(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_other_formats_are_refused_before_any_work(tmp_path):
    for name in ("a.jpg", "a"):
        with pytest.raises(UserError, match="must end in .png, .pdf or .svg"):
            plots.require_format(tmp_path / name)
    plots.require_format(None)


def test_a_run_of_another_experiment_has_the_panels_of_what_it_knows(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    rows = [{"step": step, "return": 1.0, "validation/regret": 2.0, "time/steps_per_second": 9.0} for step in (0, 8)]
    plots.plot_training(rows, tmp_path / "a.png")
    panels = [axes for axes in figures[0].axes if axes.axison]
    assert [axes.get_title(loc="left").split()[0] for axes in panels] == ["validation/regret", "return", "environment"]
    assert all(axes.lines for axes in panels)


def test_script(tmp_path):
    for name, seed, steps in (("a", 0, 5), ("b", 1, 5), ("c", 0, 9)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"git_commit": None, "config": {"seed": seed, "steps": steps}}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in training(seed)))
    result = script(*(tmp_path / name for name in "abc"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "a" / "plots" / "comparison.png")
    size(tmp_path / "a" / "plots" / "comparison.png")
    (tmp_path / "c" / "metrics.jsonl").write_text("")
    result = script(tmp_path / "c")
    assert result.returncode == 2 and "no metrics yet" in result.stderr and result.stderr.count("\n") == 1
