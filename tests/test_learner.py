"""The learner: it learns, it is exact, it counts, and it stops before a step that is not finite."""

import numpy as np
import pytest
import torch

from models.agent import AgentConfig
from nav_meta.config import LearnerConfig
from nav_meta.learner import Diverged, Learner
from nav_meta.tasks.recall import Recall

SMALL = AgentConfig(features=32, reward_units=16, units=32)
CONFIG = LearnerConfig(
    environments=64, rollout=8, episode=8, minibatches=4, gamma=0.9, learning_rate=3e-3, shaping=0.0, bf16=False
)


def make(
    agent: AgentConfig = SMALL, updates: int = 60, seed: int = 0, workers: int = 2, config: LearnerConfig = CONFIG
) -> Learner:
    batch = config.environments // workers
    tasks = [Recall(batch, seed=seed * 10 + i) for i in range(workers)]
    return Learner(config, agent, tasks, config.environments * config.rollout * updates, seed)


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


def test_a_restored_learner_goes_on_bit_for_bit() -> None:
    straight, stopped = make(), make()
    for _ in range(3):
        straight.update()
        stopped.update()
    resumed = make()
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
    whole, halves = make(workers=1), make(workers=2)
    rollouts = [worker.collect(8, torch.float32)[0] for worker in halves.workers]
    joined = [
        torch.cat(fields, 1) if fields[0].ndim > 1 else torch.cat(fields)
        for fields in zip(*(r._replace(state=r.first) for r in rollouts), strict=True)
    ]
    union = (
        rollouts[0]
        .__class__(*joined)
        ._replace(state=tuple(torch.cat(part) for part in zip(*(r.state for r in rollouts), strict=True)))
    )
    whole.agent.load_state_dict(halves.agent.state_dict())
    everyone = torch.arange(32)
    for worker, rollout in zip(halves.workers, rollouts, strict=True):
        halves._gradient(worker.agent, rollout, rollout.reward, rollout.reward, everyone, 0.01)
    whole._gradient(whole.workers[0].agent, union, union.reward, union.reward, torch.arange(64), 0.01)
    for mean, parameter in zip(
        zip(*(worker.agent.parameters() for worker in halves.workers), strict=True),
        whole.workers[0].agent.parameters(),
        strict=True,
    ):
        if parameter.grad is not None:
            torch.testing.assert_close((mean[0].grad + mean[1].grad) / 2, parameter.grad, atol=1e-6, rtol=1e-4)


def test_stops_before_a_step_that_is_not_finite() -> None:
    learner = make()
    learner.update()
    before = weights(learner)
    for worker in learner.workers:
        collect = worker.collect
        worker.collect = lambda steps, precision, collect=collect: (  # type: ignore[method-assign]
            (lambda pair: (pair[0]._replace(reward=pair[0].reward * float("nan")), pair[1]))(collect(steps, precision))
        )
    with pytest.raises(Diverged, match="diverged at step"):
        learner.update()
    assert all(torch.equal(one, two) for one, two in zip(before, weights(learner), strict=True))
