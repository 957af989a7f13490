"""Harlow's task against a literal version of its rules, and its pictures against rays in space."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mazes.renderer import TAN_HALF_FOV
from nav_meta.baselines.harlow import OneShot
from nav_meta.experiments.base import play
from nav_meta.experiments.harlow import (
    HARLOW,
    HARLOW_SINGLE,
    HARLOW_VECTOR,
    by_trial,
)
from nav_meta.tasks import harlow, pictures
from nav_meta.tasks.harlow import DISTANCE, MARK_SIZE, PICTURE_SIZE, TRIALS, TURN, TURNS, Harlow, HarlowVector

LEFT, RIGHT, STAY = range(3)
SIZES = [(30, 40), (84, 84), (24, 16)]


def rules(actions, sides):
    """Play one episode by the book; `sides` of the paying picture, 1 left; return what is to be seen and paid."""
    heading = held = trials = 0
    phase, sides = "mark", iter(sides)
    moments, rewards = [(0, "mark")], []
    for action in actions:
        if action != STAY:
            heading = min(3, heading + 1) if action == LEFT else max(-3, heading - 1)
        reward = 0.0
        if phase == "chosen":
            phase, held = ("over" if trials == 10 else "mark"), 0
        if phase == "mark":
            held = held + 1 if heading == 0 else 0
            if held == 4:
                phase, reward, side = "choice", 0.2, next(sides)
        elif phase == "choice" and abs(heading) == 3:
            trials += 1
            phase, reward = "chosen", 1.0 if np.sign(heading) == side else -1.0
        moments.append((heading, phase))
        rewards.append(reward)
    return moments, rewards, trials


@pytest.mark.parametrize("make", [Harlow, HarlowVector])
@pytest.mark.parametrize("sensible", [False, True])
def test_a_literal_version_agrees(make, sensible):
    task = make(5, episode_steps=300, seed=3)
    generator = np.random.default_rng(0)
    script = OneShot(5, 0)
    actions, sides, seen, rewards, going = [], [[] for _ in range(5)], [], [], []
    for _ in range(250):
        wild = generator.integers(3, size=5)
        planned = script(task.time_step())
        actions.append(planned if sensible else wild)
        task.step(actions[-1])
        moment = task.time_step()
        for b in np.flatnonzero(moment.prev_reward == np.float32(0.2)):
            sides[b].append(task.side[b])
        rewards.append(moment.prev_reward)
        seen.append([task.heading.copy(), task.marked, task.shown.copy()])
        going.append(moment.discount)
    for b in range(5):
        moments, paid, trials = rules([action[b] for action in actions], sides[b])
        np.testing.assert_allclose([reward[b] for reward in rewards], paid, atol=1e-6)
        for (heading, phase), now in zip(moments[1:], seen, strict=True):
            assert now[0][b] == heading
            assert now[1][b] == (phase == "mark") and now[2][b] == (phase in ("choice", "chosen"))
        assert trials == task.trial[b]
        choices = np.cumsum(np.abs(paid) == 1)
        np.testing.assert_array_equal([left[b] for left in going], choices < TRIALS)
    if sensible:
        assert (task.trial == TRIALS).all()


@pytest.mark.parametrize("make", [Harlow, HarlowVector])
def test_the_learner_is_told_where_the_picture_that_pays_hangs(make):
    task = make(64, seed=1)
    task.help_learner(hint=True)
    hints = []
    for _ in range(4):
        hints.append(task.hints().target)
        task.step(np.full(64, STAY))
    assert not np.any(hints)
    hint = task.hints()
    assert hint.target.shape == (64, 1) and hint.known.all() and set(hint.target[:, 0]) == {-1, 1}
    for _ in range(TURNS):
        task.step(np.where(hint.target[:, 0] > 0, LEFT, RIGHT))
    assert np.all(task.time_step().prev_reward == 1)


def test_pictures_are_drawn_evenly_and_hang_on_both_sides():
    task = HarlowVector(4000, seed=1)
    assert (task.pictures[:, 0] != task.pictures[:, 1]).all()
    assert task.pictures.min() == 0 and task.pictures.max() == pictures.COUNT - 1
    for _ in range(4):
        task.step(np.full(4000, STAY))
    assert abs(task.side.mean()) < 0.06 and task.shown.all()
    np.testing.assert_array_equal(task.hung[task.side == 1], task.pictures[task.side == 1])
    np.testing.assert_array_equal(task.hung[task.side == -1], task.pictures[task.side == -1][:, ::-1])


def test_any_two_pictures_differ_at_a_glance():
    both = np.concatenate([pictures.load(which) for which in pictures.SETS])
    assert both.shape == (2 * pictures.COUNT, pictures.SIDE, pictures.SIDE, 3) and both.dtype == np.uint8
    glances = both.reshape(len(both), 4, 12, 4, 12, 3).mean((2, 4)).reshape(len(both), -1)
    for n, glance in enumerate(glances[:-1]):
        assert np.square(glances[n + 1 :] - glance).mean(1).min() >= 28**2
    assert both.std() > 75
    with pytest.raises(ValueError, match="set of pictures must be one of training, held-out, not 'some'"):
        pictures.load("some")


def by_rays(task, b, samples):
    """Draw one frame by the mean of many rays a pixel, each followed to a point on the wall, in floats."""
    height, width, _ = task.observation_shape
    frame = np.zeros((height, width, 3))
    room = harlow._room(np.array([TURN * task.heading[b]]), height, width)[0].astype(float)
    hangs = []
    if task.shown[b]:
        for turns, picture in ((TURNS, task.hung[b, 0]), (-TURNS, task.hung[b, 1])):
            texels = pictures.reduce(pictures.load(task.which)[[picture]], task._views.side)[0]
            hangs.append((DISTANCE * np.tan(turns * TURN), PICTURE_SIZE, texels))
    elif task.marked[b]:
        hangs.append((0.0, MARK_SIZE, harlow._cross()))
    # The wall's own axes: ahead, to the left, up. The view is turned to the left by `angle`.
    angle = TURN * task.heading[b]
    ahead, left = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    pixel = 2 * TAN_HALF_FOV / height
    offsets = (np.arange(samples) + 0.5) / samples
    for row in range(height):
        for column in range(width):
            x = (column + offsets - width / 2)[None, :, None] * pixel
            y = (height / 2 - row - offsets)[:, None, None] * pixel
            ray = ahead - x * left + y * np.array([0, 0, 1])
            point = ray * (DISTANCE / ray[..., :1])
            colour = np.broadcast_to(room[row, column], (samples, samples, 3)).copy()
            for middle, size, texels in hangs:
                across = (middle - point[..., 1]) / size + 0.5
                down = 0.5 - point[..., 2] / size
                on = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
                side = len(texels)
                colour[on] = texels[(down[on] * side).astype(int), (across[on] * side).astype(int)]
            frame[row, column] = colour.mean((0, 1))
    return frame


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_frames_are_what_rays_see(height, width):
    task = Harlow(14, height=height, width=width, which="held-out", seed=2)
    task.heading[:] = np.tile(np.arange(-TURNS, TURNS + 1), 2)
    task.shown[7:] = True
    task.side[:] = np.resize([1, -1], 14)
    frames = task.time_step().observation
    checked = range(14) if height < 40 else (1, 8, 10)
    for b in checked:
        # The same samples: only rounding differs, of a texel and of the result.
        assert np.abs(frames[b] - by_rays(task, b, 8)).max() <= 1.01
    if height == 30:
        many = by_rays(task, 9, 32)
        assert np.abs(frames[9] - many).mean() < 1  # and they are enough


def test_everything_is_in_view():
    """The mark always; each picture wherever the version with vectors shows it, and at least half of it at 0."""
    for height, width in SIZES[:2]:
        task = Harlow(7, height=height, width=width)
        task.heading[:] = np.arange(-TURNS, TURNS + 1)
        marked = task.time_step().observation.astype(int)
        task.trial[:] = TRIALS
        assert ((marked != task.time_step().observation).any(-1).sum((1, 2)) > 0.01 * height * width).all()
        pixels = np.diff(task._views.spans)[..., 0]
        assert pixels[TURNS].min() > 0.6 * pixels.max()
        assert (pixels[np.arange(7), (task.heading < 0).astype(int)] > 0.08 * height * width).all()


def test_vectors_say_what_is_where():
    task = HarlowVector(7, which="held-out", seed=5)
    task.shown[:] = True
    task.heading[:] = np.arange(-TURNS, TURNS + 1)
    seen = task.time_step().observation
    np.testing.assert_array_equal(seen[:, :7], np.eye(7))
    np.testing.assert_array_equal(seen[:, 7:9], np.tile([0, 1], (7, 1)))
    codes = harlow._codes("held-out")[task.hung]
    nothing = np.zeros(10)
    # From the right to the left; the letters say what is to the left, in the centre and to the right.
    for b, what in enumerate(("-r-", "--r", "l-r", "l-r", "l-r", "l--", "-l-")):
        for slot, letter in zip(seen[b, 9:].reshape(3, 10), what, strict=True):
            np.testing.assert_array_equal(slot, {"l": codes[b, 0], "r": codes[b, 1], "-": nothing}[letter])
    task.shown[:] = False
    unseen = task.time_step().observation
    assert (unseen[:, 9:] == 0).all() and (unseen[:, 7] == 1).all() and (unseen[:, 8] == 0).all()


@pytest.mark.parametrize("experiment", [HARLOW, HARLOW_VECTOR], ids=lambda one: one.name)
def test_baselines_play_as_is_known(experiment, tmp_path):
    played = {name: experiment.play(make, episodes=400) for name, make in experiment.baselines().items()}
    best, exact = played["one-shot"].figures, experiment.known()["one-shot-exact"]
    assert all(len(figure) == 400 for figure in best.values())
    assert (best["correct"] == 1).all() and (best["correct_training"] == 1).all() and np.nanmean(best["ceiling"]) == 1
    assert (best["trials"] == 10).all()
    np.testing.assert_allclose(best["reward"], np.where(best["correct_1"], 12, 10), rtol=1e-5)
    assert abs(best["correct_1"].mean() - 0.5) < 0.1 and exact["reward"] == 11
    np.testing.assert_array_equal(played["one-shot"].curves["correct"][1:], 1)
    random = played["random"].figures
    assert (
        0.25 < random["trials"].mean() < 0.55 and np.nanmean(random["ceiling"]) == 0 and random["correct"].mean() < 0.05
    )
    experiment.draw(
        {**{name: [one] for name, one in played.items()}, "agent": list(played.values())}, tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_best_needs_88_steps():
    task = HarlowVector(50, episode_steps=88)
    assert np.count_nonzero(np.abs(play(OneShot(50, 0), task).rewards) > 0.5) == 500
    task = HarlowVector(50, episode_steps=87)
    assert np.count_nonzero(np.abs(play(OneShot(50, 0), task).rewards) > 0.5) == 450


def test_trials_are_told_from_rewards():
    rewards = np.zeros((40, 2), np.float32)
    rewards[[3, 9, 20], 0] = 0.2
    rewards[[5, 12], 0] = -1, 1
    correct, reached = by_trial(rewards)
    np.testing.assert_array_equal(reached, np.array([[1, 1, *[0] * 8], [0] * 10]).T)
    np.testing.assert_array_equal(correct, np.array([[0, 1, *[0] * 8], [0] * 10]).T)


def test_threads_draw_at_the_same_time():
    tasks = [Harlow(32, seed=n) for n in range(4)]
    alone = [task.time_step().observation for task in tasks]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda task: [task.time_step().observation for _ in range(20)], tasks))
    for frames, expected in zip(together, alone, strict=True):
        for frame in frames:
            np.testing.assert_array_equal(frame, expected)


def test_names():
    experiments = (HARLOW, HARLOW_SINGLE, HARLOW_VECTOR)
    assert [one.name for one in experiments] == ["harlow", "harlow-single", "harlow-vector"]
    assert HARLOW.make_task(2, 0, np.array([0, 64])).which == "training"
