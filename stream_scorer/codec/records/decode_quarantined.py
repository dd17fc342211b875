"""Records of a batch that are rejected before they are read: they failed the computation."""

from collections.abc import Mapping

import numpy as np

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.core.events.batch import EventBatch, Rejections, RejectReason
from stream_scorer.ports import Int64, RawRecords


def decode_without(
    decoder: EventDecoder,
    raw: RawRecords,
    quarantined: Mapping[int, str],
    *,
    budgeted: bool = False,
) -> tuple[EventBatch, Int64, Rejections]:
    """Decode a batch, of which some rows are rejected as ``INTERNAL`` unread.

    Args:
        decoder: Reads the others.
        raw: n records.
        quarantined: Rows, each with what fails for it.
        budgeted: As in :func:`~stream_scorer.registry.sources.look_up`.

    Returns:
        (m transactions in input order, int64[m] their rows, all other rows).

    Raises:
        RegistryUnavailableError: A writer schema cannot be had just now; nothing is decoded.
    """
    if not quarantined:
        return decoder.decode(raw, budgeted=budgeted)
    readable, kept = raw.without(quarantined)
    events, rows, undecodable = decoder.decode(readable, budgeted=budgeted)
    found = [
        *zip(
            kept[undecodable.rows].tolist(), undecodable.reasons, undecodable.details, strict=True
        ),
        *((row, RejectReason.INTERNAL, why) for row, why in quarantined.items()),
    ]
    found.sort(key=lambda each: each[0])
    places, reasons, details = zip(*found, strict=True)
    return events, kept[rows], Rejections(np.array(places, np.int64), reasons, details)
