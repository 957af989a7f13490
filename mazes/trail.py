"""Where the agent has been since it was put where it is: what a search has to remember so as not to go in circles."""

import math

import numpy as np
from numba import njit

from mazes.layout import MazeConfig
from mazes.simulator import is_open, room_of, towards

QUESTIONS = ("times here", "times ahead", "times left", "times behind", "times right")
"""About the room the agent is in, and those ahead, to its left, behind and to its right."""


def empty_trails(config: MazeConfig, batch: int) -> np.ndarray:
    """Return how often each room has been entered, uint8 [B, rows, columns]: never."""
    return np.zeros((batch, config.rows, config.columns), np.uint8)


@njit(nogil=True, cache=True)
def begin(entered: np.ndarray, poses: np.ndarray, index: np.ndarray) -> None:
    """Begin the trails of some mazes anew, in the rooms of poses float64 [B, 3]; index int64 [N]: of which."""
    for b in index:
        begin_one(entered[b], poses[b])


def follow(entered: np.ndarray, before: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Count the rooms entered on the way from poses `before` to poses float64 [B, 3]; return bool [B]: is it new?"""
    new = np.empty(len(poses), np.bool_)
    _follow_batch(entered, before, poses, new)
    return new


def answers(entered: np.ndarray, open_: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how often the agent was in the room where it is, and in those around, before.

    Args:
        entered: uint8 [B, rows, columns], as kept by `follow`.
        open_: bool [B, cell rows, cell columns], as in `Layout`.
        poses: float64 [B, 3].

    Returns:
        float32 [B, 5]: log2(1 + times) / 2 for each of the `QUESTIONS`; bool [B, 5]: is there a way into that room from
        this one? Without one, the number means nothing.
    """
    times = np.empty((len(poses), len(QUESTIONS)), np.float32)
    known = np.empty((len(poses), len(QUESTIONS)), np.bool_)
    _write_batch(entered, open_, poses, times, known)
    return times, known


@njit(nogil=True, cache=True)
def _follow_batch(entered, before, poses, new):
    for b in range(len(poses)):
        new[b] = follow_one(entered[b], before[b, 0], before[b, 1], poses[b])


@njit(nogil=True, cache=True)
def _write_batch(entered, open_, poses, times, known):
    for b in range(len(poses)):
        write_one(entered[b], open_[b], poses[b], times[b], known[b])


@njit
def begin_one(entered, pose):
    """Forget a trail, and begin another in the pose's room."""
    for i in range(entered.shape[0]):
        for j in range(entered.shape[1]):
            entered[i, j] = 0
    entered[room_of(pose[1]), room_of(pose[0])] = 1


@njit
def follow_one(entered, x, z, pose):
    """Count the room of a pose if the place before it, (x, z), was in another; return whether it was never entered."""
    i, j = room_of(pose[1]), room_of(pose[0])
    if i == room_of(z) and j == room_of(x):
        return False
    new = entered[i, j] == 0
    if entered[i, j] < 255:
        entered[i, j] += 1
    return new


@njit
def write_one(entered, open_, pose, times, known):
    """Write `answers` of one maze: to float32 [5] and bool [5]."""
    i, j = room_of(pose[1]), room_of(pose[0])
    times[0] = math.log2(float(max(entered[i, j], 1))) / 2
    known[0] = True
    heading = np.int64(math.floor(pose[2] / (math.pi / 2) + 0.5))  # in quarters of a turn from east, to the left
    for k in range(4):
        quarter = (heading + k) % 4
        di, dj = towards(quarter)
        known[1 + k] = is_open(open_, 2 * i + di, 2 * j + dj)
        times[1 + k] = math.log2(1.0 + entered[i + di, j + dj]) / 2 if known[1 + k] else 0.0
