"""A run's own record: `config.json` and `metrics.jsonl`, the record of truth that plots and tables are made from.

One JSON object a line: "step" (environment steps, never falling) and the metrics of that moment. Write the rows of a
step before its checkpoint: a resumed run drops the rows newer than the checkpoint and writes them again, so the file
becomes that of a run never stopped.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any

from nav_meta.config import RunConfig
from nav_meta.errors import UserError, reason
from nav_meta.files import json_value, write_atomically, write_json
from nav_meta.tracking import Tracker

CONFIG = "config.json"
METRICS = "metrics.jsonl"


class Record:
    """The open record of one run; every row goes to W&B too.

    Raises UserError when a new run is given a folder that already holds one, when `resume=True` finds none or one with
    another config, when another process has the record open, and when the disk is full or not writable.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], tracker: Tracker, *, resume: bool = False) -> None:
        folder = Path(folder)
        if resume:
            require_same(folder, config)
        else:
            require_none(folder)
        self._tracker = tracker
        self._path = folder / METRICS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # unbuffered: a row is in the file once write returns
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {reason(error)}.") from error
        try:
            self._lock()
            if not resume:
                text = json.dumps({"git_commit": own_commit(), "config": _plain_config(config)}, indent=2)
                write_atomically(folder / CONFIG, text.encode() + b"\n")
            self.truncate_after(math.inf)  # a line half written at kill -9
        except UserError:
            self.close()
            raise

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append the numbers of one moment; NaN and infinities become null. Raises UserError when the disk refuses."""
        row = json_value(dict(metrics))
        line = (json.dumps({"step": step, **row}, allow_nan=False) + "\n").encode()
        size = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            raise UserError(f"cannot write {self._path}: {reason(error)}, then continue with --resume.") from error
        self._tracker.log(step, row)

    def truncate_after(self, step: float) -> None:
        """Drop the rows newer than `step`, the checkpoint's, and a last line without an end."""
        # Steps never fall, so the rows to keep are the file's beginning: one system call cuts it, and needs no space.
        kept = max((end for end, row in _rows(self._path) if row["step"] <= step), default=0)
        try:
            self._file.truncate(kept)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {reason(error)}.") from error

    def _lock(self) -> None:
        """Keep other processes out until the file is closed, by kill -9 as well."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{self._path.parent} is in use by another process: stop it, or wait for it.") from error
        except OSError:  # some network drives have no locks
            pass

    def close(self) -> None:
        """No more rows will come."""
        self._file.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of a run, oldest first, null read as NaN; none if nothing was written. Raises UserError when damaged."""
    return [
        {key: math.nan if value is None else value for key, value in row.items()}
        for _, row in _rows(Path(folder) / METRICS)
    ]


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration a run was started with. Raises UserError when the folder holds no run."""
    return _read(folder, "config", dict)


def read_commit(folder: Path) -> str | None:
    """The git commit of the code that started a run. Raises UserError when the folder holds no run."""
    return _read(folder, "git_commit", str | None)


def learning_curves(folders: Sequence[Path]) -> dict[str, list[list[dict[str, float]]]]:
    """The rows of runs by the name of the first of those that differ from it by their seed alone.

    Where two folders have the same name, as many of those around them are named too as tell them apart. How many
    threads a machine has is no property of an experiment. A run of before an option existed was as the option is by
    default. Raises UserError when a folder holds no run, or nothing has come of it yet.
    """
    defaults = _defaults()
    groups: dict[str, list[Path]] = {}
    for folder in {folder.resolve(): folder for folder in folders}.values():  # one that is named twice is one run
        settings = {**defaults, **_flat(read_config(folder)), "seed": None, "workers": None}
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(folder)
    curves = {}
    names = _names([group[0].resolve() for group in groups.values()])
    for name, group in zip(names, groups.values(), strict=True):
        rows = curves[name if len(group) == 1 else f"{name} and {len(group) - 1} more seeds"] = [
            read_metrics(folder) for folder in group
        ]
        if not all(rows):
            raise UserError(f"{group[rows.index([])]} has no metrics yet: wait for its first update.")
    return curves


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of different paths that differ."""
    depth = 1
    while len(set(names := ["/".join(folder.parts[-depth:]) for folder in folders])) < len(folders):
        depth += 1
    return names


def _read(folder: Path, key: str, kind: type | UnionType) -> Any:
    path = Path(folder) / CONFIG
    try:
        value = json.loads(path.read_text())[key]
        if not isinstance(value, kind):
            raise TypeError(f"{key} is no {kind}")
        return value
    except OSError as error:
        raise UserError(f"{folder} holds no run that can be read: {CONFIG}: {reason(error)}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: restore it, or start a new run.") from error


def require_none(folder: Path) -> None:
    """Raise UserError when the folder holds a run."""
    metrics = folder / METRICS
    if (folder / CONFIG).exists() or (metrics.exists() and metrics.stat().st_size):
        resume = shlex.join(("--resume", str(folder)))
        raise UserError(f"{folder} holds a run: continue it with {resume}, or choose another folder.")


def require_same(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise UserError when the run in `folder` was started with another config, or the folder holds none.

    How many workers share the work may change: other machines have other numbers of processors. A run of before an
    option existed was as the option is by default.
    """
    stored, given = _flat(read_config(folder)), _flat(_plain_config(config))
    started = {**_defaults(), **stored}
    for name in sorted(given.keys() - {"workers"}):
        if started.get(name) != given[name]:
            raise UserError(
                f"{folder} was started with {name} = {started.get(name)}, not {given[name]}: "
                "continue it with the same options, or start a new run."
            )
    if unknown := sorted(stored.keys() - given.keys()):
        raise UserError(
            f"{folder} was started by another version of this program, which had an option {unknown[0]}: "
            "continue it with that version, or start a new run."
        )


def write_result(path: Path, figures: Mapping[str, Any], config: object, started: float, steps: int) -> None:
    """Write what a script found, for `--json`: its figures, the config (a dataclass), git commit, seconds and steps.

    A figure that is not a number becomes null.

    `started` is `time.perf_counter()` at the beginning. Raises UserError when the disk is full or not writable.
    """
    result = {
        **figures,
        "config": _plain_config(asdict(config)),
        "git_commit": own_commit(),
        "seconds": time.perf_counter() - started,
        "steps": steps,
    }
    write_json(path, result)


@cache
def own_commit() -> str | None:
    """The commit of this code at the first call: what is committed while a run goes on is not what it ran."""
    return git_commit(Path(__file__).parent)


def git_commit(path: Path) -> str | None:
    """The commit of the repository around `path`, plus "-dirty" when tracked files differ; None where there is none."""
    command = ["git", "-C", str(path), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line of a metrics file as (the offset behind it, its object)."""
    end = 0
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return
        end += len(line)
        try:
            row = json.loads(line)
            if not all(value is None or isinstance(value, int | float) for value in row.values()):
                raise TypeError("a metric that is no number")
            row["step"] + 0
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged in line {number}: mend or delete that line.") from error
        yield end, row


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it reads back: tuples are lists, paths are strings."""
    return json.loads(json.dumps(config, default=str))


def _defaults() -> dict[str, Any]:
    """What options of a maze's run are by default, by dotted name; other experiments' nets and learners share them."""
    return _flat(_plain_config(asdict(RunConfig())))


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by their dotted names."""
    flat = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
