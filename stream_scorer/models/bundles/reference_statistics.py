"""Reference statistics: the distributions of features and score on the training days.

They change no decision, and are not part of the content hash. Drift detection compares a stream
with them, bin by bin.
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
"""Maximum number of bins; equal quantiles share a bin."""


class ReferenceHistogram(BaseModel):
    """Counts of values in bins: up to the first edge, between two edges, and above the last one.

    Attributes:
        edges: b - 1 numbers, ascending; a value that equals an edge is in the bin below it.
        counts: b counts.
        missing: Number of values that are NaN.

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
            raise ValueError(f"{len(self.edges)} edges do not divide {len(self.counts)} bins")
        if any(second <= first for first, second in pairwise(self.edges)):
            raise ValueError("edges must ascend")
        return self

    def of(self, values: Float64) -> "ReferenceHistogram":
        """Return the histogram of other values with the same bins.

        Args:
            values: float64[n]; NaN is counted as missing.
        """
        return _counted(self.edges, values)


class Reference(BaseModel):
    """The distributions on the training days.

    Attributes:
        rows: Number of transactions of the training days.
        features: By the feature's name.
        score: The model's scores on the days on which it was fitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Count
    features: dict[str, ReferenceHistogram]
    score: ReferenceHistogram


def reference_of(names: Sequence[str], features: Float64, scores: Float64) -> Reference:
    """Return the distributions on the training days.

    Args:
        names: m names, in column order.
        features: float64[n, m].
        scores: float64[n].
    """
    told = {name: histogram(features[:, at]) for at, name in enumerate(names)}
    return Reference(rows=len(features), features=told, score=histogram(scores))


def histogram(values: Float64) -> ReferenceHistogram:
    """Return a histogram whose bins have about equal counts, if values differ.

    Args:
        values: float64[n]; infinite ones are in the outer bins, NaN is counted as missing.
    """
    numbers = values[np.isfinite(values)]
    edges: tuple[float, ...] = ()
    if len(numbers):
        # Each edge is one of the values, so that a few distinct values get a bin each.
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
