import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nav_meta.errors import UserError
from nav_meta.tracking import Tracker

ROOT = Path(__file__).parents[1]
FAKE_KEY = "0" * 40


class FakeWandb:
    """What the tracker uses of wandb, keeping every call; `broken` names the calls that raise."""

    def __init__(self, monkeypatch, key=True, broken=()):
        self.key, self.broken = key, broken
        self.inits, self.rows, self.finished = [], [], False
        self.url, self.login_calls = "https://example.org/run", 0
        monkeypatch.setitem(sys.modules, "wandb", self)
        monkeypatch.delenv("WANDB_MODE", raising=False)

    Settings = Table = Image = Video = SimpleNamespace

    def setup(self, settings):
        assert settings.silent and settings.console == "off"

    def teardown(self):
        pass

    def login(self, prompt, verify):
        assert not prompt and not verify
        return self.key

    def init(self, **options):
        self.inits.append(options)
        if options["mode"] in self.broken:
            raise RuntimeError("init failed\nlong story")
        return self

    def define_metric(self, *names, **options):
        pass

    def log(self, row):
        if "log" in self.broken:
            raise RuntimeError("log failed")
        self.rows.append(row)

    def finish(self):
        self.finished = True


def test_rows_and_the_step_metric(monkeypatch, tmp_path, capsys):
    wandb = FakeWandb(monkeypatch)
    tracker = Tracker(tmp_path, {"seed": 1})
    tracker.log(8, {"loss": 0.5, "none": None})
    tracker.finish()
    assert wandb.rows == [{"global_step": 8, "loss": 0.5}] and wandb.finished
    assert [(init["mode"], init["config"]) for init in wandb.inits] == [("online", {"seed": 1})]
    assert capsys.readouterr() == ("", "W&B: https://example.org/run\n")


@pytest.mark.parametrize(
    ("mode", "key", "used"),
    [("auto", True, "online"), ("auto", False, "offline"), ("online", False, "offline"), ("offline", True, "offline")],
)
def test_modes(mode, key, used, monkeypatch, tmp_path, capsys):
    wandb = FakeWandb(monkeypatch, key=key)
    tracker = Tracker(tmp_path, {}, mode)
    tracker.log(1, {})
    tracker.finish()
    assert [init["mode"] for init in wandb.inits] == [used]
    assert ("no key found" in capsys.readouterr().err) == (mode == "online")


def test_off_does_nothing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    before = threading.active_count()
    tracker = Tracker(tmp_path, {}, "off")
    tracker.log(1, {"loss": 1.0})
    tracker.finish()
    assert threading.active_count() == before and os.listdir(tmp_path) == []


def test_wandbs_own_variable_decides_for_auto(monkeypatch, tmp_path):
    wandb = FakeWandb(monkeypatch)
    for wish in ("disabled", "offline"):
        monkeypatch.setenv("WANDB_MODE", wish)
        tracker = Tracker(tmp_path, {}, "auto")
        tracker.log(1, {})
        tracker.finish()
    assert [init["mode"] for init in wandb.inits] == ["offline"]


def test_unknown_mode_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="unknown W&B mode 'on'"):
        Tracker(tmp_path, {}, "on")


def test_nothing_starts_before_the_first_row(monkeypatch, tmp_path):
    wandb = FakeWandb(monkeypatch)
    Tracker(tmp_path, {}).finish()
    assert not wandb.inits and os.listdir(tmp_path) == []


def test_not_installed_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Tracker(tmp_path, {}, "offline")
    for step in range(3):
        tracker.log(step, {})
        time.sleep(0.02)
    tracker.finish()
    out, err = capsys.readouterr()
    assert out == "" and "pip install wandb" in err and len(err.splitlines()) == 1


def test_a_server_that_fails_leaves_an_offline_run_of_the_same_id(monkeypatch, tmp_path, capsys):
    wandb = FakeWandb(monkeypatch, broken=["online"])
    tracker = Tracker(tmp_path, {})
    tracker.log(1, {"loss": 1.0})
    tracker.finish()
    assert [init["mode"] for init in wandb.inits] == ["online", "offline"]
    assert wandb.inits[0]["id"] == wandb.inits[1]["id"] and len(wandb.rows) == 1
    err = capsys.readouterr().err
    assert "recording offline" in err and len(err.splitlines()) == 1


def test_no_start_at_all_is_one_line(monkeypatch, tmp_path, capsys):
    FakeWandb(monkeypatch, broken=["online", "offline"])
    tracker = Tracker(tmp_path, {}, "offline")
    tracker.log(1, {})
    tracker.finish()
    assert capsys.readouterr().err == "W&B: not used (RuntimeError init failed long story)\n"


def test_exceptions_while_logging_are_said_once(monkeypatch, tmp_path, capsys):
    wandb = FakeWandb(monkeypatch, broken=["log"])
    tracker = Tracker(tmp_path, {}, "offline")
    for step in range(5):
        tracker.log(step, {"loss": 1.0})
    tracker.log_table("table", ["agent"], [["lstm"]])
    tracker.finish()
    err = capsys.readouterr().err
    assert "log failed" in err and "metrics.jsonl" in err and len(err.splitlines()) == 1 and wandb.finished


def test_a_slow_wandb_neither_blocks_nor_fills_memory(monkeypatch, tmp_path, capsys):
    wandb = FakeWandb(monkeypatch)
    gate = threading.Event()
    wandb.log = lambda row: gate.wait()
    monkeypatch.setattr("nav_meta.tracking._QUEUE_SIZE", 10)
    tracker = Tracker(tmp_path, {}, "offline")
    start = time.monotonic()
    for step in range(1000):
        tracker.log(step, {"loss": 1.0})
    tracker.finish(timeout=0.2)
    assert time.monotonic() - start < 5
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "too slow" in lines[0] and "not finished after 0.2 s" in lines[1]
    gate.set()


def test_a_resumed_run_keeps_its_id(monkeypatch, tmp_path):
    wandb = FakeWandb(monkeypatch)
    for _ in range(2):
        tracker = Tracker(tmp_path, {}, "offline")
        tracker.log(1, {})
        tracker.finish()
    assert wandb.inits[0]["id"] == wandb.inits[1]["id"] == (tmp_path / "wandb_id").read_text()
    assert all(init["resume"] == "allow" for init in wandb.inits)


def test_the_real_wandb_offline_with_every_kind(tmp_path):
    result = run(
        """
        import cv2, numpy
        folder.mkdir()
        picture, video = folder / "a.png", folder / "a.mp4"
        cv2.imwrite(str(picture), numpy.zeros((8, 8, 3), numpy.uint8))
        video.write_bytes(b"any bytes do, the file is only copied")
        tracker = Tracker(folder, {"seed": 1}, "online")
        tracker.log(1, {"latency/first": 20.0, "loss": float("nan")})
        tracker.log_image(1, "plot", picture)
        tracker.log_video(1, "replay", video)
        tracker.log_table("table", ["agent", "later"], [["lstm", 14.5], ["random", 80.0]])
        tracker.finish()
        """,
        tmp_path / "run",
        HOME=str(tmp_path),
    )
    assert result.stdout == ""
    assert result.stderr == "W&B: no key found (`wandb login` stores one), recording offline\n"
    (media,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media")
    assert {path.suffix for path in media.rglob("*.*")} == {".png", ".mp4", ".json"}


def test_a_dead_server_is_found_out_beside_the_run(tmp_path):
    result = run(
        """
        import time
        import nav_meta.tracking
        nav_meta.tracking._INIT_SECONDS = 5
        start = time.monotonic()
        tracker = Tracker(folder, {}, "online")
        for step in range(100):
            tracker.log(step, {"loss": 1.0})
        assert time.monotonic() - start < 1
        tracker.finish()
        assert time.monotonic() - start < 20
        """,
        tmp_path / "run",
        WANDB_API_KEY=FAKE_KEY,
        WANDB_BASE_URL="http://127.0.0.1:9",
    )
    assert result.stdout == ""
    assert "recording offline" in result.stderr and len(result.stderr.splitlines()) == 1
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert log.stat().st_size > 100


def test_finish_is_bounded_while_the_server_hangs(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run(
            """
            import time
            start = time.monotonic()
            tracker = Tracker(folder, {}, "online")
            tracker.log(1, {"loss": 1.0})
            tracker.finish(timeout=1)
            assert time.monotonic() - start < 2
            """,
            tmp_path / "run",
            WANDB_API_KEY=FAKE_KEY,
            WANDB_BASE_URL=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
    assert "not finished after 1 s" in result.stderr and len(result.stderr.splitlines()) == 1


def test_a_server_that_never_answers_does_not_hold_the_program(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run(
            """
            import nav_meta.tracking, time
            nav_meta.tracking._INIT_SECONDS = 6
            tracker = Tracker(folder, {}, "online")
            tracker.log(1, {"loss": 1.0})
            tracker.finish()
            print(time.time())
            """,
            tmp_path / "run",
            WANDB_API_KEY=FAKE_KEY,
            WANDB_BASE_URL=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
    assert time.time() - float(result.stdout) < 10
    assert "recording offline" in result.stderr and len(result.stderr.splitlines()) == 1


def run(script, folder, **environment):
    """Run the lines in a process of their own, without the key or mode of whoever runs the tests."""
    preamble = f"from pathlib import Path\nfrom nav_meta.tracking import Tracker\nfolder = Path({str(folder)!r})\n"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    clean |= {"NETRC": os.devnull, **environment}
    command = [sys.executable, "-c", preamble + textwrap.dedent(script)]
    result = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result
