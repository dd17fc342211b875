"""Decode a batch of which some records are rejected without being decoded.

These are records for which the computation failed, whose record batch is too large to inflate, or
that the caller refuses.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.core.events.batch import EventBatch, Rejections, RejectReason
from stream_scorer.ports import Int64, RawRecords

_UNREADABLE = (
    "its record batch is larger than receive.message.max.bytes when inflated; key, value and "
    "headers are left out"
)


_NONE: Final[Mapping[int, tuple[RejectReason, str]]] = {}


def decode_without(
    decoder: EventDecoder,
    raw: RawRecords,
    quarantined: Mapping[int, str],
    refused: Mapping[int, tuple[RejectReason, str]] = _NONE,
    *,
    budgeted: bool = False,
) -> tuple[EventBatch, Int64, Rejections]:
    """Decode a batch, of which some rows are rejected without being decoded.

    Args:
        decoder: Decodes the others.
        raw: n records.
        quarantined: Rows that are ``INTERNAL``, each with the error.
        refused: Rows that the caller refuses, each with reason and detail.
        budgeted: As for :func:`~stream_scorer.registry.sources.look_up`.

    Returns:
        (m transactions in input order, int64[m] their rows, all rejected rows).

    Raises:
        RegistryUnavailableError: A writer schema is unavailable at the moment; nothing is decoded.
    """
    rejected = dict(refused)
    rejected |= {row: (RejectReason.INTERNAL, why) for row, why in quarantined.items()}
    if raw.unreadable is not None:
        for row in np.flatnonzero(raw.unreadable).tolist():
            rejected[row] = (RejectReason.UNREADABLE, _UNREADABLE)
    if not rejected:
        return decoder.decode(raw, budgeted=budgeted)
    readable, kept = raw.without(rejected)
    events, rows, undecodable = decoder.decode(readable, budgeted=budgeted)
    found = [
        *zip(
            kept[undecodable.rows].tolist(), undecodable.reasons, undecodable.details, strict=True
        ),
        *((row, *why) for row, why in rejected.items()),
    ]
    found.sort(key=lambda each: each[0])
    places, reasons, details = zip(*found, strict=True)
    return events, kept[rows], Rejections(np.array(places, np.int64), reasons, details)
