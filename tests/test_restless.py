"""The restless bandit, its rivals, and learning rates fitted to choices."""

from functools import partial

import numpy as np
import pytest

from nav_meta.baselines.restless import CELLS, MIDDLES, BayesOptimal, RescorlaWagner, Thompson, drift
from nav_meta.experiments.base import TEST_SEED, Recording, play
from nav_meta.experiments.rescorla_wagner import fit, likelihood
from nav_meta.experiments.restless import BLOCK, RESTLESS, VOLATILITY, blocks
from nav_meta.tasks.restless import RestlessBandit, reflected


def regret(recording: Recording) -> np.ndarray:
    p = recording.watched["mean"]
    return (np.maximum(p, 1 - p) - np.where(recording.actions == 0, p, 1 - p)).sum(0)


def test_reflection_is_folding() -> None:
    np.testing.assert_allclose(reflected(np.array([0.3, -0.2, 1.1, 2.3, -1.4])), [0.3, 0.2, 0.9, 0.3, 0.6])


def test_the_drift_is_a_gaussian_walk_that_stays_uniform() -> None:
    task = RestlessBandit(20_000, seed=1)
    for _ in range(60):
        before = task.mean.copy()
        actions = np.arange(task.batch) % 2
        task.step(actions)
        paid = task.time_step().prev_reward
    np.testing.assert_array_equal(np.bincount(task.volatility), [10_000, 10_000])
    inside = (before > 0.45) & (before < 0.55)
    for which, volatility in enumerate(task.volatilities):
        here = inside & (task.volatility == which)
        np.testing.assert_allclose((task.mean - before)[here].std(), volatility, rtol=0.1)
    np.testing.assert_allclose(np.histogram(task.mean, 10, (0, 1))[0] / task.batch, 0.1, atol=0.01)
    chance = np.where(actions == 0, before, 1 - before)
    np.testing.assert_allclose(paid[chance > 0.9].mean(), 0.95, atol=0.02)
    np.testing.assert_allclose((paid - chance).mean(), 0, atol=0.015)


@pytest.mark.parametrize("volatilities", [(), (-0.1, 0.2)])
def test_volatilities_out_of_range(volatilities: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="volatilities"):
        RestlessBandit(2, volatilities=volatilities)


@pytest.mark.parametrize("volatility", [0.02, 0.2, 0.9])
def test_drift_matrices_agree_with_sampled_drifts(volatility: float) -> None:
    matrix = drift(volatility, cells=10)
    np.testing.assert_allclose(matrix.sum(1), 1)
    steps = volatility * np.random.default_rng(0).standard_normal(40_000)
    for start in range(10):
        counts = np.histogram(reflected((start + 0.5) / 10 + steps), 10, (0, 1))[0]
        np.testing.assert_allclose(matrix[start], counts / 40_000, atol=0.012)


def test_beliefs_agree_with_a_particle_filter() -> None:
    """One episode, 50,000 particles of p and volatility, weighed by what each pull paid."""
    task, player, generator = RestlessBandit(1, pulls=30, seed=4), BayesOptimal(1, 0), np.random.default_rng(0)
    particles, which = generator.random(50_000), generator.integers(2, size=50_000)
    for _ in range(30):
        action = player(task.time_step())
        belief = player.belief[:, 0]
        assert belief.sum() == pytest.approx(1)
        assert belief[1].sum() == pytest.approx((which == 1).mean(), abs=0.02)
        assert belief.sum(0) @ MIDDLES == pytest.approx(particles.mean(), abs=0.01)
        assert belief.sum(0)[: CELLS // 2].sum() == pytest.approx((particles < 0.5).mean(), abs=0.025)
        task.step(action)
        won = task.time_step().prev_reward[0] > 0
        weight = particles if won == (action[0] == 0) else 1 - particles
        chosen = generator.choice(len(particles), len(particles), p=weight / weight.sum())
        which = which[chosen]
        particles = reflected(particles[chosen] + task.volatilities[which] * generator.standard_normal(len(chosen)))


def test_rescorla_and_wagner_learn_arm_by_arm() -> None:
    task = RestlessBandit(20, pulls=15, seed=2)
    players = [RescorlaWagner(20, 0, rate=0.3, inverse_temperature=4.0, coupled=coupled) for coupled in (False, True)]
    alone, both = np.full((20, 2), 0.5), np.full((20, 2), 0.5)
    while task.going_on().all():
        actions, _ = (player(task.time_step()) for player in players)
        np.testing.assert_allclose(players[0].worth, alone)
        np.testing.assert_allclose(players[1].worth, both)
        task.step(actions)
        for row, (arm, reward) in enumerate(zip(actions, task.time_step().prev_reward, strict=True)):
            alone[row, arm] += 0.3 * (reward - alone[row, arm])
            both[row, arm] += 0.3 * (reward - both[row, arm])
            both[row, 1 - arm] += 0.3 * (1 - reward - both[row, 1 - arm])


def test_rivals_are_tuned_and_the_optimum_is_below_all() -> None:
    def mean(make) -> float:
        return regret(play(make(1000, 0), RestlessBandit(1000, seed=TEST_SEED * 2 + 1), ("mean",))).mean()

    optimum = mean(BayesOptimal)
    for name, make in RESTLESS.baselines().items():
        assert optimum <= mean(make), name
    rivals = RESTLESS.baselines()
    for rate in (0.2, 0.8):
        assert mean(rivals["rescorla-wagner"]) < mean(partial(RescorlaWagner, rate=rate, inverse_temperature=14.0))
    for volatility in (0.01, 0.1):
        assert mean(rivals["thompson-fixed-volatility"]) < mean(partial(Thompson, volatilities=(volatility,)))


@pytest.mark.parametrize("coupled", [False, True])
def test_likelihoods_and_their_derivatives(coupled: bool) -> None:
    generator = np.random.default_rng(0)
    actions, rewards = generator.integers(2, size=(2, 12, 5))
    rates, sharpness = generator.uniform(0.1, 0.9, 5), 3.0
    losses, by_rate, by_sharpness = likelihood(actions, rewards, rates, sharpness, coupled)
    for n in range(5):
        worth, expected = [0.5, 0.5], 0.0
        for arm, reward in zip(actions[:, n], rewards[:, n], strict=True):
            chances = np.exp(sharpness * np.array(worth))
            expected -= np.log(chances[arm] / chances.sum())
            worth[arm] += rates[n] * (reward - worth[arm])
            if coupled:
                worth[1 - arm] += rates[n] * (1 - reward - worth[1 - arm])
        assert losses[n] == pytest.approx(expected)
    step = 1e-6
    for derivative, rate_step, sharpness_step in ((by_rate, step, 0), (by_sharpness, 0, step)):
        ahead, behind = (
            likelihood(actions, rewards, rates + sign * rate_step, sharpness + sign * sharpness_step, coupled)[0]
            for sign in (1, -1)
        )
        np.testing.assert_allclose(derivative, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-7)


class TwoRates:
    """The rule of Rescorla and Wagner with a rate for each volatility, which it is told."""

    def __init__(self, volatility: np.ndarray, rates: tuple[float, float], sharpness: float, coupled: bool) -> None:
        self.volatility = volatility
        batch = len(volatility)
        self.players = [
            RescorlaWagner(batch, 7, rate=rate, inverse_temperature=sharpness, coupled=coupled) for rate in rates
        ]

    def __call__(self, moment):
        return np.where(self.volatility == 0, *(player(moment) for player in self.players))


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("rates", [(0.4, 0.4), (0.1, 0.5)])
def test_known_rates_are_recovered(rates: tuple[float, float], coupled: bool) -> None:
    task = RestlessBandit(400, seed=11)
    recording = play(TwoRates(task.volatility, rates, 6.0, coupled), task)
    groups = blocks(task.volatility)
    one, two, many = (
        fit(recording.actions, recording.rewards, by, coupled=coupled) for by in (0 * groups, task.volatility, groups)
    )
    np.testing.assert_allclose(two.rates, rates, rtol=0.15)
    assert two.inverse_temperature == pytest.approx(6, rel=0.1)
    for which, rate in enumerate(rates):
        here = many.rates[np.unique(groups[task.volatility == which])]
        assert here.mean() == pytest.approx(rate, abs=4 * here.std() / np.sqrt(len(here)) + 0.02)
    assert many.bic > min(one.bic, two.bic)
    assert (one.bic < two.bic) == (rates[0] == rates[1])
    other = fit(recording.actions, recording.rewards, task.volatility, coupled=not coupled)
    assert other.bic > two.bic


def test_blocks_are_of_one_volatility() -> None:
    volatility = np.random.default_rng(0).integers(2, size=137)
    groups = blocks(volatility)
    assert set(groups) == set(range(groups.max() + 1))
    for group in range(groups.max() + 1):
        assert len(set(volatility[groups == group])) == 1
        assert BLOCK <= (groups == group).sum() < 2 * BLOCK
    assert (blocks(np.array([0, 1, 1])) == [0, 1, 1]).all()


def test_the_experiment(tmp_path) -> None:
    players = ("bayes-optimal", "rescorla-wagner")
    played = {name: [RESTLESS.play(RESTLESS.baselines()[name], episodes=300)] for name in players}
    for [one] in played.values():
        assert {values.shape for values in one.figures.values()} == {(300,)}
        halves = np.stack([one.figures[f"regret_{name}"] for name in VOLATILITY])
        assert (np.isnan(halves).sum(0) == 1).all()
        np.testing.assert_array_equal(np.nansum(halves, 0), one.figures["regret"])
        assert np.nanmean(halves[0]) < np.nanmean(halves[1])
        for name in VOLATILITY:
            noted = one.figures[f"rate_{name}"]
            np.testing.assert_array_equal(noted[~np.isnan(noted)], one.curves[f"rate_{name}"])
            assert len(one.curves[f"rate_{name}"]) >= 10
    best, fixed = (played[name][0].curves for name in players)
    assert best["rate_high"].mean() > 1.5 * best["rate_low"].mean(), "it infers the volatility"
    assert best["bic"][1, 1] < best["bic"][1, 0], "so rates by volatility explain it better"
    assert fixed["bic"][0, 0] < fixed["bic"][0, 1] < fixed["bic"][1].min(), "one rate, arm by arm"
    for name in VOLATILITY:
        assert fixed[f"rate_{name}"].mean() == pytest.approx(0.5, abs=0.05)
    RESTLESS.draw({"agent": played["bayes-optimal"] * 2, **played}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
