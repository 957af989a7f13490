"""Another library's agent: its task on real MiniWorld is ours, and its policy plays in our evaluation."""

import numpy as np
import pytest

from mazes import reference
from mazes.environment import MazeEnvironment
from mazes.layout import MazeConfig
from nav_meta import evaluation, other_library
from nav_meta.evaluation import MazeSet
from nav_meta.other_library import HEIGHT, WIDTH, MiniWorldMazes, Recurrent

CONFIG = MazeConfig(rows=2, columns=2)


@pytest.mark.opengl
@pytest.mark.parametrize("domain_rand", [False, True])
def test_the_task_in_miniworld_is_ours(domain_rand):
    config = MazeConfig(rows=2, columns=2, domain_rand=domain_rand)
    theirs = MiniWorldMazes(config)
    ours = MazeEnvironment(config, 1, height=HEIGHT, width=WIDTH, episode_steps=256)
    actions = np.random.default_rng(0).choice(3, size=600, p=(0.1, 0.2, 0.7))
    observation, _ = theirs.reset(seed=5)
    goals = 0
    for step, action in enumerate(actions):
        if step % 50 == 0:
            shown = ours.time_step().observation[0]
            assert np.abs(observation - shown.astype(float)).mean() < 3
        observation, reward, terminated, truncated, info = theirs.step(action)
        ours.step(np.array([action]))
        assert reward == ours.ended.found[0] and not terminated and truncated == ours.over[0]
        assert info["latency"] == (ours.ended.latency[0] if ours.ended.found[0] else 0)
        goals += int(reward)
        if truncated:
            observation, _ = theirs.reset()
            ours.renew()
    assert goals > 2


def test_its_policy_remembers_within_episodes():
    class Model:
        """Counts the calls since an episode's beginning, as a memory would."""

        def predict(self, observation, state, episode_start, deterministic):
            assert observation.dtype == np.uint8 and observation.shape[1:] == (HEIGHT, WIDTH, 3) and not deterministic
            state = np.zeros(len(observation)) if state is None else state
            state = np.where(episode_start, 0, state) + 1
            counts.append(state)
            return (state % 3).astype(np.int32), state

    counts = []
    seeds = MazeSet("validation", 0, 3).seeds  # one batch, each row of which has one maze
    size = {"visits": 2, "height": HEIGHT, "width": WIDTH}
    played = evaluation.run_visits(lambda batch, seed: Recurrent(Model(), seed), CONFIG, seeds, **size)
    lengths = played.latency.sum(1)
    assert (counts[-1] == np.where(lengths == lengths.max(), lengths, counts[-1])).all()
    assert (counts[0] == 1).all() and (counts[lengths.min() - 1] == lengths.min()).all()


def test_what_is_missing_is_said(script, monkeypatch):
    monkeypatch.setattr(other_library, "find_spec", lambda name: None)
    result = script("compare_sb3.py", "--mazes", 1)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "sb3-contrib is not installed: pip install -e '.[compare]'" in result.stderr
    result = script("compare_sb3.py", "--minutes", 0)
    assert result.returncode == 2 and "--minutes must be more than 0" in result.stderr
    monkeypatch.setattr(other_library, "find_spec", lambda name: True)
    monkeypatch.setattr(reference, "available", lambda: "no OpenGL")
    result = script("compare_sb3.py", "--mazes", 1)
    assert result.returncode == 2 and "no OpenGL" in result.stderr
