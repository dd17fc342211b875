"""Reason codes and explanations: the features that raised a score most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Explanations
from stream_scorer.core.features.texts import filled

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

REASONS_MOST = 3
"""Maximum number of reasons of a decision."""


def top_reasons(
    attributions: Float64, names: tuple[str, ...], count: int = REASONS_MOST
) -> list[tuple[str, ...]]:
    """Return, for each row, the names with the largest positive contributions, largest first.

    Equal contributions keep the order of the manifest. A feature whose contribution is 0 or less is
    left out.

    Args:
        attributions: float64[n, m], contributions to the raw score.
        names: m feature names in manifest order.
        count: Maximum number of reasons of a row.

    Raises:
        ValueError: The number of names is not the number of columns.

    >>> top_reasons(np.array([[0.1, -2.0, 0.7]]), ("amount", "night", "count"))
    [('count', 'amount')]
    """
    order, _, positive = _top(attributions, names, count)
    named = np.array(names, object)[order]
    return [tuple(row[:most]) for row, most in zip(named, positive.tolist(), strict=True)]


def explain(
    attributions: Float64, rows: Int64, names: tuple[str, ...], texts: tuple[str, ...]
) -> tuple[dict[int, tuple[str, ...]], Explanations]:
    """Return the reasons of rows, and the contribution of each reason.

    Args:
        attributions: float64[k, m], contributions to the raw score.
        rows: int64[k], the row numbers in the batch, ascending.
        names: m feature names in manifest order.
        texts: m templates of the features' texts; empty for none.

    Raises:
        ValueError: The number of names is not the number of columns.
    """
    order, largest, positive = _top(attributions, names, REASONS_MOST)
    named = np.array(names, object)[order]
    reasons = {
        row: tuple(mine[:most])
        for row, mine, most in zip(rows.tolist(), named, positive.tolist(), strict=True)
    }
    kept = np.arange(order.shape[1]) < positive[:, None]
    found = Explanations(np.repeat(rows, positive), order[kept], largest[kept], names, texts)
    return reasons, found


@dataclass(frozen=True, slots=True)
class ExplanationItems:
    """The explanations of n rows as they are published: e items.

    Attributes:
        ends: int64[n + 1]; row i has the items ``ends[i]`` to ``ends[i + 1]`` - 1.
        feature: int64[e], indices into ``names``.
        names: The features' names.
        value: float64[e], the features' values.
        contribution: float64[e], contributions to the raw score.
        text: e texts for people; None if all are empty.
    """

    ends: Int64
    feature: Int64
    names: tuple[str, ...]
    value: Float64
    contribution: Float64
    text: list[str] | None


def explanation_items(explanations: Explanations, features: Float64) -> ExplanationItems:
    """Return explanations with the values and texts of their features.

    Args:
        explanations: Of n rows.
        features: float64[n, m], the rows' features.
    """
    names, feature = explanations.names, explanations.feature
    value = features[explanations.row, feature]
    text = None
    if any(explanations.texts):
        text = [
            filled(explanations.texts[at], names[at], each)
            for at, each in zip(feature.tolist(), value.tolist(), strict=True)
        ]
    return ExplanationItems(
        ends=np.cumsum(np.bincount(explanations.row + 1, minlength=len(features) + 1)),
        feature=feature, names=names, value=value, contribution=explanations.contribution,
        text=text,
    )  # fmt: skip


def _top(attributions: Float64, names: tuple[str, ...], count: int) -> tuple[Int64, Float64, Int64]:
    """Return the columns with the largest contributions of each row, and these contributions.

    Returns:
        Columns int64[n, c], contributions float64[n, c], largest first, and int64[n], how many of a
        row's contributions are greater than 0. c is ``count``, or m if that is smaller.
    """
    if attributions.ndim != 2 or attributions.shape[1] != len(names):  # noqa: PLR2004 n and m
        raise ValueError(f"attributions of shape {attributions.shape} for {len(names)} names")
    order = np.argsort(-attributions, axis=1, kind="stable")[:, :count]
    largest = np.take_along_axis(attributions, order, axis=1)
    return order, largest, (largest > 0).sum(axis=1)
