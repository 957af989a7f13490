"""Tabular MDPs: the processes, their rivals against slow references, and the table of Duan et al. (2016)."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.stats import norm

from nav_meta.baselines.mdp import (
    BEB,
    UCRL2,
    Greedy,
    Optimal,
    PosteriorSampling,
    optimistic_value_iteration,
    posterior,
)
from nav_meta.experiments.base import play
from nav_meta.experiments.mdp import EPISODES, EXPERIMENTS, MDPExperiment
from nav_meta.tasks.mdp import ACTIONS, HORIZON, NEW, STATES, TabularMDP, value_iteration


def test_processes_are_drawn_as_in_the_paper() -> None:
    task = TabularMDP(2000, seed=1)
    assert task.means.mean() == pytest.approx(1, abs=0.02) and task.means.std() == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(task.transitions.sum(-1), 1)
    # Moments of the flat Dirichlet distribution over K = 10: mean 1 / K, variance (K - 1) / (K^2 (K + 1)).
    np.testing.assert_allclose(task.transitions.mean((0, 1, 2)), 0.1, atol=0.002)
    np.testing.assert_allclose(task.transitions.var((0, 1, 2)), 9 / 1100, rtol=0.05)


def test_what_is_paid_and_where_it_leads() -> None:
    task = TabularMDP(20_000, episodes=1, seed=2)
    task.means[:], task.transitions[:] = task.means[0].copy(), task.transitions[0].copy()
    task.step(np.full(task.batch, 3))
    rewards = task.time_step().prev_reward
    assert rewards.mean() == pytest.approx(task.means[0, 0, 3], abs=0.03) and rewards.std() == pytest.approx(
        1, abs=0.02
    )
    shares = np.bincount(task.place, minlength=STATES) / task.batch
    np.testing.assert_allclose(shares, task.transitions[0, 0, 3], atol=0.015)


def test_inner_episodes_begin_in_state_0_and_are_announced() -> None:
    task = TabularMDP(5, episodes=3)
    generator = np.random.default_rng(0)
    for step in range(3 * HORIZON):
        moment = task.time_step()
        code, new, passed = moment.observation[:, :STATES], moment.observation[:, NEW], moment.observation[:, NEW + 1]
        np.testing.assert_array_equal(code, np.eye(STATES)[task.place])
        assert (new == (step % HORIZON == 0)).all() and np.allclose(passed, step % HORIZON / HORIZON)
        assert (task.place[new > 0] == 0).all()
        assert (moment.first == (step == 0)).all() and (moment.discount == 1).all(), "a trial is not cut inside"
        task.step(generator.integers(ACTIONS, size=5))
    assert (task.time_step().discount == 0).all()
    with pytest.raises(ValueError, match="at least 1"):
        TabularMDP(5, episodes=0)


def test_value_iteration_is_bellmans_recursion() -> None:
    task = TabularMDP(3, seed=4)
    rewards = np.random.default_rng(0).normal(size=(3, HORIZON, STATES, ACTIONS))

    def worth(n: int, step: int) -> np.ndarray:
        if step == HORIZON:
            return np.zeros((STATES, ACTIONS))
        return rewards[n, step] + task.transitions[n] @ worth(n, step + 1).max(1)

    values = value_iteration(rewards, task.transitions)
    for n in range(3):
        for step in range(HORIZON):
            np.testing.assert_allclose(values[n, step], worth(n, step))
    same = np.repeat(rewards[:, :1], HORIZON, 1)
    np.testing.assert_array_equal(
        value_iteration(rewards[:, :1], task.transitions), value_iteration(same, task.transitions)
    )


def test_regrets_add_up_to_what_perfect_play_brings_more() -> None:
    """The performance difference lemma, for random actions in one process; without the noise of what is paid."""
    task = TabularMDP(20_000, episodes=2, seed=6)
    task.begin(np.zeros(1, np.int64), np.random.default_rng(0))
    for array in (task.means, task.transitions, task._values):
        array[:] = array[0].copy()
    task.help_learner(shaping=1.0)
    best = 2 * value_iteration(task.means[:1, None], task.transitions[:1])[0, 0, 0].max()
    generator = np.random.default_rng(1)
    brought, learner = np.zeros((2, task.batch))
    for _ in range(task.episode_steps):
        actions = generator.integers(ACTIONS, size=task.batch)
        brought += task.means[0, task.place, actions]
        task.step(actions)
        learner += task.time_step().prev_reward + task.hints().bonus
    error = learner - (brought - best)
    assert abs(error.mean()) < 4 * error.std() / task.batch**0.5
    assert best - brought.mean() > 10


def test_optimism_solves_a_linear_program() -> None:
    """Extended value iteration's step: maximise p v over distributions p with |p - q|_1 <= width."""
    generator = np.random.default_rng(1)
    rewards = generator.normal(size=(2, STATES, ACTIONS))
    transitions = generator.dirichlet(np.full(STATES, 0.3), size=(2, STATES, ACTIONS))
    widths = generator.choice([0.0, 0.1, 0.7, 1.5, 3.0], size=(2, STATES, ACTIONS))
    values = optimistic_value_iteration(rewards, transitions, widths)
    one, no = np.eye(STATES), np.zeros(STATES)
    for n, state, action in np.ndindex(2, STATES, ACTIONS):
        after, shares = values[n, 5].max(1), transitions[n, state, action]
        # Variables: p and d >= |p - q|.
        best = linprog(
            np.concatenate([-after, no]),
            A_ub=np.block([[one, -one], [-one, -one], [no, np.ones(STATES)]]),
            b_ub=np.concatenate([shares, -shares, [widths[n, state, action]]]),
            A_eq=np.concatenate([np.ones(STATES), no])[None],
            b_eq=[1],
        )
        assert values[n, 4, state, action] == pytest.approx(rewards[n, state, action] - best.fun)
    np.testing.assert_allclose(
        optimistic_value_iteration(rewards, transitions, 0 * widths), value_iteration(rewards[:, None], transitions)
    )


def test_players_remember_a_trial_and_only_that() -> None:
    task, generator = TabularMDP(4, episodes=3, seed=5), np.random.default_rng(0)
    player = Greedy(4, 0)
    for _ in range(2):  # trials: nothing is left of the first in the second
        task.renew()
        tries, paid = np.zeros((2, 4, STATES, ACTIONS))
        moves = np.zeros((4, STATES, ACTIONS, STATES))
        for step in range(3 * HORIZON):
            player(task.time_step())
            place, actions = task.place.copy(), generator.integers(ACTIONS, size=4)
            for record, expected in ((player.tries, tries), (player.paid, paid), (player.moves, moves)):
                np.testing.assert_allclose(record, expected)
            task.step(actions)
            for row, reward in enumerate(task.time_step().prev_reward):
                tries[row, place[row], actions[row]] += 1
                paid[row, place[row], actions[row]] += reward
                if (step + 1) % HORIZON:
                    moves[row, place[row], actions[row], task.place[row]] += 1


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_beliefs_follow_bayes(prior: float) -> None:
    rewards, moves = np.array([2.3, 0.4, 1.9]), np.array([3, 0, 0, 1, 0, 0, 0, 0, 0, 0])
    mean, precision, counts = posterior(np.array(3.0), rewards.sum(), moves.astype(float), prior)
    grid = np.linspace(-8, 10, 20_001)
    density = norm.pdf(grid, prior) * norm.pdf(rewards[:, None], grid).prod(0)
    density /= density.sum()
    assert mean == pytest.approx(density @ grid)
    assert 1 / precision == pytest.approx(density @ (grid - mean) ** 2)
    # Flat prior on the simplex, weighed by how likely it makes the moves.
    shares = np.random.default_rng(0).dirichlet(np.ones(STATES), 400_000)
    weights = (shares**moves).prod(1)
    np.testing.assert_allclose(counts / counts.sum(), weights @ shares / weights.sum(), rtol=0.03)


def test_the_best_plays_as_well_as_computed_and_the_others_in_order() -> None:
    experiment = MDPExperiment(25)
    played = {name: experiment.play(make, episodes=300) for name, make in experiment.baselines().items()}
    reward = {name: one.figures["reward"] for name, one in played.items()}
    task = experiment.make_task(300, 1 << 40)
    best = 25 * Optimal(task).plan(np.arange(300))[:, 0, 0].max(1)
    error = reward["optimal"] - best
    assert abs(error.mean()) < 4 * error.std() / 300**0.5
    mean = {name: row.mean() for name, row in reward.items()}
    assert mean["random"] < mean["greedy"] < mean["psrl"] < mean["opsrl"] < mean["beb-true-prior"] < mean["optimal"]
    assert max(mean.values()) == mean["optimal"] and min(mean.values()) == mean["random"]
    for one in played.values():
        np.testing.assert_allclose(one.curves["return"].sum(), one.figures["reward"].mean())
        noise = one.figures["sampled_reward"] - one.figures["reward"]
        assert abs(noise.mean()) < 4 * 250**0.5 / 300**0.5
    # Who learns brings more in the end than in the beginning.
    for name in ("greedy", "psrl", "opsrl", "ucrl2", "beb"):
        assert played[name].curves["return"][-5:].mean() > played[name].curves["return"][:5].mean() + 2, name


def test_test_trials_are_the_same_for_all_and_can_be_repeated(tmp_path: Path) -> None:
    experiment = EXPERIMENTS[0]
    one, two = (experiment.play(partial(BEB, prior=0.0, beta=2.0), episodes=20, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.figures["reward"], two.figures["reward"])
    other = experiment.play(partial(BEB, prior=0.0, beta=2.0), episodes=20, seed=4)
    assert (one.figures["reward"] != other.figures["reward"]).all()
    known = experiment.known()
    assert known["paper"] == {"reward": 156.2} and known["paper-psrl"] == {"reward": 138.1}
    assert MDPExperiment(3).known() == {}
    assert experiment.training.learner.episode == 100
    experiment.draw({"psrl": [one], "agent": [one, two, other]}, tmp_path / "mdp.png")
    assert (tmp_path / "mdp.png").stat().st_size > 10_000


def test_samples_and_intervals_make_players_optimistic() -> None:
    task = TabularMDP(50, episodes=2, seed=6)
    rows = np.arange(50)
    players = [PosteriorSampling(50, 0, prior=0.0, samples=samples) for samples in (1, 5)]
    few, many = (player.plan(rows) for player in players)
    assert (many >= few).all(), "the first sample is the same"
    narrow, wide = (UCRL2(50, 0, scale=scale) for scale in (0.1, 0.2))
    assert (wide.plan(rows) > narrow.plan(rows)).all()
    play(narrow, task, ())
    wide.tries, wide.paid, wide.moves = narrow.tries, narrow.paid, narrow.moves
    assert (narrow.tries > 0).any() and (wide.plan(rows) > narrow.plan(rows)).all(), "after the same experience too"


@pytest.mark.slow
def test_rivals_reproduce_the_papers_table() -> None:
    """One run of 100 inner episodes tells all columns: no player knows how many there will be."""
    experiment = EXPERIMENTS[-1]
    for name, make in experiment.baselines().items():
        if (row := f"paper-{name}") not in experiment.known():
            continue
        total = experiment.play(make).curves["return"].cumsum()
        for one in EXPERIMENTS:
            # The spread between processes is 25 at n = 10 and 240 at n = 100, in both samples of 1000.
            error = 2.4 * one.episodes * (2 / 1000) ** 0.5
            paper = one.known()[row]["reward"]
            assert total[one.episodes - 1] == pytest.approx(paper, abs=3 * error), (name, one.episodes)
    assert [one.episodes for one in EXPERIMENTS] == list(EPISODES)
