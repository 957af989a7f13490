"""The evaluation protocol: first against later goal latency on held-out mazes, weights frozen.

For each of N mazes one episode of V visits: a first search, and V - 1 returns to a goal that stays. Every maze
contributes the same number of visits; one given up at the cap counts as long as the cap. (The mean over visits that
happened to be made in a fixed time flatters: easy mazes give more of them, so an agent without any memory seems to get
faster.) The k-th visit to a maze begins at the same place for every agent.

Two controls tell whether memory of the goal makes later visits shorter: `forgetting` empties it after each visit, and
with `goal_moves` the goal is in another room from the second visit on.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from mazes import paths, reference, renderer, simulator
from mazes.environment import MazeEnvironment, Renderer, TimeStep
from mazes.layout import Layout, MazeConfig, generate_batch, moved_goals, require_seeds
from mazes.seeds import split_seeds
from models.agent import Agent
from nav_meta.errors import UserError

VISITS = 6
"""One first visit and five later ones."""

_PARTS = 4
"""Mazes are dealt to this many batches, each with random numbers of its own, whatever the number of threads."""
_BATCH = 64
_RESAMPLES = 2000

T, U = TypeVar("T"), TypeVar("U")


class Policy(Protocol):
    """Whatever chooses actions for a batch of environments."""

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Return actions int64 [B]; `moment.first` tells where memory must be empty."""


class AgentPolicy:
    """A trained agent with frozen weights that samples from its policy and remembers."""

    def __init__(self, agent: Agent, batch: int, seed: int, precision: torch.dtype = torch.float32) -> None:
        """Begin with empty memories."""
        self._agent = agent
        self.memory = agent.initial_state(batch)
        self._generator = torch.Generator().manual_seed(seed)
        self._precision = precision

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Read one moment and draw actions."""
        device, precision = self._agent.device, self._precision
        observation, prev_action, prev_reward, first = (torch.from_numpy(part).to(device) for part in moment[:4])
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            output, self.memory = self._agent.unroll(
                observation[None], prev_action[None], prev_reward[None], first, self.memory
            )
            policy = output.logits[0].softmax(-1).cpu()
            return torch.multinomial(policy, 1, generator=self._generator).squeeze(-1).numpy()


class Forgetful:
    """A policy to which every visit is the first moment of an episode: nothing is remembered, nothing was done yet."""

    def __init__(self, policy: Policy, batch: int) -> None:
        """Begin with empty memories."""
        self._policy = policy
        self._visit = np.zeros(batch, np.int32)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Let the policy choose, told that an episode begins wherever a visit does."""
        first = moment.first | (moment.visit != self._visit)
        self._visit = moment.visit
        return self._policy(
            moment._replace(
                prev_action=np.where(first, 0, moment.prev_action),
                prev_reward=np.where(first, np.float32(0), moment.prev_reward),
                first=first,
            )
        )


class RandomWalk:
    """Uniformly random actions."""

    def __init__(self, batch: int, seed: int) -> None:
        """Draw from `seed`."""
        self._batch = batch
        self._generator = np.random.default_rng(seed)

    def __call__(self, moment: TimeStep) -> np.ndarray:
        """Draw actions."""
        return self._generator.integers(MazeEnvironment.actions, size=self._batch)


class Visits(NamedTuple):
    """All visits of an evaluation, N mazes and V visits to each."""

    latency: np.ndarray
    """int32 [N, V]: steps."""
    found: np.ndarray
    """bool [N, V]: False when given up at the cap."""


class References(NamedTuple):
    """What is possible from the same starts."""

    oracle: np.ndarray
    """int32 [N, V]: the shortest action sequence."""
    explorer: np.ndarray
    """int32 [N]: the first visit of an explorer with perfect memory of all that it has seen."""


class MazeSet(NamedTuple):
    """A range of held-out mazes."""

    split: str
    first: int
    count: int

    @property
    def seeds(self) -> np.ndarray:
        """uint64 [count]."""
        return split_seeds(self.split, self.first, self.count)


class Trajectory(NamedTuple):
    """One episode as states, from which every picture of it can be drawn again: S steps, S + 1 moments."""

    config: MazeConfig
    seed: int
    poses: np.ndarray
    """float64 [S + 1, 3]: where the agent is, the place after a respawn included."""
    actions: np.ndarray
    """int64 [S]."""
    visit: np.ndarray
    """int32 [S + 1]: which visit, from 0; the last moment may be after the last visit."""
    visit_step: np.ndarray
    """int32 [S + 1]: steps of this visit so far."""
    found: np.ndarray
    """bool [S]: did this step reach the goal?"""


MakePolicy = Callable[[int, int], Policy]
"""(batch, seed) -> policy."""


def of_agent(agent: Agent, precision: torch.dtype = torch.float32) -> MakePolicy:
    """Return what `run_visits` needs to evaluate an agent."""
    return lambda batch, seed: AgentPolicy(agent, batch, seed, precision)


def forgetting(make_policy: MakePolicy) -> MakePolicy:
    """Return the same policies, each with its memory emptied whenever a visit ends."""
    return lambda batch, seed: Forgetful(make_policy(batch, seed), batch)


def run_visits(
    make_policy: MakePolicy,
    config: MazeConfig,
    seeds: np.ndarray,
    *,
    visits: int = VISITS,
    height: int = 30,
    width: int = 40,
    seed: int = 0,
    threads: int = 1,
    goal_moves: bool = False,
    cap: int | None = None,
    render: Renderer = renderer.render,
) -> Visits:
    """Play `visits` visits in each maze of seeds uint64 [N].

    Args:
        make_policy: who plays.
        config: which mazes.
        seeds: their seeds.
        visits: V, visits to each.
        height: rows of the picture.
        width: columns of the picture.
        seed: of the actions drawn.
        threads: how many play at once.
        goal_moves: the goal is in another room from the second visit on; as of `MazeEnvironment`.
        cap: steps after which a visit is given up; None: `config.visit_cap`.
        render: what draws the pictures.
    """
    seeds = require_seeds(seeds)
    parts = np.array_split(seeds, min(_PARTS, max(1, len(seeds) // 8)))
    abandoned = threading.Event()

    def play(part: int) -> Visits:
        world, maze = stream(
            config,
            parts[part],
            visits=visits,
            height=height,
            width=width,
            goal_moves=goal_moves,
            cap=cap,
            render=render,
        )
        return _play(make_policy(world.batch, seed * _PARTS + part), world, maze, len(parts[part]), abandoned)

    if threads == 1:  # on this thread: an OpenGL context belongs to the one that made it
        played = [play(part) for part in range(len(parts))]
    else:
        played = _in_threads(play, range(len(parts)), threads, abandoned)
    return Visits(*(np.concatenate(field) for field in zip(*played, strict=True)))


def run_random_walk(
    config: MazeConfig, seeds: np.ndarray, *, visits: int = VISITS, seed: int = 0, cap: int | None = None
) -> Visits:
    """Play with random actions, unseeing."""
    return run_visits(RandomWalk, config, seeds, visits=visits, seed=seed, cap=cap, render=_blind)


def renderer_named(name: str, config: MazeConfig) -> Renderer:
    """Return the project's own renderer (`fast`), or one that draws with the real MiniWorld (`miniworld`).

    Raises:
        UserError: when MiniWorld is asked for and there is no OpenGL.
    """
    if name == "fast":
        return renderer.render
    if missing := reference.available():
        raise UserError(missing)
    by_size: dict[tuple[int, int], reference.ReferenceRenderer] = {}

    def render(
        layouts: Layout, poses: np.ndarray, height: int, width: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        if (height, width) not in by_size:
            by_size[height, width] = reference.ReferenceRenderer(config, height, width)
        return by_size[height, width].render(layouts, poses)

    return render


def _blind(layouts: object, poses: np.ndarray, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    return np.zeros((len(poses), 1, 1, 3), np.uint8)


def stream(
    config: MazeConfig,
    seeds: np.ndarray,
    *,
    visits: int = VISITS,
    height: int = 30,
    width: int = 40,
    goal_moves: bool = False,
    cap: int | None = None,
    render: Renderer = renderer.render,
) -> tuple[MazeEnvironment, np.ndarray]:
    """Queue the mazes of seeds uint64 [N] for a batch of B environments: one whose visits are over takes the next.

    Returns:
        the environment, and int64 [B]: which maze is in each row, N where none is left. `renew` changes both.
    """
    count = len(seeds)
    batch = min(_BATCH, count)
    queue: Iterator[int] = iter(range(count))
    maze = np.zeros(batch, np.int64)

    def next_seed(row: int, episode: int) -> int:
        maze[row] = next(queue, count)
        return int(seeds[min(maze[row], count - 1)])

    environment = MazeEnvironment(
        config,
        batch,
        height=height,
        width=width,
        seeds=next_seed,
        visits=visits,
        visit_cap=config.visit_cap if cap is None else cap,
        goal_moves=goal_moves,
        render=render,
    )
    return environment, maze


def _in_threads(work: Callable[[T], U], parts: Sequence[T], threads: int, abandoned: threading.Event) -> list[U]:
    """Return work(part) of each part; `abandoned` tells those at work that Ctrl-C, or an error, made all of it vain."""
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(work, parts))
    except BaseException:
        abandoned.set()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _play(
    policy: Policy, environment: MazeEnvironment, maze: np.ndarray, count: int, abandoned: threading.Event
) -> Visits:
    """Play the `count` mazes of a `stream`, or until it is abandoned."""
    latency = np.zeros((count + 1, environment.visits), np.int32)
    found = np.zeros((count + 1, environment.visits), np.bool_)
    while (maze < count).any() and not abandoned.is_set():
        environment.step(policy(environment.time_step()))
        ended = environment.ended
        index = np.flatnonzero(ended.ended)
        latency[maze[index], ended.visit[index]] = ended.latency[index]
        found[maze[index], ended.visit[index]] = ended.found[index]
        environment.renew()
    return Visits(latency[:count], found[:count])


def record(
    make_policy: MakePolicy,
    config: MazeConfig,
    maze_seed: int,
    *,
    visits: int = VISITS,
    height: int = 30,
    width: int = 40,
    seed: int = 0,
    render: Renderer = renderer.render,
) -> Trajectory:
    """Play one episode and keep its states."""
    environment = MazeEnvironment(
        config,
        1,
        height=height,
        width=width,
        seeds=lambda row, episode: maze_seed,
        visits=visits,
        visit_cap=config.visit_cap,
        render=render,
    )
    policy = make_policy(1, seed)
    moments, actions, found = [], [], []
    while True:
        moments.append((environment.poses[0].copy(), environment.visit[0], environment.visit_step[0]))
        if environment.over[0]:
            break
        action = policy(environment.time_step())
        environment.step(action)
        actions.append(action[0])
        found.append(bool(environment.ended.found.any()))
    poses, visit, visit_step = zip(*moments, strict=True)
    return Trajectory(
        config,
        maze_seed,
        np.array(poses),
        np.array(actions, np.int64),
        np.array(visit, np.int32),
        np.array(visit_step, np.int32),
        np.array(found),
    )


@lru_cache(maxsize=8)
def references(
    config: MazeConfig,
    mazes: MazeSet,
    visits: int = VISITS,
    goal_moves: bool = False,
    width_over_height: float = 4 / 3,
) -> References:
    """Return oracle and explorer from where, and to where, `run_visits` plays with the same options.

    The explorer sees as much to the sides as a picture of that shape shows: the agent's. The last few sets of mazes are
    remembered.
    """
    seeds = mazes.seeds
    first = generate_batch(config, seeds)
    later = first._replace(goal=moved_goals(config, seeds)) if goal_moves else first
    layouts = [first] + [later] * (visits - 1)
    starts = _starts(config, layouts, seeds)
    oracle = [paths.oracle_steps(config, *visit) for visit in zip(layouts, starts, strict=True)]
    explorer = paths.explorer_steps(config, first, starts[0], config.visit_cap, width_over_height)
    possible = References(np.stack(oracle, axis=1), explorer)
    for array in possible:
        array.flags.writeable = False  # it is handed out again
    return possible


def run_recogniser(
    config: MazeConfig, mazes: MazeSet, visits: int = VISITS, threads: int = 1, width_over_height: float = 4 / 3
) -> Visits:
    """Let `paths.recogniser_steps` play from where `run_visits` plays: it remembers all, and has to find itself.

    It sees as much to the sides as a picture of that shape shows: the agent's.
    """
    layouts = generate_batch(config, mazes.seeds)
    starts = np.stack(_starts(config, [layouts] * visits, mazes.seeds), axis=1)

    def play(rows: np.ndarray) -> np.ndarray:
        some = Layout(*(field[rows] for field in layouts))
        return paths.recogniser_steps(config, some, starts[rows], config.visit_cap, width_over_height)

    few = np.array_split(np.arange(mazes.count), -(-mazes.count // 8))  # so that Ctrl-C need not wait for long
    steps = np.concatenate(_in_threads(play, few, threads, threading.Event()))
    return Visits(steps, steps < config.visit_cap)


def _starts(config: MazeConfig, layouts: list[Layout], seeds: np.ndarray) -> list[np.ndarray]:
    """Return where each visit begins, float64 [N, 3] each, given the mazes as they are then."""
    return [simulator.spawn(config, mazes, seeds, np.full(len(seeds), visit)) for visit, mazes in enumerate(layouts)]


def resamples(count: int) -> np.ndarray:
    """Return the weights of `count` mazes in each bootstrap sample of them, float64 [2000, count]; rows add up to 1."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count


def metrics(played: Visits, possible: References) -> dict[str, float]:
    """Return the protocol's figures, each with the ends of its interval as `<key>/low` and `<key>/high`.

    Intervals are 95 % bootstrap intervals over mazes. Ratios are ratios of means, resampled in pairs: the same mazes
    above and below the line.

    Raises:
        ValueError: there is no later visit, or the references are of others.
    """
    if played.latency.shape != possible.oracle.shape or played.latency.shape[1] < 2:
        raise ValueError(
            "played and possible must be of the same mazes and visits, a first and later ones, not "
            f"{list(played.latency.shape)} and {list(possible.oracle.shape)}"
        )
    latency, oracle = played.latency.astype(float), possible.oracle.astype(float)
    visits = latency.shape[1]
    first, later = latency[:, 0], latency[:, 1:].mean(1)
    path_share = played.found * oracle / np.maximum(latency, oracle)
    # Everything below is a function of means over mazes: N rows, one column for each quantity.
    columns = {
        **{f"latency/visit_{k + 1}": latency[:, k] for k in range(visits)},
        **{f"latency/oracle_{k + 1}": oracle[:, k] for k in range(visits)},
        "latency/first": first,
        "latency/later": later,
        "latency/oracle": oracle[:, 1:].mean(1),
        "latency/explorer": possible.explorer.astype(float),
        "success/first": played.found[:, 0].astype(float),
        "success/later": played.found[:, 1:].mean(1),
        "spl": path_share.mean(1),
        "improved": (later < first).astype(float),
    }
    table = np.stack(list(columns.values()), axis=1)
    resampled_means = resamples(len(table)) @ table
    means = dict(zip(columns, np.concatenate([table.mean(0, keepdims=True), resampled_means]).T, strict=True))
    means["latency/speedup"] = means["latency/first"] / means["latency/later"]
    means["latency/ideal_speedup"] = means["latency/explorer"] / means["latency/oracle"]
    means["latency/later_over_oracle"] = means["latency/later"] / means["latency/oracle"]
    means["latency/first_over_explorer"] = means["latency/first"] / means["latency/explorer"]
    gap = means["latency/explorer"] - means["latency/oracle"]
    means["latency/memory_score"] = np.divide(
        means["latency/explorer"] - means["latency/later"],
        gap,
        out=np.full_like(gap, np.nan),
        where=gap != 0,  # in a handful of mazes the explorer may equal the oracle
    )
    return with_intervals(means)


def with_intervals(means: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return figures with the ends of their 95 % intervals, `<key>/low` and `<key>/high`.

    Args:
        means: of each figure, float64 [1 + samples], the figure itself and then that of each bootstrap sample. Those
            that are not numbers are left out of the interval.
    """
    result = {}
    for key, (value, *resampled) in means.items():
        known = [draw for draw in resampled if not np.isnan(draw)]
        low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
        result |= {key: float(value), f"{key}/low": float(low), f"{key}/high": float(high)}
    return result
