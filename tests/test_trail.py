import numpy as np
import pytest

from mazes import trail
from mazes.environment import MazeEnvironment
from mazes.layout import PITCH, ROOM, MazeConfig


def room_of(pose):
    return tuple(min(int(place // PITCH), 2) for place in (pose[1], pose[0]))


@pytest.mark.parametrize("coverage", [0.0, 0.3])
def test_rooms_are_counted_from_where_each_visit_begins(coverage):
    """Against a list of the rooms that each visit came through, kept in Python."""
    world = MazeEnvironment(
        MazeConfig(), 32, height=16, width=16, visits=3, shaping=0.0, coverage=coverage, ask_trail=True
    )
    generator = np.random.default_rng(0)
    ways = [[room_of(pose)] for pose in world.poses]
    paid = again = 0
    for _ in range(400):
        first = world.visit == 0
        world.step(generator.choice(3, size=32, p=(0.15, 0.15, 0.7)))
        hints = world.hints()
        for b, way in enumerate(ways):
            if world.ended.ended[b]:
                way[:] = [room_of(world.poses[b])]
                continue  # where a visit ended cannot be seen here
            room = room_of(world.poses[b])
            new = room not in way
            if room != way[-1]:
                way.append(room)
            assert hints.bonus[b] == np.float32(coverage if new and first[b] else 0)
            paid += hints.bonus[b] > 0
            times = 2 ** (2 * hints.target[b, 0]) - 1
            assert times == pytest.approx(way.count(room) - 1, abs=1e-4) and hints.known[b, 0]
            again += times > 0.5
        for b in np.flatnonzero(world.renew()):
            ways[b] = [room_of(world.poses[b])]
    assert again > 500 and (paid > 50) == (coverage > 0)


def test_rooms_around_are_told_as_the_agent_sees_them():
    """In the middle of 3x3 rooms, only the west closed to it; x runs east, z south, headings turn left from east."""
    entered = np.array([[[0, 1, 0], [7, 2, 3], [0, 0, 0]]], np.uint8)
    open_ = np.ones((1, 5, 5), np.bool_)
    open_[0, 2, 1] = False
    middle = PITCH + ROOM / 2
    north, west, south, east = 1.0, None, 0.0, 3.0
    for heading, around in (
        (0.0, (east, north, west, south)),
        (np.pi / 2 - 0.7, (north, west, south, east)),
        (np.pi + 0.7, (west, south, east, north)),
        (-np.pi / 2, (south, east, north, west)),
        (5 * np.pi / 2, (north, west, south, east)),
    ):
        times, known = trail.answers(entered, open_, np.array([[middle, middle, heading]]))
        assert times.dtype == np.float32 and known.dtype == np.bool_
        assert known[0].tolist() == [True, *(number is not None for number in around)]
        expected = np.log2([2.0, *(1 + (number or 0) for number in around)]) / 2
        np.testing.assert_allclose(times[0], expected, rtol=1e-6)


def test_counts_end_where_a_byte_does():
    entered = trail.empty_trails(MazeConfig(rows=2, columns=2), 1)
    poses = np.array([[1.0, 1.0, 0.0]])
    trail.begin(entered, poses, np.array([0]))
    there = poses + [[PITCH, 0, 0]]
    new = []
    for _ in range(300):
        new.append(trail.follow(entered, poses, there)[0])
        trail.follow(entered, there, poses)
    assert entered[0].tolist() == [[255, 255], [0, 0]] and new == [True] + [False] * 299


def test_gaps_belong_to_the_room_before_them():
    entered = trail.empty_trails(MazeConfig(), 1)
    trail.begin(entered, np.array([[ROOM + 0.1, 1.0, 0.0]]), np.array([0]))
    assert entered[0, 0].tolist() == [1, 0, 0] and entered.sum() == 1
