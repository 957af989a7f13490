"""Other worlds to measure ours beside, stepped in processes of their own: MiniWorld, and ViZDoom where installed."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np

from mazes import reference
from mazes.layout import MazeConfig, generate
from mazes.simulator import ACTIONS
from nav_meta.remote import Remote

Play = Callable[[], int]
"""Makes some steps and returns how many."""

_CHUNK = 32
"""Steps between two looks at the clock."""


def rate(play: Play, seconds: float) -> float:
    """Return steps per second of `play`, repeated for about so many seconds."""
    done, clock = 0, time.perf_counter()
    while (passed := time.perf_counter() - clock) < seconds:
        done += play()
    return done / passed


class Processes:
    """Processes that each step a world of their own when told to; a context manager that ends them."""

    def __init__(self, make: Callable[..., Play], count: int) -> None:
        """Start `count` processes whose worlds `make`, a module's function, will make."""
        self._players = [Remote(partial(_Player, make)) for _ in range(count)]

    def prepare(self, *options: Any) -> None:
        """Make a world of these options in every process, and step it once.

        Raises:
            EOFError: that failed in a process.
        """
        _ask(self._players, "prepare", *options)

    def rate(self, seconds: float, count: int | None = None) -> float:
        """Return steps per second of the first `count` processes together (None: of all), stepping side by side."""
        return sum(_ask(self._players[:count], "rate", seconds))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for player in self._players:
            player.close()


def _ask(players: list[Remote], method: str, *arguments: Any) -> list[Any]:
    for player in players:
        player.send(method, *arguments)
    try:
        return [player.receive() for player in players]
    except RuntimeError as error:
        raise EOFError("a rival has failed in its process") from error


class _Player:
    """What one of `Processes` is asked to do."""

    def __init__(self, make: Callable[..., Play]) -> None:
        self._make = make

    def prepare(self, *options: Any) -> None:
        self._play = self._make(*options)
        self._play()

    def rate(self, seconds: float) -> float:
        return rate(self._play, seconds)


def make_miniworld(config: MazeConfig, height: int, width: int) -> Play:
    """Return what steps the real MiniWorld at random; its mazes last as long as a visit may."""
    generator = np.random.default_rng(0)
    world = reference.make_reference(config, generate(config, 0), height, width)
    left = config.visit_cap

    def play() -> int:
        nonlocal left
        for action in generator.integers(len(ACTIONS), size=_CHUNK):
            world.step(action)
        left -= _CHUNK
        if left <= 0:
            world.reset()
            left = config.visit_cap
        return _CHUNK

    return play


def vizdoom_missing() -> str | None:
    """Return None where ViZDoom is installed, otherwise a sentence that says how to get it."""
    if find_spec("vizdoom") is None:
        return "ViZDoom is not installed, and is left out: pip install -e '.[vizdoom]'"
    return None


def make_vizdoom(height: int, width: int) -> Play:
    """Return what steps ViZDoom's maze, "my way home", at random; 160x120 is its smallest picture."""
    import vizdoom

    generator = np.random.default_rng(0)
    game = vizdoom.DoomGame()
    game.load_config(f"{vizdoom.scenarios_path}/my_way_home.cfg")
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}"))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_doom_config_path(str(Path(tempfile.gettempdir()) / "vizdoom.ini"))  # otherwise written where one works
    game.init()
    buttons = np.eye(game.get_available_buttons_size(), dtype=int)[: len(ACTIONS)].tolist()

    def play() -> int:
        for action in generator.integers(len(ACTIONS), size=_CHUNK):
            game.make_action(buttons[action])
            if game.is_episode_finished():
                game.new_episode()
            game.get_state().screen_buffer  # noqa: B018  the picture is copied here
        return _CHUNK

    return play
