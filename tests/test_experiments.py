"""The experiments of the papers beside navigation: what all of them keep to, and whole runs from the command line."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nav_meta import checkpoint
from nav_meta.checkpoint import load_latest
from nav_meta.errors import UserError
from nav_meta.evaluation import Policy, of_agent
from nav_meta.experiments import reproduction
from nav_meta.experiments.base import Experiment, Played
from nav_meta.experiments.page import PAGE, write_page
from nav_meta.experiments.registry import EXPERIMENTS
from nav_meta.experiments.reproduction import plan
from nav_meta.experiments.table import flat, lines, rows_of
from nav_meta.experiments.training import Job, TaskConfig, load, preset, stages_of
from nav_meta.files import write_json
from nav_meta.learner import Learner
from nav_meta.loading import config_from_dict
from nav_meta.tasks.episodes import EpisodicTask

ROOT = Path(__file__).parents[1]
EPISODES = 8
TINY = (
    "--learner.environments 8 --learner.minibatches 1 --learner.passes 1 --agent.units 8 --workers 2 "
    "--jobs 1 --wandb off"
).split()

# One worker runs those that share a finished run.
pytestmark = pytest.mark.xdist_group("experiments")


@pytest.fixture(params=[name for name in EXPERIMENTS if not name.endswith(("-500", "-75", "-100", "-50"))])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return EXPERIMENTS[request.param]


def test_names_are_their_own():
    assert all(experiment.name == name for name, experiment in EXPERIMENTS.items())
    assert len({experiment.title for experiment in EXPERIMENTS.values()}) == len(EXPERIMENTS)


def test_rivals_play_all_that_the_table_shows(experiment, tmp_path):
    players = {name: [experiment.play(make, episodes=EPISODES)] for name, make in experiment.baselines().items()}
    assert "random" in players
    for (played,) in players.values():
        assert {experiment.headline, *experiment.columns} <= played.figures.keys()
        for name, values in played.figures.items():
            assert values.shape == (EPISODES,) and values.dtype == np.float64, name
            assert not np.isinf(values).any(), name
    rows = rows_of(players, experiment.known())
    head, body = lines(rows, experiment.columns)
    assert all(len(line) == len(head) for line in body)
    assert f"{experiment.headline}/random" in flat(rows)
    experiment.draw(players, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_test_episodes_are_the_same_for_all(experiment):
    make = experiment.baselines()["random"]
    one, two = (experiment.play(make, episodes=EPISODES) for _ in range(2))
    for name in one.figures:
        np.testing.assert_array_equal(one.figures[name], two.figures[name])


def test_the_learner_takes_it(experiment):
    """One update as trained, but with few environments; then the agent plays."""
    training = experiment.training
    learner_config = training.learner

    def make_task(worker: int) -> EpisodicTask:
        task = experiment.make_task(learner_config.minibatches, worker)
        task.help_learner(shaping=learner_config.shaping, hint=learner_config.hint > 0)
        return task

    learner = Learner(learner_config, training.agent, make_task, 1, 1, 0)
    metrics = learner.update()
    assert all(np.isfinite(value) for key, value in metrics.items() if key.startswith("loss/"))
    played = experiment.play(of_agent(learner.agent, learner.precision), episodes=EPISODES)
    assert np.isfinite(played.figures[experiment.headline]).any()


def test_who_is_not_told_the_reward_cannot_see_it(experiment):
    """Two tasks that differ in nothing but what they pay look the same until the agent is told."""
    task = experiment.make_task(4, 0, show_reward=False)
    generator = np.random.default_rng(0)
    for _ in range(min(20, task.episode_steps)):
        before = task.time_step().observation.copy()
        task._prev_reward += 1
        np.testing.assert_array_equal(before, task.time_step().observation)
        task.step(generator.integers(task.actions, size=4))


def test_who_is_not_told_the_reward_does_not_see_it_in_tests_either(experiment, monkeypatch):
    made, make_task = [], experiment.make_task

    def noted(*args, **options) -> EpisodicTask:
        made.append(make_task(*args, **options))
        return made[-1]

    monkeypatch.setattr(experiment, "make_task", noted)
    actions = make_task(1, 0).actions

    def make_policy(batch: int, seed: int) -> Policy:
        generator = np.random.default_rng(seed)

        def policy(moment) -> np.ndarray:
            for task in made:  # Harlow's plays another: of held-out pictures
                paid = task._prev_reward.copy()
                task._prev_reward += 1
                np.testing.assert_array_equal(moment.observation, task.time_step().observation)
                task._prev_reward[:] = paid
            return generator.integers(actions, size=batch)

        return policy

    experiment.play(make_policy, episodes=2, show_reward=False)


def test_the_table_weighs_seeds_alike_and_leaves_out_what_is_missing():
    seeds = [Played({"a": np.array([1.0, 3.0, np.nan])}, {}), Played({"a": np.array([5.0, 7.0, 9.0])}, {})]
    row = rows_of({"agent": seeds}, {"paper": {"a": 4.0}})["agent"]
    assert row["a"] == 4.5 and row["a/seed-0"] == 2 and row["a/seed-1"] == 7
    moved = np.array([-1 / 2 - 2 / 3, 1 / 2, 2 / 3]) / 2
    assert row["a"] - row["a/low"] == pytest.approx(1.96 * np.square(moved).sum() ** 0.5)
    assert lines({"agent": row, "paper": {"b": 1.0}}, ["a"])[1][1] == ["paper", ""]


def test_more_seeds_in_the_same_episodes_say_no_more_of_other_episodes():
    played = Played({"a": np.array([1.0, 2.0, 6.0])}, {})
    one, three = (rows_of({"agent": [played] * seeds}, {})["agent"] for seeds in (1, 3))
    assert [three[key] for key in ("a", "a/low", "a/high")] == pytest.approx(
        [3, 3 - 1.96 * np.std([1, 2, 6]) / 3**0.5, 3 + 1.96 * np.std([1, 2, 6]) / 3**0.5]
    )
    assert {key: three[key] for key in one} == pytest.approx(one)


def test_what_each_seed_has_but_one_of_shows_no_interval():
    seeds = [Played({"a": np.array([share, np.nan]), "b": np.full(2, np.nan)}, {}) for share in (1.0, 0.0)]
    row = rows_of({"agent": seeds}, {})["agent"]
    assert lines({"agent": row}, ["a"])[1] == [["agent", "0.5 (1.00, 0)"]]
    assert np.isnan(row["b"]) and not {"a/low", "b/low"} & row.keys()


def test_quick_is_ten_minutes_at_most():
    items = plan(tuple(EXPERIMENTS), 3, quick=True, parallel=2)
    assert all(item.seeds == 1 for item in items)
    assert sum(item.minutes for item in items) == pytest.approx(reproduction.QUICK_MINUTES)  # the rest is for the tests


def test_what_others_begin_with_is_trained_first():
    stages = stages_of(replace(preset("mdp-75"), seed=5), Path("run"))
    first, second, last = (config for config, _ in stages)
    assert [config.task for config in (first, second, last)] == ["mdp-25", "mdp-50", "mdp-75"]
    assert {config.seed for config in (first, second, last)} == {5}
    assert first.start is None and [second.start, last.start] == [str(folder) for _, folder in stages[:2]]
    assert stages[2][1] == Path("run")
    assert len(stages_of(replace(preset("mdp-75"), start="others"), Path("run"))) == 1
    items = plan(["mdp-75", "independent", "mdp-25"], 3, quick=False, parallel=2)
    assert [item.experiment.name for item in items] == ["mdp-25", "mdp-50", "mdp-75", "independent"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, script) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("task") / "run"
    arguments = ["dependent-easy", "--steps", 1600, "--seeds", 2, "--control", "--out", folder, *TINY]
    result = script("train_task.py", *arguments, "--json", folder.parent / "result.json")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_train_task(finished):
    folder, out = finished
    result = json.loads((folder.parent / "result.json").read_text())
    assert {"regret/agent", "regret/agent/seed-1", "regret/agent-without-reward", "regret/bayes-optimal-exact"} < set(
        result
    )
    assert {"config", "git_commit", "seconds", "steps"} < set(result) and result["steps"] == 3 * 1600
    assert result["regret/bayes-optimal-exact"] == pytest.approx(0.63, abs=0.01)
    assert "bayes-optimal" in out and "95 %" in out
    assert (folder / "figure.png").exists() and "agent-without-reward" in (folder / "table.md").read_text()
    assert len((folder / "agent" / "seed-1" / "metrics.jsonl").read_text().splitlines()) == 3


def test_what_is_done_is_not_done_again(finished, script):
    folder, _ = finished
    record = folder / "agent" / "seed-0" / "metrics.jsonl"
    before, table = record.stat(), (folder / "table.md").read_text()
    again = script(
        "train_task.py", "dependent-easy", "--steps", 1600, "--seeds", 2, "--control", "--out", folder, *TINY
    )
    assert again.returncode == 0, again.stderr
    assert record.stat().st_size == before.st_size and (folder / "table.md").read_text() == table


def test_start(finished, script, tmp_path):
    folder, _ = finished
    options = ["train_task.py", "dependent-easy", "--steps", 1, "--out", tmp_path / "run"]
    result = script(*options, "--start", folder, *TINY)
    assert result.returncode == 0, result.stderr
    first = json.loads((tmp_path / "run" / "agent" / "seed-0" / "metrics.jsonl").read_text().splitlines()[0])
    seed = folder / "agent" / "seed-0"
    config = config_from_dict(TaskConfig, json.loads((seed / "config.json").read_text())["config"], seed)
    played = EXPERIMENTS[config.task].play(load(Job(config, seed)).policy, episodes=256, seed=1 << 20)
    assert first["step"] == 0 and first["validation/regret"] == played.figures["regret"].mean()


@pytest.mark.parametrize(
    ("options", "said"),
    [([], "no good checkpoint in"), (["--agent.units", 9], "other nets: give this run their --agent")],
)
def test_start_with_nothing_or_another_net(finished, script, tmp_path, options, said):
    folder = finished[0] if options else tmp_path
    result = script(
        "train_task.py", "dependent-easy", "--out", tmp_path / "run", *TINY, "--start", folder, "--steps", 1, *options
    )
    assert result.returncode == 2 and said in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_start_without_all_that_is_needed_trains_nothing(finished, script, tmp_path):
    arguments = ["dependent-easy", "--steps", 1, "--seeds", 3, "--out", tmp_path / "run", "--start", finished[0]]
    result = script("train_task.py", *arguments, *TINY)
    assert result.returncode == 2 and "no good checkpoint" in result.stderr and "seed-2" in result.stderr
    assert not (tmp_path / "run").exists()


def test_what_dies_before_its_first_checkpoint_is_begun_anew(script, tmp_path, monkeypatch):
    arguments = ["dependent-easy", "--steps", 1, "--out", tmp_path / "run", *TINY]

    def refuse(path, contents):
        raise UserError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(checkpoint, "save", refuse)
        assert "the disk is full" in script("train_task.py", *arguments).stderr
    result = script("train_task.py", *arguments)
    assert result.returncode == 0, result.stderr


def test_other_options_in_the_same_folder(finished, script):
    folder, _ = finished
    result = script("train_task.py", "dependent-easy", "--steps", 3200, "--out", folder, *TINY)
    assert result.returncode == 2 and "was started with steps = 1600, not 3200" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-task"], "no-such-task"),
        ([], "task"),
        (["independent", "--seeds", 0], "--seeds and --jobs must be at least 1"),
        (["independent", "--steps", 0], "steps must be at least 1"),
        (["independent", "--learner.environments", 6], "must split evenly"),
        (["independent", "--learner.shaping", 2], "shaping must be between 0 and 1"),
        (["two-step", "--learner.shaping", 1], "shaping must be 0: TwoStep does not know what actions pay on average"),
        (["two-step", "--learner.hint", 1], "hint must be 0: TwoStep has nothing to ask the auxiliary head for"),
        (["harlow", "--agent.features", 0], "features must be at least 1"),
        (["mdp-10", "--learner.hint", 0], "critic_units must be 0 where hint is 0"),
        (["--start", "mdp-10", "two-step", "--learner.hint", 1], "hint must be 0: TwoStep has nothing"),
        (["independent", "--seed", 4194303, "--seeds", 2], "--seed and --seeds must not lead beyond 4194303"),
    ],
)
def test_bad_input(script, arguments, said):
    result = script("train_task.py", *arguments)
    assert result.returncode != 0 and said in result.stderr and "Traceback" not in result.stderr


def test_runs_beside_each_other_are_saved_when_stopped(tmp_path):
    arguments = (
        "two-step --steps 1000000000 --seeds 2 --learner.environments 8 --agent.units 8 --jobs 2 --wandb off".split()
    )
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "train_task.py", *arguments, "--out", tmp_path],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        records = [tmp_path / "agent" / f"seed-{seed}" / "metrics.jsonl" for seed in range(2)]
        deadline = time.monotonic() + 120
        while not all(record.exists() and record.read_text().count("\n") > 3 for record in records):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "go on with the same options" in said
    for seed, record in enumerate(records):
        assert f"two-step agent seed-{seed}: stopped at step" in said
        last = json.loads(record.read_text().splitlines()[-1])["step"]
        assert load_latest(record.parent / "checkpoints")[1]["step"] == last > 0


def test_reproduce_nothing(script):
    result = script("reproduce.py", "--only")
    assert result.returncode == 2 and "--only needs the names of experiments" in result.stderr


def test_reproduce(script, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduction, "QUICK_MINUTES", 0.1)
    arguments = ["--quick", "--jobs", 1, "--only", "dependent-easy", "informative-arm", "--out", tmp_path / "all"]
    result = script("reproduce.py", *arguments, "--json", tmp_path / "all.json")
    assert result.returncode == 0, result.stderr
    assert "informative-arm" in result.stdout
    page = (tmp_path / "all" / "README.md").read_text()
    assert "](dependent-easy/figure.png)" in page and "## informative-arm" in page and "bayes-optimal-exact" in page
    assert "informative-arm/reward/agent" in json.loads((tmp_path / "all.json").read_text())


def test_the_page_reads_what_json_cannot_hold_and_names_what_is_damaged(tmp_path):
    experiment = EXPERIMENTS["independent"]
    result = tmp_path / experiment.name / "result.json"
    write_json(result, {"config": {"steps": 5}, "seeds": 1, "rows": {"agent": {experiment.columns[0]: math.nan}}})
    write_page(tmp_path, [experiment], "a command")
    assert "| agent | nan |" in (tmp_path / PAGE).read_text()
    for text in ("{", '{"config": {"steps": "x"}, "seeds": 1, "rows": {}}', result.read_text().replace("null", '"x"')):
        result.write_text(text)
        with pytest.raises(UserError, match="result.json is damaged"):
            write_page(tmp_path, [experiment], "a command")
