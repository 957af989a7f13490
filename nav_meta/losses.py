"""Returns and losses: pure functions of tensors, time first [T, B]."""

from typing import NamedTuple

import torch
from torch import Tensor


def generalised_advantages(rewards: Tensor, values: Tensor, discounts: Tensor, gamma: float, lambda_: float) -> Tensor:
    """Return generalised advantage estimates (Schulman et al. 2016, equation 16).

        delta_t = r_{t+1} + gamma d_{t+1} V_{t+1} - V_t
        A_t     = delta_t + gamma lambda d_{t+1} A_{t+1}

    Nothing but a discount of 0 stops the sum: reaching a goal does not, since what was learnt on one visit pays on the
    next.

    Args:
        rewards: float32 [T, B], r_{t+1}: what the action at t was paid.
        values: float32 [T + 1, B], V_t, with the value after the last action at the end.
        discounts: float32 [T, B], d_{t+1}.
        gamma: discount.
        lambda_: 0 trusts the values, 1 the rewards.

    Returns:
        float32 [T, B].
    """
    assert values.shape == (rewards.shape[0] + 1, *rewards.shape[1:]) and discounts.shape == rewards.shape
    deltas = rewards + gamma * discounts * values[1:] - values[:-1]
    advantages = torch.empty_like(deltas)
    advantage = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        advantage = deltas[t] + gamma * lambda_ * discounts[t] * advantage
        advantages[t] = advantage
    return advantages


class PolicyLoss(NamedTuple):
    """The policy's loss and what tells how far it moved, scalars."""

    loss: Tensor
    entropy: Tensor
    kl: Tensor
    clipped: Tensor


def of_actions(log_probs: Tensor, actions: Tensor) -> Tensor:
    """Return the log-probabilities, float32 [T, B] of [T, B, A], of actions int64 [T, B]."""
    chosen = actions[..., None] == torch.arange(log_probs.shape[-1], device=actions.device)
    return (log_probs * chosen).sum(-1)  # gather and its gradient are slow on a GPU


def policy_loss(
    logits: Tensor, actions: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float | None
) -> PolicyLoss:
    """Return the loss of PPO (Schulman et al. 2017, equation 7), or of actor-critic without clipping.

    Args:
        logits: float32 [T, B, A].
        actions: int64 [T, B].
        old_log_probs: float32 [T, B]: log-probability of the action when it was taken.
        advantages: float32 [T, B].
        clip: epsilon; None: -log pi(a) A, the gradient of A2C (Mnih et al. 2016).

    Returns:
        means over T and B: the loss, the entropy, an estimate of KL(old || new) (Schulman 2020, k3), and the share of
        ratios clipped.
    """
    log_probs = torch.log_softmax(logits, -1)
    entropy = -(log_probs.exp() * log_probs).sum(-1).mean()
    log_prob = of_actions(log_probs, actions)
    log_ratio = log_prob - old_log_probs
    ratio = log_ratio.exp()
    kl = (ratio.detach() - 1 - log_ratio.detach()).mean()
    if clip is None:
        return PolicyLoss(-(log_prob * advantages).mean(), entropy, kl, entropy.new_zeros(()))
    loss = -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages).mean()
    return PolicyLoss(loss, entropy, kl, ((ratio.detach() - 1).abs() > clip).float().mean())


def value_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Return half the mean squared error of values [T, B]."""
    return 0.5 * (values - targets).square().mean()


def hint_loss(predictions: Tensor, targets: Tensor, known: Tensor, counts: Tensor) -> Tensor:
    """Return the mean over K answers [T, B, K] of each one's mean squared error where it is `known` bool [T, B, K].

    That error is the sum of the squares over `counts` float32 [K], the moments in which each answer is known, or the
    share of them that falls to this part where several parts' losses are averaged. The loss is 0 where nothing is
    asked.
    """
    if not predictions.numel():
        return predictions.new_zeros(())
    error = (predictions - targets).square() * known
    return (error.sum((0, 1)) / counts).mean()
