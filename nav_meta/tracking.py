"""Weights & Biases beside a run, never in its way.

Every call only puts a job into a queue. A daemon thread, started by the first of them, imports wandb, finds out whether
the server lives, and does the jobs. What fails there is said once, in one line on stderr: `metrics.jsonl` is the
record, W&B a copy to share.
"""

from __future__ import annotations

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nav_meta.errors import UserError, say
from nav_meta.files import write_atomically

MODES = ("auto", "online", "offline", "off")  # auto: online when a key is found, else offline

_QUEUE_SIZE = 10_000  # rows; hours of training while a server is slow, a few megabytes
_INIT_SECONDS = 20  # wandb's own default, 90, outlasts a short run
_FINISH_SECONDS = 30  # wandb's own default is no limit


class Tracker:
    """The W&B run of one run folder; a resumed run continues under the same id, kept in the folder."""

    def __init__(self, folder: Path, config: Mapping[str, Any], mode: str = "auto", project: str = "nav_meta") -> None:
        if mode not in MODES:
            raise UserError(f"unknown W&B mode {mode!r}: choose one of {', '.join(MODES)}.")
        if mode == "auto":
            mode = {"disabled": "off"}.get(wish := os.environ.get("WANDB_MODE", "auto"), wish)
        self._folder = Path(folder).absolute()
        self._config = dict(config)
        self._mode = mode
        self._project = project
        self._jobs: queue.Queue[Callable[[Any, Any], object] | None] = queue.Queue(_QUEUE_SIZE)
        self._said: set[str] = set()
        self._silent = False
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)

    def log(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """One row of numbers at environment step `step`; None is left out."""
        row = {key: value for key, value in metrics.items() if value is not None}
        self._put(lambda wandb, run: run.log({"global_step": step, **row}))

    def log_video(self, step: int, key: str, path: Path) -> None:
        """An mp4 file, which must stay where it is until `finish`."""
        self._put(lambda wandb, run: run.log({"global_step": step, key: wandb.Video(str(path), format="mp4")}))

    def log_image(self, step: int, key: str, path: Path) -> None:
        """A picture file, which must stay where it is until `finish`."""
        self._put(lambda wandb, run: run.log({"global_step": step, key: wandb.Image(str(path))}))

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table, such as the final one; a column holds values of one type."""
        columns, rows = list(columns), [list(row) for row in rows]
        self._put(lambda wandb, run: run.log({key: wandb.Table(columns=columns, data=rows)}))

    def finish(self, timeout: float = _INIT_SECONDS + _FINISH_SECONDS) -> None:
        """Let the queue run dry and close the run, for at most `timeout` seconds."""
        end = time.monotonic() + timeout
        if self._thread.is_alive():
            try:
                self._jobs.put(None, timeout=timeout)
            except queue.Full:
                pass
            self._thread.join(max(0.0, end - time.monotonic()))
        if self._thread.is_alive():
            self._say_missing(f"not finished after {timeout:g} s")
            self._silent = True  # the program is about to end

    def _put(self, job: Callable[[Any, Any], object]) -> None:
        if self._mode == "off":
            return
        if self._thread.ident is None:  # only now: a run refused before its first row must not touch the one at W&B
            self._thread.start()
        elif not self._thread.is_alive():  # failed, and said so, or finished
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._say("full", "too slow to keep up, some rows are left out there; metrics.jsonl has them all")

    def _work(self) -> None:
        try:
            wandb, run = self._start()
        except ImportError as error:
            return self._say("start", f"not used, `pip install wandb` would bring it ({_brief(error)})")
        except Exception as error:
            return self._say("start", f"not used ({_brief(error)})")
        while job := self._jobs.get():
            self._try(lambda job=job: job(wandb, run))
        self._try(run.finish)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._say_missing(_brief(error))

    def _start(self) -> tuple[Any, Any]:
        """The wandb module and its running run."""
        # Reports of wandb's own faults would be waited for when the program ends: 20 s from a server that hangs.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            init_timeout=_INIT_SECONDS,
            finish_timeout=_FINISH_SECONDS,
            finish_timeout_raises=True,
        )
        wandb.setup(settings)
        start = {"dir": str(self._folder), "id": self._run_id(), "resume": "allow", "name": self._folder.name}
        start |= {"project": self._project, "config": self._config, "settings": settings}
        run = None
        if self._mode != "offline":
            try:
                # prompt=False: a question nobody sees, asked from a thread, would wait for ever.
                if wandb.login(prompt=False, verify=False):
                    run = wandb.init(mode="online", **start)
                    self._say("url", run.url)
                elif self._mode == "online":
                    self._say("online", "no key found (`wandb login` stores one), recording offline")
            except Exception as error:
                self._say("online", f"the server cannot be used, recording offline ({_brief(error)})")
                wandb.teardown()  # it would hold the run's id as in use
                wandb.setup(settings)
        if run is None:
            run = wandb.init(mode="offline", **start)
        run.define_metric("global_step")
        run.define_metric("*", step_metric="global_step")  # wandb's own step drops rows that come late
        return wandb, run

    def _run_id(self) -> str:
        path = self._folder / "wandb_id"
        if not path.exists():
            write_atomically(path, secrets.token_hex(4).encode())
        return path.read_text()

    def _say_missing(self, why: str) -> None:
        hint = f"`wandb sync {self._folder}/wandb/*run-*` may bring it"
        self._say("missing", f"some of what was logged is not there ({why}); {hint}, metrics.jsonl has all numbers")

    def _say(self, kind: str, text: str) -> None:
        if not self._silent and kind not in self._said:
            self._said.add(kind)
            say(f"W&B: {text}")


def _brief(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]
