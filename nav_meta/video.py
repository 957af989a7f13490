"""Replays: recorded states drawn again as a film of what the agent saw, where it was, and how long each visit took."""

import contextlib
import errno
import math
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mazes import paths, renderer, simulator
from mazes.environment import Renderer
from mazes.layout import Layout, MazeConfig, generate
from nav_meta import drawing
from nav_meta.drawing import BACKDROP, DIM, FAILED, FIRST, INK, LATER, ORACLE, PANEL, opencv, text, veil
from nav_meta.errors import UserError, reason
from nav_meta.evaluation import Trajectory
from nav_meta.map import MazeMap

ACTIONS_PER_SECOND = 6
LONGEST_VISIT = 8.0
"""Seconds of film; a visit that would take longer is shown faster."""
ARRIVAL = 0.8
"""Seconds before a visit's first action, fading in."""
FOUND = 0.7
"""Seconds that the end of a visit is shown."""
END = 2.0
"""Seconds of the last picture."""
_MOST_OF_A_WEBP = 2e9
"""Bytes of memory that a film's frames may take together where they have to be there all at once."""
_WIDEST_SEEN = 150
"""Units of the frame that what the agent sees may be wide, next to which its caption has to fit."""


class Visit(NamedTuple):
    """One visit of a trajectory, n steps long."""

    poses: np.ndarray
    """float64 [n + 1, 3]: from where it began to where it ended."""
    found: bool
    """False when it was given up."""
    oracle: int
    """Fewest steps from the same start."""

    @property
    def steps(self) -> int:
        """Its latency."""
        return len(self.poses) - 1


def visits_of(trajectory: Trajectory) -> list[Visit]:
    """Return the visits of a trajectory that came to an end."""
    config, layout = trajectory.config, _batch_of_one(trajectory)
    visits = []
    begin = 0
    for end in np.flatnonzero(np.diff(trajectory.visit)) + 1:
        # The recorded pose after the last action is already that of the next visit's start.
        last = trajectory.poses[end - 1 : end].copy()
        drawn = simulator.draw_steps(config, np.array([trajectory.seed], np.uint64), np.array([end - 1]))
        simulator.step(config, layout, last, trajectory.actions[end - 1 : end], drawn)
        poses = np.concatenate([trajectory.poses[begin:end], last])
        oracle = paths.oracle_steps(config, layout, poses[:1].copy())[0]
        visits.append(Visit(poses, bool(trajectory.found[end - 1]), int(oracle)))
        begin = end
    return visits


def write_video(
    trajectory: Trajectory,
    path: Path,
    *,
    fps: int = 30,
    height: int = 720,
    observation: tuple[int, int] = (30, 40),
    title: str = "",
    render: Renderer = renderer.render,
) -> None:
    """Write a replay as an mp4: H.264, yuv420p, 16:9.

    Args:
        trajectory: an episode with one visit or more.
        path: the file, replaced only once the new one is whole.
        fps: frames per second.
        height: rows of the film.
        observation: rows and columns of the pictures that the agent was shown.
        title: who plays; the maze is named beside it.
        render: what draws the agent's view.

    Raises:
        UserError: no ffmpeg, no OpenCV, a full disk, or a place that is not writable; an old file stays as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.mp4")  # ffmpeg goes by the ending
    with _replacing(path, temporary):
        frames = replay(trajectory, fps=fps, height=height, observation=observation, title=title, render=render)
        _encode(frames, temporary, fps)


def write_webp(
    trajectory: Trajectory,
    path: Path,
    *,
    fps: int = 12,
    height: int = 360,
    observation: tuple[int, int] = (30, 40),
    title: str = "",
    quality: int = 40,
    render: Renderer = renderer.render,
) -> None:
    """Write a replay as an animated WebP, which web pages show like any picture; it repeats for ever.

    Args:
        trajectory: an episode.
        path: the file.
        fps: frames per second.
        height: rows.
        observation: rows and columns of the pictures that the agent was shown.
        title: who plays.
        quality: 0 (small) to 100.
        render: what draws the agent's view.

    Raises:
        UserError: as for `write_video`, or the film is too long for the memory.
    """
    from PIL import Image

    path = Path(path)
    temporary = path.with_name(f".{path.stem}.tmp.webp")
    with _replacing(path, temporary):
        frames, size = [], 0
        for frame in replay(trajectory, fps=fps, height=height, observation=observation, title=title, render=render):
            frames.append(Image.fromarray(frame))
            size += 4 * frame.size // 3  # Pillow keeps four bytes of a pixel
            if size > _MOST_OF_A_WEBP:
                raise UserError(
                    f"{path} would need more than {_MOST_OF_A_WEBP / 1e9:g} GB of memory: write an .mp4 instead, or "
                    "fewer visits or rows."
                )
        first, *others = frames
        options = {"duration": round(1000 / fps), "loop": 0, "quality": quality, "method": 4}
        first.save(temporary, save_all=True, append_images=others, **options)


def replay(
    trajectory: Trajectory,
    *,
    fps: int = 30,
    height: int = 720,
    observation: tuple[int, int] = (30, 40),
    title: str = "",
    render: Renderer = renderer.render,
) -> Iterator[np.ndarray]:
    """Yield the frames of a replay, uint8 [height, width, 3] with even sides; arguments as for `write_video`."""
    visits = visits_of(trajectory)
    stage = _Stage(trajectory, visits, height, observation, title, render)
    for number, visit in enumerate(visits):
        for moment in range(round(ARRIVAL * fps)):
            yield stage.arrival(number, (moment + 1) / round(ARRIVAL * fps))
        times = _times(visit.steps, fps)
        for time in times:
            yield stage.moving(number, time, visit.steps / len(times) * fps / ACTIONS_PER_SECOND)
        for moment in range(round(FOUND * fps)):
            yield stage.over(number, moment / round(FOUND * fps))
        stage.leave(number)
    last = stage.summary()
    for _ in range(round(END * fps)):
        yield last


def _times(steps: int, fps: int) -> np.ndarray:
    """Return when the frames of a visit are, counted in actions: float64 [F], from 0 to less than `steps`."""
    # Not arange with a stride: rounding can make it reach `steps`, after which there is no action to show.
    frames = math.ceil(min(steps * fps / ACTIONS_PER_SECOND, LONGEST_VISIT * fps))
    return np.linspace(0, steps, frames, endpoint=False)


class _Stage:
    """Where everything stands in a frame. Lengths are in units of 1/720 of the frame's height."""

    VIEW = (20, 68, 704, 528)
    """x, y, width and height of the agent's view; map and chart stand to its right."""
    MAP = (744, 68, 516, 420)
    CHART = (744, 504, 516, 196)
    STATUS = (20, 612, 704, 88)

    def __init__(
        self,
        trajectory: Trajectory,
        visits: list[Visit],
        height: int,
        observation: tuple[int, int],
        title: str,
        render: Renderer,
    ) -> None:
        self._unit = height / 720
        self._visits = visits
        self._layout = _batch_of_one(trajectory)
        self._observation = observation
        self._render = render
        self._seen_from = None  # the pose of the last view drawn: most frames at rest share one
        self._view = np.zeros(0)
        _, _, width, rows = self._pixels(self.MAP)
        shape = observation[1] / observation[0]
        self._map = MazeMap(generate(trajectory.config, trajectory.seed), rows, width, shape)
        self._base = np.full((height // 2 * 2, round(1280 * self._unit) // 2 * 2, 3), BACKDROP, np.uint8)
        self._text(title or "One-shot goal navigation", 20, 44, 28, weight=650)
        self._text(_describe(trajectory.config), 1260, 44, 22, DIM, align="right")
        for panel in (self.CHART, self.STATUS):
            x, y, width, rows = self._pixels(panel)
            self._base[y : y + rows, x : x + width] = PANEL

    def arrival(self, number: int, share: float) -> np.ndarray:
        """Return a frame before a visit's first action, from dark (share 0) to light (1)."""
        visit = self._visits[number]
        frame = self._compose(number, visit.poses[:1], 0, 0.25 + 0.75 * share**2)
        self._ping(frame, visit.poses[0], share, _colour(number))
        line = "Where is the goal?" if number == 0 else "A new place, the same goal"
        self._banner(frame, f"Visit {number + 1} of {len(self._visits)}", line, _colour(number))
        return frame

    def moving(self, number: int, time: float, speed: float) -> np.ndarray:
        """Return a frame `time` actions into a visit; the pose glides from one action to the next."""
        step, part = int(time), time % 1
        poses = self._visits[number].poses
        now = (1 - part) * poses[step] + part * poses[step + 1]
        frame = self._compose(number, np.concatenate([poses[: step + 1], now[None]]), step, 1.0)
        if speed > 1.05:
            self._rectangle(frame, 592, 78, 122, 34, PANEL)
            self._text(f"{speed:.1f}x speed", 653, 102, 20, align="centre", image=frame)
        return frame

    def over(self, number: int, share: float) -> np.ndarray:
        """Return a frame at a visit's end: a flash (share 0) that dies down (1)."""
        visit = self._visits[number]
        frame = self._compose(number, visit.poses, visit.steps, 1.0)
        colour = _colour(number) if visit.found else FAILED
        x, y, width, height = self._pixels(self.VIEW)
        view = frame[y : y + height, x : x + width]
        view[:] = veil(view, INK if visit.found else FAILED, max(0.0, 0.8 * (1 - 2 * share)))
        self._ping(frame, visit.poses[-1], 1 - share, colour)
        if visit.found:
            self._banner(frame, f"Found in {_steps(visit.steps)}", f"shortest: {visit.oracle}", colour)
        else:
            self._banner(frame, f"Given up after {_steps(visit.steps)}", f"shortest: {visit.oracle}", colour)
        return frame

    def leave(self, number: int) -> None:
        """Keep a visit's way faintly on the map."""
        self._map.leave(self._visits[number].poses, _colour(number))

    def summary(self) -> np.ndarray:
        """Return the last frame."""
        visit = self._visits[-1]
        frame = self._compose(len(self._visits) - 1, visit.poses, visit.steps, 0.35)
        later = self._visits[1:]
        if later:
            mean, shortest = (np.mean([getattr(visit, name) for visit in later]) for name in ("steps", "oracle"))
            head = f"First {self._visits[0].steps}, later {mean:.1f} steps"
            self._banner(frame, head, f"shortest from the later places: {shortest:.1f}", LATER)
        else:
            self._banner(frame, f"First visit: {_steps(visit.steps)}", f"shortest: {visit.oracle}", FIRST)
        return frame

    def _compose(self, number: int, path: np.ndarray, step: int, light: float) -> np.ndarray:
        """Draw view, map, status and chart; the agent is at the path's end, and has made `step` whole steps."""
        frame = self._base.copy()
        x, y, width, height = self._pixels(self.VIEW)
        rows, columns = self._observation
        view_width, view_height = _fitted(rows, columns, height, width)
        x, y = x + (width - view_width) // 2, y + (height - view_height) // 2
        if not np.array_equal(path[-1], self._seen_from):
            self._seen_from = path[-1]
            self._view = self._render(self._layout, path[-1:], view_height, view_width)[0].copy()
        frame[y : y + view_height, x : x + view_width] = veil(self._view, (0, 0, 0), 1 - light)
        x, y, width, height = self._pixels(self.MAP)
        frame[y : y + height, x : x + width] = self._map.picture(path[-1], path, _colour(number))
        self._status(frame, number, step)
        self._chart(frame, number, step)
        return frame

    def _status(self, frame: np.ndarray, number: int, step: int) -> None:
        rows, columns = self._observation
        x, y, width, height = self._pixels(self.STATUS)
        seen = self._render(self._layout, self._visits[number].poses[step : step + 1], rows, columns)[0]
        size = _fitted(rows, columns, height, _WIDEST_SEEN * self._unit)
        seen = opencv().resize(seen, size, interpolation=opencv().INTER_NEAREST)
        y += (height - size[1]) // 2
        frame[y : y + size[1], x : x + size[0]] = seen
        left = 20 + size[0] / self._unit + 16
        self._text("what the agent sees", left, 642, 18, DIM, image=frame)
        self._text(f"{columns} x {rows} pixels", left, 667, 18, DIM, image=frame)
        for label, value, right, colour in (
            ("visit", f"{number + 1} / {len(self._visits)}", 470, INK),
            ("steps", f"{step}", 590, _colour(number)),
            ("shortest", f"{self._visits[number].oracle}", 704, ORACLE),
        ):
            self._text(label, right, 638, 18, DIM, align="right", image=frame)
            self._text(value, right, 682, 40, colour, weight=650, align="right", image=frame)

    def _chart(self, frame: np.ndarray, number: int, step: int) -> None:
        """Draw a column for each visit so far, as high as its steps, and a line at the fewest possible."""
        x, y, width, height = self.CHART
        self._text("Steps to the goal", x + 14, y + 28, 20, image=frame)
        self._rectangle(frame, x + width - 118, y + 20, 22, 3, ORACLE)
        self._text("shortest", x + width - 14, y + 28, 18, DIM, align="right", image=frame)
        top, base = y + 62, y + height - 30
        highest = max(max(visit.steps, visit.oracle) for visit in self._visits)
        slot = (width - 28) / len(self._visits)
        column = min(0.62 * slot, 56)
        every = -(-len(self._visits) // 16)  # more labels than that would touch
        for k, visit in enumerate(self._visits):
            middle = x + 14 + (k + 0.5) * slot
            if k % every == 0:
                self._text(f"{k + 1}", middle, base + 22, 17, INK if k == number else DIM, align="centre", image=frame)
            if k > number:
                continue
            steps = step if k == number else visit.steps
            tall = max(1.0, (base - top) * steps / highest)
            gave_up = steps == visit.steps and not visit.found
            self._rectangle(frame, middle - column / 2, base - tall, column, tall, FAILED if gave_up else _colour(k))
            level = base - (base - top) * visit.oracle / highest
            self._rectangle(frame, middle - 0.62 * column, level - 1.5, 1.24 * column, 3, ORACLE)
            if k % every == 0 or k == number:
                self._text(f"{steps}", middle, min(base - tall, level) - 7, 18, align="centre", image=frame)
        self._rectangle(frame, x + 14, base, width - 28, 1, DIM)

    def _banner(self, frame: np.ndarray, head: str, line: str, colour: drawing.Colour) -> None:
        x, y, width, _ = self.VIEW
        middle = x + width / 2
        left, upper, columns, rows = self._pixels((x, y + 200, width, 116))
        band = frame[upper : upper + rows, left : left + columns]
        band[:] = veil(band, BACKDROP, 0.65)
        self._text(head, middle, y + 254, 42, colour, weight=650, align="centre", image=frame)
        self._text(line, middle, y + 294, 24, align="centre", image=frame)

    def _ping(self, frame: np.ndarray, pose: np.ndarray, share: float, colour: drawing.Colour) -> None:
        """Draw a ring on the map that closes in on the agent as the share goes from 0 to 1."""
        x, y, width, height = self._pixels(self.MAP)
        radius = (14 + 70 * (1 - share)) * self._unit
        drawing.ring(frame[y : y + height, x : x + width], self._map.pixels(pose), radius, colour, 3 * self._unit)

    def _pixels(self, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
        x, y, width, height = (round(length * self._unit) for length in box)
        return x, y, width, height

    def _rectangle(
        self, image: np.ndarray, x: float, y: float, width: float, height: float, colour: drawing.Colour
    ) -> None:
        left, top, right, bottom = (round(length * self._unit) for length in (x, y, x + width, y + height))
        image[top : max(bottom, top + 1), left : max(right, left + 1)] = colour

    def _text(
        self,
        words: str,
        x: float,
        y: float,
        size: float,
        colour: drawing.Colour = INK,
        *,
        weight: int = 400,
        align: str = "left",
        image: np.ndarray | None = None,
    ) -> None:
        image = self._base if image is None else image
        text(image, words, (x * self._unit, y * self._unit), size * self._unit, colour, weight, align)


def _fitted(rows: int, columns: int, height: float, width: float) -> tuple[int, int]:
    """Return the width and height that a picture has where it fills a box of height x width pixels."""
    fit = min(height / rows, width / columns)
    return max(1, round(columns * fit)), max(1, round(rows * fit))


def _colour(number: int) -> drawing.Colour:
    return FIRST if number == 0 else LATER


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def _describe(config: MazeConfig) -> str:
    if config.kind == "imaze":
        return "I-maze"
    return f"{config.rows} x {config.columns} rooms" + (", always the same" if config.kind == "fixed" else "")


def _batch_of_one(trajectory: Trajectory) -> Layout:
    return Layout(*(field[None] for field in generate(trajectory.config, trajectory.seed)))


@contextlib.contextmanager
def _replacing(path: Path, temporary: Path) -> Iterator[None]:
    """Let the body write `temporary`, then put it in the place of `path`; after an error neither is changed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()  # says at once, and in the system's words, that the place cannot be written
        yield
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}; what was there before is untouched.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _encode(frames: Iterator[np.ndarray], path: Path, fps: int) -> None:
    """Write frames as they come, so that only one is in memory, and check that all of them arrived."""
    first = next(frames)
    # Of two options of a kind the last holds; moviepy itself asks for yuva420p, which libx264 reads as yuv420p.
    options = ["-crf", "21", "-movflags", "+faststart", "-threads", "2"]
    try:
        from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

        writer = FFMPEG_VideoWriter(str(path), first.shape[1::-1], fps, preset="veryfast", ffmpeg_params=options)
    except (ImportError, OSError, RuntimeError) as error:  # moviepy looks for ffmpeg when it is imported
        raise UserError(
            f"films need ffmpeg, which does not start ({' '.join(str(error).split())}): "
            "pip install --force-reinstall moviepy imageio-ffmpeg"
        ) from error
    count = 0
    try:
        for frame in chain([first], frames):
            writer.write_frame(frame)
            count += 1
        process = writer.proc
        writer.close()
        if process.returncode or _count_frames(path) != count:  # moviepy looks at neither
            raise OSError("frames are missing")
    except OSError as error:
        raise OSError(errno.EIO, "ffmpeg could not finish the film, most likely because the disk is full") from error
    finally:
        with contextlib.suppress(OSError):
            writer.close()


def _count_frames(path: Path) -> int:
    """Return how many frames of a film can be decoded."""
    film = opencv().VideoCapture(str(path))
    count = 0
    while film.grab():
        count += 1
    film.release()
    return count
