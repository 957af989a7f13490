"""Ranks, two of them on gloo: the same gradients, runs that move between numbers of ranks and workers, and death."""

import contextlib
import copy
import io
import os
import signal
import socket
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from test_learner import CONFIG, NONE_ASKED, SMALL, make, weights

from mazes.layout import MazeConfig
from models.agent import Agent
from nav_meta import ranks
from nav_meta.config import LearnerConfig, RunConfig
from nav_meta.crew import Crew
from nav_meta.errors import UserError
from nav_meta.remote import Remote
from nav_meta.tasks.recall import Recall
from nav_meta.training import make_learner
from nav_meta.worker import Rollout, Worker


class Rank:
    """One of two ranks, in a process of its own."""

    def __init__(self, number, port):
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        self.life = contextlib.ExitStack()
        self.life.enter_context(ranks.join())
        self.learner = make(workers=2)

    def gradients(self, agent, rollout, advantages):
        """Return the mean gradients after a call in which each rank has half of the environments."""
        mine = torch.arange(64).chunk(2)[ranks.number()]
        worker = Worker(agent, Recall(32), CONFIG, 0)
        worker.rollout = Rollout(*(rows_of(name, part, mine) for name, part in rollout.items()))
        worker.advantages = advantages[:, mine]
        crew = Crew(worker, [])
        crew.call("gradient", *([value] * 2 for value in (np.arange(32), 0.01, 0.1, 0.9, NONE_ASKED)))
        crew.average_gradients()
        return [parameter.grad for parameter in agent.parameters()]

    def learn(self, saved, updates):
        """Return the state after so many updates from a state, as bytes both."""
        self.learner.restore(torch.load(io.BytesIO(saved)))
        for _ in range(updates):
            self.learner.update()
        return saved_state(self.learner)

    def begin(self, seed):
        """Return the weights that a learner of such a seed begins with here."""
        return weights(make(workers=2, seed=seed))

    def process(self):
        return os.getpid()

    def leave(self):
        self.life.close()


def saved_state(learner):
    buffer = io.BytesIO()
    torch.save(learner.state(), buffer)
    return buffer.getvalue()


def rows_of(name, part, rows):
    if isinstance(part, tuple):
        return tuple(some[rows] for some in part)
    return part[rows] if name == "first" else part[:, rows]


@pytest.fixture(scope="module")
def pair():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [Remote(partial(Rank, number, port)) for number in range(2)]
    yield both
    for one in both:
        one.close()


def call(pair, method, *arguments):
    for one in pair:
        one.send(method, *arguments)
    return [one.receive() for one in pair]


def test_two_ranks_find_the_gradients_of_one_with_all_environments(pair):
    agent = Agent(SMALL, (3,), 3)
    alone = Worker(agent, Recall(64), CONFIG, 0)
    alone.collect()
    found = call(pair, "gradients", copy.deepcopy(agent), alone.rollout._asdict(), alone.advantages)
    alone.gradient(np.arange(64), 0.01, 0.1, 0.9, NONE_ASKED)
    for parameter, *both in zip(agent.parameters(), *found, strict=True):
        assert torch.equal(*both)
        torch.testing.assert_close(both[0], parameter.grad, atol=1e-6, rtol=1e-4)


def test_all_ranks_begin_with_the_weights_of_the_first(pair):
    pair[0].send("begin", 1)
    pair[1].send("begin", 2)
    first, second = (one.receive() for one in pair)
    for one, two, three in zip(first, second, weights(make(workers=2, seed=1)), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_a_run_moves_between_numbers_of_ranks_bit_for_bit(pair):
    straight, moved = make(workers=2), make(workers=2)
    for _ in range(4):
        straight.update()
    moved.update()
    saved, _ = call(pair, "learn", saved_state(moved), 2)
    moved.restore(torch.load(io.BytesIO(saved)))
    moved.update()
    assert moved.step == straight.step
    assert all(torch.equal(one, two) for one, two in zip(weights(straight), weights(moved), strict=True))
    for one, two in zip(straight.state()["workers"], moved.state()["workers"], strict=True):
        assert all(torch.equal(one["task"][name], two["task"][name]) for name in one["task"])


def test_a_rank_that_has_lost_the_other_says_so(pair):
    """The last test: the pair is no pair any more."""
    first, second = pair
    state = saved_state(make(workers=2))
    call(pair, "learn", state, 1)
    os.kill(call([second], "process")[0], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="UserError: rank 0 has lost another rank"):
        call([first], "learn", state, 1)
    with contextlib.suppress(RuntimeError):
        call([first], "leave")


def test_environments_are_dealt_to_another_number_of_workers():
    config = RunConfig(
        maze=MazeConfig(rows=2, columns=2), agent=SMALL, height=16, width=16, workers=1, steps=10_000,
        learner=LearnerConfig(environments=8, rollout=8, episode=16, minibatches=1),
    )  # fmt: skip
    one = make_learner(config)
    one.update()
    state = one.state()
    (whole,) = state["workers"]
    assert whole["task"]["seeds"].unique().numel() == 8
    two = make_learner(replace(config, workers=2))
    two.restore(state)
    halves = two.state()["workers"]
    for name, rows in whole["task"].items():
        assert torch.equal(torch.cat([half["task"][name] for half in halves]), rows), name
    for part, *parts in zip(whole["memory"], *(half["memory"] for half in halves), strict=True):
        assert torch.equal(torch.cat(parts), part)
    for learner in (one, two):
        learner.update()
    # Other actions are drawn, but the new mazes are those of the same places in the order of all.
    for learner in (one, two):
        learner.update()
    seeds = [torch.cat([own["task"]["seeds"] for own in learner.state()["workers"]]) for learner in (one, two)]
    assert torch.equal(*seeds) and not torch.equal(seeds[0], whole["task"]["seeds"])
    one.restore(two.state())
    assert one.step == 24 * 8 and np.isfinite(one.update()["loss/loss"])


def test_environments_with_a_generator_in_common_are_not_dealt():
    with pytest.raises(UserError, match="this run has 2 workers.*: --workers 2"):
        make(workers=1).restore(make(workers=2).state())
