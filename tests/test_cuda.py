"""The CUDA path against the CPU's, on numba's simulator, as conftest.py chooses.

On a GPU, with the tests that need one: NUMBA_ENABLE_CUDASIM=0 python -m pytest tests/test_cuda.py
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from mazes import cuda, renderer
from mazes.cuda import CudaMazeEnvironment
from mazes.environment import MazeEnvironment
from mazes.layout import MazeConfig
from mazes.seeds import split_seeds
from models.agent import Agent, AgentConfig
from nav_meta.config import LearnerConfig, RunConfig
from nav_meta.learner import Learner
from nav_meta.training import make_learner, make_task, prepare_device
from nav_meta.worker import Worker

# One worker runs all of these: the path's functions, which the simulator has compiled too, are compiled once.
pytestmark = pytest.mark.xdist_group("cuda")

ROOT = Path(__file__).parents[1]
CONFIGS = {
    "random": MazeConfig(),
    "loops": MazeConfig(rows=2, columns=4, extra_openings=0.6),
    "brick": MazeConfig(landmarks="none"),
    "imaze": MazeConfig(kind="imaze"),
    "same start": MazeConfig(rows=2, respawn="same"),
    "fixed, fine steps": MazeConfig(kind="fixed", rows=2, columns=2, step_size="fine", respawn_distance=2),
    "looks": MazeConfig(rows=2, domain_rand=True),
    "looks, fine steps": MazeConfig(
        rows=2, columns=2, step_size="fine", landmarks="other", respawn_distance=2, domain_rand=True
    ),
}


def host(array) -> np.ndarray:
    """Return a tensor of either kind as an array."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def device(array: np.ndarray):
    """Return an array as what `CudaMazeEnvironment.step` takes."""
    if cuda.SIMULATED:
        return array
    return torch.from_numpy(array).cuda()


def pair(config: MazeConfig, batch: int, **options) -> tuple[CudaMazeEnvironment, MazeEnvironment]:
    """Return the same mazes on either path."""
    return CudaMazeEnvironment(config, batch, **options), MazeEnvironment(config, batch, **options)


def assert_same_moment(here, there, what: str = "") -> None:
    """Pictures up to one grey level; everything else is equal."""
    ours, theirs = here.time_step(), there.time_step()
    difference = host(ours.observation).astype(int) - theirs.observation
    assert abs(difference).max() <= 1, what
    assert (difference != 0).mean() < 0.01, what
    for name, a, b in zip(ours._fields[1:], ours[1:], theirs[1:], strict=True):
        assert host(a).dtype == b.dtype
        np.testing.assert_array_equal(host(a), b, err_msg=f"{what} {name}")


@pytest.mark.parametrize("config", [*CONFIGS.values(), MazeConfig(rows=7, columns=9)], ids=[*CONFIGS, "large"])
def test_pictures(config):
    """Respawning at every step shows the mazes from many places; a width that no block divides."""
    here, there = pair(config, 3, height=22, width=27, visit_cap=1)
    shown = set()
    for step in range(5):
        assert_same_moment(here, there, f"step {step}")
        shown |= set(np.unique(there.time_step().observation))
        here.step(device(np.zeros(3, np.int64)))
        there.step(np.zeros(3, np.int64))
    assert len(shown) > 50  # not all one colour


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 61), (60, 8), (48, 64)])
def test_pictures_with_looks(height, width):
    """Shapes in which the samples of a pixel are far apart, or pixels fewer than a block's threads."""
    here, there = pair(MazeConfig(rows=4, columns=5, domain_rand=True), 4, height=height, width=width, visit_cap=1)
    for step in range(3):
        assert_same_moment(here, there, f"step {step}")
        here.step(device(np.zeros(4, np.int64)))
        there.step(np.zeros(4, np.int64))
    # Lights differ from maze to maze.
    means = there.time_step().observation.mean(axis=(1, 2))
    assert len(np.unique(means.round(3), axis=0)) == 4


@pytest.mark.parametrize("domain_rand", [False, True])
def test_the_goal_box_is_drawn_alike(domain_rand):
    here, there = pair(MazeConfig(domain_rand=domain_rand), 12, height=12, width=16, visit_cap=1)
    box = 0
    for _ in range(6):
        assert_same_moment(here, there)
        without = there.layouts._replace(goal=there.layouts.goal + (100, 100, 0))
        box += (there.time_step().observation != renderer.render(without, there.poses, 12, 16)).any(axis=-1).sum()
        here.step(device(np.zeros(12, np.int64)))
        there.step(np.zeros(12, np.int64))
    assert box > 20


@pytest.mark.parametrize("name", CONFIGS)
def test_trajectories(name):
    """Motion, collisions, goals, respawns, caps, episode ends by steps and by visits, from the same seeds."""
    options = {"episode_steps": 90, "visits": 9, "visit_cap": 31, "phases": np.arange(6) * 10}
    here, there = pair(CONFIGS[name], 6, height=4, width=4, **options)
    generator = np.random.default_rng(1)
    found = given_up = renewed = 0
    for _ in range(250):
        actions = generator.choice(3, size=6, p=(0.2, 0.2, 0.6))
        here.step(device(actions))
        there.step(actions)
        for ours, theirs in zip(here.ended, there.ended, strict=True):
            assert host(ours).dtype == theirs.dtype
            np.testing.assert_array_equal(host(ours), theirs)
        found += there.ended.found.sum()
        given_up += (there.ended.ended & ~there.ended.found).sum()
        np.testing.assert_array_equal(host(here.over), there.over)
        over = there.renew()
        np.testing.assert_array_equal(host(here.renew()), over)
        renewed += over.sum()
        np.testing.assert_allclose(host(here.poses), there.poses, rtol=0, atol=1e-12)
    assert_same_moment(here, there)
    assert found > 0
    assert given_up > 0
    assert renewed > 12
    for key, value in there.state().items():
        assert here.state()[key].dtype == value.dtype
        np.testing.assert_allclose(here.state()[key].astype(float), value.astype(float), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("step_size", "domain_rand", "guided_search"),
    [("fast", False, True), ("fine", False, False), ("fast", True, False)],
)
def test_hints(step_size, domain_rand, guided_search):
    """The CPU's fields are within their tolerance of the fixed point, which the device reaches."""
    config = MazeConfig(rows=2, columns=2, step_size=step_size, domain_rand=domain_rand)
    learner = {"shaping": 0.5, "coverage": 0.25, "guided_search": guided_search}
    learner |= {"ask_view": True, "ask_place": True, "ask_trail": True}
    here, there = pair(config, 2, height=4, width=4, episode_steps=60, visit_cap=12, **learner)
    generator = np.random.default_rng(2)
    bonuses = []
    for _ in range(100):
        actions = generator.choice(3, size=2, p=(0.2, 0.2, 0.6))
        here.step(device(actions))
        there.step(actions)
        np.testing.assert_array_equal(host(here.renew()), there.renew())
        ours, theirs = here.hints(), there.hints()
        np.testing.assert_allclose(host(ours.bonus), theirs.bonus, rtol=0, atol=0.5 * 0.1)
        ours_nearer, nearer = (hints.target[:, -3:] for hints in (ours, theirs))
        np.testing.assert_allclose(host(ours.target)[:, :-3], theirs.target[:, :-3], rtol=0, atol=1e-6)
        np.testing.assert_allclose(host(ours_nearer), nearer, rtol=0, atol=0.1)
        np.testing.assert_array_equal(host(ours.known), theirs.known)
        bonuses.append(theirs.bonus)
    assert np.abs(bonuses).max() > 0.4


@pytest.mark.parametrize("domain_rand", [False, True])
def test_states_move_between_the_paths(domain_rand):
    config = MazeConfig(rows=2, columns=2, domain_rand=domain_rand)
    options = {"height": 6, "width": 8, "visit_cap": 9, "episode_steps": 20}
    here, there = pair(config, 3, shaping=0.1, **options)
    actions = np.array([2, 0, 2])
    for _ in range(13):
        there.step(actions)
    here.restore(there.state())
    assert_same_moment(here, there)
    for _ in range(9):
        here.step(device(actions))
        there.step(actions)
        here.renew()
        there.renew()
    assert_same_moment(here, there)
    back = MazeEnvironment(config, 3, shaping=0.1, **options)
    back.restore(here.state())
    assert_same_moment(here, back)
    for _ in range(3):
        here.step(device(actions))
        back.step(actions)
    assert_same_moment(here, back)
    np.testing.assert_allclose(host(here.poses), back.poses, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="holds 2 mazes, this one 3"):
        here.restore(MazeEnvironment(config, 2, shaping=0.1, **options).state())


@pytest.mark.skipif(not cuda.SIMULATED, reason="a GPU draws other actions from the same seed")
def test_a_worker_acts_alike():
    """Resets, respawns, caps and hints included; pictures differ by a grey level, and the values by little."""
    config = LearnerConfig(environments=4, rollout=6, episode=12, minibatches=2, bf16=False)
    mazes = {"height": 16, "width": 16, "episode_steps": 12, "visit_cap": 5, "phases": np.arange(4) % 2 * 6}
    learner = {"shaping": 0.5, "coverage": 0.1, "ask_view": True, "ask_place": True, "ask_trail": True}
    here, there = pair(MazeConfig(rows=2, columns=2), 4, **mazes, **learner)
    sizes = AgentConfig(features=16, reward_units=8, units=16)
    agent = Agent(sizes, (16, 16, 3), here.actions, here.hint_size, here.view_size)
    workers = [Worker(agent, task, config, 0) for task in (here, there)]
    for _ in range(2):
        (ours, told), (theirs, expected) = (worker.act() for worker in workers)
        assert told._replace(seconds_world=0) == expected._replace(seconds_world=0) and told.visits > 0
        difference = ours.observation.int() - theirs.observation.int()
        assert difference.abs().max() <= 1 and (difference != 0).float().mean() < 0.01
        for name in ("prev_action", "prev_reward", "first", "action", "discount", "known"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        for name, tolerance in (("value", 1e-3), ("log_prob", 1e-4), ("reward", 0.05), ("target", 0.1)):
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=tolerance)
        assert ours.known.any() and ours.first.any()


def test_training_draws_the_same_mazes():
    learner = LearnerConfig(environments=4, rollout=2, episode=4, minibatches=1)
    config = RunConfig(MazeConfig(rows=2, columns=2), learner=learner, height=16, width=16, seed=3, workers=2)
    tasks = [make_task(config, 1, where) for where in ("cuda", "cpu")]
    assert isinstance(tasks[0], CudaMazeEnvironment)
    for _ in range(3):
        here, there = (task.state() for task in tasks)
        for name in ("seeds", "episode", "episode_step"):
            np.testing.assert_array_equal(here[name], there[name])
        for task, actions in zip(tasks, (device(np.zeros(2, np.int64)), np.zeros(2, np.int64)), strict=True):
            task.step(actions)
            task.step(actions)
            task.renew()
    assert here["episode"].tolist() == [1, 1]


def test_a_learner_learns():
    config = LearnerConfig(environments=4, rollout=4, episode=8, minibatches=2)
    agent = AgentConfig(features=16, reward_units=8, units=16)

    def make_task(worker):
        maze = MazeConfig(rows=2, columns=2)
        return CudaMazeEnvironment(maze, 4, height=16, width=16, episode_steps=8, shaping=0.1)

    learner = Learner(config, agent, make_task, 1, 1000, 0)
    before = learner.state()["agent"]["heads.weight"].clone()
    metrics = learner.update()
    # What the world takes is not known on a GPU, where a graph holds the agent too.
    unknown = set() if cuda.SIMULATED else {"time/world", "time/act"}
    assert {name for name, value in metrics.items() if not np.isfinite(value)} == unknown and learner.step == 16
    after = learner.state()
    assert not torch.equal(after["agent"]["heads.weight"], before)
    assert {part.device.type for part in after["optimizer"]["state"][0].values()} == {"cpu"}


def test_seeds_can_be_chosen():
    first = int(split_seeds("validation", 5, 1)[0])
    here = CudaMazeEnvironment(MazeConfig(), 2, height=4, width=4, episode_steps=1, first_seed=first, seed_stride=1000)
    here.step(device(np.zeros(2, np.int64)))
    here.renew()
    assert here.state()["seeds"].tolist() == [first + 1000, first + 1001]


def test_pictures_are_drawn_where_one_likes():
    here = CudaMazeEnvironment(MazeConfig(), 2, height=6, width=8)
    out = device(np.zeros((2, 6, 8, 3), np.uint8))
    moment = here.time_step(out)
    assert moment.observation is out
    np.testing.assert_array_equal(host(out), host(here.time_step().observation))
    assert host(out).max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"height": 3}, "height must be between 4 and 4096"),
        ({"visit_cap": 0}, "visit_cap must be between 1 and"),
        ({"shaping": -1.0}, "shaping must be at least 0"),
        ({"coverage": -1.0}, "coverage must be at least 0"),
        ({"first_seed": 2**64}, "first_seed must be between 0 and"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        CudaMazeEnvironment(**{"config": MazeConfig(), "batch": 1} | options)


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is missing: pip install -e '.[cuda]'")
def test_kernels_compile_for_a_gpu():
    """The simulator runs Python; here the very kernels go through numba-cuda and NVVM."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "ptx.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(result.stdout.splitlines()) == 10


@pytest.mark.cuda
@pytest.mark.parametrize("domain_rand", [False, True])
def test_a_graph_replays_steps(domain_rand):
    """A captured step, with the picture, does what queued ones do."""
    config = MazeConfig(domain_rand=domain_rand)
    here, there = pair(config, 64, height=30, width=40, visit_cap=20, episode_steps=40, shaping=0.1)
    actions = torch.zeros(64, dtype=torch.int64, device="cuda")
    frames = torch.zeros((64, 30, 40, 3), dtype=torch.uint8, device="cuda")

    def play():
        here.step(actions)
        here.renew()
        here.hints()
        return here.time_step(frames)

    start = there.state()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            play()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        play()
    here.restore(start)
    generator = np.random.default_rng(3)
    for _ in range(100):
        chosen = generator.choice(3, size=64, p=(0.2, 0.2, 0.6))
        actions.copy_(torch.from_numpy(chosen))
        graph.replay()
        there.step(chosen)
        there.renew()
        np.testing.assert_allclose(host(here.poses), there.poses, rtol=0, atol=1e-12)
    assert np.abs(host(frames).astype(int) - there.time_step().observation).max() <= 1


GPU_RUN = RunConfig(
    MazeConfig(rows=2, columns=2),
    AgentConfig(features=16, reward_units=8, units=16),
    LearnerConfig(environments=32, rollout=8, episode=16, minibatches=2),
    steps=32 * 8 * 20,
    height=16,
    width=16,
    workers=1,
)


@pytest.mark.cuda
def test_a_captured_rollout_is_the_queued_one():
    """Bit for bit, and with the weights as they are at each replay, not as they were at the capture."""
    prepare_device(GPU_RUN, "cuda")
    tasks = [make_task(GPU_RUN, 0, "cuda") for _ in range(2)]
    agent = Agent(GPU_RUN.agent, (16, 16, 3), tasks[0].actions, tasks[0].hint_size).to(tasks[0].device)
    captured, queued = (Worker(agent, task, GPU_RUN.learner, 0) for task in tasks)
    queued._run = queued._play
    for _ in range(5):
        (ours, told), (theirs, expected) = captured.act(), queued.act()
        for name, one, other in zip(ours._fields, ours, theirs, strict=True):
            for a, b in zip(one, other, strict=True):  # parts of the memory, or moments
                assert torch.equal(a, b), name
        assert told._replace(seconds_world=0) == expected._replace(seconds_world=0)
        with torch.no_grad():
            for parameter in agent.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.cuda
def test_a_restored_learner_goes_on_bit_for_bit_on_a_gpu():
    """The one replays its graph where the other, resumed, queues its first rollout."""
    prepare_device(GPU_RUN, "cuda")
    straight, resumed = make_learner(GPU_RUN, "cuda"), make_learner(GPU_RUN, "cuda")
    for _ in range(4):
        straight.update()
    resumed.restore(straight.state())
    for _ in range(4):
        one, two = straight.update(), resumed.update()
        assert {k: v for k, v in one.items() if "time/" not in k} == {k: v for k, v in two.items() if "time/" not in k}
    for first, second in zip(straight.agent.parameters(), resumed.agent.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.cuda
def test_a_run_moves_between_the_devices():
    there = make_learner(GPU_RUN)
    there.update()
    here = make_learner(GPU_RUN, "cuda")
    here.restore(there.state())
    here.update()
    there.restore(here.state())
    assert np.isfinite(there.update()["loss/loss"]) and there.step == 3 * 32 * 8


@pytest.mark.cuda
def test_a_run_on_a_gpu_from_its_beginning_to_its_table(tmp_path):
    folder = tmp_path / "run"
    options = (
        "--maze.rows 2 --maze.columns 2 --height 16 --width 16 --workers 1 --evaluate-every 2048 --evaluation-mazes 2 "
        "--final-mazes 4 --checkpoint-every 512 --learner.environments 8 --learner.rollout 32 --learner.episode 64 "
        "--learner.minibatches 2 --agent.features 16 --agent.reward-units 8 --agent.units 16 --wandb off"
    )
    command = [sys.executable, str(ROOT / "scripts" / "train_nav.py"), *options.split(), "--device", "cuda"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [*command, "--steps", "4096", "--out", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert "oracle" in result.stdout and (folder / "checkpoints" / "step_000000004096.pt").exists()
