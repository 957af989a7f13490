"""The learner: tasks, rollouts, losses, training, evaluation, and the record of a run."""

from mazes import kernel_cache

kernel_cache.watch(__name__)  # before any module with kernels is imported
