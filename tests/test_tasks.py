"""The contract of every task."""

import numpy as np
import pytest

from mazes import renderer
from mazes.environment import Hints, MazeEnvironment, TimeStep
from mazes.layout import KINDS, MazeConfig, generate_batch, moved_goals
from nav_meta.tasks import Task
from nav_meta.tasks.bandits import ARMS, Bandit, InformativeArm
from nav_meta.tasks.harlow import Harlow, HarlowVector
from nav_meta.tasks.mdp import NEW, TabularMDP
from nav_meta.tasks.recall import Recall
from nav_meta.tasks.restless import RestlessBandit
from nav_meta.tasks.two_step import Setting, TwoStep

B = 6

TASKS = {
    "random mazes": lambda: MazeEnvironment(
        MazeConfig(rows=2, columns=3),
        B,
        height=20,
        width=24,
        episode_steps=12,
        shaping=0.05,
        coverage=0.1,
        ask_view=True,
        ask_place=True,
        ask_trail=True,
        guided_search=True,
    ),
    "i-maze": lambda: MazeEnvironment(MazeConfig(kind="imaze"), B, height=20, width=24, episode_steps=12, shaping=0.0),
    "fixed maze, fine steps": lambda: MazeEnvironment(
        MazeConfig(kind="fixed", step_size="fine"),
        B,
        height=20,
        width=24,
        episode_steps=12,
        visits=3,
        visit_cap=5,
        shaping=1.0,
    ),
    "recall": lambda: Recall(B, length=12),
    **{f"bandit, {arms}": lambda arms=arms: Bandit(B, arms=arms, pulls=12) for arms in ARMS},
    "bandit, ten arms": lambda: Bandit(B, count=10, pulls=12, phases=np.arange(B) % 2 * 6),
    "informative arm": lambda: InformativeArm(B),
    "tabular mdp": lambda: TabularMDP(B, episodes=2, phases=np.arange(B) % 2 * 10),
    "harlow": lambda: Harlow(B, episode_steps=12, phases=np.arange(B)),
    "harlow, held-out pictures, codes": lambda: HarlowVector(B, which="held-out", episode_steps=12),
    "two-step": lambda: TwoStep(B, phases=np.arange(B)),
    "two-step with reversals": lambda: TwoStep(B, Setting(reversal=0.3, trials=6)),
    "restless bandit": lambda: RestlessBandit(B, pulls=12, phases=np.arange(B)),
}


@pytest.fixture(params=TASKS, ids=str)
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]()


def check(moment: TimeStep, hints: Hints, task: Task) -> None:
    assert moment.observation.shape == (B, *task.observation_shape)
    assert moment.observation.dtype == (np.uint8 if len(task.observation_shape) == 3 else np.float32)
    for name, dtype in (
        ("prev_action", np.int64),
        ("prev_reward", np.float32),
        ("first", np.bool_),
        ("discount", np.float32),
        ("visit", np.int32),
    ):
        field = getattr(moment, name)
        assert field.shape == (B,) and field.dtype == dtype, name
    assert ((moment.prev_action >= 0) & (moment.prev_action < task.actions)).all()
    assert np.isfinite(moment.prev_reward).all() and np.isin(moment.discount, (0, 1)).all()
    assert (moment.visit >= 0).all()
    assert hints.bonus.shape == (B,) and hints.target.shape == hints.known.shape == (B, task.hint_size)
    assert 0 <= task.view_size <= task.hint_size
    assert np.isfinite(hints.bonus).all() and np.isfinite(hints.target).all()


def test_every_moment_keeps_the_contract(task: Task) -> None:
    generator = np.random.default_rng(0)
    begins = 0
    assert task.time_step().first.all()
    for _ in range(40):
        renewed = task.renew()
        moment = task.time_step()
        check(moment, task.hints(), task)
        assert (moment.prev_reward[moment.first] == 0).all() and (moment.visit[moment.first] == 0).all()
        assert (renewed <= moment.first).all()
        begins += renewed.sum()
        actions = generator.integers(task.actions, size=B)
        task.step(actions)
        after = task.time_step()
        check(after, task.hints(), task)
        assert not after.first.any(), "only renew begins an episode"
        assert (after.prev_action == actions).all()
        assert all(told.shape == (B,) for told in task.ended)
        assert (task.ended.latency[task.ended.ended] > 0).all() and (task.ended.found <= task.ended.ended).all()
    assert begins > 0


def test_a_restored_task_goes_on_exactly(task: Task) -> None:
    generator = np.random.default_rng(1)
    for _ in range(7):
        task.step(generator.integers(task.actions, size=B))
        task.renew()
    state = task.state()
    actions = generator.integers(task.actions, size=(20, B))

    def play() -> list[TimeStep]:
        moments = []
        for action in actions:
            task.step(action)
            task.renew()
            moments.append(task.time_step())
        return moments

    one = play()
    task.restore(state)
    for first, second in zip(one, play(), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_observations_are_written_where_asked(task: Task) -> None:
    out = np.zeros_like(task.time_step().observation)
    moment = task.time_step(out=out)
    assert np.shares_memory(moment.observation, out)
    np.testing.assert_array_equal(out, task.time_step().observation)


KNOWING = ("bandit, uniform", "bandit, ten arms", "tabular mdp")


@pytest.mark.parametrize("name", KNOWING)
def test_what_the_learner_is_told_changes_nothing_that_the_agent_sees(name: str) -> None:
    plain, helped, mixed = (TASKS[name]() for _ in range(3))
    helped.help_learner(shaping=1.0, hint=True)
    mixed.help_learner(shaping=0.25)
    assert plain.hint_size == mixed.hint_size == 0
    generator = np.random.default_rng(0)
    for _ in range(30):
        for task in (plain, helped, mixed):
            task.renew()
        actions = generator.integers(plain.actions, size=B)
        regrets = helped.regrets()
        np.testing.assert_allclose(regrets.min(1), 0)
        assert (regrets > 0).any() and helped.hints().known.all()
        answers = helped.means.reshape(B, -1)
        if helped.means.ndim == 3:  # what actions pay is not all they are worth where they lead to other states
            answers = np.concatenate([answers, -regrets], 1)
        np.testing.assert_allclose(helped.hints().target, answers, rtol=1e-6)
        for task in (plain, helped, mixed):
            task.step(actions)
        moment = plain.time_step()
        for other in (helped, mixed):
            for a, b in zip(moment, other.time_step(), strict=True):
                np.testing.assert_array_equal(a, b)
        regret, reward = regrets[np.arange(B), actions], moment.prev_reward
        assert (plain.hints().bonus == 0).all() and not plain.hints().known.any()
        np.testing.assert_allclose(reward + helped.hints().bonus, -regret, atol=1e-5)
        np.testing.assert_allclose(reward + mixed.hints().bonus, 0.75 * reward - 0.25 * regret, atol=1e-5)


@pytest.mark.parametrize("name", KNOWING)
def test_a_restored_task_tells_the_learner_the_same(name: str) -> None:
    task, other = TASKS[name](), TASKS[name]()
    generator = np.random.default_rng(2)
    for one in (task, other):
        one.help_learner(shaping=1.0, hint=True)
    for _ in range(14):
        task.step(generator.integers(task.actions, size=B))
        task.renew()
    other.restore(task.state())
    for _ in range(14):
        for a, b in zip(task.hints(), other.hints(), strict=True):
            np.testing.assert_array_equal(a, b)
        actions = generator.integers(task.actions, size=B)
        for one in (task, other):
            one.step(actions)
            one.renew()


def test_tasks_that_do_not_know_their_means_say_so() -> None:
    task = Recall(B)
    task.help_learner()
    with pytest.raises(ValueError, match=r"shaping must be 0: Recall does not know what"):
        task.help_learner(shaping=0.5)
    with pytest.raises(ValueError, match=r"hint must be 0: Recall has nothing to ask the auxiliary head for"):
        task.help_learner(hint=True)
    for shaping in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="shaping must be between 0 and 1"):
            Bandit(B).help_learner(shaping=shaping)


def test_goals_respawns_and_caps_in_mazes() -> None:
    """The goal stays, is paid 1, moves the agent away, and costs a visit; a cap ends a visit unpaid."""
    config = MazeConfig(rows=2, columns=2)
    environment = MazeEnvironment(config, 64, height=16, width=16, visits=4, visit_cap=60, shaping=0.05)
    generator = np.random.default_rng(0)
    goals = environment.layouts.goal.copy()
    found = capped = 0
    for _ in range(150):
        over = environment.over
        visit = environment.visit.copy()
        environment.step(generator.integers(3, size=64))
        moment, ended = environment.time_step(), environment.ended
        np.testing.assert_array_equal(np.flatnonzero(moment.prev_reward == 1), np.flatnonzero(ended.found))
        np.testing.assert_array_equal(moment.visit - visit, ended.ended)
        away = np.hypot(*(environment.poses[ended.ended, :2] - goals[ended.ended, :2]).T)
        assert (away >= config.respawn_distance).all()
        given_up = ended.ended & ~ended.found
        assert (ended.latency[given_up] == 60).all() and (ended.latency <= 60).all()
        assert (environment.hints().bonus[visit == 0] == 0).all(), "nobody knows where the goal is on the first visit"
        found += ended.found.sum()
        capped += given_up.sum()
        np.testing.assert_array_equal(environment.layouts.goal, goals)
        assert over.sum() <= environment.over.sum()
    assert found > 20 and capped > 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_goal_that_moves_does_so_once_an_episode(kind: str) -> None:
    """Walls and textures stay. Only in the third visit may a learner know where the goal is."""
    config = MazeConfig(kind=kind)
    environment = MazeEnvironment(config, 32, height=16, width=16, visits=4, visit_cap=30, shaping=1.0, goal_moves=True)
    generator = np.random.default_rng(0)
    for _ in range(200):
        layouts, moved = generate_batch(config, environment.seeds), moved_goals(config, environment.seeds)
        known, nearer = environment.visit > 1, environment.hints().target[:, 3:]
        np.testing.assert_array_equal(
            environment.layouts.goal, np.where(environment.visit[:, None] > 0, moved, layouts.goal)
        )
        for name in ("open", "texture", "start"):
            np.testing.assert_array_equal(getattr(environment.layouts, name), getattr(layouts, name))
        np.testing.assert_array_equal(environment.hints().known, np.tile(known, (6, 1)).T)
        actions = generator.integers(3, size=32)
        environment.step(actions)
        bonus = np.where(known, nearer[np.arange(32), actions], 0)
        np.testing.assert_allclose(environment.hints().bonus, bonus, atol=1e-5)
        away = np.hypot(*(environment.poses[:, :2] - environment.layouts.goal[:, :2])[environment.ended.ended].T)
        assert (away >= config.respawn_distance).all()
        environment.renew()
    assert (environment.episode > 0).all()


def test_hints_point_at_the_goal() -> None:
    environment = MazeEnvironment(MazeConfig(), 8, shaping=0.0)
    ahead, right, distance = environment.hints().target.T[:3] * 5
    x, z, heading = environment.poses.T
    goal_x, goal_z, _ = environment.layouts.goal.T
    np.testing.assert_allclose(x + ahead * np.cos(heading) + right * np.sin(heading), goal_x, atol=1e-5)
    np.testing.assert_allclose(z - ahead * np.sin(heading) + right * np.cos(heading), goal_z, atol=1e-5)
    np.testing.assert_allclose(distance, np.hypot(ahead, right), rtol=1e-5)


def test_hints_tell_where_the_agent_is() -> None:
    """Two rows of three rooms are 9.5 m by 6.25 m: three rooms of 3 m and two walls of 0.25 m, and so on."""
    environment = MazeEnvironment(MazeConfig(rows=2, columns=3), 64, visit_cap=20, shaping=0.0, ask_place=True)
    generator = np.random.default_rng(0)
    for _ in range(30):
        environment.step(generator.integers(3, size=64))
        hints = environment.hints()
        east, south, cos, sin = hints.target.T[:4]
        np.testing.assert_allclose(np.stack([east, south], 1) * 5, environment.poses[:, :2] - (4.75, 3.125), atol=1e-5)
        np.testing.assert_allclose(cos + 1j * sin, np.exp(1j * environment.poses[:, 2]), atol=1e-6)
        assert hints.known[:, :4].all() and (hints.known[:, 4:] == (environment.visit > 0)[:, None]).all()


def test_hints_tell_what_is_in_view() -> None:
    """The depths are those of the picture's middle row, which shows no more than walls and, far away, the box."""
    environment = MazeEnvironment(
        MazeConfig(), 64, height=16, width=16, visit_cap=20, shaping=0.0, ask_view=True, ask_place=True
    )
    generator = np.random.default_rng(0)
    depths = []
    for _ in range(30):
        environment.step(generator.integers(3, size=64))
        hints = environment.hints()
        cos, sin, *told = hints.target[:, : environment.view_size].T
        np.testing.assert_allclose(cos + 1j * sin, np.exp(1j * environment.poses[:, 2]), atol=1e-6)
        assert hints.known[:, : environment.view_size].all()
        seen = renderer.render_depth(environment.layouts, environment.poses, 8, 8)[:, 3]  # just above the horizon
        depths += [(2 * np.exp(told).T, seen.clip(0.2, 12))]
    told, seen = (np.concatenate(part) for part in zip(*depths, strict=True))
    np.testing.assert_allclose(told, seen, rtol=1e-5)
    assert np.ptp(told) > 9


def test_hints_know_what_the_next_bonus_will_be() -> None:
    environment = MazeEnvironment(MazeConfig(rows=2, columns=3), 64, visit_cap=20, shaping=1.0)
    generator = np.random.default_rng(0)
    later = 0
    for _ in range(100):
        nearer, known = environment.hints().target[:, 3:], environment.visit > 0
        actions = generator.integers(3, size=64)
        environment.step(actions)
        np.testing.assert_allclose(
            environment.hints().bonus, np.where(known, nearer[np.arange(64), actions], 0), atol=1e-5
        )
        later += known.sum()
    assert later > 100


def test_hints_are_for_learners() -> None:
    with pytest.raises(RuntimeError, match="give the environment a shaping"):
        MazeEnvironment(MazeConfig(), 2).hints()


def test_an_episode_that_begins_at_a_phase_shows_nothing_done() -> None:
    mdp = TabularMDP(4, phases=np.arange(4) * 3).time_step()
    assert mdp.first.all() and not mdp.observation[:, NEW + 2 :].any()
    arm = InformativeArm(4, phases=np.arange(4)).time_step()
    np.testing.assert_allclose(arm.observation, np.eye(12)[[0] * 4] * np.arange(4)[:, None] / 5)
