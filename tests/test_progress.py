import io
import sys

import pytest

from nav_meta import progress


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_few_and_say_all(clock, capsys):
    with progress.Progress(10_000) as shown:
        for second in range(51):
            clock[0] = float(second)
            shown.update(100 * second, {"return": 1.5, "loss": 3.0} | ({"latency/first": 20.0} if second == 5 else {}))
        shown.message("saved")
        clock[0] = 51.0
        shown.update(10_000, {"latency/later": None})
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == 8  # at 0, 10, ..., 50 s, the message, the end
    assert lines[0] == "step 0  0%  return 1.5"
    assert lines[5] == "step 5,000  50%  100 steps/s  0:50 left  return 1.5  first 20.0"
    assert lines[6] == "saved"
    assert lines[7].startswith("step 10,000  100%")


def test_a_last_update_beyond_the_end_is_all(clock, capsys):
    progress.Progress(10_000).update(12_288, {})
    assert capsys.readouterr().err == "step 12,288  100%\n"


def test_speed_is_that_of_this_process_after_a_resume(clock, capsys):
    shown = progress.Progress(10_000)
    shown.update(9_000, {})
    clock[0] = 10.0
    shown.update(9_100, {})
    assert capsys.readouterr().err.splitlines()[-1] == "step 9,100  91%  10 steps/s  1:30 left"


def test_live_line_on_a_terminal(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress.Progress(1_000) as shown:
        shown.message("[saved]")
        shown.update(0, {})
        clock[0] = 0.01
        shown.update(500, {"return": 10.5, "latency/first": 120.5, "latency/later": 100.5})
    text = terminal.getvalue()
    assert "[saved]" in text
    assert "50,000 steps/s  0:00 left  return 10.5  first 120.5  later 100.5" in text
