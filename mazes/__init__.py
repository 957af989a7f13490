"""The world: procedurally generated MiniWorld mazes as batched CPU kernels. Imports nothing else of this project.

Importing it also registers `nav_meta/Maze-v0` with gymnasium, for `gymnasium.make` and `gymnasium.make_vec`.
"""

import gymnasium

gymnasium.register(
    "nav_meta/Maze-v0",
    entry_point="mazes.gymnasium_env:MazeEnv",
    vector_entry_point="mazes.gymnasium_env:MazeVectorEnv",
)
