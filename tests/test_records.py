import json
import math
import os
import resource
import shutil
import subprocess
from dataclasses import asdict

import numpy as np
import pytest
import torch

from nav_meta.config import RunConfig
from nav_meta.errors import UserError
from nav_meta.records import Record, git_commit, learning_curves, read_config, read_metrics, write_result


class Rows:
    """A tracker that keeps what it is given."""

    def __init__(self):
        self.rows = []

    def log(self, step, metrics):
        self.rows.append((step, metrics))


@pytest.fixture
def start():
    opened = []

    def open_record(folder, config=None, **options):
        if options.get("resume"):
            for record in opened:
                record.close()
        opened.append(Record(folder, config or {"seed": 1}, Rows(), **options))
        return opened[-1]

    yield open_record
    for record in opened:
        record.close()


def test_rows_are_strict_json_on_disk_at_once(tmp_path, start):
    record = start(tmp_path / "run")
    record.write(8, {"loss": 0.5, "count": 3, "numpy": np.float32(0.25), "tensor": torch.tensor(2.0)})
    record.write(16, {"loss": math.nan, "reward": math.inf, "none": None})

    def refuse(constant):
        raise AssertionError(constant)

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == [
        {"step": 8, "loss": 0.5, "count": 3, "numpy": 0.25, "tensor": 2.0},
        {"step": 16, "loss": None, "reward": None, "none": None},
    ]
    assert math.isnan(read_metrics(tmp_path / "run")[1]["loss"])


def test_rows_go_to_the_tracker(tmp_path):
    rows = Rows()
    record = Record(tmp_path, {}, rows)
    record.write(1, {"loss": np.float64(2.0)})
    record.close()
    assert rows.rows == [(1, {"loss": 2.0})]


def test_stopped_and_resumed_equals_never_stopped(tmp_path, start):
    def rows(record, first, last):
        for step in range(first, last + 1):
            record.write(step, {"loss": 1 / step})
            if step % 2 == 0:
                record.write(step, {"latency/first": step})

    rows(start(tmp_path / "whole"), 1, 9)
    rows(start(tmp_path / "stopped"), 1, 7)
    path = tmp_path / "stopped" / "metrics.jsonl"
    with open(path, "ab") as file:
        file.write(b'{"step": 8, "lo')  # kill -9 in the middle of a row
    resumed = start(tmp_path / "stopped", resume=True)
    assert [row["step"] for row in read_metrics(tmp_path / "stopped")] == [1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    resumed.truncate_after(4)
    rows(resumed, 5, 9)
    assert path.read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


def test_truncate_to_before_the_first_row(tmp_path, start):
    record = start(tmp_path)
    record.write(5, {"loss": 1})
    record.truncate_after(0)
    record.write(6, {"loss": 2})
    assert read_metrics(tmp_path) == [{"step": 6, "loss": 2}]


def test_full_disk_is_one_sentence_and_loses_nothing(tmp_path, start):
    record = start(tmp_path)
    record.write(1, {"loss": 1.0})
    # A limit on the file's size stands in for the full disk: the system takes a part of the row and then refuses.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, hard))
    try:
        with pytest.raises(UserError, match="cannot write .*metrics.jsonl: .*continue with --resume"):
            record.write(2, {"loss": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_a_damaged_line_is_named(tmp_path, start):
    start(tmp_path).write(1, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('garbage\n{"step": 3}\n')
    with pytest.raises(UserError, match="damaged in line 2"):
        read_metrics(tmp_path)
    with pytest.raises(UserError, match="damaged in line 2"):
        start(tmp_path, resume=True)
    assert "garbage" in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    "line", ["3", "[]", '{"loss": 1}', '{"step": "1"}', '{"step": null}', '{"step": 1, "loss": []}']
)
def test_what_is_no_row_is_damage(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match="damaged in line 1"):
        read_metrics(tmp_path)


def test_no_rows(tmp_path):
    assert read_metrics(tmp_path) == []


def test_config_is_kept_with_the_commit(tmp_path, start):
    start(tmp_path, {"seed": 1, "maze": {"kind": "random", "size": (3, 3)}})
    assert read_config(tmp_path) == {"seed": 1, "maze": {"kind": "random", "size": [3, 3]}}
    assert "git_commit" in json.loads((tmp_path / "config.json").read_text())


def test_a_new_run_never_overwrites_another(tmp_path, start):
    start(tmp_path).write(1, {"loss": 1.0})
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(UserError, match="holds a run: continue it with --resume"):
        start(tmp_path, {"seed": 2})
    start(tmp_path / "two words")
    with pytest.raises(UserError, match="--resume '[^']*two words', or"):
        start(tmp_path / "two words")
    shutil.rmtree(tmp_path / "two words")
    assert before == {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}


def test_resume_wants_the_same_config(tmp_path, start):
    start(tmp_path, {"seed": 1, "maze": {"rows": 3, "size": (3, 3)}})
    start(tmp_path, {"seed": 1, "maze": {"rows": 3, "size": (3, 3)}}, resume=True)
    with pytest.raises(UserError, match="was started with maze.rows = 3, not 4"):
        start(tmp_path, {"seed": 1, "maze": {"rows": 4, "size": (3, 3)}}, resume=True)


def test_resume_fills_in_options_of_later_versions(tmp_path, start):
    today = asdict(RunConfig())
    start(tmp_path, {name: value for name, value in today.items() if name != "height"})
    start(tmp_path, today, resume=True)
    with pytest.raises(UserError, match=f"was started with height = {RunConfig().height}, not 48"):
        start(tmp_path, today | {"height": 48}, resume=True)
    with pytest.raises(UserError, match="by another version of this program, which had an option seed"):
        start(tmp_path, {name: value for name, value in today.items() if name != "seed"}, resume=True)


def test_resume_without_a_run_or_with_a_damaged_config(tmp_path, start):
    with pytest.raises(UserError, match="holds no run"):
        start(tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()
    for text in ("{", "[]", '{"config": 5}'):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="damaged"):
            start(tmp_path, resume=True)


def test_a_run_that_goes_on_is_not_gone_on_with(tmp_path, start):
    record = start(tmp_path)
    record.write(1, {"loss": 1.0})
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2, ')  # it is just writing
    with pytest.raises(UserError, match="is in use by another process"):
        Record(tmp_path, {"seed": 1}, Rows(), resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b'{"step": 2, ')


def test_runs_that_differ_by_seed_and_workers_share_a_curve(tmp_path, start):
    today = asdict(RunConfig())
    older = {name: value for name, value in today.items() if name != "height"}  # of before the option existed
    others = {"a": today, "b": {**older, "seed": 1, "workers": 8}, "c": {**today, "steps": 9}}
    for number, (name, config) in enumerate(others.items()):
        start(tmp_path / name, config).write(8, {"return": number})
    twice = tmp_path / "c" / ".." / "a"
    curves = learning_curves([*(tmp_path / name for name in "abc"), twice])
    assert curves == {"a and 1 more seeds": [[{"step": 8, "return": 0}], [{"step": 8, "return": 1}]],
                      "c": [[{"step": 8, "return": 2}]]}  # fmt: skip
    start(tmp_path / "d", today)
    with pytest.raises(UserError, match="d has no metrics yet"):
        learning_curves([tmp_path / "a", tmp_path / "d"])


def test_runs_in_folders_of_one_name_have_curves_of_their_own(tmp_path, start):
    folders = [tmp_path / name / "agent" / "seed-0" for name in ("one", "two")]
    for steps, folder in enumerate(folders, 1):
        start(folder, {"steps": steps}).write(8, {"return": steps})
    curves = learning_curves(folders)
    assert {name: rows[0][0]["return"] for name, rows in curves.items()} == {
        "one/agent/seed-0": 1,
        "two/agent/seed-0": 2,
    }


def test_results_are_strict_json(tmp_path):
    write_result(tmp_path / "a.json", {"rows": {"agent": {"x": math.nan, "y": [1.5, math.inf]}}}, RunConfig(), 0.0, 5)
    result = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert result["rows"] == {"agent": {"x": None, "y": [1.5, None]}} and result["steps"] == 5


def test_unwritable_folder(tmp_path, start):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write"):
        start(tmp_path / "file" / "run")


def test_git_commit(tmp_path, monkeypatch):
    assert git_commit(tmp_path) is None

    def git(*arguments):
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "one")
    git("tag", "v1")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None
