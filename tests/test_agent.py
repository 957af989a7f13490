"""The net: fused over time against step by step, memory reset, and the controls."""

import numpy as np
import pytest
import torch

from mazes.environment import MazeEnvironment
from mazes.layout import MazeConfig
from models.agent import PIXEL_DEVIATION, PIXEL_MEAN, Agent, AgentConfig, Encoder, _convolve_bytes

T, B, ACTIONS, HINT = 7, 3, 4, 6
SHAPE = (30, 40, 3)

CONTROLS = [
    AgentConfig(features=24, reward_units=8, units=16),
    AgentConfig(features=24, units=16, memory="single"),
    AgentConfig(features=24, units=16, memory="none"),
    AgentConfig(features=24, reward_units=8, units=16, see_reward=False),
    AgentConfig(features=24, reward_units=8, units=16, see_action=False),
    AgentConfig(features=24, reward_units=8, units=16, reader_units=8, critic_units=8),
]


def make(config: AgentConfig, hint_size: int = HINT, view_size: int = 0) -> Agent:
    torch.manual_seed(0)
    agent = Agent(config, SHAPE, ACTIONS, hint_size, view_size)
    for layer in (agent.heads, *(agent.reader or ())):
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)  # so that differences show
    return agent


def inputs(steps: int = T) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(0, 256, (steps, B, *SHAPE), dtype=torch.uint8, generator=generator),
        torch.randint(0, ACTIONS, (steps, B), generator=generator),
        torch.rand(steps, B, generator=generator),
    )


@pytest.mark.parametrize("config", CONTROLS, ids=str)
def test_fused_over_time_equals_step_by_step(config: AgentConfig) -> None:
    agent = make(config)
    observation, action, reward = inputs()
    answers = torch.rand(T, B, HINT)
    first = torch.tensor([True, False, True])
    state = tuple(torch.rand_like(part) for part in agent.initial_state(B))
    fused, after = agent.unroll(observation, action, reward, first, state, answers)
    memory = state
    for t in range(T):
        out, memory = agent.unroll(
            observation[t : t + 1],
            action[t : t + 1],
            reward[t : t + 1],
            first if t == 0 else torch.zeros(B, dtype=torch.bool),
            memory,
            answers[t : t + 1],
        )
        for whole, single in zip(fused, out, strict=True):
            torch.testing.assert_close(whole[t], single[0], atol=1e-5, rtol=1e-4)
    for whole, single in zip(after, memory, strict=True):
        torch.testing.assert_close(whole, single, atol=1e-5, rtol=1e-4)


def test_first_empties_the_memory_before_the_observation_is_read() -> None:
    agent = make(CONTROLS[0])
    observation, action, reward = inputs(1)
    full = tuple(torch.rand_like(part) for part in agent.initial_state(B))
    everywhere = torch.ones(B, dtype=torch.bool)
    from_full, _ = agent.unroll(observation, action, reward, everywhere, full)
    from_empty, _ = agent.unroll(observation, action, reward, everywhere, agent.initial_state(B))
    torch.testing.assert_close(from_full, from_empty)
    kept, _ = agent.unroll(observation, action, reward, ~everywhere, full)
    assert not torch.allclose(kept.logits, from_empty.logits)


def test_memory_carries_over_steps_and_the_feed_forward_control_has_none() -> None:
    observation, action, reward = inputs()
    changed = observation.clone()
    changed[0] = 255 - changed[0]
    first = torch.ones(B, dtype=torch.bool)
    for config, remembers in ((CONTROLS[0], True), (CONTROLS[1], True), (CONTROLS[2], False)):
        agent = make(config)
        one, _ = agent.unroll(observation, action, reward, first, agent.initial_state(B))
        two, _ = agent.unroll(changed, action, reward, first, agent.initial_state(B))
        assert torch.equal(one.logits[-1], two.logits[-1]) is not remembers


@pytest.mark.parametrize(("config", "part"), [(CONTROLS[3], "reward"), (CONTROLS[4], "action")])
def test_controls_are_not_told(config: AgentConfig, part: str) -> None:
    agent = make(config)
    observation, action, reward = inputs()
    first = torch.zeros(B, dtype=torch.bool)
    other_action, other_reward = (action, reward + 1) if part == "reward" else ((action + 1) % ACTIONS, reward)
    one, _ = agent.unroll(observation, action, reward, first, agent.initial_state(B))
    two, _ = agent.unroll(observation, other_action, other_reward, first, agent.initial_state(B))
    assert torch.equal(one.logits, two.logits)
    whole = make(CONTROLS[0])
    one, _ = whole.unroll(observation, action, reward, first, whole.initial_state(B))
    two, _ = whole.unroll(observation, other_action, other_reward, first, whole.initial_state(B))
    assert not torch.equal(one.logits, two.logits)


def test_memories_last_as_long_as_told() -> None:
    agent = make(AgentConfig(features=24, reward_units=64, units=64, span=100))
    for lstm in (agent.lstm1, agent.lstm2):
        take_in, forget, cell, output = (lstm.bias_ih_l0 + lstm.bias_hh_l0).chunk(4)
        steps = 1 + forget.exp()  # a unit keeps 1 - 1 / steps of itself at each step
        assert steps.min() >= 2 and steps.max() <= 100 and steps.max() > 80
        assert torch.equal(take_in, -forget) and not cell.any() and not output.any()
    without = make(AgentConfig(features=24, reward_units=64, units=64))
    assert not without.lstm2.bias_ih_l0.any() and not without.lstm2.bias_hh_l0.any()


def test_only_the_critic_is_told_the_answers() -> None:
    agent = make(CONTROLS[5])
    moments = *inputs(), torch.ones(B, dtype=torch.bool), agent.initial_state(B)
    untold, _ = agent.unroll(*moments)
    one, memory_one = agent.unroll(*moments, torch.zeros(T, B, HINT))
    two, memory_two = agent.unroll(*moments, torch.ones(T, B, HINT))
    assert untold.value.isnan().all() and not torch.isclose(one.value, two.value).any()
    for other in (untold, two):
        assert torch.equal(one.logits, other.logits) and torch.equal(one.hint, other.hint)
    assert all(map(torch.equal, memory_one, memory_two))
    two.value.sum().backward()
    assert agent.reader[0].weight.grad is None and agent.critic[0].weight.grad.any()
    with pytest.raises(ValueError, match="critic_units must be 0 without hints"):
        Agent(CONTROLS[5], SHAPE, ACTIONS, 0)


def test_what_is_seen_chooses_among_what_is_remembered() -> None:
    agent = make(CONTROLS[5])
    assert agent.outputs == (0, 0, HINT - ACTIONS)
    torch.nn.init.zeros_(agent.lstm2.weight_ih_l0)  # then what is seen reaches the policy beside the memory only
    observation, action, reward = inputs(1)
    first = torch.ones(B, dtype=torch.bool)
    one, _ = agent.unroll(observation, action, reward, first, agent.initial_state(B))
    two, _ = agent.unroll(255 - observation, action, reward, first, agent.initial_state(B))
    assert torch.equal(one.hint[..., :-ACTIONS], two.hint[..., :-ACTIONS])
    assert not torch.isclose(one.hint[..., -ACTIONS:], two.hint[..., -ACTIONS:]).all()
    assert not torch.isclose(one.logits, two.logits).all()


@pytest.mark.parametrize("config", [CONTROLS[0], CONTROLS[-1]], ids=["", "reader"])
def test_cooling_changes_nothing_but_how_sure_the_policy_is(config: AgentConfig) -> None:
    agent = make(config)
    read = [torch.nan_to_num(part) for part in agent.unroll(*inputs(), None, agent.initial_state(B))[0]]
    agent.cool(0.5)
    cooled = [torch.nan_to_num(part) for part in agent.unroll(*inputs(), None, agent.initial_state(B))[0]]
    torch.testing.assert_close(cooled[0], 2 * read[0])
    for before, after in zip(read[1:], cooled[1:], strict=True):
        torch.testing.assert_close(after, before)


def test_vectors_can_be_read_without_an_encoder() -> None:
    agent = Agent(AgentConfig(features=0, units=16, memory="single"), (5,), ACTIONS)
    assert not list(agent.encoder.parameters())
    assert agent.lstm2.input_size == 5 + 1 + ACTIONS  # the observation, the reward and the action before
    with pytest.raises(ValueError, match="features must be at least 1 for pictures"):
        Agent(AgentConfig(features=0), SHAPE, ACTIONS)


def test_illegal_options_are_named() -> None:
    with pytest.raises(ValueError, match="memory must be one of"):
        AgentConfig(memory="elephant")
    with pytest.raises(ValueError, match="units must be at least 1"):
        AgentConfig(units=0)


def test_the_first_layer_sees_pixels_of_mean_0_and_variance_1() -> None:
    environment = MazeEnvironment(MazeConfig(), 64)
    draw = np.random.default_rng(0)
    pictures = []
    for _ in range(30):
        environment.step(draw.integers(0, environment.actions, 64))
        pictures.append(environment.time_step().observation)
    pixels = (np.concatenate(pictures) - np.array(PIXEL_MEAN)) / np.array(PIXEL_DEVIATION)
    np.testing.assert_allclose(pixels.mean((0, 1, 2)), 0, atol=0.1)
    np.testing.assert_allclose(pixels.std((0, 1, 2)), 1, atol=0.1)

    encoder = Encoder((30, 40, 3), (16, 32), 8)
    first = {}
    encoder.conv2.register_forward_pre_hook(lambda _, inputs: first.update(layer=inputs[0]))
    picture = torch.from_numpy(pictures[0][:4])
    encoder(picture)
    whole = (picture - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_DEVIATION)
    torch.testing.assert_close(
        first["layer"], torch.relu(encoder.conv1(whole.permute(0, 3, 1, 2))), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(16, 16), (59, 480), (60, 16), (60, 19), (60, 20), (480, 16), (480, 480)])
def test_pictures_of_any_shape_are_encoded(shape: tuple[int, int]) -> None:
    encoder = Encoder((*shape, 3), (2, 2), 4)
    assert encoder.conv1.kernel_size == ((8, 8) if shape[0] >= 60 and shape[1] >= 20 else (5, 5))
    assert encoder(torch.zeros(1, *shape, 3, dtype=torch.uint8)).shape == (1, 4)


@pytest.mark.parametrize(("height", "width", "size", "stride"), [(30, 40, 5, 3), (60, 80, 8, 4), (37, 41, 5, 3)])
def test_the_product_that_gpus_make_is_the_convolution(height: int, width: int, size: int, stride: int) -> None:
    pictures = torch.randint(0, 256, (3, height, width, 3), dtype=torch.uint8)
    weight, bias = torch.randn(16, 3, size, size, requires_grad=True), torch.randn(16, requires_grad=True)
    expected = torch.nn.functional.conv2d(pictures.permute(0, 3, 1, 2).float(), weight, bias, stride)
    result = _convolve_bytes(pictures, weight, bias, stride, torch.float32)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=0.05)
    assert result.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((out * weights).sum(), (weight, bias)) for out in (result, expected))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=0.5)


def test_the_encoder_alone_answers_for_the_view() -> None:
    agent = make(CONTROLS[0], view_size=2)
    observation, *told = inputs()
    answers = agent.unroll(observation, *told, None, agent.initial_state(B))[0].hint
    assert answers.shape == (T, B, HINT)
    alone = agent.view(agent.encoder(observation.flatten(0, 1))).unflatten(0, (T, B))
    torch.testing.assert_close(answers[..., :2], alone)
    answers[..., :2].sum().backward()
    assert agent.encoder.conv1.weight.grad.any() and not agent.lstm2.weight_ih_l0.grad.any()


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("now", [0, 2])
def test_agents_begin_with_the_view_of_another(before: int, now: int) -> None:
    other, agent = (make(CONTROLS[0], 4 + size, size) for size in (before, now))
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(1)
    own = {name: weight.clone() for name, weight in agent.state_dict().items()}
    view = list(range(2)) if before else [None, None]
    agent.begin_as(other, view[:now] + [before + answer for answer in range(4)])
    theirs = other.state_dict()
    for name, weight in agent.state_dict().items():
        assert torch.equal(weight, theirs[name] if name in theirs else own[name]), name


@pytest.mark.parametrize("config", [CONTROLS[0], CONTROLS[-1]], ids=["", "reader"])
def test_agents_begin_with_what_another_was_asked(config: AgentConfig) -> None:
    """Answers may change places; nothing but a new one keeps the weights it had."""
    other = make(config)
    agent = make(config)
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.add_(1)
    new = agent.heads.weight.clone()
    agent.begin_as(other, [1, None, 0, 3, 4, 5])
    policy_and_value = sum(agent.outputs[:2])
    for answer, before in enumerate([1, None, 0][: agent.outputs[2]]):
        row = policy_and_value + answer
        expected = new[row] if before is None else other.heads.weight[policy_and_value + before]
        assert torch.equal(agent.heads.weight[row], expected)
    own, theirs = agent.state_dict(), other.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if not name.startswith("heads"))
    assert torch.equal(own["heads.weight"][:policy_and_value], theirs["heads.weight"][:policy_and_value])
    assert torch.equal(own["heads.weight"][policy_and_value + 3 :], theirs["heads.weight"][policy_and_value + 3 :])
