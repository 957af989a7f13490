"""The mazes as gymnasium environments, single and batched, for other people's agents; registered as `nav_meta/Maze-v0`.

The reward is 1 at the goal and 0 elsewhere. Reaching the goal does not end an episode: the agent is put somewhere else
in the same maze, and finds the way sooner if it remembers it. An episode is truncated after `episode_steps` steps; it
terminates after `visits` visits, if that many are asked for.

Both environments take every option of `mazes.layout.MazeConfig` (`kind`, `rows`, `columns`, ...), and
    height, width: size of the observation, uint8 [height, width, 3]; 4 to 4096 pixels each.
    episode_steps: steps of an episode, at least 1; None: no limit, which needs `visits`.
    visits: visits of an episode, at least 1; None: no limit, which needs `episode_steps`.
    visit_cap: steps after which a visit is given up and the next one begins, at least 1; None: never.
    split: the seeds to draw mazes from, "train", "validation" or "test"; no seed is in two of them.
    render_mode: "rgb_array" or None.
Illegal options raise ValueError.

The info of every step holds
    visit: visits ended so far in this episode.
    goal_found: this step reached the goal.
    latency: the number of steps that the visit took which this step ended, by reaching the goal or `visit_cap`; else 0.
"""

import inspect
import operator
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mazes import renderer, simulator
from mazes.environment import SIDES, MazeEnvironment
from mazes.layout import MazeConfig, require_number
from mazes.seeds import SPLITS, split_seeds

_FRAME = (480, 640)
"""Rows and columns of the pictures that `render` returns."""


class _Mazes:
    """What the single and the batched environment share."""

    def _set_up(
        self,
        batch: int,
        height: int = 30,
        width: int = 40,
        episode_steps: int | None = 512,
        visits: int | None = None,
        visit_cap: int | None = None,
        split: str = "train",
        render_mode: str | None = None,
        **maze: Any,
    ) -> None:
        known = [field.name for field in fields(MazeConfig)] + [*inspect.signature(self._set_up).parameters][1:-1]
        if unknown := sorted(maze.keys() - set(known)):
            raise TypeError(f"{unknown[0]} is no option of these mazes, which are: {', '.join(known)}")
        self.config = MazeConfig(**maze)
        for name, value, low, high in (
            ("num_envs", batch, 1, None),
            ("height", height, *SIDES),
            ("width", width, *SIDES),
            ("episode_steps", episode_steps, 1, None),
            ("visits", visits, 1, None),
            ("visit_cap", visit_cap, 1, None),
        ):
            if value is not None or name in ("num_envs", "height", "width"):
                require_number(name, value, low, high, whole=True)
        if episode_steps is None and visits is None:
            raise ValueError("episode_steps or visits must be at least 1: with neither, no episode would ever end")
        if not isinstance(split, str) or split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or rgb_array, not {render_mode!r}")
        self.render_mode = render_mode
        self._split = split
        self._limits = {"episode_steps": episode_steps, "visits": visits, "visit_cap": visit_cap}
        self._picture = {"height": height, "width": width}
        self._world: MazeEnvironment | None = None

    def _spaces(self) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Discrete]:
        shape = (self._picture["height"], self._picture["width"], 3)
        return gymnasium.spaces.Box(0, 255, shape, np.uint8), gymnasium.spaces.Discrete(len(simulator.ACTIONS))

    def _begin(self, generators: list[np.random.Generator]) -> np.ndarray:
        """Begin an episode in every row, its maze drawn by the row's generator; return the observations."""
        # Not a closure: a copy of the environment would share its generators with the original.
        seeds = partial(_draw_seed, self._split, generators)
        self._world = MazeEnvironment(self.config, len(generators), seeds=seeds, **self._picture, **self._limits)
        return self._world.time_step().observation

    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Make one action in every row."""
        world = self._world
        if world is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        world.step(actions)
        now = world.time_step()
        visits, steps = self._limits["visits"], self._limits["episode_steps"]
        terminated = np.zeros(world.batch, np.bool_) if visits is None else world.visit >= visits
        truncated = np.zeros(world.batch, np.bool_) if steps is None else world.episode_step >= steps
        info = self._no_info()
        info["visit"][:] = world.visit
        info["goal_found"][:] = world.ended.found
        info["latency"][:] = np.where(world.ended.ended, world.ended.latency, 0)
        return now.observation, now.prev_reward.astype(np.float64), terminated, truncated, info

    def _no_info(self) -> dict[str, np.ndarray]:
        """Return the info of an episode's first moment."""
        batch = self._world.batch
        return {
            "visit": np.zeros(batch, np.int64),
            "goal_found": np.zeros(batch, np.bool_),
            "latency": np.zeros(batch, np.int64),
        }

    def _frames(self) -> np.ndarray:
        if self._world is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        return renderer.render(self._world.layouts, self._world.poses, *_FRAME)


class MazeEnv(_Mazes, gymnasium.Env):
    """One maze; see the module for the options and the info."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, **options: Any) -> None:
        self._set_up(1, **options)
        self.observation_space, self.action_space = self._spaces()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode in another maze; the same seed gives the same sequence of mazes."""
        super().reset(seed=seed)
        return self._begin([self.np_random])[0], _row(self._no_info(), 0)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make one of `mazes.simulator.ACTIONS`."""
        observation, reward, terminated, truncated, info = self._step(np.array([action]))
        return observation[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), _row(info, 0)

    def render(self) -> np.ndarray | None:
        """Return the view from where the agent is, 4:3 whatever its observations are, uint8 [480, 640, 3]."""
        return self._frames()[0] if self.render_mode else None


class MazeVectorEnv(_Mazes, VectorEnv):
    """`num_envs` mazes stepped and drawn together; see the module for the options and the info.

    Episodes begin anew in the step that ends them, with the old one's last observation and info in
    `infos["final_obs"]` and `infos["final_info"]`: equal to `gymnasium.vector.SyncVectorEnv` over as many `MazeEnv`
    with `autoreset_mode=AutoresetMode.SAME_STEP`, and faster.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10, "autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        self._set_up(num_envs, **options)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = self._spaces()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._drawn: list[tuple[np.random.Generator, int]] | None = None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in every maze.

        Args:
            seed: row i draws its mazes from seed + i, or from seed[i]; None goes on with what the row drew from before.
            options: none are known.

        Raises:
            TypeError: a seed is no whole number.
            ValueError: there are not as many seeds as mazes, or `reset_mask` asks for some mazes alone: their episodes
                begin anew by themselves.
        """
        if options and "reset_mask" in options:
            raise ValueError("reset_mask is not known here: every episode that ends begins anew in the same step")
        if seed is None:
            seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            given = seed if isinstance(seed, Sequence | np.ndarray) else [seed]
            seeds = [None if own is None else operator.index(own) for own in given]
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be a number or a list of {self.num_envs}, not of {len(seeds)}")
        old = self._drawn or [None] * self.num_envs
        self._drawn = [
            drawn if drawn is not None and seed is None else seeding.np_random(seed)
            for drawn, seed in zip(old, seeds, strict=True)
        ]
        return self._begin(list(self.np_random)), _masked(self._no_info())

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """What each row draws its mazes from; empty before the first reset."""
        return tuple(generator for generator, _ in self._drawn or ())

    @property
    def np_random_seed(self) -> tuple[int, ...]:
        """The seed of each row's generator; empty before the first reset."""
        return tuple(seed for _, seed in self._drawn or ())

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Make one of `mazes.simulator.ACTIONS` in every maze."""
        observation, reward, terminated, truncated, info = self._step(actions)
        over = self._world.renew()
        if not over.any():
            return observation, reward, terminated, truncated, _masked(info)
        infos: dict[str, Any] = {}
        for row in np.flatnonzero(over):
            infos = self._add_info(infos, {"final_obs": observation[row], "final_info": _row(info, row)}, row)
        for key, first in self._no_info().items():
            info[key][over] = first[over]
        return self._world.time_step().observation, reward, terminated, truncated, infos | _masked(info)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return every maze's view, as `MazeEnv.render`, uint8 [480, 640, 3] each."""
        return tuple(self._frames()) if self.render_mode else None


def _draw_seed(split: str, generators: list[np.random.Generator], row: int, episode: int) -> int:
    return int(split_seeds(split, int(generators[row].integers(2**62)), 1)[0])


def _row(info: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    return {key: values[row].item() for key, values in info.items()}


def _masked(info: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Add to each key the mask that says in which rows it holds: in all."""
    return info | {f"_{key}": np.ones(len(values), np.bool_) for key, values in info.items()}
