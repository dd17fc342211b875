"""Reason codes: the features that spoke most for fraud."""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def top_reasons(
    attributions: Float64, names: tuple[str, ...], count: int = 3
) -> list[tuple[str, ...]]:
    """Return, per row, the names with the largest positive contributions, most weighty first.

    Equal contributions keep the order of the manifest; what speaks for a genuine transaction, or
    for nothing, is no reason.

    Args:
        attributions: float64[n, m], contributions to the raw score.
        names: m feature names in manifest order.
        count: Reasons per row at most.

    Raises:
        ValueError: There are not as many names as columns.

    >>> top_reasons(np.array([[0.1, -2.0, 0.7]]), ("amount", "night", "count"))
    [('count', 'amount')]
    """
    if attributions.ndim != 2 or attributions.shape[1] != len(names):  # noqa: PLR2004 n and m
        raise ValueError(f"attributions of shape {attributions.shape} for {len(names)} names")
    order = np.argsort(-attributions, axis=1, kind="stable")[:, :count]
    positive = (np.take_along_axis(attributions, order, axis=1) > 0).sum(axis=1)
    named = np.array(names, object)[order]
    return [tuple(row[:most]) for row, most in zip(named, positive.tolist(), strict=True)]
