"""The ruler itself: it must tell memory from luck."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from mazes import paths, reference, renderer, simulator
from mazes.environment import MazeEnvironment, TimeStep
from mazes.layout import MazeConfig, generate, generate_batch
from mazes.seeds import split_seeds
from models.agent import Agent, AgentConfig
from nav_meta import evaluation, report
from nav_meta.evaluation import AgentPolicy, MazeSet, References, Visits, of_agent
from nav_meta.report import Player

CONFIG = MazeConfig(rows=2, columns=2)
MAZES = MazeSet("validation", 0, 24)


class Rotating:
    """Turns for ever: never finds anything."""

    def __init__(self, batch: int, seed: int) -> None:
        self._batch = batch

    def __call__(self, moment: TimeStep) -> np.ndarray:
        return np.zeros(self._batch, np.int64)


def test_a_policy_that_never_arrives_counts_the_cap_everywhere() -> None:
    played = evaluation.run_visits(Rotating, CONFIG, MAZES.seeds, visits=3, height=16, width=16)
    assert (played.latency == CONFIG.visit_cap).all() and not played.found.any()


def test_visits_do_not_depend_on_threads_and_every_maze_gives_as_many() -> None:
    one = evaluation.run_visits(evaluation.RandomWalk, CONFIG, MAZES.seeds, visits=3, height=16, width=16, threads=1)
    two = evaluation.run_visits(evaluation.RandomWalk, CONFIG, MAZES.seeds, visits=3, height=16, width=16, threads=2)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first, second)
    assert one.latency.shape == (24, 3) and (one.latency > 0).all() and (one.latency <= CONFIG.visit_cap).all()
    assert (one.latency[~one.found] == CONFIG.visit_cap).all()


def test_who_is_interrupted_does_not_wait_for_the_others_to_play_to_the_end() -> None:
    playing = threading.Event()

    class Endless(Rotating):
        def __call__(self, moment: TimeStep) -> np.ndarray:
            playing.set()
            return super().__call__(moment)

    class Interrupted(Rotating):
        def __call__(self, moment: TimeStep) -> np.ndarray:
            assert playing.wait(60)
            raise KeyboardInterrupt

    def make_policy(batch: int, seed: int) -> Rotating:
        return (Endless if seed else Interrupted)(batch, seed)

    with pytest.raises(KeyboardInterrupt):
        evaluation.run_visits(
            make_policy,
            CONFIG,
            MAZES.seeds,
            visits=1_000_000,
            height=16,
            width=16,
            threads=3,  # hours
        )


def test_more_mazes_than_places_in_the_batch_are_streamed() -> None:
    seeds = split_seeds("validation", 0, 300)
    played = evaluation.run_random_walk(CONFIG, seeds, visits=2)
    assert played.latency.shape == (300, 2) and (played.latency > 0).all()


def test_an_agent_without_memory_shows_no_speed_up() -> None:
    played = evaluation.run_random_walk(CONFIG, split_seeds("validation", 0, 2000), visits=6)
    figures = evaluation.metrics(played, References(np.full((2000, 6), 8), np.full(2000, 12)))
    assert figures["latency/speedup/low"] < 1 < figures["latency/speedup/high"]


def test_the_oracle_replayed_scores_one() -> None:
    possible = evaluation.references(CONFIG, MAZES, visits=3)
    figures = evaluation.metrics(Visits(possible.oracle, np.ones_like(possible.oracle, np.bool_)), possible)
    for key in ("latency/later_over_oracle", "latency/memory_score", "spl", "success/later"):
        assert figures[key] == pytest.approx(1)
    assert figures["latency/explorer"] >= figures["latency/oracle_1"]


@pytest.mark.parametrize("goal_moves", [False, True])
def test_the_oracle_goes_to_the_goal_that_is_there(goal_moves: bool) -> None:
    possible = evaluation.references(CONFIG, MAZES, 3, goal_moves)
    seeds = MAZES.seeds
    environment = MazeEnvironment(
        CONFIG, MAZES.count, seeds=lambda row, episode: seeds[row], visits=3, visit_cap=1, goal_moves=goal_moves
    )
    for visit in range(3):
        oracle = paths.oracle_steps(CONFIG, environment.layouts, environment.poses)
        np.testing.assert_array_equal(possible.oracle[:, visit], oracle)
        environment.step(np.zeros(MAZES.count, np.int64))
    stays = evaluation.references(CONFIG, MAZES, 3)
    np.testing.assert_array_equal(possible.explorer, stays.explorer)
    assert (possible.oracle != stays.oracle).any(axis=0).tolist() == [False, goal_moves, goal_moves]


def test_after_each_visit_a_wiped_memory_is_a_new_one() -> None:
    """At a visit's first moment the agent is left as a new one that is told of an episode's beginning."""
    agent = Agent(AgentConfig(features=16, reward_units=8, units=16), (16, 16, 3), MazeEnvironment.actions)
    environment = MazeEnvironment(CONFIG, 12, height=16, width=16, visits=3, visit_cap=7)
    wiped, keeping = (make(12, 0) for make in (evaluation.forgetting(of_agent(agent)), of_agent(agent)))
    visit, begun = np.full(12, -1), 0
    for _ in range(60):
        moment = environment.time_step()
        begins = (moment.visit != visit) | moment.first
        visit = moment.visit
        actions = wiped(moment)
        keeping(moment)
        new = AgentPolicy(agent, 12, 0)
        nothing = np.zeros_like(moment.prev_action)
        new(moment._replace(prev_action=nothing, prev_reward=nothing.astype(np.float32), first=np.ones(12, np.bool_)))
        alike = [(part == other).all(1).numpy() for part, other in zip(wiped._policy.memory, new.memory, strict=True)]
        np.testing.assert_array_equal(np.all(alike, axis=0), begins)
        still = [(part == other).all(1).numpy() for part, other in zip(keeping.memory, new.memory, strict=True)]
        np.testing.assert_array_equal(np.all(still, axis=0), moment.first)
        begun += begins.sum()
        environment.step(actions)
        environment.renew()
    assert begun > 60


def test_metrics_against_hand_computation() -> None:
    latency = np.array([[30, 10, 20], [10, 20, 360]], np.int32)
    found = np.array([[True, True, True], [True, True, False]])
    figures = evaluation.metrics(
        Visits(latency, found), References(np.array([[10, 5, 10], [10, 20, 30]]), np.array([24, 16]))
    )
    assert figures["latency/first"] == 20
    assert figures["latency/later"] == (15 + 190) / 2
    assert figures["latency/speedup"] == pytest.approx(20 / 102.5)
    assert figures["latency/later_over_oracle"] == pytest.approx(102.5 / 16.25)
    assert figures["latency/memory_score"] == pytest.approx((20 - 102.5) / (20 - 16.25))
    assert figures["success/later"] == 0.75
    assert figures["spl"] == pytest.approx(((1 / 3 + 0.5 + 0.5) / 3 + (1 + 1 + 0) / 3) / 2)
    assert figures["improved"] == 0.5
    assert figures["latency/first/low"] <= 20 <= figures["latency/first/high"]


@pytest.mark.parametrize(("visits", "known"), [(3, 6), (1, 1)])
def test_figures_need_later_visits_and_their_own_references(visits, known):
    played, possible = np.full((4, visits), 8), np.full((4, known), 8)
    with pytest.raises(ValueError, match="must be of the same mazes and visits, a first and later ones"):
        evaluation.metrics(Visits(played, np.ones_like(played, np.bool_)), References(possible, np.full(4, 12)))


def test_no_memory_can_be_scored_where_exploring_costs_nothing() -> None:
    latency = np.array([[8, 8], [9, 7]], np.int32)
    figures = evaluation.metrics(Visits(latency, np.ones((2, 2), np.bool_)), References(latency, latency[:, 1]))
    assert all(np.isnan(figures[f"latency/memory_score{end}"]) for end in ("", "/low", "/high"))
    assert figures["latency/later_over_oracle"] == 1


def test_a_recorded_episode_can_be_replayed() -> None:
    seed = int(split_seeds("validation", 3, 1)[0])
    trajectory = evaluation.record(evaluation.RandomWalk, CONFIG, seed, visits=2, height=16, width=16)
    assert len(trajectory.poses) == len(trajectory.actions) + 1 == len(trajectory.found) + 1
    assert trajectory.visit[-1] == 2 and trajectory.visit[0] == 0 and (np.diff(trajectory.visit) >= 0).all()
    layout = generate(CONFIG, seed)
    assert (paths.oracle_steps(CONFIG, type(layout)(*(f[None] for f in layout)), trajectory.poses[:1]) > 0).all()


def test_the_table_has_every_rival() -> None:
    rows = report.compare({"agent": Player(Rotating, 16, 16)}, CONFIG, MAZES, visits=2, threads=2, recogniser=True)
    head, lines = report.table(rows)
    assert [line[0] for line in lines] == ["agent", "recogniser", "random walk", "explorer (first visit)", "oracle"]
    assert rows["recogniser"]["latency/first"] == rows["agent"]["latency/explorer"]
    assert rows["recogniser"]["success/later"] == 1
    assert all(len(line) == len(head) for line in lines)
    assert report.markdown((head, lines)).count("\n") == len(lines) + 2


def test_controls_take_away_memory_goal_and_landmarks() -> None:
    """What each player is told in the same mazes, all else being equal."""
    told: list[list[TimeStep]] = []

    class Witness(Rotating):
        def __init__(self, batch: int, seed: int) -> None:
            super().__init__(batch, seed)
            told.append([])

        def __call__(self, moment: TimeStep) -> np.ndarray:
            told[-1].append(moment)
            return super().__call__(moment)

    player = Player(Witness, 16, 16)
    seeds = split_seeds("validation", 0, 1)
    rows = report.compare({"agent": player, **report.controls("agent", player)}, CONFIG, MAZES._replace(count=1))
    assert list(rows) == [
        "agent",
        "agent, memory wiped after each visit",
        "agent, goal moved after the first visit",
        "agent, landmarks removed",
        "random walk",
    ]
    usual, wiped, moved, brick = told
    assert [sum(moment.first[0] for moment in moments) for moments in told] == [1, evaluation.VISITS, 1, 1]
    cap = CONFIG.visit_cap
    assert all(np.array_equal(a.observation, b.observation) for a, b in zip(usual, wiped, strict=True))
    assert all(np.array_equal(a.observation, b.observation) for a, b in zip(usual[:cap], moved[:cap], strict=True))
    assert not all(np.array_equal(a.observation, b.observation) for a, b in zip(usual[cap:], moved[cap:], strict=True))
    layouts = generate_batch(replace(CONFIG, landmarks="none"), seeds)
    begin = simulator.spawn(CONFIG, layouts, seeds, np.zeros(1, np.int64))
    np.testing.assert_array_equal(brick[0].observation, renderer.render(layouts, begin, 16, 16))
    assert rows["agent, goal moved after the first visit"]["latency/oracle"] != rows["agent"]["latency/oracle"]
    assert rows["agent, landmarks removed"]["latency/oracle"] == rows["agent"]["latency/oracle"]


@pytest.mark.parametrize("kind", ["random", "imaze"])
def test_generalisation_changes_one_thing_in_each_row(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "available", lambda: None)
    config = MazeConfig(kind=kind)
    players = report.generalisation("agent", Player(Rotating, 16, 16), config)
    assert all(player.goal_moves is False and player.make_policy is Rotating for player in players.values())
    worlds = {name.removeprefix("agent, "): replace(config, **player.maze) for name, player in players.items()}
    sizes = {name: world for name, world in worlds.items() if name.endswith(" rooms")}
    assert list(sizes) == [f"{n}x{n} rooms" for n in (2, 3, 4, 5) if kind == "imaze" or n != 3]
    assert all(world == MazeConfig(rows=int(name[0]), columns=int(name[0])) for name, world in sizes.items())
    assert {name: world for name, world in worlds.items() if name not in sizes} == {
        "other wall textures": replace(config, landmarks="other"),
        "0.15 m and 15 degree steps": replace(config, step_size="fine"),
        "domain randomisation": replace(config, domain_rand=True),
        "real MiniWorld frames": config,
    }
    assert [player.renderer for player in players.values()] == [None] * (len(players) - 1) + ["miniworld"]
    fine = report.generalisation("agent", Player(Rotating, 16, 16), replace(config, step_size="fine"))
    assert fine["agent, 0.7 m and 45 degree steps"].maze == {"step_size": "fast"}
    monkeypatch.setattr(reference, "available", lambda: "no OpenGL")
    without = report.generalisation("agent", Player(Rotating, 16, 16), config)
    assert list(without) == list(players)[:-1]


def test_rows_are_measured_by_what_is_possible_in_their_own_mazes() -> None:
    """Caps, oracle and explorer are those of each row's size of maze, length of step and shape of the picture."""
    mazes = MAZES._replace(count=20)
    options = {"fine": {"step_size": "fine"}, "larger": {"rows": 5}, "other": {"landmarks": "other"}}
    players = {name: Player(Rotating, 16, 16, maze=change) for name, change in options.items()}
    players["wide"] = Player(Rotating, 16, 32)
    rows = report.compare(players, CONFIG, mazes, visits=2, recogniser=True)
    assert rows["wide"]["latency/explorer"] < rows["recogniser"]["latency/explorer"]
    assert rows["recogniser"]["latency/first"] == rows["recogniser"]["latency/explorer"]
    for name, change in options.items():
        world = replace(CONFIG, **change)
        possible = evaluation.references(world, mazes, 2, width_over_height=1.0)
        assert rows[name]["latency/first"] == world.visit_cap
        assert rows[name]["latency/oracle"] == possible.oracle[:, 1].mean()
        assert rows[name]["latency/explorer"] == possible.explorer.mean()
    assert [rows[name]["latency/first"] for name in options] == [1400, 400, 300]
    assert rows["fine"]["latency/oracle"] > 2 * rows["other"]["latency/oracle"]


def test_the_table_is_shown_though_the_file_cannot_be_written(script, tmp_path) -> None:
    result = script("evaluate.py", "--mazes", 1, "--visits", 2, "--json", tmp_path)
    assert result.returncode == 2 and result.stderr.startswith("error: ")
    assert "memory score" in result.stdout


def test_no_row_of_miniworld_without_opengl(script, monkeypatch) -> None:
    monkeypatch.setattr(reference, "available", lambda: "no OpenGL")
    monkeypatch.setattr(report, "generalisation", lambda name, player, config: {})
    result = script("evaluate.py", "--generalisation", "--mazes", 1, "--visits", 2)
    assert result.returncode == 0 and result.stderr == "no row of real MiniWorld frames: no OpenGL\n"
    result = script("evaluate.py", "--renderer", "miniworld", "--mazes", 1, "--visits", 2)
    assert result.returncode == 2 and "no OpenGL" in result.stderr
