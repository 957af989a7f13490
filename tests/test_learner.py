"""The learner: it learns, it is exact, it counts, and it stops at a step that is not finite."""

import copy
import multiprocessing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mazes.environment import TimeStep
from mazes.layout import MazeConfig
from models.agent import Agent, AgentConfig
from nav_meta.apprentice import Apprentice
from nav_meta.config import LearnerConfig, RunConfig
from nav_meta.errors import UserError
from nav_meta.learner import Diverged, Learner
from nav_meta.tasks.recall import Recall
from nav_meta.training import make_learner, make_task
from nav_meta.worker import Rollout, Worker

SMALL = AgentConfig(features=32, reward_units=16, units=32)
CONFIG = LearnerConfig(
    environments=64, rollout=8, episode=8, minibatches=4, gamma=0.9, learning_rate=3e-3, shaping=0.0, bf16=False
)

NONE_ASKED = np.zeros(0)
"""In how many moments each answer is known, where there are none."""


def make(
    agent: AgentConfig = SMALL,
    updates: int = 60,
    workers: int = 1,
    config: LearnerConfig = CONFIG,
    task: type = Recall,
    teacher: Agent | None = None,
    seed: int = 0,
) -> Learner:
    make_task = partial(_make_task, task, config.environments // workers)
    return Learner(config, agent, make_task, workers, config.environments * config.rollout * updates, seed, teacher)


def _make_task(task: type, batch: int, worker: int) -> Recall:
    return task(batch, seed=worker)


def weights(learner: Learner) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in learner.agent.parameters()]


def test_learns_to_remember_and_cannot_without_memory() -> None:
    learner, control = make(), make(AgentConfig(features=32, units=32, memory="none"))
    returns = [(learner.update()["return"], control.update()["return"]) for _ in range(60)]
    remembering, forgetting = np.mean(returns[-5:], axis=0)
    # Eight answers an episode; without memory a third of them is right, and all but the first can be copied from a
    # rewarded previous answer.
    assert remembering > 7.8
    assert forgetting < remembering - 0.5


def test_a2c_learns_too() -> None:
    learner = make(
        config=LearnerConfig(
            environments=64, rollout=8, episode=8, passes=1, minibatches=1, clip=None, optimizer="rmsprop",
            learning_rate=3e-3, gamma=0.9, shaping=0.0, bf16=False,
        ),
        updates=250,
    )  # fmt: skip
    returns = [learner.update()["return"] for _ in range(250)]
    assert np.mean(returns[-10:]) > 7.0


@pytest.fixture(scope="module")
def teacher() -> Agent:
    learner = make()
    for _ in range(60):
        learner.update()
    return learner.agent.eval()


def test_an_apprentice_remembers_as_its_teacher_does(teacher: Agent) -> None:
    config = replace(CONFIG, learning_rate=1e-2)
    learner = make(replace(SMALL, units=24), updates=30, config=config, teacher=teacher)  # a memory of another size
    apart = [learner.update()["loss/kl"] for _ in range(30)]
    assert apart[-1] < 0.05 < 0.5 < apart[0]
    played, _ = Worker(learner.agent, Recall(256, seed=1), CONFIG, 1).act()
    assert played.reward.sum(0).mean() > 7.5
    for own, taught in zip(learner.agent.encoder.parameters(), teacher.encoder.parameters(), strict=True):
        assert torch.equal(own, taught)


def test_who_is_as_the_teacher_has_nothing_to_learn(teacher: Agent) -> None:
    apprentice = Apprentice(copy.deepcopy(teacher), Recall(32), CONFIG, 0, teacher=teacher)
    apprentice.collect()
    losses = apprentice.gradient(np.arange(32), 0.0, 0.0, 1.0, NONE_ASKED)
    torch.testing.assert_close(losses[:4], torch.zeros(4), atol=1e-6, rtol=0)
    assert all(parameter.grad.abs().max() < 1e-5 for parameter in apprentice.agent.parameters())


def test_a_frozen_encoder_has_no_gradient_and_the_rest_the_same_one() -> None:
    agent = make().agent
    found = []
    for freeze in (False, True):
        worker = Worker(agent, Recall(32), replace(CONFIG, freeze_encoder=freeze), 0)
        worker.collect()
        losses = worker.gradient(np.arange(16), 0.01, 0.1, 0.9, NONE_ASKED)
        found.append((losses, {name: parameter.grad.clone() for name, parameter in agent.named_parameters()}))
    (losses, free), (same_losses, frozen) = found
    assert torch.equal(losses, same_losses)
    for name, gradient in frozen.items():
        if name.startswith("encoder"):
            assert free[name].any() and not gradient.any()
        else:
            torch.testing.assert_close(gradient, free[name])


@pytest.mark.parametrize("taught", [False, True])
def test_a_restored_learner_goes_on_bit_for_bit(taught: bool, teacher: Agent) -> None:
    straight, stopped, resumed = (make(workers=2, teacher=teacher if taught else None) for _ in range(3))
    for _ in range(3):
        straight.update()
        stopped.update()
    resumed.update()
    resumed.restore(stopped.state())
    for _ in range(3):
        first, second = straight.update(), resumed.update()
        assert {key: value for key, value in first.items() if not key.startswith("time/")} == {
            key: value for key, value in second.items() if not key.startswith("time/")
        }
    assert all(torch.equal(one, two) for one, two in zip(weights(straight), weights(resumed), strict=True))
    assert straight.step == resumed.step == 6 * 64 * 8


def test_the_average_of_two_workers_gradients_is_the_gradient_of_their_union() -> None:
    agent = make().agent
    one, two, both = (Worker(agent, Recall(batch, seed=batch), CONFIG, seed) for seed, batch in enumerate((32, 32, 64)))
    one.collect()
    two.collect()
    both.rollout = _join(one.rollout, two.rollout)
    both.advantages = torch.cat([one.advantages, two.advantages], 1)
    gradients = []
    for worker, rows in ((one, 32), (two, 32), (both, 64)):
        worker.gradient(np.arange(rows), 0.01, 0.1, 0.9, NONE_ASKED)
        gradients.append([parameter.grad.clone() for parameter in agent.parameters() if parameter.grad is not None])
    for first, second, union in zip(*gradients, strict=True):
        torch.testing.assert_close((first + second) / 2, union, atol=1e-6, rtol=1e-4)


def test_two_workers_make_the_step_of_one_where_an_answer_is_known_more_often_to_one_of_them() -> None:
    config = RunConfig(
        maze=MazeConfig(rows=2, columns=2), agent=SMALL, height=16, width=16, workers=2, steps=10_000,
        learner=LearnerConfig(
            environments=8, rollout=256, episode=256, minibatches=1, passes=1, hint=5.0, max_gradient_norm=1e9,
            bf16=False,
        ),
    )  # fmt: skip
    learner = make_learner(config)
    agent = copy.deepcopy(learner.agent)
    learner.update()
    one, two = (Worker(agent, make_task(config, number), config.learner, number) for number in range(2))
    known = [worker.collect().known.sum(0) for worker in (one, two)]
    assert 0 < known[0][0] != known[1][0] > 0
    both = Worker(agent, make_task(replace(config, workers=1), 0), config.learner, 0)
    both.rollout = _join(one.rollout, two.rollout)
    both.advantages = torch.cat([one.advantages, two.advantages], 1)
    moments = float(both.advantages.mean()), float(both.advantages.std(correction=0))
    both.gradient(np.arange(8), config.learner.entropy, *moments, sum(known))
    for found, wanted in zip(learner.agent.parameters(), agent.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, atol=1e-6, rtol=1e-4)


def test_a_saved_state_is_its_own() -> None:
    learner = make()
    learner.update()
    state = learner.state()
    saved = copy.deepcopy(state)
    make().restore(state)
    learner.restore(state)
    learner.update()
    for name, weight in saved["agent"].items():
        assert torch.equal(state["agent"][name], weight), name
    for number, moments in saved["optimizer"]["state"].items():
        for name, moment in moments.items():
            assert torch.equal(state["optimizer"]["state"][number][name], moment), (number, name)


def test_first_episodes_are_staggered_over_the_workers() -> None:
    config = LearnerConfig(rollout=8, episode=32)
    four = [config.phases(2, worker).tolist() for worker in range(4)]
    assert four == [[0, 8], [16, 24], [0, 8], [16, 24]]


def _join(one: Rollout, two: Rollout) -> Rollout:
    return Rollout(
        *(
            tuple(torch.cat(parts) for parts in zip(a, b, strict=True))
            if isinstance(a, tuple)
            else torch.cat([a, b], int(a.ndim > 1))
            for a, b in zip(one, two, strict=True)
        )
    )


def test_weights_do_not_hang_on_the_number_of_threads() -> None:
    large = AgentConfig(features=128, units=256)
    torch.set_num_threads(2)
    two = weights(make(large))
    torch.set_num_threads(1)
    assert all(torch.equal(*both) for both in zip(two, weights(make(large)), strict=True))


@pytest.mark.parametrize("memory", ["stacked", "single", "none"])
def test_a_rollout_of_one_step_is_learnt_from(memory: str) -> None:
    learner = make(replace(SMALL, memory=memory), config=replace(CONFIG, rollout=1))
    before = weights(learner)
    learner.update()
    assert not any(torch.equal(*both) for both in zip(before[-2:], weights(learner)[-2:], strict=True))


def test_another_teacher_is_noticed_when_a_run_goes_on(teacher: Agent) -> None:
    learner = make(teacher=teacher)
    learner.update()
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        other.encoder.linear.bias[0] += 1
    with pytest.raises(UserError, match="the teacher has another encoder"):
        make(teacher=other).restore(learner.state())


def test_a_second_process_finds_its_own_gradients() -> None:
    """Two workers make the step that one of both their environments makes."""
    learner = make(workers=2, config=replace(CONFIG, minibatches=1, passes=1))
    before = weights(learner)
    first = Worker(copy.deepcopy(learner.agent), Recall(32, seed=0), CONFIG, 0)
    second = Worker(first.agent, Recall(32, seed=1), CONFIG, 1)
    first.collect()
    second.collect()
    learner.update()
    assert not all(torch.equal(one, two) for one, two in zip(before, weights(learner), strict=True))
    advantages = torch.cat([first.advantages, second.advantages], 1)
    expected = []
    for worker in (first, second):
        moments = float(advantages.mean()), float(advantages.std(correction=0))
        worker.gradient(np.arange(32), CONFIG.entropy, *moments, NONE_ASKED)
        expected.append([parameter.grad.clone() for parameter in first.agent.parameters()])
    for parameter in first.agent.parameters():
        parameter.grad = None
    for parameter, *gradients in zip(first.agent.parameters(), *expected, strict=True):
        parameter.grad = sum(gradients) / 2
    norm = torch.nn.utils.clip_grad_norm_(first.agent.parameters(), CONFIG.max_gradient_norm)
    assert norm > 0
    for found, wanted in zip(learner.agent.parameters(), first.agent.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, atol=1e-6, rtol=1e-4)


def test_a_dead_process_is_told_in_one_sentence() -> None:
    learner = make(workers=2)
    learner.update()
    for process in multiprocessing.active_children():
        process.kill()
    with pytest.raises(UserError, match="worker's process has died"):
        learner.update()


def test_an_error_in_another_process_keeps_its_traceback() -> None:
    learner = make(workers=2, task=Broken)
    with pytest.raises(RuntimeError, match="a fault of the second"):
        learner.update()


class Broken(Recall):
    """Fails in the second worker's process."""

    def step(self, actions: np.ndarray) -> None:
        if multiprocessing.parent_process() is not None:
            raise ValueError("a fault of the second")
        super().step(actions)


class Unpayable(Recall):
    """Pays NaN from the second rollout on."""

    def time_step(self, out: np.ndarray | None = None) -> TimeStep:
        moment = super().time_step(out)
        self.moments = getattr(self, "moments", 0) + 1
        return moment._replace(prev_reward=moment.prev_reward * np.nan) if self.moments > 9 else moment


def test_stops_at_a_step_that_is_not_finite_and_goes_back() -> None:
    learner = make(task=Unpayable)
    learner.update()
    before, state, step = weights(learner), copy.deepcopy(learner.state()), learner.step
    with pytest.raises(Diverged, match="diverged at step"):
        learner.update()
    assert learner.step == step
    learner.restore(state)
    assert all(torch.equal(one, two) for one, two in zip(before, weights(learner), strict=True))
