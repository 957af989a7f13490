"""Figures that are ratios over all episodes, as one number for each episode."""

import numpy as np


def linearised(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """Return float64 [N] whose mean is the ratio R of the sums and whose spread gives R's interval.

    Rates of rare events, or figures of which only some episodes have one, are ratios of sums over episodes; the mean of
    each episode's own ratio would be another number, or none. Episode i is given R + (n_i - R d_i) / mean(d), the
    first-order change of R with it (the delta method): an interval of the mean of these is one of R.

    Args:
        numerators: [N].
        denominators: [N], not below 0; where none is above it, the result is NaN.
    """
    scale = denominators.mean()
    if scale == 0:
        return np.full(len(numerators), np.nan)
    ratio = numerators.mean() / scale
    return ratio + (numerators - ratio * denominators) / scale
