"""What a reference expects of a window: cells by segment, and the mean of the amounts."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL, NUMBER, OUTCOME, StreamKey
from stream_scorer.models.reference.contract import DriftReference, StreamReference
from stream_scorer.models.reference.season import expected, hour_of_week
from stream_scorer.models.reference.stream_values import AMOUNT, LEVEL, LOGARITHM_MOST

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def dimension(segment: str) -> str:
    """Return the dimension of a segment: the field by which it is divided from others.

    >>> dimension("channel=a<b"), dimension("amount<20"), dimension("amount>=100"), dimension("all")
    ('channel', 'amount', 'amount', 'all')
    """
    end = next((at for at, sign in enumerate(segment) if sign in "=<>"), len(segment))
    return segment[:end]


@dataclass(frozen=True)
class ReferenceView:
    """A reference as the rules need it.

    Attributes:
        reference: The reference.
    """

    reference: DriftReference

    @cached_property
    def rows(self) -> dict[str, int]:
        """Return the row of each segment of the reference; 0 is all events."""
        return {name: at for at, name in enumerate((ALL, *self.reference.plan_segments))}

    def row(self, segment: str) -> int:
        """Return the row of a segment; an unknown segment has that of all events."""
        return self.rows.get(segment, 0)

    @cached_property
    def raw(self) -> Int64:
        """int64[r]: places of the fields whose values need no history; no score, no outcome."""
        return np.array(
            [
                at
                for at, each in enumerate(self.reference.fields)
                if each.field.kind != OUTCOME
                and each.field.source != "score"
                and each.reach_ms == 0
            ],
            np.int64,
        )

    @cached_property
    def missing_cell(self) -> Int64:
        """int64[f]: the cell ``missing`` of each field: the last cell but one."""
        return self.reference.bins.first_cell[1:] - 2

    @cached_property
    def other_cell(self) -> Int64:
        """int64[f]: the last cell of each field: out of range, or unseen."""
        return self.reference.bins.first_cell[1:] - 1

    @cached_property
    def totals(self) -> Int64:
        """int64[s, f]: events of the reference by segment and field."""
        return np.stack([each.counts.sum(1) for each in self.reference.fields], 1)

    @cached_property
    def missing(self) -> Int64:
        """int64[s, f]: of these, those without a value."""
        return np.stack([each.counts[:, -2] for each in self.reference.fields], 1)

    @cached_property
    def other(self) -> Int64:
        """int64[s, f]: of these, those out of range or unseen."""
        return np.stack([each.counts[:, -1] for each in self.reference.fields], 1)

    def log_amount(self, segment: str, start_ms: int) -> float:
        """Return the expected mean of ln(1 + amount in minor units); NaN if it is unknown."""
        stream = self._levels.get(segment) or self._levels.get(ALL)
        if stream is None:
            return float("nan")
        (hour,) = hour_of_week(np.array([start_ms])).tolist()
        return LOGARITHM_MOST * (stream.mean + float(expected(stream.season)[hour]))

    def log_amount_error(self, segment: str) -> float:
        """Return the standard error of that mean."""
        stream = self._levels.get(segment) or self._levels.get(ALL)
        if stream is None:
            return float("nan")
        season = 0.0 if stream.season is None else stream.season.error
        return LOGARITHM_MOST * float(np.hypot((stream.high - stream.low) / 4, season))

    @cached_property
    def log_spread(self) -> Float64:
        """float64[s]: standard deviation of ln(1 + amount), from the cells of the amounts.

        Within a cell, the logarithm counts as uniform.
        """
        found = [each for each in self.reference.fields if each.field.name == AMOUNT]
        if not found or found[0].field.kind != NUMBER:
            return np.full(len(self.rows), np.nan)
        field = found[0].field
        inside = field.edges[np.isfinite(field.edges)]
        bounds = np.log1p(np.clip([field.low, *inside, field.high], 0, None))
        bins = len(bounds) - 1
        middle = np.array([(low + high) / 2 for low, high in pairwise(bounds)])
        width = np.diff(bounds)
        counts = found[0].counts[:, :bins].astype(np.float64)
        total = np.maximum(counts.sum(1), 1)
        mean = counts @ middle / total
        square = counts @ (middle**2 + width**2 / 12) / total
        return np.sqrt(np.maximum(square - mean**2, 0))

    @cached_property
    def _levels(self) -> dict[str, StreamReference]:
        return {
            each.key.segment: each
            for each in self.reference.streams
            if each.key == StreamKey(AMOUNT, LEVEL, each.key.segment)
        }
