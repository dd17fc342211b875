"""The segments of a plan, ready to number the events of a batch.

Values are compared by their 64-bit hashes. Anyone can construct a text with the hash of a listed
value; it counts as that value, which its sender could have sent as well.
"""

import json
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.segment_table import SegmentKey, read_segments
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.summaries.summary_layout import SegmentDimension, Segments

NO_SEGMENTS: Final = Segments(())
"""All events are in segment 0 only."""


def segments_of(plan: Plan) -> Segments:
    """Return the segments of a plan.

    Args:
        plan: Its table ``segments`` is valid, or it could not have been created.
    """
    if not plan.segments:
        return NO_SEGMENTS
    table = json.dumps(plan.segments, sort_keys=True)
    return _compile(table, plan.exponent, tuple(plan.extras.items()))


@lru_cache(maxsize=16)
def _compile(table: str, exponent: int, extras: tuple[tuple[str, str], ...]) -> Segments:
    keys = read_segments(json.loads(table), exponent, dict(extras))
    dimensions = []
    first = 1
    for key in keys:
        dimensions.append(_dimension(key, first))
        first += len(key.names)
    return Segments(tuple(name for key in keys for name in key.names), tuple(dimensions))


def _dimension(key: SegmentKey, first: int) -> SegmentDimension:
    numbers = np.arange(first, first + len(key.names), dtype=np.uint8)
    if key.bounds:
        return SegmentDimension("", np.array(key.bounds, np.int64), numbers)
    hashes = hashes_of(pa.array(key.values, pa.string()))
    order = np.argsort(hashes)
    # The last number, of all other values, stays the last.
    return SegmentDimension(key.column, hashes[order], numbers[np.append(order, len(order))])
