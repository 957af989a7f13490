"""The agent of Wang et al. (2016), experiment 7, and Mirowski et al. (2016).

An encoder and a stacked LSTM under a policy and a value.

    features f = encoder(observation)
    LSTM-1 reads (f, previous reward)
    LSTM-2 reads (f, output of LSTM-1, previous action)
    policy and value read LSTM-2; the policy also what LSTM-2 reads, where there is a reader, and the value what only
    the learner is told, where there is a critic

Axes: T time, B batch, F features. One way in: `Agent.unroll` acts (T = 1), learns, evaluates and films. From the
features on it is `Agent.unroll_memory`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MEMORIES = ("stacked", "single", "none")

PIXEL_MEAN = (110.0, 109.0, 95.0)
"""Red, green and blue of a pixel, on average over a random walk through 3x3 mazes."""
PIXEL_DEVIATION = (40.0, 34.0, 47.0)
"""Their standard deviations on that walk."""


@dataclass(frozen=True)
class AgentConfig:
    """Sizes and parts of the net; the papers' controls are settings here."""

    memory: str = "stacked"
    """stacked: two LSTMs; single: only the second, which then also reads the reward; none: a feed-forward control."""
    channels: tuple[int, int] = (16, 32)
    """Filters of the two convolutions (Mirowski et al. 2016)."""
    features: int = 128
    """Width of the encoder's output, half of that of Mirowski et al. (2016), which makes training a fifth faster; 0:
    vectors are read as they are (Wang et al. 2016)."""
    reward_units: int = 64
    """Units of LSTM-1 (Mirowski et al. 2016)."""
    units: int = 256
    """Units of LSTM-2 (Mirowski et al. 2016); also the width of the layer that replaces it when there is no memory."""
    span: int = 0
    """Steps over which memories last at the beginning: up to this many, different for each unit (Tallec and Ollivier
    2018); 0: about two for all."""
    reader_units: int = 0
    """Units of a layer through which the policy reads the memory and, beside it, what LSTM-2 reads: so what is seen now
    can choose among all that is remembered. What actions are worth now, which the auxiliary head tells last, is read
    through it too. 0: both are read from the memory alone (Mirowski et al. 2016)."""
    critic_units: int = 0
    """Units of a layer through which the value reads the memory and, beside it, the answers to what the auxiliary head
    is asked, which are known in training only (Pinto et al. 2018, "Asymmetric actor critic"); 0: the value reads the
    memory alone."""
    see_reward: bool = True
    """Is the agent told the previous reward? Without it meta-learning fails: a control."""
    see_action: bool = True
    """Is the agent told its previous action? A control."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: names the option and its range.
        """
        if self.memory not in MEMORIES:
            raise ValueError(f"memory must be one of {', '.join(MEMORIES)}, not {self.memory!r}")
        if min(self.channels) < 1:
            raise ValueError(f"channels must be at least 1, not {self.channels}")
        at_least = {"features": 0, "reward_units": 1, "units": 1, "span": 0, "reader_units": 0, "critic_units": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")


class Output(NamedTuple):
    """What the net says of each moment."""

    logits: Tensor
    """float32 [T, B, actions]: unnormalised log-probabilities of the policy."""
    value: Tensor
    """float32 [T, B]: expected discounted return; not a number when the critic was not told the answers it reads."""
    hint: Tensor
    """float32 [T, B, hint_size]: the auxiliary head, what each action is worth now last; used in training only."""


State = tuple[Tensor, ...]
"""The memory: h and c of each LSTM, float32 [B, units] each."""


class Encoder(nn.Module):
    """Pictures uint8 [N, H, W, 3] or vectors float32 [N, F] to features [N, features].

    Kernels depend on the picture's size: 8x8 / 4 and 4x4 / 2 for 60 rows and more, as in Mirowski et al. (2016),
    5x5 / 3 and 3x3 / 2 below, and where less than 20 columns leave no room for the former. Pixels are first brought to
    a mean of 0 and a variance of 1, without which learning takes half as many steps again.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, observation_shape: Sequence[int], channels: tuple[int, int], features: int) -> None:
        """Build for pictures (H, W, 3) or vectors (F,).

        Raises:
            ValueError: pictures cannot be read without features.
        """
        super().__init__()
        self.features = features or observation_shape[0]
        self.pictures = len(observation_shape) == 3
        if not self.pictures:
            self.linear = nn.Linear(observation_shape[0], features) if features else None
            return
        if not features:
            raise ValueError("features must be at least 1 for pictures, not 0")
        height, width, _ = observation_shape
        (kernel1, stride1), (kernel2, stride2) = ((8, 4), (4, 2)) if height >= 60 and width >= 20 else ((5, 3), (3, 2))
        rows, columns = (((side - kernel1) // stride1 + 1 - kernel2) // stride2 + 1 for side in (height, width))
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN))
        self.register_buffer("deviation", torch.tensor(PIXEL_DEVIATION))
        self.conv1 = nn.Conv2d(3, channels[0], kernel1, stride1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], kernel2, stride2)
        self.linear = nn.Linear(rows * columns * channels[1], features)

    def forward(self, observation: Tensor) -> Tensor:
        """Encode N observations."""
        if self.linear is None:
            return observation
        if not self.pictures:
            return torch.relu(self.linear(observation))
        device = observation.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32
        # Height, width, colour in memory, which torch calls channels_last, all the way to the features: nothing is
        # copied. Bytes are exact in bfloat16, so the weights are scaled and the bias is moved, and not the many pixels.
        weight = self.conv1.weight / self.deviation[:, None, None]
        bias = self.conv1.bias - (weight * self.mean[:, None, None]).sum((1, 2, 3))
        if observation.is_cuda:
            x = _convolve_bytes(observation, weight, bias, self.conv1.stride[0], dtype)
        else:
            x = functional.conv2d(observation.permute(0, 3, 1, 2).to(dtype), weight, bias, self.conv1.stride)
        x = torch.relu(self.conv2(torch.relu(x)))
        return torch.relu(self.linear(x.permute(0, 2, 3, 1).flatten(1)))


def _convolve_bytes(pictures: Tensor, weight: Tensor, bias: Tensor, stride: int, dtype: torch.dtype) -> Tensor:
    """Return what conv2d does with uint8 [N, H, W, 3], as one product: cuDNN takes six times as long for 3 channels."""
    size = weight.shape[-1]
    patches = pictures.unfold(1, size, stride).unfold(2, size, stride).permute(0, 1, 2, 4, 5, 3)
    taps = size * size * 3
    # Rows of a length that GPUs multiply well.
    rows = pictures.new_zeros((*patches.shape[:3], -(-taps // 8) * 8), dtype=dtype)
    rows[..., :taps].unflatten(-1, patches.shape[3:]).copy_(patches)
    flat = functional.pad(weight.permute(0, 2, 3, 1).flatten(1), (0, rows.shape[-1] - taps))
    return functional.linear(rows, flat, bias).permute(0, 3, 1, 2)


class LSTM(nn.LSTM):
    """torch's LSTM over whole sequences; a single step, which it does slowly, is written out."""

    def unroll(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read x [T, B, inputs] from the state h, c float32 [B, units]; return outputs [T, B, units], new state."""
        if len(x) > 1:
            # On CUDA, autocast makes an LSTM float16 whatever type is asked for, in which small gradients vanish.
            with torch.autocast("cuda", enabled=False) if x.is_cuda else nullcontext():
                output, (h, c) = self(x.float() if x.is_cuda else x, (h[None], c[None]))
            return output, h[0].float(), c[0].float()
        gates = functional.linear(x[0], self.weight_ih_l0, self.bias_ih_l0)
        gates += functional.linear(h, self.weight_hh_l0, self.bias_hh_l0)
        i, f, g, o = gates.float().chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * _tanh(g)
        h = torch.sigmoid(o) * _tanh(c)
        return h[None], h, c


class Agent(nn.Module):
    """The policy, its value and its memory."""

    def __init__(
        self,
        config: AgentConfig,
        observation_shape: Sequence[int],
        actions: int,
        hint_size: int = 0,
        view_size: int = 0,
    ) -> None:
        """Build the net.

        Args:
            config: sizes and parts.
            observation_shape: (H, W, 3) or (F,).
            actions: number of actions.
            hint_size: auxiliary answers.
            view_size: how many of them, the first ones, are read from the encoder's features, not from memory.

        Raises:
            ValueError: there is nothing for the critic to be told.
        """
        super().__init__()
        self.config = config
        self.actions = actions
        self.encoder = Encoder(observation_shape, config.channels, config.features)
        read = self.encoder.features
        self.lstm1 = self.lstm2 = None
        if config.memory == "stacked":
            self.lstm1 = LSTM(self.encoder.features + config.see_reward, config.reward_units)
            read += config.reward_units
        else:
            read += config.see_reward
        read += actions * config.see_action
        if config.memory == "none":
            self.hidden = nn.Linear(read, config.units)
        else:
            self.lstm2 = LSTM(read, config.units)
        if config.critic_units and not hint_size:
            raise ValueError("critic_units must be 0 without hints: there is nothing to tell the critic")
        self.reader = self.critic = None
        self.view = nn.Linear(self.encoder.features, view_size) if view_size else None
        reads_memory = [actions, 1, hint_size - view_size]
        if config.reader_units:
            worth = min(actions, hint_size - view_size)
            self.reader = _layers(config.units + read, config.reader_units, actions + worth)
            reads_memory[0] = 0
            reads_memory[2] -= worth
        if config.critic_units:
            self.critic = _layers(config.units + hint_size, config.critic_units, 1)
            reads_memory[1] = 0
        self.outputs = tuple(reads_memory)
        self.heads = nn.Linear(config.units, sum(self.outputs))  # policy, value, auxiliary head: one product
        for module in self.modules():
            _initialise(module, config.span)
        policy, value, hint = self.heads.weight.data.split(self.outputs)
        if self.reader is not None:
            policy = self.reader[-1].weight.data[:actions]
        if self.critic is not None:
            value = self.critic[-1].weight.data
        for weight, gain in ((policy, 0.01), (value, 1.0), (hint, 2**0.5)):
            if len(weight):
                nn.init.orthogonal_(weight, gain)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and what `unroll` reads must be."""
        return self.heads.weight.device

    def begin_as(self, other: "Agent", answers: Sequence[int | None]) -> None:
        """Take over the weights of an agent of the same configuration, which may have been asked other questions.

        Args:
            other: the agent.
            answers: for each of the own auxiliary answers, which of the other's it is; None: a new one, which keeps the
                weights it has.
        """
        weights, own = other.state_dict(), self.state_dict()
        shared = sum(self.outputs[:2])  # the policy and the value
        first, before_first = (0 if agent.view is None else agent.view.out_features for agent in (self, other))
        for name in ("heads.weight", "heads.bias"):
            rows = [
                own[name][shared + answer] if before is None else weights[name][shared + before - before_first]
                for answer, before in enumerate(answers[first : first + self.outputs[2]])
            ]
            weights[name] = torch.stack([*weights[name][:shared], *rows])
        for name in ("view.weight", "view.bias"):
            if self.view is None:
                weights.pop(name, None)
            elif other.view is None:
                weights[name] = own[name]
        self.load_state_dict(weights)

    def cool(self, temperature: float) -> None:
        """Divide the policy's logits by a temperature for good: below 1 it is surer of its actions."""
        last = self.heads if self.reader is None else self.reader[-1]
        for part in (last.weight, last.bias):
            part.data[: self.actions] /= temperature

    def initial_state(self, batch: int) -> State:
        """Return empty memories."""
        sizes = [lstm.hidden_size for lstm in (self.lstm1, self.lstm2) if lstm is not None for _ in "hc"]
        return tuple(torch.zeros(batch, size, device=self.device) for size in sizes)

    def unroll(
        self,
        observation: Tensor,
        prev_action: Tensor,
        prev_reward: Tensor,
        first: Tensor | None,
        state: State,
        answers: Tensor | None = None,
    ) -> tuple[Output, State]:
        """Read T moments of B episodes.

        Args:
            observation: uint8 [T, B, H, W, 3] or float32 [T, B, F].
            prev_action: int64 [T, B].
            prev_reward: float32 [T, B].
            first: bool [B]: is the *first* of the T moments the beginning of an episode? None: of none. Nothing may
                begin later: then the LSTMs run fused over time.
            state: memory before the first moment.
            answers: float32 [T, B, hint_size], what the auxiliary head should say: for the critic alone.

        Returns:
            what the net says of each moment, and the memory after the last.
        """
        return self.unroll_memory(self.encode(observation), prev_action, prev_reward, first, state, answers)

    def encode(self, observation: Tensor) -> Tensor:
        """Return what the encoder says of observations [T, B, ...]: features [T, B, features]."""
        return self.encoder(observation.flatten(0, 1)).unflatten(0, observation.shape[:2])

    def unroll_memory(
        self,
        features: Tensor,
        prev_action: Tensor,
        prev_reward: Tensor,
        first: Tensor | None,
        state: State,
        answers: Tensor | None = None,
    ) -> tuple[Output, State]:
        """Do what `unroll` does, given what the encoder says of the observations: features [T, B, features]."""
        steps, batch = prev_action.shape
        action = features.new_zeros(steps, batch, self.actions).scatter_(-1, prev_action[..., None], 1)
        if first is not None:
            state = tuple(part.masked_fill(first[:, None], 0) for part in state)
            action[0].masked_fill_(first[:, None], 0)  # there is no previous action yet
        reward = prev_reward[..., None].to(features.dtype)
        inputs = [features]
        after: list[Tensor] = []
        if self.lstm1 is not None:
            output, *after = self.lstm1.unroll(
                torch.cat([features, reward], -1) if self.config.see_reward else features, *state[:2]
            )
            inputs.append(output.to(features.dtype))
        elif self.config.see_reward:
            inputs.append(reward)
        if self.config.see_action:
            inputs.append(action)
        read = torch.cat(inputs, -1)
        if self.lstm2 is not None:
            hidden, *last = self.lstm2.unroll(read, *state[-2:])
            after += last
        else:
            hidden = torch.relu(self.hidden(read))
        logits, value, hint = self.heads(hidden).float().split(self.outputs, -1)
        if self.reader is not None:
            logits, worth = self.reader(torch.cat([hidden, read], -1)).float().tensor_split([self.actions], -1)
            hint = torch.cat([hint, worth], -1)
        if self.view is not None:
            hint = torch.cat([self.view(features).float(), hint], -1)
        if self.critic is not None:
            if answers is None:
                value = logits.new_full((steps, batch, 1), torch.nan)
            else:
                value = self.critic(torch.cat([hidden, answers.to(hidden.dtype)], -1)).float()
        return Output(logits, value.squeeze(-1), hint), tuple(after)


def _layers(inputs: int, units: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Linear(units, outputs))


def _tanh(x: Tensor) -> Tensor:
    """Return what torch.tanh does, in a third of its time on a CPU."""
    return (2 * x).sigmoid_().mul(2).sub_(1)  # mul, not mul_: a gradient reads what the sigmoid is


def _initialise(module: nn.Module, span: int) -> None:
    """Orthogonal weights and zero biases, as is usual for PPO (Huang et al. 2022, "The 37 implementation details").

    With a span, an LSTM's gates begin as in Tallec and Ollivier (2018, equation 16): a unit that forgets 1 part in t at
    each step also takes in 1 part in t.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.orthogonal_(module.weight, 2**0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LSTM):
        for name, parameter in module.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
            else:
                for gate in parameter.data.chunk(4):
                    nn.init.orthogonal_(gate)
        if span:
            take_in, forget, _, _ = module.bias_ih_l0.data.chunk(4)
            forget.uniform_(1, max(span - 1, 1)).log_()
            take_in.copy_(-forget)
