"""The world: procedurally generated MiniWorld mazes as batched CPU kernels. Imports nothing else of this project.

Importing it also registers `nav_meta/Maze-v0` with gymnasium, for `gymnasium.make` and `gymnasium.make_vec`.
"""

import gymnasium

from mazes import kernel_cache

kernel_cache.watch(__name__)  # before any module with kernels is imported

gymnasium.register(
    "nav_meta/Maze-v0",
    entry_point="mazes.gymnasium_env:MazeEnv",
    vector_entry_point="mazes.gymnasium_env:MazeVectorEnv",
)
