"""Maze seeds: 64-bit integers, one per maze, in ranges that training and evaluation never share.

Every random draw of the world is a pure function of (maze seed, purpose, counter) through SplitMix64 (Steele, Lea and
Flood 2014, "Fast splittable pseudorandom number generators", constants from its Figure 17). There is no generator state
to carry or to save, and the same seed gives the same maze on every machine.
"""

import numpy as np
from numba import njit

SPLIT_SIZE = 1 << 62
"""Maze seeds in each split: their two highest bits name the split."""

SPLITS = {"train": 0, "validation": 1, "test": 2}

# What a draw is for. Different purposes never share a random stream.
LAYOUT, TEXTURES, GOAL, SPAWN, LOOK, VARIANTS, STEPS, MOVED_GOAL = 1, 2, 3, 4, 5, 6, 7, 8


def split_seeds(split: str, first: int, count: int) -> np.ndarray:
    """Return the `count` maze seeds of a split that start at index `first`, uint64 [count].

    Raises:
        ValueError: for an unknown split or an index outside of [0, SPLIT_SIZE).
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if first < 0 or count < 0 or first + count > SPLIT_SIZE:
        raise ValueError(f"maze indices must lie in [0, 2**62), not [{first}, {first + count})")
    offset = np.uint64(SPLITS[split] * SPLIT_SIZE)
    return offset + np.uint64(first) + np.arange(count, dtype=np.uint64)


def split_of(seeds: np.ndarray) -> np.ndarray:
    """Return the number of each seed's split (the values of `SPLITS`), int64 of the same shape."""
    return (np.asarray(seeds, dtype=np.uint64) // np.uint64(SPLIT_SIZE)).astype(np.int64)


@njit(inline="always")
def mix(x):
    """SplitMix64's finaliser: uint64 -> uint64, every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(inline="always")
def stream(seed, purpose):
    """Return the key (uint64) of the random stream that belongs to a maze seed and a purpose."""
    return mix(mix(np.uint64(seed)) + np.uint64(purpose) * np.uint64(0x9E3779B97F4A7C15))


@njit(inline="always")
def draw(key, counter):
    """Return draw number `counter` of a stream, uint64."""
    return mix(key + (np.uint64(counter) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


@njit(inline="always")
def uniform(key, counter):
    """Return draw number `counter` of a stream as a float64 in [0, 1)."""
    return np.float64(draw(key, counter) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(inline="always")
def below(key, counter, bound):
    """Return draw number `counter` of a stream as an int64 in [0, bound)."""
    return np.int64(uniform(key, counter) * bound)
