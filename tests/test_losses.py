"""Returns and losses against literal loops."""

import math

import torch

from nav_meta import losses

T, B, A, K = 6, 3, 4, 2


def test_generalised_advantages_are_the_weighted_sum_of_n_step_advantages() -> None:
    # Schulman et al. 2016, equations 11 to 16: A = (1 - lambda) sum of lambda^(n-1) A^(n), the rest of the weight on
    # the longest.
    torch.manual_seed(0)
    rewards, values = torch.randn(T, B), torch.randn(T + 1, B)
    discounts = (torch.rand(T, B) > 0.3).float()
    gamma, lambda_ = 0.9, 0.7
    result = losses.generalised_advantages(rewards, values, discounts, gamma, lambda_)
    for b in range(B):
        for t in range(T):

            def n_step(n: int, t: int = t, b: int = b) -> float:
                total, weight = 0.0, 1.0
                for k in range(n):
                    total += weight * rewards[t + k, b].item()
                    weight *= gamma * discounts[t + k, b].item()
                return total + weight * values[t + n, b].item() - values[t, b].item()

            longest = T - t
            expected = sum((1 - lambda_) * lambda_ ** (n - 1) * n_step(n) for n in range(1, longest)) + lambda_ ** (
                longest - 1
            ) * n_step(longest)
            assert math.isclose(result[t, b].item(), expected, rel_tol=1e-4, abs_tol=1e-5)


def test_policy_loss_against_a_loop() -> None:
    torch.manual_seed(0)
    logits, actions = torch.randn(T, B, A), torch.randint(0, A, (T, B))
    advantages = torch.randn(T, B)
    old = torch.log_softmax(logits + 0.5 * torch.randn(T, B, A), -1).gather(-1, actions[..., None]).squeeze(-1)
    result = losses.policy_loss(logits, actions, old, advantages, clip=0.2)
    plain = losses.policy_loss(logits, actions, old, advantages, clip=None)
    ppo = a2c = entropy = clipped = kl = 0.0
    for t in range(T):
        for b in range(B):
            exponents = [math.exp(x) for x in logits[t, b].tolist()]
            policy = [x / sum(exponents) for x in exponents]
            log_prob = math.log(policy[actions[t, b]])
            ratio = math.exp(log_prob - old[t, b].item())
            advantage = advantages[t, b].item()
            ppo -= min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage)
            a2c -= log_prob * advantage
            entropy -= sum(p * math.log(p) for p in policy)
            clipped += abs(ratio - 1) > 0.2
            kl += ratio - 1 - math.log(ratio)
    for value, expected in (
        (result.loss, ppo),
        (plain.loss, a2c),
        (result.entropy, entropy),
        (result.clipped, clipped),
        (result.kl, kl),
    ):
        assert math.isclose(value.item(), expected / (T * B), rel_tol=1e-4)


def test_first_pass_of_ppo_has_the_gradient_of_a2c() -> None:
    torch.manual_seed(0)
    logits, actions, advantages = (
        torch.randn(T, B, A, requires_grad=True),
        torch.randint(0, A, (T, B)),
        torch.randn(T, B),
    )
    old = torch.log_softmax(logits, -1).gather(-1, actions[..., None]).squeeze(-1).detach()
    gradients = [
        torch.autograd.grad(losses.policy_loss(logits, actions, old, advantages, clip).loss, logits)[0]
        for clip in (0.2, None)
    ]
    torch.testing.assert_close(*gradients)


def test_hint_loss_counts_known_moments_only() -> None:
    torch.manual_seed(0)
    predictions, targets = torch.randn(T, B, K), torch.randn(T, B, K)
    known = torch.zeros(T, B, K, dtype=torch.bool)
    known[2, 1] = known[4, 0, 0] = True
    errors = (predictions - targets) ** 2
    expected = (errors[2, 1].sum() + (errors[4, 0, 0] - errors[2, 1, 0]) / 2) / K
    targets[~known] = 1e6
    torch.testing.assert_close(losses.hint_loss(predictions, targets, known, known.sum((0, 1))), expected)
    assert losses.hint_loss(predictions, targets, torch.zeros_like(known), torch.ones(K)) == 0
