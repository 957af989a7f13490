"""The two-step task, its rivals and the analysis of choices."""

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize

from nav_meta.baselines.two_step import BayesOptimal, ModelFree, bayes_optimal
from nav_meta.experiments.base import play
from nav_meta.experiments.two_step import STAYS, TWO_STEP, TWO_STEP_2018, linearised, regression, staying
from nav_meta.tasks.two_step import WANG_2016, WANG_2018, Setting, TwoStep

REVERSING = Setting(common=0.8, pay=0.85, reversal=0.1, trials=6)


def test_a_trial_is_a_choice_a_transition_and_a_payment() -> None:
    setting = Setting(common=0.7, pay=0.8, reversal=0.1, trials=5)
    task, generator = TwoStep(20_000, setting, seed=3), np.random.default_rng(0)
    for _ in range(setting.trials):
        np.testing.assert_array_equal(task.time_step().observation, np.tile([1, 0, 0], (task.batch, 1)))
        good, choice = task.good.copy(), generator.integers(2, size=task.batch)
        task.step(choice)
        moment = task.time_step()
        place = moment.observation.argmax(1) - 1
        assert (moment.prev_reward == 0).all() and (task.good == good).all() and (place == task.place).all()
        assert np.mean(place == choice) == pytest.approx(0.7, abs=0.015)
        task.step(generator.integers(2, size=task.batch))
        reward = task.time_step().prev_reward
        assert reward[place == good].mean() == pytest.approx(0.8, abs=0.015)
        assert reward[place != good].mean() == pytest.approx(0.2, abs=0.015)
        assert np.mean(task.good != good) == pytest.approx(0.1, abs=0.01)
    assert (task.time_step().discount == 0).all()


@pytest.mark.parametrize("option", [{"common": 0.4}, {"pay": 1.0}, {"reversal": 0.5}, {"trials": 0}])
def test_settings_out_of_range(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Setting(**option)


def best_return(setting: Setting) -> float:
    """Bayes's rule, and the best of both choices at every belief: nothing is taken for granted."""

    @cache
    def value(trials: int, belief: float) -> float:
        """`belief` is the probability that state 1 is good."""
        if not trials:
            return 0.0
        worths = []
        for choice in (0, 1):
            worth = 0.0
            for place, reward in product((0, 1), (0, 1)):
                reached = setting.common if place == choice else 1 - setting.common
                likelihood = [
                    (setting.pay if good == place else 1 - setting.pay) if reward
                    else (1 - setting.pay if good == place else setting.pay)
                    for good in (0, 1)
                ]  # fmt: skip
                joint = (1 - belief) * likelihood[0], belief * likelihood[1]
                after = joint[1] / sum(joint)
                after = after * (1 - setting.reversal) + (1 - after) * setting.reversal
                worth += reached * sum(joint) * (reward + value(trials - 1, round(after, 12)))
            worths.append(worth)
        return max(worths)

    return value(setting.trials, 0.5)


@pytest.mark.parametrize("setting", [WANG_2016, Setting(pay=0.6, trials=7), REVERSING])
def test_the_optimum_is_that_of_dynamic_programming_over_all_policies(setting: Setting) -> None:
    error = 1e-12 if setting.reversal == 0 else 1e-4
    assert bayes_optimal(setting).reward.sum() == pytest.approx(best_return(setting), abs=error)


@pytest.mark.parametrize("setting", [WANG_2016, REVERSING, WANG_2018])
def test_the_optimum_is_what_its_player_does(setting: Setting) -> None:
    batch = 20_000 if setting.trials < 100 else 1000
    recording = play(BayesOptimal(batch, 1, setting), TwoStep(batch, setting, seed=2), ("good", "place"))
    choice, place = recording.actions[::2], recording.watched["place"][1::2]
    exact = bayes_optimal(setting)
    paid = recording.rewards[1::2]
    np.testing.assert_allclose(paid.mean(1), exact.reward, atol=4.5 * 0.5 / np.sqrt(batch))
    stay = staying(choice, place, paid > 0)
    for key, expected in zip(STAYS, exact.stay[[1, 1, 0, 0], [1, 0, 1, 0]], strict=True):
        error = stay[key].std() / np.sqrt(batch)
        assert stay[key].mean() == pytest.approx(expected, abs=4 * error + 1e-9), key


def test_beliefs_are_those_of_a_hidden_markov_model() -> None:
    task, batch = TwoStep(50, REVERSING, seed=5), 50
    player = BayesOptimal(batch, 0, REVERSING)
    belief = np.full(batch, 0.5)
    while task.going_on().all():
        first = player(task.time_step())
        np.testing.assert_allclose(1 / (1 + np.exp(-player.worth[:, 1])), belief, atol=1e-12)
        task.step(first)
        place = task.place.copy()
        task.step(player(task.time_step()))
        won = task.time_step().prev_reward > 0
        likely = np.where((place == 1) == won, REVERSING.pay, 1 - REVERSING.pay)
        belief = belief * likely / (belief * likely + (1 - belief) * (1 - likely))
        belief = belief * (1 - REVERSING.reversal) + (1 - belief) * REVERSING.reversal


@pytest.mark.parametrize("trace", [0.0, 0.3, 1.0])
def test_sarsa_is_that_of_daw(trace: float) -> None:
    batch, rate = 30, 0.3
    task = TwoStep(batch, seed=6)
    player = ModelFree(batch, 0, WANG_2016, rate, 3.0, trace)
    first, second = np.full((batch, 2), 0.5), np.full((batch, 2), 0.5)
    while task.going_on().all():
        choice = player(task.time_step())
        np.testing.assert_allclose(player.worth, first)
        task.step(choice)
        task.step(player(task.time_step()))
        for row, (made, place, reward) in enumerate(zip(choice, task.place, task.time_step().prev_reward, strict=True)):
            errors = second[row, place] - first[row, made], reward - second[row, place]
            first[row, made] += rate * errors[0] + rate * trace * errors[1]
            second[row, place] += rate * errors[1]


def test_staying_is_counted_over_all_episodes() -> None:
    choice, place, rewarded = np.random.default_rng(0).integers(2, size=(3, 8, 40))
    counts = {key: [0, 0] for key in STAYS}
    for episode, trial in product(range(40), range(7)):
        won = "rewarded" if rewarded[trial, episode] else "unrewarded"
        way = "common" if place[trial, episode] == choice[trial, episode] else "rare"
        counts[f"stay_{won}_{way}"][0] += choice[trial, episode] == choice[trial + 1, episode]
        counts[f"stay_{won}_{way}"][1] += 1
    for key, values in staying(choice, place, rewarded.astype(bool)).items():
        assert values.shape == (40,)
        assert values.mean() == pytest.approx(counts[key][0] / counts[key][1])


def test_linearised_ratios_have_the_ratio_and_its_error() -> None:
    generator = np.random.default_rng(0)
    below = generator.poisson(3, size=(4000, 200))
    above = generator.binomial(below, 0.3)
    ratios = above.sum(1) / below.sum(1)
    linear = np.stack([linearised(*pair) for pair in zip(above, below, strict=True)])
    np.testing.assert_allclose(linear.mean(1), ratios)
    assert (linear.std(1) / np.sqrt(200)).mean() == pytest.approx(ratios.std(), rel=0.03)
    assert np.isnan(linearised(np.zeros(5), np.zeros(5))).all()


def test_regression_finds_the_weights_that_choices_were_made_with() -> None:
    generator = np.random.default_rng(0)
    truth = np.array([[0.3, 0.0], [0.0, 0.5], [-0.4, 0.0], [1.0, 0.6]])
    trials, episodes = 40, 400
    place, rewarded = generator.integers(2, size=(2, trials, episodes))
    choice = np.zeros((trials, episodes), np.int64)
    effects = np.zeros((4, trials, episodes))
    for trial in range(trials):
        drive = sum(truth[:, lag] @ effects[:, trial - lag - 1] for lag in range(min(2, trial)))
        choice[trial] = generator.random(episodes) < 1 / (1 + np.exp(-drive * np.ones(episodes)))
        side = 2 * choice[trial] - 1
        won, way = 2 * rewarded[trial] - 1, np.where(place[trial] == choice[trial], 1, -1)
        effects[:, trial] = side, side * won, side * way, side * won * way
    found = regression(choice, place, rewarded.astype(bool), lags=2)
    np.testing.assert_allclose(found, truth, atol=0.08)

    def loss(weights: np.ndarray) -> float:
        drive = np.einsum("el,eltn->tn", weights.reshape(4, 2), lagged)
        return np.logaddexp(0, np.where(choice[1:] == 1, -drive, drive)).sum() + weights @ weights / 2

    lagged = np.zeros((4, 2, trials - 1, episodes))
    lagged[:, 0], lagged[:, 1, 1:] = effects[:, :-1], effects[:, :-2]
    np.testing.assert_allclose(found.ravel(), minimize(loss, np.zeros(8), tol=1e-6).x, atol=1e-3)


def test_regression_of_short_episodes_without_noise() -> None:
    choice = np.tile([[0], [1]], (1, 50))
    assert np.isfinite(regression(choice, choice, choice > 0)).all()


def test_the_experiment_tells_models_from_habits(tmp_path) -> None:
    played = {name: [TWO_STEP.play(make)] for name, make in TWO_STEP.baselines().items()}
    figures = {name: one.figures for name, [one] in played.items()}
    mean = {name: {key: values.mean() for key, values in row.items()} for name, row in figures.items()}
    error = {name: {key: values.std() / np.sqrt(1000) for key, values in row.items()} for name, row in figures.items()}
    for row in figures.values():
        assert {values.shape for values in row.values()} == {(1000,)}
    exact = TWO_STEP.known()["bayes-optimal-exact"]
    for key, value in exact.items():
        assert mean["bayes-optimal"][key] == pytest.approx(value, abs=4 * error["bayes-optimal"][key] + 1e-9), key
    assert mean["random"]["reward"] == pytest.approx(0.5, abs=4 * error["random"]["reward"])
    assert mean["random"]["reward"] < mean["q-learning"]["reward"] < mean["sarsa(1)"]["reward"]
    assert mean["sarsa(1)"]["reward"] < mean["model-based"]["reward"] < mean["bayes-optimal"]["reward"] < 0.7
    for model_free in ("q-learning", "sarsa(1)"):
        assert mean[model_free]["reward_effect"] > 0.2 > 2 * mean[model_free]["interaction"] - 0.1
    assert TWO_STEP.known()["told the good state"]["reward"] == pytest.approx(0.7)
    again = TWO_STEP.play(TWO_STEP.baselines()["model-based"])
    np.testing.assert_array_equal(again.figures["reward"], figures["model-based"]["reward"])
    TWO_STEP.draw({"agent": played["model-based"] * 2, **played}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_the_variant_of_2018_plays(tmp_path) -> None:
    played = {"bayes-optimal": [TWO_STEP_2018.play(TWO_STEP_2018.baselines()["bayes-optimal"], episodes=200)]}
    assert played["bayes-optimal"][0].figures["optimal"].mean() == pytest.approx(1, abs=0.02)
    TWO_STEP_2018.draw(played, tmp_path / "figure.png")
