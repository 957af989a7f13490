"""The world: procedurally generated MiniWorld mazes as batched CPU kernels. Imports nothing else of this project."""
