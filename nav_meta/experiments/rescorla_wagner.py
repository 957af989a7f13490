"""The rule of Rescorla and Wagner, fitted to a player's choices between two arms by maximum likelihood."""

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.optimize import minimize

_RATES = (1e-3, 1.0)
_LOG_TEMPERATURES = (np.log(1e-2), np.log(200.0))
_STARTS = (0.1, 0.5)


class Fit(NamedTuple):
    """The likeliest parameters."""

    rates: np.ndarray
    """float64 [G]: the learning rate of each group of episodes."""
    inverse_temperature: float
    """Of the softmax, the same in all."""
    losses: np.ndarray
    """float64 [N]: minus the log-likelihood of each episode's choices."""
    bic: float
    """Bayesian information criterion: parameters times the logarithm of the number of choices, plus twice the loss."""


def fit(actions: np.ndarray, rewards: np.ndarray, groups: np.ndarray, *, coupled: bool) -> Fit:
    """Fit a learning rate for each group of episodes and one temperature.

    Args:
        actions: int64 [T, N]: arm pulled, 0 or 1.
        rewards: [T, N]: what it paid, 0 or 1.
        groups: int64 [N], 0 to G - 1: the group of each episode.
        coupled: does the arm that was not pulled learn the opposite of what was paid?
    """
    count = int(groups.max()) + 1

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        inverse_temperature = np.exp(parameters[-1])
        losses, by_rate, by_temperature = likelihood(actions, rewards, parameters[groups], inverse_temperature, coupled)
        gradient = np.append(np.bincount(groups, by_rate, count), inverse_temperature * by_temperature.sum())
        return losses.sum() / actions.size, gradient / actions.size

    fits = [
        minimize(
            loss,
            np.append(np.full(count, rate), np.log(5.0)),
            jac=True,
            method="L-BFGS-B",
            bounds=[_RATES] * count + [_LOG_TEMPERATURES],
            options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500},
        )
        for rate in _STARTS
    ]
    best = min(fits, key=lambda result: result.fun).x
    inverse_temperature = float(np.exp(best[-1]))
    losses = likelihood(actions, rewards, best[groups], inverse_temperature, coupled)[0]
    return Fit(best[:-1], inverse_temperature, losses, float((count + 1) * np.log(actions.size) + 2 * losses.sum()))


@njit(cache=True)
def likelihood(actions, rewards, rates, inverse_temperature, coupled):
    """Return minus the log-likelihood of each episode, and its derivatives by rate and inverse temperature, all [N]."""
    steps, episodes = actions.shape
    losses, by_rate, by_temperature = np.zeros(episodes), np.zeros(episodes), np.zeros(episodes)
    for n in range(episodes):
        rate = rates[n]
        worth, slope = np.full(2, 0.5), np.zeros(2)  # slope: of worth by rate
        for t in range(steps):
            arm = actions[t, n]
            lead = worth[arm] - worth[1 - arm]
            drive = -inverse_temperature * lead
            losses[n] += max(drive, 0.0) + np.log1p(np.exp(-abs(drive)))
            surprise = 1 / (1 + np.exp(-drive))  # probability of the other arm
            by_rate[n] -= surprise * inverse_temperature * (slope[arm] - slope[1 - arm])
            by_temperature[n] -= surprise * lead
            for other in range(2):
                if other == arm or coupled:
                    error = (rewards[t, n] if other == arm else 1 - rewards[t, n]) - worth[other]
                    slope[other] += error - rate * slope[other]
                    worth[other] += rate * error
    return losses, by_rate, by_temperature
