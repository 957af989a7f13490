"""Whole runs from the command line: record, stop, kill, resume, damage, and what is said of mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = (
    "--preset imaze --steps 4096 --height 16 --width 16 --workers 2 --evaluate-every 2048 --evaluation-mazes 2 --final-mazes 4 "
    "--checkpoint-every 512 --wandb off --learner.environments 8 --learner.rollout 32 --learner.episode 64 --learner.minibatches 2 "
    "--learner.shaping 0.05 --agent.features 16 --agent.reward-units 8 --agent.units 16"
).split()


def start(script: str, *arguments: object, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    process = start(script, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def rows(folder: Path) -> list[dict]:
    """What must agree between two runs: everything but how long it took."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    result = run("train_nav.py", *TINY, "--out", folder, "--json", folder / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "oracle" in result.stdout and "random walk" in result.stdout, "the table goes to stdout"
    assert "replay.mp4" in result.stderr, "the end says where things are"
    return folder


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while not any(int(path.stem.split("_")[1]) >= step for path in (folder / "checkpoints").glob("step_*.pt")):
        assert time.monotonic() < deadline, "the run made no checkpoint in time"
        time.sleep(0.02)


def test_a_run_leaves_everything(finished: Path) -> None:
    for name in ("config.json", "metrics.jsonl", "evaluation.json", "table.md", "plots/latency_by_visit.png", "plots/training.png", "videos/replay.mp4"):
        assert (finished / name).stat().st_size > 0, name
    assert len(list((finished / "checkpoints").glob("step_*.pt"))) == 3
    lines = rows(finished)
    assert [line["step"] for line in lines] == list(range(0, 4097, 256))
    assert "latency/later" in lines[0] and "latency/later" in lines[8]
    assert "latency/memory_score" in json.loads((finished / "figures.json").read_text())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_stopped_and_resumed_equals_never_stopped(finished: Path, tmp_path: Path, how: signal.Signals) -> None:
    folder = tmp_path / "stopped"
    process = start("train_nav.py", *TINY, "--out", folder)
    wait_for_step(folder, 1024)
    process.send_signal(how)
    _, err = process.communicate(timeout=120)
    if how != signal.SIGKILL:
        assert process.returncode == 0, err
        assert f"--resume {folder}" in err
    assert rows(folder)[-1]["step"] < 4096, "it was stopped in the middle"
    result = run("train_nav.py", "--resume", folder, "--wandb", "off")
    assert result.returncode == 0, result.stderr
    assert rows(folder) == rows(finished)
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads((finished / "evaluation.json").read_text())


def test_the_last_good_checkpoint_is_used_when_the_newest_is_damaged(finished: Path, tmp_path: Path) -> None:
    newest = sorted((finished / "checkpoints").glob("step_*.pt"))
    copy = tmp_path / "run"
    for path in newest:
        (copy / "checkpoints").mkdir(parents=True, exist_ok=True)
        (copy / "checkpoints" / path.name).write_bytes(path.read_bytes())
    damaged = copy / "checkpoints" / newest[-1].name
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    arguments = ("--mazes", 4, "--visits", 2)
    result = run("evaluate.py", copy, *arguments)
    assert result.returncode == 0, result.stderr
    assert damaged.name in result.stderr and "damaged" in result.stderr
    result = run("evaluate.py", damaged, *arguments)
    assert result.returncode == 2 and "damaged" in result.stderr and len(result.stderr.strip().splitlines()) == 1


def test_evaluate_writes_figures(finished: Path, tmp_path: Path) -> None:
    result = run("evaluate.py", finished, "--mazes", 4, "--visits", 2, "--kind", "random", "--rooms", 2, "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"latency/first", "latency/visit_2", "latency/memory_score/low", "config", "git_commit", "seconds", "steps"} <= figures.keys()
    assert figures["config"]["rows"] == 2


@pytest.mark.opengl
def test_evaluate_with_real_miniworld_frames(finished: Path) -> None:
    result = run("evaluate.py", finished, "--mazes", 2, "--visits", 2, "--renderer", "miniworld")
    assert result.returncode == 0, result.stderr
    assert "oracle" in result.stdout


MISTAKES = {
    "unknown option": (["train_nav.py", "--presett", "quick"], "presett"),
    "unknown preset": (["train_nav.py", "--preset", "enormous"], "enormous"),
    "impossible maze size": (["train_nav.py", "--maze.rows", "1"], "rows must be between 2 and 15"),
    "uneven split": (["train_nav.py", "--learner.minibatches", "7"], "must split evenly"),
    "nothing to resume": (["train_nav.py", "--resume", "/nonexistent/run"], "/nonexistent/run"),
    "no such checkpoint": (["evaluate.py", "/nonexistent/agent.pt"], "/nonexistent/agent.pt"),
    "foreign checkpoint": (["evaluate.py", str(ROOT / "pyproject.toml")], "not a nav_meta checkpoint"),
    "impossible size in evaluation": (["evaluate.py", "--rooms", "99"], "between 2 and 15"),
    "unwritable run": (["train_nav.py", *TINY, "--out", "/dev/null/run"], "/dev/null/run"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_a_sentence_and_a_non_zero_exit(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.returncode != 0
    assert said in " ".join(result.stderr.split()).replace("│ ", ""), result.stderr
    assert "Traceback" not in result.stderr


def test_resume_with_a_changed_option_is_refused(finished: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    result = run("train_nav.py", "--resume", finished, "--learner.gamma", "0.5", "--wandb", "off")
    assert result.returncode == 2 and "gamma" in result.stderr and "Traceback" not in result.stderr
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_new_run_never_overwrites_an_old_one(finished: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    result = run("train_nav.py", *TINY, "--out", finished)
    assert result.returncode == 2 and "holds a run" in result.stderr
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_training_needs_no_opengl_libraries(tmp_path: Path) -> None:
    """Without libGL neither opencv nor MiniWorld can be imported; training still runs to its end, without the replay."""
    for name in ("cv2", "miniworld_gl", "pyglet"):
        (tmp_path / "stubs").mkdir(exist_ok=True)
        (tmp_path / "stubs" / f"{name}.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n")
    folder = tmp_path / "run"
    result = run("train_nav.py", *TINY, "--steps", 512, "--out", folder, PYTHONPATH=str(tmp_path / "stubs"))
    assert result.returncode == 0, result.stderr
    assert "libGL" in result.stderr and "Traceback" not in result.stderr
    assert (folder / "table.md").exists() and (folder / "plots" / "latency_by_visit.png").exists()
    result = run("evaluate.py", folder, "--renderer", "miniworld", "--mazes", 2, PYTHONPATH=str(tmp_path / "stubs"))
    assert result.returncode == 2 and "OpenGL" in result.stderr and len(result.stderr.strip().splitlines()) == 1
