import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from mazes import paths, renderer, simulator
from mazes.environment import MazeEnvironment, questions
from mazes.layout import BOX_RADIUS, Layout, MazeConfig, generate
from mazes.seeds import split_seeds
from models.agent import Agent
from nav_meta import checkpoint, drawing, evaluation, video
from nav_meta.config import RunConfig
from nav_meta.errors import UserError
from nav_meta.evaluation import Trajectory
from nav_meta.video import replay, visits_of, write_video, write_webp

ROOT = Path(__file__).parents[1]
CONFIG = MazeConfig(rows=2, columns=2)
SEED = int(split_seeds("test", 0, 1)[0])
SMALL = {"height": 120, "fps": 6}


def shortest(config: MazeConfig = CONFIG, seed: int = SEED, visits: int = 2) -> Trajectory:
    """Return an episode of shortest ways."""
    layout = generate(config, seed)
    batch = Layout(*(field[None] for field in layout))
    poses, actions, visit, visit_step, found = [], [], [], [], []
    for number in range(visits + 1):
        pose = simulator.spawn(config, batch, np.array([seed], np.uint64), np.array([number]))
        way = paths.oracle_actions(config, layout, pose[0]) if number < visits else []
        for step, action in enumerate([*way, None]):
            if action is not None or number == visits:
                poses.append(pose[0].copy())
                visit.append(number)
                visit_step.append(step)
            if action is not None:
                actions.append(action)
                found.append(simulator.step(config, batch, pose, np.array([action]))[0])
    return Trajectory(
        config, seed, np.array(poses), np.array(actions), np.array(visit), np.array(visit_step), np.array(found)
    )


def meta(path: Path) -> dict:
    reader = imageio_ffmpeg.read_frames(str(path))
    found = next(reader)
    reader.close()
    return found


def test_visits_are_those_that_were_played():
    trajectory = shortest(visits=3)
    visits = visits_of(trajectory)
    assert [visit.steps for visit in visits] == [visit.oracle for visit in visits]
    assert all(visit.found for visit in visits) and sum(visit.steps for visit in visits) == len(trajectory.actions)
    goal = generate(CONFIG, SEED).goal
    for visit in visits:
        assert np.hypot(*(visit.poses[-1] - goal)[:2]) < CONFIG.near
        assert np.hypot(*(visit.poses[0] - goal)[:2]) > BOX_RADIUS + CONFIG.respawn_distance - 1


def test_a_visit_given_up_counts_its_steps():
    class TurnsLeft:
        def __init__(self, batch: int, seed: int) -> None:
            self.batch = batch

        def __call__(self, moment) -> np.ndarray:
            return np.full(self.batch, simulator.TURN_LEFT)

    visits = visits_of(evaluation.record(TurnsLeft, CONFIG, SEED, visits=2, height=16, width=16))
    assert [visit.steps for visit in visits] == [CONFIG.visit_cap] * 2
    assert not any(visit.found for visit in visits)


@pytest.mark.parametrize("height", [120, 241])
def test_frames(height):
    visits = visits_of(shortest())
    frames = list(replay(shortest(), fps=6, height=height, observation=(20, 20), title="someone"))
    shapes = {frame.shape for frame in frames}
    assert len(shapes) == 1 and all(frame.dtype == np.uint8 for frame in frames)
    rows, columns, channels = shapes.pop()
    assert rows % 2 == columns % 2 == 0 and channels == 3
    assert abs(columns / rows - 16 / 9) < 0.03
    still = 2 * (round(video.ARRIVAL * 6) + round(video.FOUND * 6)) + round(video.END * 6)
    assert len(frames) == still + sum(visit.steps * 6 // video.ACTIONS_PER_SECOND for visit in visits)
    x, y, width, rows = (round(length * height / 720) for length in video._Stage.VIEW)
    views = [frame[y : y + rows, x : x + width].mean() for frame in frames]
    assert views[0] < views[round(video.ARRIVAL * 6) - 1]  # it fades in


@pytest.mark.parametrize("observation", [(16, 480), (480, 16), (30, 120)])
def test_pictures_of_any_shape_leave_room_for_their_caption(observation):
    stage = video._Stage(shortest(), visits_of(shortest()), 720, observation, "", renderer.render)
    frame = stage.moving(0, 1.5, 1.0)
    x, y, _, height = video._Stage.STATUS
    # No picture where the caption's right-hand end is, but the caption.
    caption = frame[y + height // 2 : y + height, x + 320 : x + 330]
    assert frame.shape == (720, 1280, 3) and (caption == drawing.PANEL).all()


def test_a_long_visit_is_shown_faster():
    walk = evaluation.record(evaluation.RandomWalk, MazeConfig(kind="imaze"), SEED, visits=1, height=16, width=16)
    assert len(walk.actions) > 100
    frames = list(replay(walk, **SMALL))
    assert len(frames) <= 6 * (video.ARRIVAL + video.LONGEST_VISIT + video.FOUND + video.END) + 3


@pytest.mark.parametrize("fps", [1, 6, 12, 30])
def test_every_frame_of_a_visit_lies_within_it(fps):
    for steps in range(1, 1000):
        times = video._times(steps, fps)
        assert times[0] == 0 and times[-1] < steps and len(times) <= video.LONGEST_VISIT * fps
        assert steps / len(times) * fps <= video.ACTIONS_PER_SECOND or len(times) == video.LONGEST_VISIT * fps


def test_mp4_is_one_that_every_player_takes(tmp_path):
    path = tmp_path / "videos" / "replay.mp4"
    for _ in range(2):  # the second replaces the first
        write_video(shortest(), path, **SMALL)
    found = meta(path)
    assert found["codec"] == "h264" and found["pix_fmt"].startswith("yuv420p")
    assert all(side % 2 == 0 for side in found["size"]) and found["fps"] == 6
    assert video._count_frames(path) == len(list(replay(shortest(), **SMALL)))
    assert os.listdir(path.parent) == ["replay.mp4"]


def test_webp(tmp_path):
    path = tmp_path / "replay.webp"
    write_webp(shortest(), path, **SMALL)
    with Image.open(path) as image:
        assert image.is_animated and image.size == (212, 120)
    assert os.listdir(tmp_path) == ["replay.webp"]


def test_webp_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "_MOST_OF_A_WEBP", 300_000)
    with pytest.raises(UserError, match="more than 0.0003 GB of memory: write an .mp4 instead"):
        write_webp(shortest(), tmp_path / "replay.webp", **SMALL)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("write", [write_video, write_webp])
def test_unwritable_place(tmp_path, write):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="cannot write .*file.replay.mp4: .*untouched"):
        write(shortest(visits=1), tmp_path / "file" / "replay.mp4", **SMALL)
    assert (tmp_path / "file").read_text() == "kept"


def test_without_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", "/nonexistent/ffmpeg")
    (tmp_path / "replay.mp4").write_text("kept")
    with pytest.raises(UserError, match="films need ffmpeg.*pip install"):
        write_video(shortest(visits=1), tmp_path / "replay.mp4", **SMALL)
    assert os.listdir(tmp_path) == ["replay.mp4"] and (tmp_path / "replay.mp4").read_text() == "kept"


def test_without_opencv(monkeypatch):
    from nav_meta import drawing

    drawing.opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="pictures need OpenCV.*install_system.sh"):
        drawing.opencv()


def run(*command: object, limit: int | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python on `command`, in which no file may grow past `limit` bytes; output goes through pipes, which may."""

    def prepare() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=prepare if limit is not None else None,
    )


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> Path:
    """Return the checkpoint of an agent that has learnt nothing."""
    config = RunConfig(maze=CONFIG)
    agent = Agent(
        config.agent, (config.height, config.width, 3), MazeEnvironment.actions, len(questions(False, False, False))
    )
    path = checkpoint.path_of(tmp_path_factory.mktemp("run") / "checkpoints", 0)
    checkpoint.save(path, {"config": asdict(config), "agent": agent.state_dict(), "step": 0})
    return path


def test_watch(untrained, tmp_path):
    path = tmp_path / "new" / "film.mp4"
    result = run(
        ROOT / "scripts" / "watch.py", untrained.parents[1], "--visits", 1, "--height", 240, "--out", path, "--seed", 3
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == str(path) and "visit 1" in result.stderr
    assert meta(path)["codec"] == "h264"


def test_watch_on_a_full_disk(untrained, tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("kept")
    result = run(ROOT / "scripts" / "watch.py", untrained, "--visits", 1, "--height", 240, "--out", path, limit=20_000)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1 and "disk is full" in result.stderr and str(path) in result.stderr
    assert os.listdir(tmp_path) == ["film.mp4"] and path.read_text() == "kept"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--rooms", 99], "rows must be between 2 and 15"),
        (["--out", "film.gif"], "must end in .mp4 or .webp"),
    ],
)
def test_watch_says_what_it_cannot_do(untrained, options, complaint):
    result = run(ROOT / "scripts" / "watch.py", untrained, *options)
    assert result.returncode == 2
    assert complaint in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.opengl
def test_watch_with_miniworld(untrained, tmp_path):
    path = tmp_path / "film.webp"
    options = ["--visits", 1, "--height", 240, "--out", path, "--renderer", "miniworld"]
    result = run(ROOT / "scripts" / "watch.py", untrained, *options)
    assert result.returncode == 0, result.stderr
    assert path.exists()
