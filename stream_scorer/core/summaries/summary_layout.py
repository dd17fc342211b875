"""What summaries count: watched fields, the cells of each, segments, and the names of streams.

A watched field divides events into cells; every event is in exactly one cell of each field. A
number has a cell for each bin between two quantiles of the reference, then one for missing values
and one for values outside of the reference's range. A text has a cell for each known value, then
one for missing and one for unseen values. The outcome has a cell for each of its three values.

Segment 0 is all events. Each dimension of the plan's table ``segments`` adds its own segments, so
an event is in one segment more than there are dimensions.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events import segment_table
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.summaries.summary_kernels import number_amounts, number_texts

UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

NUMBER, TEXT, OUTCOME = 0, 1, 2
"""The kinds of watched fields."""
NUMBER_BINS: Final = 10
NUMBER_CELLS: Final = NUMBER_BINS + 2
TEXT_MOST: Final = 30
"""Maximum number of known values of a text."""
OUTCOME_CELLS: Final = 3
FIELDS_MOST: Final = 128
CELLS_MOST: Final = 2_048
"""Maximum number of cells of all fields together, in one segment."""
SUMMARY_CELLS_MOST: Final = 1 << 22
"""Maximum number of cells of all windows of a record, in all segments: a reader holds them all."""
SEGMENTS_MOST: Final = segment_table.SEGMENTS_MOST
"""Maximum number of segments, with the one of all events."""
DIMENSIONS_MOST: Final = segment_table.DIMENSIONS_MOST
ALL: Final = "all"
"""Name of segment 0."""


@dataclass(frozen=True, slots=True)
class WatchedField:
    """A field whose distribution is watched, with the cells that the reference gives it.

    Attributes:
        name: ``score``, ``outcome``, ``amount``, or the name of a feature or column.
        kind: ``NUMBER``, ``TEXT`` or ``OUTCOME``.
        source: ``score``, ``outcome``, ``feature:NUMBER`` with the feature's column in the
            manifest, or ``column:NAME``.
        edges: float64[9] for a number: ascending, padded with +inf; otherwise empty. A value that
            equals an edge is in the bin below it.
        low: Smallest value of a number in the reference.
        high: Its largest value.
        values: Known values of a text, most frequent first; otherwise empty.
    """

    name: str
    kind: int
    source: str
    edges: Float64
    low: float
    high: float
    values: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Number of cells."""
        if self.kind == NUMBER:
            return NUMBER_CELLS
        return OUTCOME_CELLS if self.kind == OUTCOME else len(self.values) + 2


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceBins:
    """The watched fields of a reference, in their order; equal to itself only.

    Attributes:
        digest: First 16 hex digits of the sha256 of ``reference.json``.
        fields: f fields.
    """

    digest: str
    fields: tuple[WatchedField, ...]

    @property
    def first_cell(self) -> Int64:
        """int64[f + 1]: the first cell of each field, then the number of cells of all."""
        return np.fromiter(accumulate((f.cells for f in self.fields), initial=0), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentDimension:
    """One key of the plan's table ``segments``; each event is in exactly one of its segments.

    Attributes:
        column: A text or boolean column of events; empty for the amount.
        keys: Of a column: uint64[k], hashes of the values, ascending. Of the amount: int64[k],
            bounds in minor units, ascending.
        numbers: uint8[k + 1], numbers of segments. Of a column: one for each key, then one for all
            other values and null. Of the amount: one for amounts below the first bound, then one
            from each bound on.
    """

    column: str
    keys: NDArray[np.uint64] | Int64
    numbers: UInt8

    def place(self, events: EventBatch, out: UInt8) -> None:
        """Write uint8[n], the number of each event's segment."""
        if self.column:
            number_texts(events.texts(self.column), self.keys, self.numbers, out)
        else:
            number_amounts(events.amounts, self.keys, self.numbers, out)


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of a plan.

    Attributes:
        names: Names of segments 1, 2, ..., such as ``channel=web``, ``channel=other``,
            ``amount<20``; without segment 0.
        dimensions: d dimensions, which number the segments of events.
    """

    names: tuple[str, ...]
    dimensions: tuple[SegmentDimension, ...] = ()

    @property
    def count(self) -> int:
        """Number of segments, with segment 0."""
        return len(self.names) + 1

    def members(self, events: EventBatch) -> UInt8:
        """Return uint8[n, d]: the segment of each event in each dimension, 1 to 63.

        Args:
            events: n transactions. Where they have no such column, they have no value.
        """
        numbers = np.empty((len(self.dimensions), len(events)), np.uint8)
        for row, dimension in zip(numbers, self.dimensions, strict=True):
            dimension.place(events, row)
        return np.ascontiguousarray(numbers.T)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """The name of a stream: a number that is watched over time.

    Attributes:
        field: Name of a watched field; ``segment`` for a segment's share of the events.
        measure: ``level``, ``tail``, ``missing``, ``out_of_range``, ``unseen``, ``share``, or
            ``share:VALUE`` for the share of one value.
        segment: Name of a segment, or ``all``.
    """

    field: str
    measure: str
    segment: str

    @property
    def text(self) -> str:
        """The form ``FIELD/MEASURE@SEGMENT``. It is for people: it cannot be split again."""
        return f"{self.field}/{self.measure}@{self.segment}"
