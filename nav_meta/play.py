"""A person in the agent's place, in a window of OpenCV."""

import numpy as np

from mazes.environment import MazeEnvironment
from mazes.layout import Layout, MazeConfig
from mazes.paths import oracle_steps
from mazes.seeds import split_seeds
from mazes.simulator import FORWARD, TURN_LEFT, TURN_RIGHT
from nav_meta.drawing import BACKDROP, DIM, FIRST, INK, LATER, opencv, text, text_width
from nav_meta.map import MazeMap

_WINDOW = "nav_meta: find the red box"
# Codes of the arrow keys differ between window systems; letters do not.
_KEYS = {
    **dict.fromkeys((0xFF51, 0x250000, 63234, ord("a")), TURN_LEFT),
    **dict.fromkeys((0xFF53, 0x270000, 63235, ord("d")), TURN_RIGHT),
    **dict.fromkeys((0xFF52, 0x260000, 63232, ord("w")), FORWARD),
}


class Game:
    """One person's mazes: what keys do and what the window shows, without the window."""

    def __init__(self, config: MazeConfig, first_maze: int) -> None:
        """Begin in the training maze `first_maze`."""
        self._world = MazeEnvironment(
            config,
            1,
            height=540,
            width=720,
            seeds=lambda _, episode: int(split_seeds("train", first_maze + episode, 1)[0]),
        )
        self.over = False
        self._map_shown = False
        self._begin_maze()

    def press(self, key: int) -> None:
        """Do what the key with this code of `cv2.waitKeyEx` means; unknown keys mean nothing."""
        if ord("A") <= key <= ord("Z"):
            key += ord("a") - ord("A")
        if key in (ord("q"), 27):
            self.over = True
        elif key == ord("m"):
            self._map_shown = not self._map_shown
        elif key == ord("n"):
            self._world.visits = 0  # the episode is over
            self._world.renew()
            self._world.visits = None
            self._begin_maze()
        elif key in _KEYS:
            self._move(_KEYS[key])

    def picture(self) -> np.ndarray:
        """Return what the window shows, uint8 [600, 720 or 1260, 3]."""
        view = self._world.time_step().observation[0]
        colour = LATER if self.latencies else FIRST
        if self._map_shown:
            view = np.hstack([view, self._map.picture(self._world.poses[0], np.array(self._path), colour)])
        picture = np.vstack([view, np.full((60, view.shape[1], 3), BACKDROP, np.uint8)])
        steps = self._world.visit_step[0]
        text(picture, f"visit {len(self.latencies) + 1}: {steps} steps", (16, 565), 22, colour, weight=650)
        before = [f"{latency} ({oracle})" for latency, oracle in zip(self.latencies, self._oracle, strict=False)]
        while text_width(line := "before: " + ", ".join(before), 18) > 720 - 240:
            before.pop(0)
        text(picture, line if before else "", (230, 565), 18, INK)
        text(picture, "arrows or W A D: move   M: map   N: another maze   Q: leave", (16, 590), 16, DIM)
        return picture

    def _begin_maze(self) -> None:
        layouts: Layout = self._world.layouts
        self._map = MazeMap(Layout(*(field[0] for field in layouts)), 540, 540)
        self.latencies: list[int] = []
        """Steps of each visit to this maze so far."""
        self._oracle: list[int] = []
        self._begin_visit()

    def _begin_visit(self) -> None:
        self._path = [self._world.poses[0].copy()]
        self._oracle.append(int(oracle_steps(self._world.config, self._world.layouts, self._world.poses.copy())[0]))

    def _move(self, action: int) -> None:
        self._world.step(np.array([action]))
        if self._world.ended.ended[0]:
            self._map.leave(np.array(self._path), LATER if self.latencies else FIRST)
            self.latencies.append(int(self._world.ended.latency[0]))
            self._begin_visit()
        else:
            self._path.append(self._world.poses[0].copy())


def play(config: MazeConfig, first_maze: int) -> None:
    """Open the window and play until it is closed.

    Raises:
        UserError: OpenCV is missing.
    """
    cv2 = opencv()
    game = Game(config, first_maze)
    cv2.namedWindow(_WINDOW)
    while not game.over:
        cv2.imshow(_WINDOW, game.picture()[..., ::-1])
        game.press(cv2.waitKeyEx(50))
        game.over |= cv2.getWindowProperty(_WINDOW, cv2.WND_PROP_VISIBLE) < 1
    cv2.destroyAllWindows()
