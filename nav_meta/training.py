"""A training run from its configuration to its table, plots and videos."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch

from mazes import renderer
from mazes.environment import MazeEnvironment
from mazes.layout import generate_batch
from mazes.seeds import split_seeds
from models.agent import Agent
from nav_meta import checkpoint, evaluation, plots, ranks, report, video, vision
from nav_meta.config import MAZES_PER_SEED, RunConfig
from nav_meta.errors import UserError, say
from nav_meta.evaluation import MazeSet, Trajectory
from nav_meta.files import write_atomically, write_json
from nav_meta.learner import Learner
from nav_meta.loading import Loaded, config_from_dict, load_agent, questions_of
from nav_meta.progress import Progress
from nav_meta.records import Record, read_config, read_metrics, require_none
from nav_meta.remote import STOPS
from nav_meta.tasks import Task
from nav_meta.tracking import Tracker

KEEP_CHECKPOINTS = 3


def make_task(config: RunConfig, worker: int, device: str = "cpu") -> Task:
    """Return a worker's mazes, the same on every device, cpu or cuda."""
    learner = config.learner
    batch = learner.environments // config.workers
    first, stride = config.seed * MAZES_PER_SEED + worker * batch, learner.environments
    options: dict[str, Any] = {
        "height": config.height,
        "width": config.width,
        "episode_steps": learner.episode,
        "phases": learner.phases(batch, worker),
        "shaping": learner.shaping,
        "coverage": learner.coverage,
        "ask_view": learner.ask_view,
        "ask_place": learner.ask_place,
        "ask_trail": learner.ask_trail,
        "guided_search": learner.guided_search,
    }
    if device == "cpu":

        def maze_seed(row: int, episode: int) -> int:
            return int(split_seeds("train", first + episode * stride + row, 1)[0])

        return MazeEnvironment(config.maze, batch, seeds=maze_seed, **options)
    from mazes.cuda import CudaMazeEnvironment  # numba looks for CUDA then

    first_seed = int(split_seeds("train", first, 1)[0])
    number = ranks.local_number()
    return CudaMazeEnvironment(config.maze, batch, first_seed=first_seed, seed_stride=stride, device=number, **options)


def make_learner(config: RunConfig, device: str = "cpu") -> Learner:
    """Return what trains the run's agent on a device, cpu or cuda.

    Raises:
        UserError: there is no such teacher, or its encoder is another.
    """
    make = partial(make_task, config, device=device)
    teacher = _load_teacher(config) if config.teacher else None
    return Learner(config.learner, config.agent, make, config.workers, config.steps, config.seed, teacher)


def prepare_device(config: RunConfig, device: str) -> None:
    """Make sure that the run can be computed there, cpu or cuda, and that it can be repeated bit for bit.

    Raises:
        UserError: this process finds no GPU of its own, or the run asks for what a GPU does not do.
    """
    if device == "cpu":
        return
    from mazes import cuda

    try:
        cuda.use_device(ranks.local_number())
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{error}.") from error
    if config.workers != ranks.count():
        raise UserError(
            f"workers ({config.workers}) must be as many as GPUs, one for each rank: --workers {ranks.count()}."
        )
    # Otherwise cuDNN and cuBLAS choose among ways of adding up that differ in the last bits from run to run.
    torch.backends.cudnn.deterministic = True
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


class Stop:
    """Ctrl-C, SIGTERM and a closed terminal ask for a stop after the present update; a second Ctrl-C does not wait.

    SIGTERM may come more than once, from SLURM and again from `torchrun`, which passes its own on: all is to be saved.
    """

    def __init__(self) -> None:
        """Nothing is asked for yet."""
        self.asked = False
        self._old: dict[int, signal.Handlers] = {}

    def __enter__(self) -> "Stop":
        """Take over the signals; only the main thread may."""
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                # nohup ignores SIGHUP. Shells ignore SIGINT in the background, where `kill -INT` means what it says.
                if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.asked = True
        say("\nstopping after this update; another Ctrl-C stops at once")


def resumed_config(folder: Path) -> RunConfig:
    """Return the configuration of a run to continue.

    Raises:
        UserError: when the folder holds no run.
    """
    return config_from_dict(RunConfig, read_config(folder), folder / "config.json")


def train(
    config: RunConfig,
    folder: Path,
    *,
    command: str,
    device: str = "cpu",
    resume: bool = False,
    wandb: str = "auto",
    compare: tuple[Path, ...] = (),
) -> dict[str, float] | None:
    """Train, and evaluate before, during and after.

    Args:
        config: the run.
        folder: where its record, checkpoints, plots and videos go.
        command: what goes on with the run, to be said when it is stopped.
        device: cpu, or cuda: one GPU for each rank.
        resume: continue the run in `folder` from its newest good checkpoint, bit for bit on a device of the same type
            with as many workers.
        wandb: auto, online, offline or off.
        compare: runs or checkpoints to list in the table too, such as a feed-forward control.

    Returns:
        The final figures on test mazes, or None when the run was stopped before its end, and in all ranks but the lead.

    Raises:
        UserError: when there is no such device, there is nothing to resume, the configuration differs, the disk is
            full, or training diverged.
    """
    prepare_device(config, device)
    others = [load_agent(path) for path in compare] if ranks.lead() else []  # a wrong path is told now, not at the end
    start = _load_start(config) if config.start and not resume else None
    tracker = Tracker(folder, asdict(config), wandb if ranks.lead() else "off")
    learner = make_learner(config, device)
    if start:
        before = questions_of(start.config)
        answers = [before.index(name) if name in before else None for name in questions_of(config)]
        learner.agent.begin_as(start.agent, answers)
    figures = None
    finished = run(learner, config, folder, tracker, lambda: _validate(learner, config), resume=resume, command=command)
    if finished and ranks.lead():
        say(f"evaluating on {config.final_mazes} test mazes; if this is stopped, do it again with: {command}")
        figures = _finish(learner, config, folder, tracker, others)
    tracker.finish()
    return figures


class Schedule(Protocol):
    """What `run` reads of a configuration, a dataclass."""

    steps: int
    evaluate_every: int
    checkpoint_every: int
    workers: int


def run(
    learner: Learner,
    config: Schedule,
    folder: Path,
    tracker: Tracker,
    evaluate: Callable[[], dict[str, float]],
    *,
    resume: bool,
    command: str,
    label: str = "",
) -> bool:
    """Update the learner until `config.steps`; record its metrics, evaluate it and save checkpoints on the way.

    Args:
        learner: fresh; continued from the newest good checkpoint of `folder` with `resume`.
        config: the run, as it is recorded.
        folder: where record and checkpoints go.
        tracker: what the metrics also go to.
        evaluate: figures for the record; called before the first update and every `evaluate_every` steps.
        resume: continue bit for bit, if there are as many workers.
        command: what continues a run that was stopped.
        label: tells this run's lines of progress from those of others.

    Returns:
        False when it was stopped by Ctrl-C, SIGTERM or SIGHUP: all is saved.

    Raises:
        UserError: when there is nothing to resume or, without `resume`, a run in the folder; the configuration differs,
            another process has the record open, the disk is full, or training diverged.
    """
    checkpoints = folder / "checkpoints"

    def save() -> None:
        state = learner.state()  # of all ranks
        if lead:
            checkpoint.save(checkpoint.path_of(checkpoints, learner.step), {"config": asdict(config), **state})
            checkpoint.prune(checkpoints, KEEP_CHECKPOINTS)

    def due(every: int, before: int) -> bool:
        return learner.step // every > before // every or learner.step >= config.steps

    lead = ranks.lead()
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop())
        if not resume:
            # Before the record: who dies until then has begun nothing that would have to be continued. And before
            # anything that takes long: who dies in it is started again from here.
            if lead:
                require_none(folder)
            save()
        if lead:
            record = stack.enter_context(contextlib.closing(Record(folder, asdict(config), tracker, resume=resume)))
            progress = stack.enter_context(Progress(config.steps, label))
        if resume:
            path, contents = ranks.of_lead(checkpoint.load_latest(checkpoints) if lead else None)
            learner.restore(contents)
            if lead:
                record.truncate_after(learner.step)
                progress.message(f"continuing {folder} from {path.name}")
        if lead and learner.step == 0:
            progress.message(f"training in {folder} with {config.workers} workers; evaluating the agent before it")
            record.truncate_after(-1)
            record.write(0, evaluate())
        asked = False
        while learner.step < config.steps and not asked:
            before = learner.step
            metrics = learner.update()
            asked = any(ranks.gather([stop.asked]))
            if lead:
                if due(config.evaluate_every, before) and learner.step < config.steps:
                    metrics |= evaluate()
                record.write(learner.step, metrics)
                progress.update(learner.step, metrics)
            if due(config.checkpoint_every, before) or asked:
                save()
        if asked and lead:
            progress.message(f"stopped at step {learner.step:,}; go on with: {command}")
        return not asked


def _load_start(config: RunConfig) -> Loaded:
    def net(run: RunConfig) -> tuple:
        read_by_critic = questions_of(run) if run.agent.critic_units else None
        return run.agent, run.height, run.width, read_by_critic

    start = load_agent(Path(config.start))
    if net(start.config) != net(config):
        raise UserError(
            f"{start.path} holds another net, or one for pictures of another size: give this run its --agent, --height "
            "and --width options."
        )
    return start


def _load_teacher(config: RunConfig) -> Agent:
    def encoder(run: RunConfig) -> tuple:
        return run.agent.channels, run.agent.features, run.height, run.width

    teacher = load_agent(Path(config.teacher))
    if encoder(teacher.config) != encoder(config):
        raise UserError(
            f"{teacher.path} has another encoder, or one for pictures of another size: give this run its "
            "--agent.channels, --agent.features, --height and --width."
        )
    if teacher.agent.critic is not None:
        raise UserError(f"{teacher.path} cannot teach: its value reads what only its own training knew.")
    return teacher.agent


def _validate(learner: Learner, config: RunConfig) -> dict[str, float]:
    """Return the protocol's figures on validation mazes; test mazes are for the end."""
    clock = time.perf_counter()
    mazes = MazeSet("validation", 0, config.evaluation_mazes)
    played = evaluation.run_visits(
        evaluation.of_agent(learner.agent, learner.precision), config.maze, mazes.seeds,
        height=config.height, width=config.width, threads=config.workers,
    )  # fmt: skip
    possible = evaluation.references(config.maze, mazes, width_over_height=config.width / config.height)
    return evaluation.metrics(played, possible) | {"time/evaluation_seconds": time.perf_counter() - clock}


def _finish(learner: Learner, config: RunConfig, folder: Path, tracker: Tracker, others: list) -> dict[str, float]:
    """Evaluate on test mazes; write the table, the plots and a replay, and say where they are."""
    mazes = MazeSet("test", 0, config.final_mazes)
    agent = report.Player(evaluation.of_agent(learner.agent, learner.precision), config.height, config.width)
    rows = report.compare({"agent": agent, **report.players(others)}, config.maze, mazes, threads=config.workers)
    table = report.table(rows)
    found = {"maze": asdict(config.maze), "mazes": mazes._asdict(), "step": learner.step, "rows": rows}
    write_json(folder / "evaluation.json", found)
    write_atomically(folder / "table.md", report.markdown(table).encode())
    plots.plot_latency_by_visit(rows, folder / "plots" / "latency_by_visit.png")
    plots.plot_training(read_metrics(folder), folder / "plots" / "training.png")
    made = [folder / "table.md", folder / "plots" / "latency_by_visit.png", folder / "plots" / "training.png"]
    size = {"height": config.height, "width": config.width}
    trajectory = evaluation.record(agent.make_policy, config.maze, int(mazes.seeds[0]), **size)
    replay, seen = folder / "videos" / "replay.mp4", folder / "plots" / "seen.png"
    for path, write in (
        (replay, lambda: video.write_video(trajectory, replay, observation=(config.height, config.width))),
        (seen, lambda: vision.write_contact_sheet(seen, _views(trajectory, config), columns=12, scale=3)),
    ):
        try:
            write()
            made.append(path)
        except UserError as error:  # a run without pictures is a run nevertheless
            say(f"no {path.stem}: {error}")
    for path in made[1:]:
        log = tracker.log_video if path.suffix == ".mp4" else tracker.log_image
        log(learner.step, f"{path.parent.name}/{path.stem}", path)
    tracker.log_table("table", *table)
    tracker.log(learner.step, {f"test/{key}": value for key, value in rows["agent"].items()})
    report.show(table)
    for path in made:
        say(str(path))
    return rows["agent"]


def _views(trajectory: Trajectory, config: RunConfig, count: int = 96) -> np.ndarray:
    """Return what the agent saw at evenly spaced moments of an episode, uint8 [<= count, H, W, 3]."""
    moments = np.unique(np.linspace(0, len(trajectory.poses) - 1, count).astype(int))
    layouts = generate_batch(config.maze, np.full(len(moments), trajectory.seed, np.uint64))
    return renderer.render(layouts, trajectory.poses[moments], config.height, config.width)
