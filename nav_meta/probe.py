"""What the memory knows: linear probes of an agent's states, fitted in some held-out mazes and tested in others.

Without a memory one can tell where the goal is only while it is in the picture. So moments are told apart: *before* the
goal has been reached for the first time in its maze, and *after* that, both only as long as the goal has not come in
sight since the present visit began; and those with the goal *in sight*. The encoder's features, which are of the
present picture alone, are probed beside the LSTMs.

The agent's frame, ahead and left of where it stands, is what a memory can know of any maze. The maze's own frame, its
north and its first row, is told to nobody: one knows of it what the light on the walls, the outer walls and the plan
give away.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch.nn import functional

from mazes import renderer
from mazes.environment import MazeEnvironment
from mazes.layout import GAP, PITCH, MazeConfig
from mazes.textures import FIRST_OF
from models.agent import Agent, State
from nav_meta.errors import UserError
from nav_meta.evaluation import AgentPolicy, resamples, stream
from nav_meta.loading import Loaded
from nav_meta.plots import COLOURS, FAINT, REFERENCE, clean, save

STATES = {"features": "present picture", "lstm1": "LSTM-1", "lstm2": "LSTM-2"}
"""What is probed: the encoder's features, and h and c of each LSTM that there is, after it has read the moment."""

TARGETS = {
    "goal_direction": "goal's direction (agent's frame)",
    "goal_distance": "goal's distance (agent's frame)",
    "goal_room": "goal's room (maze's frame)",
    "goal_landmark": "wall texture of the goal's room",
    "room": "agent's room (maze's frame)",
    "heading": "agent's heading (maze's frame)",
    "landmark": "wall texture of the agent's room",
}
"""The truths, all of them classes: directions in eight sectors, ahead or east in the middle of the first; the distance
in sides of a room, rounded down; textures; and rooms, row by row."""

PHASES = ("before", "after", "in_sight")
"""Moments that have probes of their own."""


class Part(NamedTuple):
    """Moments that figures are of; those of one phase share their probes."""

    title: str
    phase: str
    first: int = 0
    end: float = np.inf
    """Of each visit the moments `first` to `end` - 1, counted from 0."""


PARTS = {
    "before": Part("before", "before"),
    "after": Part("after", "after"),
    "after_early": Part("after, first 3 moments", "after", end=3),
    "after_late": Part("after, later moments", "after", first=3),
    "in_sight": Part("in sight", "in_sight"),
}
"""The phases; and the moments right after the agent was put somewhere, apart from those when it has looked around."""

CAPTION = (
    "right answers in unseen mazes, before and after the first arrival at the goal, as long as it has not come in "
    "sight in this visit; in brackets 95 % bootstrap intervals over mazes"
)

_MOST = 24
"""Moments that are kept of a maze and phase: long visits count no more than short ones, and memory has a limit."""
_FAR = 1e3
"""Where a box is out of everybody's sight, metres."""
_PENALTIES = (1.0, 0.1, 0.01)
"""Half of this times the squared weights is added to the loss in nats, from strong to weak."""
_ITERATIONS = 25
"""Of L-BFGS. With 60 the answers were right as often, within half a per cent."""
_FOLDS = 4
"""One in so many of the mazes that a probe is fitted in chooses the penalty."""


class Moments(NamedTuple):
    """M moments of one agent in N mazes."""

    states: dict[str, np.ndarray]
    """float32 [M, units] for each of `STATES` that the agent has."""
    truth: dict[str, np.ndarray]
    """int64 [M] for each of `TARGETS`."""
    maze: np.ndarray
    """int64 [M]: 0 to N - 1."""
    phase: np.ndarray
    """int64 [M]: index into `PHASES`."""
    visit_step: np.ndarray
    """int32 [M]: steps since the present visit began."""

    def part(self, part: Part) -> "Moments":
        """Return the moments of one of `PARTS`."""
        chosen = self.phase == PHASES.index(part.phase)
        chosen &= (part.first <= self.visit_step) & (self.visit_step < part.end)
        states, truth = ({key: value[chosen] for key, value in fields.items()} for fields in self[:2])
        return Moments(states, truth, *(field[chosen] for field in self[2:]))


def record(loaded: Loaded, config: MazeConfig, seeds: np.ndarray, seed: int = 0) -> Moments:
    """Let an agent play the visits of the evaluation protocol in the mazes of seeds uint64 [N], and keep moments.

    Of each maze and phase at most 24 are kept, drawn at random; `seed` is that of these draws and of the actions.

    Raises:
        UserError: when the agent has no memory.
    """
    if loaded.agent.lstm2 is None:
        raise UserError("a feed-forward agent has no LSTM to probe: name a run of an agent that has one.")
    height, width = loaded.config.height, loaded.config.width
    environment, maze = stream(config, seeds, height=height, width=width)
    policy = AgentPolicy(loaded.agent, environment.batch, seed, loaded.precision)
    sample = _Sample(len(seeds), seed)
    reached, seen = np.zeros((2, environment.batch), np.bool_)
    while (maze < len(seeds)).any():
        moment = environment.time_step()
        actions = policy(moment)
        elsewhere = environment.layouts._replace(goal=np.full_like(environment.layouts.goal, _FAR))
        without_goal = renderer.render(elsewhere, environment.poses, height, width)
        in_sight = (moment.observation != without_goal).any((1, 2, 3))
        reached = (reached & ~moment.first) | (moment.prev_reward > 0)
        seen = (seen & (environment.visit_step > 0)) | in_sight
        # None of these phases: the goal was in sight and no longer is, or the first visit was given up.
        known = [~seen & (moment.visit == 0), ~seen & reached, in_sight]
        phase = np.select(known, range(len(PHASES)), default=-1)
        chosen = (maze < len(seeds)) & (phase >= 0)
        states = _states(loaded.agent, policy.memory, moment.observation)
        fields = states | truths(environment) | {"visit_step": environment.visit_step}
        sample.add(maze[chosen], phase[chosen], {name: values[chosen] for name, values in fields.items()})
        environment.step(actions)
        environment.renew()
    return sample.moments()


class _Sample:
    """Moments of each maze and phase: at most 24, and all that there were are equally likely to be among them.

    This is reservoir sampling (Vitter 1985): nobody knows beforehand how many there will be.
    """

    def __init__(self, mazes: int, seed: int) -> None:
        self._met = np.zeros((mazes, len(PHASES)), np.int64)
        self._draws = np.random.default_rng(seed)
        self._kept: dict[str, np.ndarray] = {}

    def add(self, maze: np.ndarray, phase: np.ndarray, fields: Mapping[str, np.ndarray]) -> None:
        """Offer one moment of each of A different mazes, int64 [A]; fields are arrays [A, ...]."""
        met = self._met[maze, phase]
        place = np.where(met < _MOST, met, self._draws.integers(met + 1))
        kept = place < _MOST
        for name, values in fields.items():
            if name not in self._kept:
                self._kept[name] = np.zeros((*self._met.shape, _MOST, *values.shape[1:]), values.dtype)
            self._kept[name][maze[kept], phase[kept], place[kept]] = values[kept]
        self._met[maze, phase] += 1

    def moments(self) -> Moments:
        """Return those kept."""
        full = np.arange(_MOST) < self._met[..., None]
        fields = {name: values[full] for name, values in self._kept.items()}
        states, truth = ({name: fields[name] for name in names if name in fields} for names in (STATES, TARGETS))
        maze, phase, _ = np.nonzero(full)
        return Moments(states, truth, maze, phase, fields["visit_step"])


def _states(agent: Agent, memory: State, observation: np.ndarray) -> dict[str, np.ndarray]:
    """Return the states after pictures uint8 [B, H, W, 3] were read, float32 [B, units] for each of `STATES`."""
    memories = [name for name, lstm in (("lstm1", agent.lstm1), ("lstm2", agent.lstm2)) if lstm is not None]
    pairs = zip(memory[::2], memory[1::2], strict=True)
    with torch.inference_mode():
        states = {"features": agent.encoder(torch.from_numpy(observation))}
        states |= {name: torch.cat(pair, dim=1) for name, pair in zip(memories, pairs, strict=True)}
    return {name: values.numpy() for name, values in states.items()}


def truths(environment: MazeEnvironment) -> dict[str, np.ndarray]:
    """Return the labels of the present moment, int64 [B] for each of `TARGETS`."""
    layouts, (x, z, heading) = environment.layouts, environment.poses.T
    columns = environment.config.columns
    row, column = _room(z), _room(x)
    goal_row, goal_column = _room(layouts.goal[:, 1]), _room(layouts.goal[:, 0])
    east, south = layouts.goal[:, 0] - x, layouts.goal[:, 1] - z
    mazes = np.arange(len(x))
    return {
        "goal_direction": _sector(np.arctan2(-south, east) - heading),
        "goal_distance": np.floor(np.hypot(east, south) / PITCH).astype(np.int64),
        "goal_room": goal_row * columns + goal_column,
        "goal_landmark": FIRST_OF[layouts.texture[mazes, 2 * goal_row, 2 * goal_column]],
        "room": row * columns + column,
        "heading": _sector(heading),
        "landmark": FIRST_OF[layouts.texture[mazes, 2 * row, 2 * column]],
    }


def _room(coordinate: np.ndarray) -> np.ndarray:
    """Return the row or column of the room that holds a coordinate in metres, or is the nearest."""
    return np.floor((coordinate + GAP / 2) / PITCH).astype(np.int64)


def _sector(angle: np.ndarray) -> np.ndarray:
    """Return which eighth of a circle angles in radians are in, int64; 0 is in the middle of the first."""
    return np.rint(angle / (np.pi / 4)).astype(np.int64) % 8


class Probe:
    """Multinomial logistic regression on standardised states: what can be read off them with one matrix."""

    def __init__(self, states: np.ndarray, labels: np.ndarray, maze: np.ndarray) -> None:
        """Fit; the penalty on the weights is the one that does best in mazes left out for that.

        Args:
            states: float32 [M, units].
            labels: int64 [M].
            maze: int64 [M], which maze each is of.
        """
        self.classes, labels = np.unique(labels, return_inverse=True)
        self._mean, self._scale = states.mean(0), states.std(0) + 1e-6  # a feature may be 0 always
        x, y = self._standardised(states), torch.from_numpy(labels)
        held_out = torch.from_numpy(np.unique(maze, return_inverse=True)[1] % _FOLDS == 0)
        weights = torch.zeros(x.shape[1] + 1, len(self.classes))
        tried = []
        for penalty in _PENALTIES:  # each begins where the stronger one before it ended
            weights = _descend(x[~held_out], y[~held_out], penalty, weights)
            right = (_scores(x[held_out], weights).argmax(1) == y[held_out]).float().mean()
            tried.append((right.item(), penalty, weights))
        _, penalty, weights = max(tried, key=lambda one: one[:2])
        self._weights = _descend(x, y, penalty, weights)

    def predict(self, states: np.ndarray) -> np.ndarray:
        """Return labels int64 [M] of states float32 [M, units]."""
        return self.classes[_scores(self._standardised(states), self._weights).argmax(1).numpy()]

    def _standardised(self, states: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((states - self._mean) / self._scale)


def _scores(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return x @ weights[:-1] + weights[-1]


def _descend(x: torch.Tensor, labels: torch.Tensor, penalty: float, start: torch.Tensor) -> torch.Tensor:
    """Return the weights [units + 1, classes] of least loss; the last row, the biases, is not penalised."""
    weights = start.clone().requires_grad_()
    descent = torch.optim.LBFGS([weights], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        descent.zero_grad()
        value = functional.cross_entropy(_scores(x, weights), labels) + penalty / 2 * weights[:-1].square().sum()
        value.backward()
        return value

    descent.step(loss)
    return weights.detach()


def figures(fitting: Moments, testing: Moments) -> dict[str, float]:
    """Fit probes in some mazes and test them in others.

    Returns:
        `probe/<state>/<target>/<part>/accuracy`: the share of right answers, with the ends of its 95 % bootstrap
        interval over mazes as `.../low` and `.../high`; beside it `.../chance`, the most that always to give the same
        answer could have in these moments; and `probe/moments/<part>`.

    Raises:
        UserError: when there are too few moments of a phase.
    """
    result: dict[str, float] = {}
    for phase in PHASES:
        parts = {name: testing.part(part) for name, part in PARTS.items() if part.phase == phase}
        known = fitting.part(PARTS[phase])
        if len(np.unique(known.maze)) < 2 or not all(len(part.maze) for part in parts.values()):
            raise UserError("the agent finds the goal in too few of these mazes to be probed: take more with --mazes.")
        result |= {f"probe/moments/{name}": len(part.maze) for name, part in parts.items()}
        for target, labels in known.truth.items():
            for state, values in known.states.items():
                probe = Probe(values, labels, known.maze)
                for name, part in parts.items():
                    key = f"probe/{state}/{target}/{name}"
                    right = probe.predict(part.states[state]) == part.truth[target]
                    result |= _with_interval(f"{key}/accuracy", right, part.maze)
                    result[f"{key}/chance"] = float(np.bincount(part.truth[target]).max() / len(part.maze))
    return result


def _with_interval(key: str, right: np.ndarray, maze: np.ndarray) -> dict[str, float]:
    """Return the mean of right bool [M] and its interval over mazes."""
    counts = np.bincount(maze), np.bincount(maze, right)
    draws = resamples(len(counts[0]))
    total = draws @ counts[0]
    shares = (draws @ counts[1])[total > 0] / total[total > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return {key: float(right.mean()), f"{key}/low": float(low), f"{key}/high": float(high)}


def table(found: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines of text: for each truth chance, then what each state tells of it."""
    lines = []
    for target, title in TARGETS.items():
        chances = [f"{found[f'probe/features/{target}/{part}/chance']:.1%}" for part in PARTS]
        lines.append([title, "chance", *chances])
        for state in _states_in(found):
            keys = [f"probe/{state}/{target}/{part}/accuracy" for part in PARTS]
            cells = [f"{found[key]:.1%} [{found[f'{key}/low']:.1%}, {found[f'{key}/high']:.1%}]" for key in keys]
            lines.append(["", STATES[state], *cells])
    return ["", "from", *(part.title for part in PARTS.values())], lines


def plot(found: Mapping[str, float], path: Path) -> None:
    """Draw what each state tells of each truth, with 95 % intervals, beside chance.

    Args:
        found: the `figures`.
        path: the file, .png, .pdf or .svg.

    Raises:
        UserError: when it cannot be written.
    """
    figure = Figure(figsize=(15, 6.4), dpi=130, layout="constrained")
    grid = figure.subplots(2, 4, sharey=True, sharex=True)
    states = _states_in(found)
    colours = {"features": FAINT, "lstm1": COLOURS[5], "lstm2": COLOURS[0]}
    bar = 0.8 / len(states)
    for axes, (target, title) in zip(grid.flat[: len(TARGETS)], TARGETS.items(), strict=True):
        for number, state in enumerate(states):
            x = np.arange(len(PHASES)) + (number - (len(states) - 1) / 2) * bar
            keys = [f"probe/{state}/{target}/{phase}/accuracy" for phase in PHASES]
            mean, low, high = (np.array([found[key + end] for key in keys]) for end in ("", "/low", "/high"))
            style = {"error_kw": {"elinewidth": 1.2, "ecolor": REFERENCE}, "label": STATES[state]}
            axes.bar(x, mean, 0.92 * bar, color=colours[state], yerr=[mean - low, high - mean], **style)
        chance = [found[f"probe/features/{target}/{phase}/chance"] for phase in PHASES]
        ends = np.arange(len(PHASES)) - 0.45, np.arange(len(PHASES)) + 0.45
        axes.hlines(chance, *ends, REFERENCE, "dashed", linewidth=1.6, label="chance: the commonest answer")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xticks(range(len(PHASES)), [PARTS[phase].title for phase in PHASES])
        clean(axes)
    for empty in grid.flat[len(TARGETS) :]:
        empty.remove()
    grid[0, -1].tick_params(labelbottom=True)  # nothing stands below it
    axes.set(ylim=(0, 1))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in grid[:, 0]:
        axes.set_ylabel("right in unseen mazes")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(states) + 1, frameon=False)
    save(figure, path)


def _states_in(found: Mapping[str, float]) -> list[str]:
    """Return which of `STATES` there are figures of."""
    return [state for state in STATES if any(key.startswith(f"probe/{state}/") for key in found)]
