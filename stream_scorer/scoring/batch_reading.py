"""A batch of records, decoded by the mapping of each revision that may decide them."""

from collections.abc import Mapping

import numpy as np

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.batch import Rejections, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import RawRecords
from stream_scorer.rollout.log.activation import DecodedRecords


class BatchReading:
    """Decodes one batch, by each mapping once.

    Args:
        decoders: A decoder for each mapping.
        raw: n records.
        quarantined: Rows that are rejected as ``INTERNAL`` unread, each with what fails for it.
        engine: The plan that the features are compiled for: its extras are columns of all events.
    """

    def __init__(
        self, decoders: EventDecoders, raw: RawRecords, quarantined: Mapping[int, str], engine: Plan
    ) -> None:
        self._decoders = decoders
        self._raw = raw
        self._quarantined = quarantined
        self._engine = engine
        self._decoded: list[tuple[Plan, DecodedRecords]] = []

    def __call__(self, plan: Plan) -> DecodedRecords:
        """Return what a plan's mapping makes of the batch.

        Raises:
            RegistryUnavailableError: A writer schema cannot be had just now.
        """
        for known, decoded in self._decoded:
            if known.reads_as(plan):
                return decoded
        decoded = self._decode(plan)
        self._decoded.append((plan, decoded))
        return decoded

    def _decode(self, plan: Plan) -> DecodedRecords:
        if not self._quarantined:
            found = self._decoders.decode(self._raw, plan, self._engine, budgeted=True)
            return DecodedRecords(*found)
        readable, kept = self._raw.without(self._quarantined)
        events, rows, undecodable = self._decoders.decode(
            readable, plan, self._engine, budgeted=True
        )
        told = [
            *zip(
                kept[undecodable.rows].tolist(), undecodable.reasons, undecodable.details,
                strict=True,
            ),
            *((row, RejectReason.INTERNAL, why) for row, why in self._quarantined.items()),
        ]  # fmt: skip
        told.sort(key=lambda each: each[0])
        places, reasons, details = zip(*told, strict=True)
        left = Rejections(np.array(places, np.int64), reasons, details)
        return DecodedRecords(events, kept[rows], left)
