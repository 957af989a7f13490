"""The same task for another library's recurrent agent, on real MiniWorld: sb3-contrib's RecurrentPPO, where installed.

Its hyper-parameters are those that RL Baselines3 Zoo publishes for RecurrentPPO on Atari, the nearest task that it has:
8 environments in processes of their own, 128 steps, 4 epochs, minibatches of 256, learning rate 2.5e-4 and clipping 0.1
falling linearly to 0, entropy 0.01; the rest are the library's defaults. Frames are not stacked, for it has a memory.
"""

import sys
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np
import torch

from mazes import reference, simulator
from mazes.environment import TimeStep
from mazes.layout import Layout, MazeConfig, generate
from mazes.seeds import split_seeds
from nav_meta.config import processors
from nav_meta.errors import UserError
from nav_meta.evaluation import MakePolicy

if TYPE_CHECKING:
    from sb3_contrib import RecurrentPPO

HEIGHT, WIDTH = 48, 64
"""Rows and columns of its pictures: the library's convolutions ask for 36 at least."""
_ENVIRONMENTS = 8
_STEPS = 128
_EPISODE = 256
"""Steps of an episode, as in our own training."""


class MiniWorldMazes(gymnasium.Env):
    """Our task in MiniWorld itself, which moves the agent and draws what it sees; mazes and starts are those of ours.

    An episode is spent in one maze of the training split and truncated after 256 steps. At the goal the reward is 1 and
    the agent is put elsewhere; `info["latency"]` then says how many steps it took, and is 0 otherwise.
    """

    def __init__(self, config: MazeConfig, number: int = 0, count: int = 1) -> None:
        """Prepare environment `number` of `count`, which all have mazes of their own.

        Raises:
            RuntimeError: there is no OpenGL here.
        """
        self.observation_space = gymnasium.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(simulator.ACTIONS))
        self._config, self._next, self._count = config, number, count
        self._world = reference.make_reference(config, generate(config, 0), HEIGHT, WIDTH)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode in the next maze; `seed` changes nothing, for which mazes come is part of the task."""
        super().reset(seed=seed)
        self._seeds = split_seeds("train", self._next, 1)
        self._next += self._count
        self._layout = generate(self._config, int(self._seeds[0]))
        self._world.show(self._layout, walls=self._world.walls)
        self._steps, self._visit = 0, 0
        return self._put(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Make one of `mazes.simulator.ACTIONS`; after the 256th step the episode is truncated."""
        drawn = simulator.draw_steps(self._config, self._seeds, np.array([self._steps]))
        observation, reward, found, _, _ = self._world.step(int(action), None if drawn is None else drawn[0])
        self._steps += 1
        info = {"latency": self._steps - self._began if found else 0}
        if found:
            self._visit += 1
            observation = self._put()
        return observation, reward, False, self._steps >= _EPISODE, info

    def _put(self) -> np.ndarray:
        """Put the agent where its present visit begins; return what it sees."""
        layouts = Layout(*(field[None] for field in self._layout))
        self._world.pose = simulator.spawn(self._config, layouts, self._seeds, np.array([self._visit]))[0]
        self._began = self._steps
        return self._world.render_obs()


class Trained(NamedTuple):
    """What came of a training."""

    make_policy: MakePolicy
    steps: int
    """Environment steps that it had."""


def missing() -> str | None:
    """Return None where the comparison can be made, otherwise a sentence that says what is missing."""
    if find_spec("sb3_contrib") is None:
        return "sb3-contrib is not installed: pip install -e '.[compare]'"
    return reference.available()


def train(config: MazeConfig, minutes: float, seed: int = 0) -> Trained:
    """Train RecurrentPPO (`CnnLstmPolicy`) from nothing for so many minutes, on real MiniWorld in 8 processes.

    Says on stderr, ten times, how many steps visits take.

    Args:
        config: which mazes.
        minutes: of wall time, from the first step on; the update that is under way then is still finished.
        seed: of weights and actions.

    Raises:
        UserError: when the library or OpenGL is missing.
    """
    if problem := missing():
        raise UserError(f"{problem.rstrip('.')}.")
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import SubprocVecEnv

    makes = [partial(MiniWorldMazes, config, number, _ENVIRONMENTS) for number in range(_ENVIRONMENTS)]
    environments = SubprocVecEnv(makes, start_method="spawn")  # a fork would copy OpenGL's context
    began, tenth, latencies = 0.0, 1, []

    def passed() -> float:
        """Return the share of the time that is over."""
        return (time.perf_counter() - began) / (60 * minutes) if began else 0.0

    def falling(begin: float, _: float) -> float:
        """Return a value that falls to 0 as the time passes: how many steps there will be is not known."""
        return begin * max(0.0, 1 - passed())

    def after_step(locals_: dict[str, Any], _: dict[str, Any]) -> bool:
        """Report, and go on as long as there is time."""
        nonlocal tenth
        latencies.extend(info["latency"] for info in locals_["infos"] if info["latency"])
        if passed() >= tenth / 10:
            steps, mean = locals_["self"].num_timesteps, np.mean(latencies) if latencies else np.nan
            text = f"{passed() * minutes:.1f} min  step {steps:,}  {len(latencies)} visits of {mean:.1f} steps"
            print(text, file=sys.stderr)
            tenth, latencies[:] = int(10 * passed()) + 1, []
        return passed() < 1

    threads = torch.get_num_threads()
    torch.set_num_threads(processors())  # the environments rest while it learns
    try:
        model = RecurrentPPO(
            "CnnLstmPolicy",
            environments,
            n_steps=_STEPS,
            n_epochs=4,
            batch_size=256,
            learning_rate=partial(falling, 2.5e-4),
            clip_range=partial(falling, 0.1),
            ent_coef=0.01,
            seed=seed,
            device="cpu",
        )
        began = time.perf_counter()
        model.learn(10**12, callback=after_step)
    finally:
        environments.close()
        torch.set_num_threads(threads)
    return Trained(lambda batch, seed: Recurrent(model, seed), model.num_timesteps)


class Recurrent:
    """A `RecurrentPPO` as a policy of our evaluation: it samples its actions, and remembers over goals."""

    def __init__(self, model: "RecurrentPPO", seed: int) -> None:
        """Begin with an empty memory. Its actions come from torch's one generator: one batch after another, please."""
        self._model = model
        self._memory: Any = None
        torch.manual_seed(seed)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Look at the pictures, draw actions int64 [B]."""
        actions, self._memory = self._model.predict(moment.observation, self._memory, moment.first, deterministic=False)
        return actions.astype(np.int64)
