"""The references of the streams under a running plan, whose segments may be others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stream_scorer.core.summaries.summary_layout import ALL, StreamKey
from stream_scorer.models.reference.contract import DriftReference, StreamReference

_POOLED_SCALES: Final = 2.0
"""The band of a segment without rows of its own reaches further, by this many scales."""
LOWEST, HIGHEST = -1.0, 2.0
"""Limits of bands: without its season, a value may be a little outside of 0 to 1."""


def pooled_reference(whole: StreamReference, segment: str) -> StreamReference:
    """Return the reference of a segment that has none: that of all events, with a wider band.

    Args:
        whole: The reference of the same value of all events.
        segment: Name of the segment.
    """
    reach = _POOLED_SCALES * whole.scale
    return replace(
        whole, key=replace(whole.key, segment=segment), low=max(whole.low - reach, LOWEST),
        high=min(whole.high + reach, HIGHEST), pooled_from=ALL,
    )  # fmt: skip


def references_of(
    reference: DriftReference, keys: Sequence[StreamKey]
) -> tuple[StreamReference | None, ...]:
    """Return the reference of each stream of a running plan.

    A segment that the reference does not have gets the reference of all events, with a wider band.
    The share of such a segment is unknown: None.

    Args:
        reference: The reference.
        keys: The running streams, as :class:`StreamLayout` has them.
    """
    known = {each.key: each for each in reference.streams}

    def of(key: StreamKey) -> StreamReference | None:
        whole = known.get(replace(key, segment=ALL))
        if key in known or whole is None:
            return known.get(key)
        return pooled_reference(whole, key.segment)

    return tuple(of(key) for key in keys)
