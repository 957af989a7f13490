"""Compile the kernels of mazes.cuda for a GPU that need not be there; print name and length of each one's PTX.

Only numba-cuda and NVVM are needed (`pip install -e .[cuda]`). The simulator takes any Python; the device does not.
"""

import warnings
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import cuda
from numba.cuda import dispatcher

import mazes.cuda
from mazes.layout import MazeConfig

KERNELS = ("_begin", "_write", "_write_fields", "_put", "_search", "_step", "_hint", "_look", "_draw", "_draw_exact")
HOPPER = (9, 0)
LEARNER = {
    "shaping": 0.1,
    "coverage": 0.1,
    "ask_view": True,
    "ask_place": True,
    "ask_trail": True,
    "guided_search": True,
}


class Recorder:
    """Stands in for a kernel and notes the types of its arguments."""

    def __init__(self) -> None:
        self.types: tuple[Any, ...] = ()

    def __getitem__(self, launch: object) -> "Recorder":
        return self

    def __call__(self, *arguments: object) -> None:
        self.types = tuple(map(numba.typeof, arguments))


def main() -> None:
    """Compile."""
    warnings.simplefilter("ignore")  # numba's own, about the age of the toolkit
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=HOPPER)
    mazes.cuda.SIMULATED = True  # only so that the arrays are NumPy's
    kernels = {name: getattr(mazes.cuda, name) for name in KERNELS}
    for name in KERNELS:
        setattr(mazes.cuda, name, Recorder())
    for domain_rand in (False, True):
        config = MazeConfig(domain_rand=domain_rand)
        world = mazes.cuda.CudaMazeEnvironment(config, 2, height=6, width=8, episode_steps=4, **LEARNER)
        world.step(np.zeros(2, np.int64))
        world.time_step()
        world.hints()
        world.restore(world.state())
    for name, kernel in kernels.items():
        ptx, _ = cuda.compile_ptx(kernel.py_func, getattr(mazes.cuda, name).types, cc=HOPPER)
        print(name, len(ptx))


if __name__ == "__main__":
    main()
