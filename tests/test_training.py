"""Whole runs from the command line: record, stop, kill, resume, damage, and what is said of mistakes."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

from nav_meta import checkpoint, report, training, video
from nav_meta.loading import RELEASED, load_agent

# One worker runs all of these: they share a finished run.
pytestmark = pytest.mark.xdist_group("training")

ROOT = Path(__file__).parents[1]
STEPS = 4096
FPS = 6
"""Frames per second of the films here."""
TINY = (
    f"--preset imaze --maze.kind random --maze.rows 2 --maze.columns 2 --steps {STEPS} --height 16 --width 16 "
    "--workers 2 --evaluate-every 2048 --evaluation-mazes 2 --final-mazes 4 --checkpoint-every 512 "
    "--learner.environments 8 --learner.rollout 32 --learner.episode 64 --learner.minibatches 2 --learner.shaping 0.05 "
    "--agent.features 16 --agent.reward-units 8 --agent.units 16 --wandb off"
).split()

Script = Callable[..., subprocess.CompletedProcess[str]]


def start(script: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    with start(script, *arguments, **environment) as process:
        try:
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def rows(folder: Path) -> list[dict]:
    """What must agree between two runs: everything but how long it took."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step_*.pt"))


@pytest.fixture(scope="module", autouse=True)
def small_films() -> Iterator[None]:
    """In its usual size a film takes longer than all the rest of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, "write_video", partial(video.write_video, height=240, fps=FPS))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, script: Script) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    result = script("train_nav.py", *TINY, "--out", folder, "--json", folder / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "oracle" in result.stdout and "random walk" in result.stdout, "the table goes to stdout"
    assert "replay.mp4" in result.stderr, "the end says where things are"
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_a_run_leaves_everything(finished: Path) -> None:
    plots = ("plots/latency_by_visit.png", "plots/training.png", "plots/seen.png")
    for name in ("config.json", "evaluation.json", "table.md", *plots):
        assert (finished / name).stat().st_size > 0, name
    film = imageio_ffmpeg.read_frames(str(finished / "videos" / "replay.mp4"))
    facts = next(film)
    film.close()
    assert facts["codec"] == "h264" and facts["pix_fmt"].startswith("yuv420p") and facts["size"][1] == 240
    assert len(checkpoints(finished)) == 3
    lines = rows(finished)
    assert [line["step"] for line in lines] == list(range(0, STEPS + 1, 256))
    assert "latency/later" in lines[0] and "latency/later" in lines[8]
    figures = json.loads((finished / "figures.json").read_text())
    assert {"latency/memory_score", "latency/memory_score/low", "config", "git_commit", "seconds"} <= figures.keys()
    assert figures["steps"] == STEPS and figures["config"]["maze"]["rows"] == 2


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()


def terminate(process: subprocess.Popen[str]) -> None:
    process.terminate()


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def close_the_terminal(process: subprocess.Popen[str]) -> None:
    """Stand in for a window that is closed: a signal, and nobody reads any more."""
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    process.stderr = open(os.devnull)


def fill_the_disk(process: subprocess.Popen[str]) -> None:
    """Stand in for a full disk: from now on no file of the process may grow past 100 bytes."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100, 100))


BROKEN = {
    "opengl": ("cv2", "ImportError('libGL.so.1: cannot open shared object file: No such file or directory')"),
    "pyglet": ("pyglet", "ImportError('Library \"GLU\" not found')"),
    "torchvision": ("torchvision", "RuntimeError('operator torchvision::nms does not exist')"),
}


@pytest.fixture(scope="module")
def broken_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with packages as they are where OpenGL is missing and torchvision does not fit torch."""
    folder = tmp_path_factory.mktemp("broken")
    for package, error in BROKEN.values():
        (folder / f"{package}.py").write_text(f"raise {error}\n")
    return folder


@pytest.mark.parametrize(
    ("stop", "code", "said", "lacking"),
    [
        (kill, -signal.SIGKILL, "", "libraries"),
        (terminate, 130, "go on with: python scripts/train_nav.py --resume {} --wandb off\n", "ffmpeg"),
        (interrupt, 130, "go on with: python scripts/train_nav.py --resume {} --wandb off\n", "libraries"),
        (close_the_terminal, 130, "", "libraries"),
        (fill_the_disk, 2, "error: cannot write", "libraries"),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "full disk"],
)
def test_stopped_and_resumed_equals_never_stopped(
    stop: Callable, code: int, said: str, lacking: str, finished: Path, tmp_path: Path, broken_packages: Path
) -> None:
    """Bit for bit, and to the end although what only the replay needs is broken, which is said in one sentence."""
    folder = tmp_path / "stopped"
    heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and by our children too
    process = start("train_nav.py", *TINY, "--out", folder)
    signal.signal(signal.SIGHUP, heard)
    with process:
        try:
            deadline = time.monotonic() + 300
            while not any(path.name >= "step_000000001024" for path in checkpoints(folder)):
                assert process.poll() is None and time.monotonic() < deadline, "the run made no checkpoint"
                time.sleep(0.01)
            stop(process)
            _, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == code and said.format(folder) in err and "Traceback" not in err, err
    assert rows(folder)[-1]["step"] < STEPS, "it was stopped in the middle"
    for path in checkpoints(folder):
        checkpoint.load(path)

    if lacking == "ffmpeg":
        result = run("train_nav.py", "--resume", folder, "--wandb", "off", FFMPEG_BINARY="/nonexistent/ffmpeg")
    else:
        result = run("train_nav.py", "--resume", folder, "--wandb", "off", PYTHONPATH=str(broken_packages))
    assert result.returncode == 0 and "oracle" in result.stdout, result.stderr
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("no replay: ")]
    assert ("libGL" if lacking == "libraries" else "ffmpeg") in sentence and "Traceback" not in result.stderr
    assert rows(folder) == rows(finished)
    for name in ("evaluation.json", "table.md"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name
    assert (folder / "plots" / "latency_by_visit.png").exists()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the rank to kill in /proc")
def test_two_ranks_train_what_two_workers_do_also_when_one_has_died(
    finished: Path, tmp_path: Path, broken_packages: Path
) -> None:
    folder = tmp_path / "ranks"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with subprocess.Popen(
        [*command, "--max-restarts", "1", "scripts/train_nav.py", *TINY, "--out", folder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(broken_packages)},  # spares the film
    ) as process:  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while not any(path.name >= "step_000000001024" for path in checkpoints(folder)):
                assert process.poll() is None and time.monotonic() < deadline, "the run made no checkpoint"
                time.sleep(0.01)
            os.kill(_process_of_rank(1, process.pid), signal.SIGKILL)
            out, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert f"continuing {folder} from step_" in err
    assert out.count("random walk") == 1, "one rank talks"
    assert rows(folder) == rows(finished)
    assert (folder / "table.md").read_bytes() == (finished / "table.md").read_bytes()


def _process_of_rank(rank: int, parent: int) -> int:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rsplit(")", 1)[1].split()[1]) != parent:
                continue
            if f"\0RANK={rank}\0" in (path.parent / "environ").read_text():
                return int(path.parent.name)
        except OSError:  # gone since
            continue
    raise AssertionError(f"no process of rank {rank}")


def test_workers_that_ranks_cannot_share_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [*TINY, "--workers", "1", "--out", str(tmp_path / "run")]
    result = subprocess.run(
        [*command, "scripts/train_nav.py", *arguments], capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert result.returncode != 0
    assert "error: workers (1) must be a multiple of the number of ranks (2)" in result.stderr
    assert not (tmp_path / "run").exists()


def test_who_may_be_restarted_must_find_the_folder_again(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")  # as torchrun tells
    result = script("train_nav.py", *TINY)
    assert result.returncode == 2 and "name the run's folder with --out" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said_before_anything_is_written(tmp_path: Path, script: Script) -> None:
    result = script("train_nav.py", *TINY, "--device", "cuda", "--out", tmp_path / "run")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: torch finds no CUDA device") and result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_wandb_offline_leaves_a_run_and_does_not_touch_stdout(
    tmp_path: Path, broken_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    arguments = [*TINY, "--steps", 256, "--wandb", "offline", "--out", tmp_path / "run"]
    result = run("train_nav.py", *arguments, PYTHONPATH=str(broken_packages))
    assert result.returncode == 0, result.stderr
    assert "W&B" not in result.stderr and "wandb" not in result.stdout.lower()
    assert result.stdout.lstrip().startswith("┏"), "the table is all"
    (log,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert log.stat().st_size > 1000


def test_the_last_good_checkpoint_is_used_when_the_newest_is_damaged(copy: Path, script: Script) -> None:
    damaged = checkpoints(copy)[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    result = script("evaluate.py", copy, "--mazes", 4, "--visits", 2)
    assert result.returncode == 0 and damaged.name in result.stderr and "damaged" in result.stderr
    result = script("evaluate.py", damaged, "--mazes", 4, "--visits", 2)
    assert result.returncode == 2 and "damaged" in result.stderr and result.stderr.count("\n") == 1


def test_a_run_is_released_with_its_table(finished: Path, tmp_path: Path, script: Script) -> None:
    weights = tmp_path / "models" / "mine.pt"
    result = script("release.py", finished, "--out", weights, "--mazes", 4, "--temperature", 0.5)
    assert result.returncode == 0, result.stderr
    page = weights.with_suffix(".md").read_text()
    assert "logits divided by 0.5. 4 test mazes" in page and '"environments"' in page and "seed 0" in page
    assert f"evaluate.py {weights} --mazes 4`" in page
    assert weights.stat().st_size < checkpoints(finished)[-1].stat().st_size / 2, "weights alone"
    result = script("evaluate.py", weights, "--mazes", 4, "--json", tmp_path / "test.json")
    assert result.returncode == 0 and "(mine)" in result.stdout
    figures = json.loads((tmp_path / "test.json").read_text())
    assert f"| agent | {report.figure(figures, 'latency/first')} |" in page
    result = script("release.py", finished, "--out", page_path := weights.with_suffix(".md"))
    assert result.returncode == 2 and "--out must not end in .md" in result.stderr and page_path.read_text() == page
    result = script("release.py", finished, "--out", tmp_path / "other.pt", "--temperature", 0)
    assert result.returncode == 2 and "--temperature must be above 0" in result.stderr
    assert not (tmp_path / "other.pt").exists()


def make_foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    torch.save({"weights": torch.zeros(3)}, path)
    return "not a nav_meta checkpoint"


def make_newer(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contents = checkpoint.load(path)
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "SCHEMA", checkpoint.SCHEMA + 1)
        checkpoint.save(path, contents)
    return "update nav_meta"


def make_another_net(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contents = checkpoint.load(path)
    contents["config"]["agent"]["units"] *= 2
    checkpoint.save(path, contents)
    return "do not fit the net"


def make_another_task(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    checkpoint.save(path, {"step": 0, "agent": {}})
    return "holds no maze agent"


def make_another_experiment(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contents = checkpoint.load(path)
    contents["config"]["task"] = "two-step"
    checkpoint.save(path, contents)
    return "holds no maze agent"


def make_nonsense(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contents = checkpoint.load(path)
    contents["config"]["maze"] = 3
    checkpoint.save(path, contents)
    return "has 3 where options should be"


def make_no_options(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    checkpoint.save(path, checkpoint.load(path) | {"config": 3})
    return "has 3 where options should be"


def make_another_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contents = checkpoint.load(path)
    contents["config"]["maze"]["lava"] = True
    checkpoint.save(path, contents)
    return "unknown option lava"


@pytest.mark.parametrize(
    "make",
    [
        make_foreign, make_newer, make_another_net, make_another_task, make_another_experiment, make_nonsense,
        make_no_options, make_another_version,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["evaluate.py", "watch.py"])
def test_checkpoints_that_are_no_use(
    make: Callable, name: str, copy: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints(copy)[-1]
    said = make(path, monkeypatch)
    result = script(name, path)
    assert result.returncode == 2 and result.stdout == ""
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_evaluate_writes_figures(finished: Path, tmp_path: Path, script: Script) -> None:
    path = tmp_path / "figures.json"
    other = ("--kind", "random", "--rooms", 3, "--json", path)
    result = script("evaluate.py", finished, "--mazes", 4, "--visits", 2, *other)
    assert result.returncode == 0 and "oracle" in result.stdout, result.stderr
    figures = json.loads(path.read_text())
    assert {"latency/first", "latency/visit_2", "latency/memory_score/low", "config", "git_commit"} <= figures.keys()
    assert figures["config"]["rows"] == 3 and figures["steps"] == STEPS and figures["seconds"] > 0


def test_a_run_is_listed_and_drawn_beside_another(finished: Path, tmp_path: Path, script: Script) -> None:
    plot = tmp_path / "visits.png"
    other = ("--compare", checkpoints(finished)[0], "--plot", plot)
    result = script("evaluate.py", finished, *other, "--mazes", 4, "--visits", 2)
    assert result.returncode == 0 and result.stdout.count("stacked LSTM") == 2, result.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "(straight) #2" in result.stdout, "two of the same name do not hide each other"


def test_agents_of_one_name_are_told_apart() -> None:
    released = load_agent()
    agents = [released._replace(path=Path(name)) for name in ("x.pt", "x #2.pt", "x.pt", "x #2.pt")]
    assert len(report.players(agents)) == 4


def test_controls_are_listed_drawn_and_written(finished: Path, tmp_path: Path, script: Script) -> None:
    plot, path = tmp_path / "visits.png", tmp_path / "figures.json"
    result = script("evaluate.py", finished, "--controls", "--mazes", 4, "--visits", 2, "--plot", plot, "--json", path)
    assert result.returncode == 0, result.stderr
    figures = json.loads(path.read_text())
    name, *controls, walk = figures["rows"]
    taken = ("memory wiped after each visit", "goal moved after the first visit", "landmarks removed")
    assert controls == [f"{name}, {control}" for control in taken] and walk == "random walk"
    assert all({"latency/visit_1", "latency/visit_2/high"} <= row.keys() for row in figures["rows"].values())
    assert result.stdout.count("stacked LSTM") == 4 and plot.read_bytes().startswith(b"\x89PNG")


def test_watch_films_a_run(finished: Path, tmp_path: Path, script: Script) -> None:
    path = tmp_path / "film.mp4"
    result = script("watch.py", finished, "--visits", 1, "--height", 240, "--out", path)
    assert result.returncode == 0 and result.stdout.strip() == str(path), result.stderr
    (steps,) = (int(steps) for steps in re.findall(r"visit 1: +(\d+) step", result.stderr))
    still = sum(round(seconds * FPS) for seconds in (video.ARRIVAL, video.FOUND, video.END))
    assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] == still + len(video._times(steps, FPS))


@pytest.mark.opengl
def test_evaluate_with_real_miniworld_frames(finished: Path) -> None:
    result = run("evaluate.py", finished, "--mazes", 2, "--visits", 2, "--renderer", "miniworld")
    assert result.returncode == 0, result.stderr
    assert "oracle" in result.stdout


def test_miniworld_frames_without_opengl_are_refused(finished: Path, broken_packages: Path) -> None:
    result = run("evaluate.py", finished, "--renderer", "miniworld", "--mazes", 2, PYTHONPATH=str(broken_packages))
    assert result.returncode == 2 and "OpenGL" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [[], ["--learner.ask-place", "--learner.ask-trail", "--learner.coverage", "0.1", "--learner.guided-search"]],
    ids=["", "asked more"],
)
def test_a_run_begins_with_the_weights_of_another(
    options: list, finished: Path, tmp_path: Path, script: Script
) -> None:
    folder = tmp_path / "larger"
    begin = ["--maze.rows", 3, "--steps", 256, "--workers", 1, "--start", finished, *options]
    result = script("train_nav.py", *TINY, *begin, "--out", folder)
    assert result.returncode == 0, result.stderr
    weights = load_agent(finished).agent.state_dict()
    first, last = (load_agent(path).agent.state_dict() for path in checkpoints(folder))
    for name in ("heads.weight", "heads.bias"):  # policy and value; of the answers those that were asked for before
        assert len(first[name]) == len(weights[name]) + (9 if options else 0)
        for part in (slice(4), slice(-6, None)):
            assert torch.equal(first[name][part], weights[name][part])
    assert all(torch.equal(first[name], weights[name]) for name in weights if not name.startswith("heads"))
    assert any(not torch.equal(last[name], first[name]) for name in weights)


def test_an_agent_learns_from_another(finished: Path, tmp_path: Path, script: Script) -> None:
    """Two workers; who learns has a memory of another size, and the teacher's encoder."""
    folder = tmp_path / "apprentice"
    options = ["--learner.rollout", 64, "--agent.units", 12, "--teacher", finished, "--out", folder]
    result = script("train_nav.py", *TINY, *options)
    assert result.returncode == 0, result.stderr
    teacher, apprentice = load_agent(finished).agent, load_agent(folder).agent
    assert apprentice.lstm2.hidden_size == 12 != teacher.lstm2.hidden_size
    for name, weights in teacher.encoder.state_dict().items():
        assert torch.equal(weights, apprentice.encoder.state_dict()[name])


MISTAKES = {
    "unknown option": (["train_nav.py", "--presett", "quick"], "presett"),
    "unknown preset": (["train_nav.py", "--preset", "enormous"], "enormous"),
    "impossible maze size": (["train_nav.py", "--maze.rows", 1], "rows must be between 2 and 15, not 1"),
    "impossible learner": (["train_nav.py", "--learner.gamma", 2], "gamma must be between 0 and 1, not 2.0"),
    "impossible bonus": (["train_nav.py", "--learner.coverage", -1], "coverage must be at least 0, not -1.0"),
    "uneven split": (["train_nav.py", "--learner.minibatches", 7], "error: environments (128) must split evenly"),
    "impossible picture": (["train_nav.py", "--height", 8], "error: height must be between 16 and 480, not 8"),
    "nothing to resume": (["train_nav.py", "--resume", "/nonexistent/run"], "/nonexistent/run"),
    "nothing to compare": (["train_nav.py", "--compare", "/nonexistent/run"], "/nonexistent/run"),
    "nothing to start from": (["train_nav.py", "--start", "/nonexistent/run"], "/nonexistent/run"),
    "another net to start from": (
        ["train_nav.py", *TINY, "--start", RELEASED, "--out", "/dev/null/run"],
        "released.pt holds another net",
    ),
    "nothing to learn from": (
        ["train_nav.py", *TINY, "--learner.rollout", 64, "--teacher", "/nonexistent/run"],
        "/nonexistent/run",
    ),
    "another encoder to learn from": (
        ["train_nav.py", *TINY, "--learner.rollout", 64, "--teacher", RELEASED],
        "released.pt has another encoder",
    ),
    "half an episode to learn": (
        ["train_nav.py", *TINY, "--teacher", RELEASED],
        "with a teacher, rollout (32) must be a whole episode (64)",
    ),
    "unwritable run": (["train_nav.py", *TINY, "--out", "/dev/null/run"], "/dev/null/run"),
    "no such checkpoint": (["evaluate.py", "/nonexistent/agent.pt"], "/nonexistent/agent.pt"),
    "no checkpoint": (["evaluate.py", ROOT / "pyproject.toml"], "not a nav_meta checkpoint"),
    "no mazes": (["evaluate.py", "--mazes", 0], "--mazes must be between 1 and 100000"),
    "too many mazes": (["evaluate.py", "--mazes", 10**18], "--mazes must be between 1 and 100000"),
    "too many visits": (["watch.py", "--visits", 10**9], "--visits must be between 1 and 1000"),
    "too many mazes at the end": (["train_nav.py", "--final-mazes", 10**9], "final_mazes must be between 1 and 100000"),
    "another episode": (
        ["train_task.py", "two-step", "--learner.episode", 7, "--learner.rollout", 7],
        "learner.episode must be 20, the steps of an episode of two-step, not 7",
    ),
    "no maze": (["train_task.py", "two-step", "--learner.ask-view"], "learner.ask_view is for mazes"),
    "too many seeds": (["reproduce.py", "--seeds", 1 << 23], "--seeds must be between 1 and 4194304"),
    "impossible seed": (["train_nav.py", "--seed", 1 << 22], "error: seed must be between 0 and 4194303, not 4194304"),
    "no such actions": (["evaluate.py", "--seed", -1], "--seed must be between 0 and 4194303"),
    "no such maze": (["watch.py", "--seed", 1 << 62], "--seed between 0 and 2**62 - 1"),
    "uneven benchmark": (["benchmark.py", "train", "--threads", 3], "error: environments (128) must split evenly"),
    "no environments": (["benchmark.py", "train", "--environments", 0], "environments must be at least 1, not 0"),
    "no picture": (["benchmark.py", "world", "--height", 0], "height must be between 16 and 480, not 0"),
    "no such format": (["evaluate.py", "--plot", "plot.jpg"], "plot.jpg: its name must end in .png, .pdf or .svg"),
    "one size of I-maze": (["evaluate.py", "--kind", "imaze", "--rooms", 4], "the I-maze has one size"),
    "one size of I-maze to play": (["play.py", "--kind", "imaze", "--rooms", 7], "the I-maze has one size"),
    "other mazes in a plot": (["evaluate.py", "--generalisation", "--plot", "p.png"], "leave one out"),
    "no temperature": (["release.py", "runs", "--temperature", "inf"], "--temperature must be above 0 and finite"),
    "empty benchmark": (["benchmark.py", "world", "--batch", 0], "must be at least 1"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_a_sentence_and_a_non_zero_exit(arguments: list, said: str, script: Script) -> None:
    result = script(*arguments)
    assert result.returncode != 0 and result.stdout == ""
    assert said in " ".join(result.stderr.replace("│", "").split()), result.stderr
    assert "Traceback" not in result.stderr


def test_impossible_size_in_evaluation(finished: Path, script: Script) -> None:
    result = script("evaluate.py", finished, "--rooms", 99)
    assert result.returncode == 2 and "between 2 and 15" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--learner.gamma", "--seed", "--steps"])
def test_resume_with_a_changed_option_is_refused(option: str, finished: Path, script: Script) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    result = script("train_nav.py", "--resume", finished, option, 1, "--wandb", "off")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert f"was started with {option.strip('-')} = " in result.stderr.replace("config.", "")
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("option", [("--preset", "quick"), ("--out", "elsewhere")])
def test_resume_leaves_no_choice(option: tuple[str, str], finished: Path, script: Script) -> None:
    result = script("train_nav.py", "--resume", finished, *option)
    assert result.returncode == 2 and "leave out --preset and --out" in result.stderr


def test_resume_with_another_number_of_workers(copy: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_finish", lambda *_: {})
    steps = [line["step"] for line in rows(copy)]
    checkpoints(copy)[-1].unlink()
    result = script("train_nav.py", "--resume", copy, "--workers", 1, "--wandb", "off")
    assert result.returncode == 0, result.stderr
    assert [line["step"] for line in rows(copy)] == steps
    assert [len(checkpoint.load(path)["workers"]) for path in checkpoints(copy)] == [2, 2, 1]


def test_a_new_run_never_overwrites_an_old_one(finished: Path, script: Script) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    result = script("train_nav.py", *TINY, "--out", finished)
    assert result.returncode == 2 and "holds a run" in result.stderr
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_a_run_is_loaded_from_its_folder_or_a_file(finished: Path) -> None:
    newest = load_agent(finished)
    assert newest.step == STEPS and newest.path == checkpoints(finished)[-1]
    assert load_agent(checkpoints(finished)[0]).step < STEPS


SLURM = {
    # srun's command runs here, without srun's options; scancel's signal reaches all processes of the step, as SLURM's.
    "srun": 'while [[ $1 == --* ]]; do shift; done; echo $$ > "$STEP"; exec "$@"',
    "scancel": 'read -r step < "$STEP"; kill -TERM "$step" $(cat "/proc/$step/task/$step/children")',
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$STEP.requeued"; fi',
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the step's processes in /proc")
def test_slurm_recipe(finished: Path, tmp_path: Path, script: Script) -> None:
    """Told of the time limit it saves and requeues itself; the same job then ends as if never stopped, on two ranks.

    So does the saved run in one rank of two workers.
    """
    for name, body in SLURM.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    folder = tmp_path / "run"
    environment = os.environ | {
        "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}", "STEP": str(tmp_path / "step"),
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2",
        "SLURM_JOB_NODELIST": "here",
    }  # fmt: skip

    def submit(**more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "scripts/slurm.sh", *TINY, "--out", str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment | more,
        )  # fmt: skip

    with submit() as job:
        try:
            deadline = time.monotonic() + 600
            while not any(path.name >= "step_000000001024" for path in checkpoints(folder)):
                assert job.poll() is None and time.monotonic() < deadline, "the run made no checkpoint"
                time.sleep(0.01)
            job.send_signal(signal.SIGUSR1)
            _, err = job.communicate(timeout=300)
        finally:
            job.kill()
    last = rows(folder)[-1]["step"]
    assert f"stopped at step {last:,}; go on with" in err and last < STEPS, err
    assert checkpoints(folder)[-1].name == f"step_{last:012d}.pt", "the last update is saved"
    assert (tmp_path / "step.requeued").read_text() == f"requeue {os.getpid()}\n"
    moved = shutil.copytree(folder, tmp_path / "moved")

    with submit(SLURM_RESTART_COUNT="1") as job:
        out, err = job.communicate(timeout=600)
    assert job.returncode == 0 and out.count("random walk") == 1, err
    assert f"continuing {folder} from step_{last:012d}" in err
    result = script("train_nav.py", "--resume", moved, "--wandb", "off")
    assert result.returncode == 0, result.stderr
    assert rows(folder) == rows(moved) == rows(finished)


def test_slurm_recipe_without_a_folder() -> None:
    result = subprocess.run(["bash", str(ROOT / "scripts" / "slurm.sh"), "--seed", "1"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("error: give the run a folder")


def test_a_run_that_died_in_its_first_evaluation_is_begun_again(finished: Path, tmp_path: Path, script: Script) -> None:
    """And evaluated again, although its record had not begun."""
    folder = tmp_path / "died"
    arguments = [*TINY, "--steps", 256, "--out", folder]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_validate", lambda learner, config: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            script("train_nav.py", *arguments)
    assert [path.name for path in checkpoints(folder)] == ["step_000000000000.pt"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
        patch.setattr(training, "_finish", lambda *_: {})
        result = script("train_nav.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert [line["step"] for line in rows(folder)] == [0, 256]
    assert rows(folder)[0] == rows(finished)[0]
