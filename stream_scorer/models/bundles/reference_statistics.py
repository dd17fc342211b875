"""Reference statistics: how features and score were distributed on the training days.

They change no decision, and are no part of the content hash. Who watches a stream compares what it
sees with them, bin by bin.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Float64 = NDArray[np.float64]
Count = Annotated[int, Field(ge=0, le=1 << 53)]

BINS = 20
"""Bins at most: as many as there are quantiles that differ."""


class ReferenceHistogram(BaseModel):
    """Values by bins: up to the first edge, between each two, and above the last.

    Attributes:
        edges: b - 1 numbers, ascending; a value equal to an edge lies below it.
        counts: b numbers.
        missing: Values that are no number.

    >>> told = ReferenceHistogram(edges=(1.0, 2.0), counts=(2, 0, 1), missing=0)
    >>> told.of(np.array([0.0, 1.0, 5.0, np.nan])).counts
    (2, 0, 1)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    missing: Count = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges part no {len(self.counts)} bins")
        if any(second <= first for first, second in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        return self

    def of(self, values: Float64) -> "ReferenceHistogram":
        """Return how other values lie in these bins.

        Args:
            values: float64[n]; NaN is counted as missing.
        """
        return _counted(self.edges, values)


class Reference(BaseModel):
    """The training days' distributions.

    Attributes:
        rows: Transactions of the training days.
        features: By the feature's name.
        score: Of the model on the days that it was fitted on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Count
    features: dict[str, ReferenceHistogram]
    score: ReferenceHistogram


def reference_of(names: Sequence[str], features: Float64, scores: Float64) -> Reference:
    """Describe the training days.

    Args:
        names: m names, in column order.
        features: float64[n, m].
        scores: float64[n].
    """
    told = {name: histogram(features[:, at]) for at, name in enumerate(names)}
    return Reference(rows=len(features), features=told, score=histogram(scores))


def histogram(values: Float64) -> ReferenceHistogram:
    """Return a histogram whose bins hold about as many values each, where values differ.

    Args:
        values: float64[n]; infinite ones lie in the outer bins, NaN is counted as missing.
    """
    numbers = values[np.isfinite(values)]
    edges: tuple[float, ...] = ()
    if len(numbers):
        # Each edge is a value that is there, so that few distinct values have a bin each.
        shares = np.arange(1, BINS) / BINS
        found = np.unique(np.quantile(numbers, shares, method="inverted_cdf"))
        edges = tuple(found[found < numbers.max()].tolist())
    return _counted(edges, values)


def _counted(edges: Sequence[float], values: Float64) -> ReferenceHistogram:
    known = values[~np.isnan(values)]
    places = np.searchsorted(np.asarray(edges, np.float64), known, side="left")
    counts = np.bincount(places, minlength=len(edges) + 1)
    return ReferenceHistogram(
        edges=tuple(edges), counts=tuple(counts.tolist()), missing=len(values) - len(known)
    )
