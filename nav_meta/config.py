"""The configuration of a run, and its presets."""

import math
import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mazes.layout import MazeConfig, require_number
from mazes.seeds import SPLIT_SIZE
from models.agent import AgentConfig

MAZES_PER_SEED = 1 << 40
"""Training mazes are used once each; runs of different seeds draw from different ranges."""
MOST_MAZES, MOST_VISITS = 100_000, 1000
"""To evaluate in, and to each: the bootstrap's samples of so many mazes take 1.6 GB."""
SEEDS = SPLIT_SIZE // MAZES_PER_SEED
"""Seeds of runs, and of actions in evaluations, lie below."""


@dataclass(frozen=True)
class LearnerConfig:
    """How the agent learns; EXPERIMENTS.md tells where defaults come from. `PRESETS` change some of them."""

    environments: int = 128
    """Mazes that are played at once."""
    rollout: int = 128
    """Steps between two updates; gradients flow through all of them."""
    episode: int = 256
    """Steps of an episode: a whole number of rollouts."""
    passes: int = 2
    """Passes over each rollout (PPO); 1 for A2C."""
    minibatches: int = 8
    """Parts that the environments are split into in each pass; each part is one optimizer step."""
    clip: float | None = 0.2
    """PPO's epsilon; None: plain advantage actor-critic, the papers' A2C with passes and minibatches 1."""
    gamma: float = 0.97
    """Discount."""
    lambda_: float = 0.95
    """Generalised advantages: 0 trusts the values, 1 the rewards."""
    entropy: float = 0.01
    """Coefficient of the policy's entropy at the beginning."""
    final_entropy: float = 0.01
    """The same at the end; linear between."""
    value: float = 0.5
    """Coefficient of the value's loss."""
    hint: float = 1.0
    """Coefficient of the auxiliary head's loss; the policy does not read what it says. Mazes: where is the goal, seen
    from the agent, and by how many actions does each action shorten the way there, once it has been found, and what
    `ask_view`, `ask_place` and `ask_trail` add? Bandits and tabular MDPs: what does each action pay on average, in each
    state, and what is each worth now? Harlow's task: where does the picture that pays hang? Others: 0. With 0, what
    `ask_...` adds is worked out and teaches nothing, and so is what `guided_search` says, but for what it pays."""
    shaping: float = 0.05
    """What the learner is paid beside the reward; never told to the agent. Mazes: a bonus for each action that the goal
    comes nearer, from the second visit on. Bandits and tabular MDPs: 1 pays minus the expected regret instead of
    the sampled reward, which only takes noise away; 0 pays the reward, as in the papers. Others: 0."""
    coverage: float = 0.0
    """Mazes: what the learner is paid for each room that is entered for the first time in an episode's first visit (as
    Chen et al. 2019, "Learning exploration policies for navigation", pay for what is newly seen)."""
    ask_view: bool = False
    """Mazes: is the encoder asked, by a head of its own, which way the picture looks, and how far away the walls in it
    are? The depth D1 of Mirowski et al. (2016)."""
    ask_place: bool = False
    """Mazes: is the auxiliary head also asked where in the maze the agent is, and how it is turned, in the maze's own
    frame? Banino et al. (2018, "Vector-based navigation using grid-like representations") train an LSTM to say both;
    Mirowski et al. (2016) only read them out of theirs."""
    ask_trail: bool = False
    """Mazes: is the auxiliary head also asked how often the agent has been in this room and in those around since the
    visit began? The loop closure of Mirowski et al. (2016), who ask for one bit: was I here before?"""
    guided_search: bool = False
    """Mazes: until the goal has been in sight, does the nearest room not yet searched stand in for it: in what shaping
    pays for, and in what the auxiliary head is asked of actions? So the first visit is helped as well."""
    freeze_encoder: bool = False
    """Is the encoder left as it begins, and only what reads it trained? Then what it says of a picture is worked out
    once, however often that is learnt from, which makes a CPU half as fast again."""
    learning_rate: float = 3e-3
    """Step size at the beginning."""
    final_learning_rate: float = 1e-5
    """Step size at the end; linear between."""
    optimizer: str = "adam"
    """adam, or rmsprop as in the papers."""
    max_gradient_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    bf16: bool | None = None
    """Compute in bfloat16; by default where the processor does so natively."""

    def __post_init__(self) -> None:
        """Check what would fail late.

        Raises:
            ValueError: names the option and its range.
        """
        for name in ("environments", "rollout", "episode", "passes", "minibatches"):
            require_number(name, getattr(self, name), 1, whole=True)
        if self.episode % self.rollout:
            raise ValueError(f"episode ({self.episode}) must be a multiple of rollout ({self.rollout})")
        if self.optimizer not in ("adam", "rmsprop"):
            raise ValueError(f"optimizer must be adam or rmsprop, not {self.optimizer!r}")
        for name in ("value", "hint", "shaping", "coverage", "learning_rate", "final_learning_rate"):
            require_number(name, getattr(self, name), 0)
        for name in ("entropy", "final_entropy"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a number, not {getattr(self, name)}")
        if not self.max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm must be above 0, not {self.max_gradient_norm}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip must be above 0, or None, not {self.clip}")
        for name in ("gamma", "lambda_"):
            require_number(name, getattr(self, name), 0, 1)
        if self.freeze_encoder and self.ask_view:
            raise ValueError("with freeze_encoder, ask_view has nobody to teach: add --learner.no-ask-view")

    def phases(self, batch: int, worker: int) -> np.ndarray:
        """Return how many steps each first episode of a worker is taken to have run already, int64 [batch].

        These are whole rollouts, so that episodes end between two of them, and at different updates.
        """
        return np.arange(worker * batch, (worker + 1) * batch) % (self.episode // self.rollout) * self.rollout

    def check_split(self, workers: int) -> None:
        """Check that the environments can be dealt to so many workers.

        Raises:
            ValueError: they cannot.
        """
        share, rest = divmod(self.environments, workers) if workers > 0 else (0, 1)
        if rest or share % self.minibatches:
            raise ValueError(
                f"environments ({self.environments}) must split evenly among workers ({workers}) and then "
                f"minibatches ({self.minibatches})"
            )


def processors() -> int:
    """Return 1, 2 or 4, which split the environments evenly; fewer than 32 are hardly worth a process."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 << min(count, 4).bit_length() - 1


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    maze: MazeConfig = field(default_factory=MazeConfig)
    """Which mazes."""
    agent: AgentConfig = field(default_factory=AgentConfig)
    """Which net."""
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    """How it learns."""
    steps: int = 18_000_000
    """Environment steps to train for, rounded up to whole updates."""
    height: int = 30
    """Rows of the picture; RL^2's 40x30 by default."""
    width: int = 40
    """Columns of the picture."""
    start: str | None = None
    """Run or checkpoint whose weights to begin with, such as those of smaller mazes; None: random ones."""
    teacher: str | None = None
    """Run or checkpoint whose agent plays while this one, which takes over its encoder, learns to do as it does and to
    answer what the auxiliary head is asked, without reinforcement learning; rollouts must be whole episodes. None:
    nobody."""
    seed: int = 0
    """Of weights, mazes and actions."""
    workers: int = field(default_factory=processors)
    """Processes, each with its share of the environments; gradients are averaged. A run may be resumed with another
    number of them, but not bit for bit then."""
    evaluate_every: int = 1_500_000
    """Steps between two evaluations on validation mazes."""
    evaluation_mazes: int = 128
    """Validation mazes of an evaluation during training."""
    final_mazes: int = 1000
    """Test mazes of the last evaluation."""
    checkpoint_every: int = 1_000_000
    """Steps between two checkpoints; the last three are kept."""

    def __post_init__(self) -> None:
        """Check what would fail late.

        Raises:
            ValueError: names the option and its range.
        """
        self.learner.check_split(self.workers)
        if self.teacher:
            learner = self.learner
            if learner.rollout != learner.episode:
                raise ValueError(
                    f"with a teacher, rollout ({learner.rollout}) must be a whole episode ({learner.episode})"
                )
            if learner.ask_view:
                raise ValueError("with a teacher, whose encoder stays as it is, add --learner.no-ask-view")
            if self.start:
                raise ValueError("start must not be given with a teacher, whose encoder the agent takes over")
        for name in ("height", "width"):
            if not 16 <= getattr(self, name) <= 480:
                raise ValueError(f"{name} must be between 16 and 480, not {getattr(self, name)}")
        require_number("seed", self.seed, 0, SEEDS - 1)
        require_number("features", self.agent.features, 1)  # pictures cannot be read as they are
        for name in ("steps", "evaluate_every", "checkpoint_every"):
            require_number(name, getattr(self, name), 1)
        for name in ("evaluation_mazes", "final_mazes"):
            require_number(name, getattr(self, name), 1, MOST_MAZES)


_IMAZE = RunConfig(
    maze=MazeConfig(kind="imaze", rows=3, columns=5),
    learner=LearnerConfig(shaping=0.0),
    steps=3_000_000,
    evaluate_every=1_000_000,
)


def _gpu(side: int, steps: int, **learner: Any) -> RunConfig:
    """Return a run for one GPU, in random mazes of side x side rooms.

    One H100 takes 5.5 ms for a gradient of 128 sequences of 128 steps and 7.8 ms for 256, since LSTMs wait for the step
    before. So presets have eight to sixteen times the default's batch, at about its rate.
    """
    return RunConfig(
        maze=MazeConfig(rows=side, columns=side),
        learner=LearnerConfig(guided_search=True, final_entropy=0.0, **learner),
        steps=steps,
        workers=1,
        evaluate_every=steps // 8,
        checkpoint_every=steps // 20,
    )


_LARGE = {"environments": 4096, "rollout": 256, "episode": 512, "minibatches": 32, "learning_rate": 1.5e-3}
_LARGE |= {"hint": 2.0, "ask_trail": True, "coverage": 0.05}

PRESETS: dict[str, RunConfig] = {
    # Of 20 answers 10 are of the view and 4 of the place: the other 6 count as much as alone, with 1.
    "default": RunConfig(
        learner=LearnerConfig(hint=3.33, ask_view=True, ask_place=True, guided_search=True, final_entropy=0.0)
    ),
    "sparse": RunConfig(learner=LearnerConfig(hint=0.0, shaping=0.0)),
    "imaze": _IMAZE,
    "quick": replace(
        _IMAZE, steps=400_000, evaluate_every=200_000, evaluation_mazes=32, final_mazes=100, checkpoint_every=200_000
    ),
    "gpu-3x3": _gpu(3, 106_000_000, environments=2048, minibatches=16, learning_rate=4e-3, ask_place=True),
    "gpu-5x5": _gpu(5, 400_000_000, gamma=0.985, **_LARGE),
    "gpu-7x7": _gpu(7, 176_000_000, gamma=0.99, **_LARGE),
}
"""Presets by name; options on the command line change single values of one."""
