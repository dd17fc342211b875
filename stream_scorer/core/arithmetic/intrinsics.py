"""What the functions of ``exponential`` call: operations that each target has in its own way."""

import numpy as np

from stream_scorer.core.kernels.compiled import numeric


@numeric
def select(condition, chosen, other):
    """Return ``chosen`` where the condition holds, else ``other``; both are computed."""
    return chosen if condition else other


@numeric
def single(x):
    """Return a float64 rounded to the nearest float32, as a float64."""
    return np.float64(np.float32(x))
