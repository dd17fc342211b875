"""A batch of records, decoded by the mapping of each revision that may decide them."""

from collections.abc import Mapping
from dataclasses import replace

from stream_scorer.codec.records.decode_quarantined import decode_without
from stream_scorer.codec.records.event_decoders import EventDecoders, with_fields
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import Int64, RawRecords
from stream_scorer.rollout.log.activation import DecodedRecords


class BatchReading:
    """Decodes one batch, by each mapping once.

    Args:
        decoders: A decoder for each mapping.
        raw: n records.
        quarantined: Rows that are rejected as ``INTERNAL`` unread, each with what fails for it.
        read_by: Extra fields that rings keep, each with a plan that defines it.
    """

    def __init__(
        self, decoders: EventDecoders, raw: RawRecords, quarantined: Mapping[int, str],
        read_by: Mapping[str, Plan],
    ) -> None:  # fmt: skip
        self._decoders = decoders
        self._raw = raw
        self._quarantined = quarantined
        self._read_by = read_by
        self._decoded: list[tuple[Plan, DecodedRecords]] = []
        self._completed: list[tuple[Plan, DecodedRecords]] = []

    def __call__(self, plan: Plan) -> DecodedRecords:
        """Return what a plan's mapping makes of the batch.

        Raises:
            RegistryUnavailableError: A writer schema cannot be had just now.
        """
        for known, completed in self._completed:
            if known.reads_as(plan):
                return completed
        decoded = self._decode(plan)
        events = with_fields(decoded.events, decoded.rows, plan, self._read_by, self._read)
        completed = replace(decoded, events=events)
        self._completed.append((plan, completed))
        return completed

    def _read(self, plan: Plan) -> tuple[EventBatch, Int64]:
        decoded = self._decode(plan)
        return decoded.events, decoded.rows

    def _decode(self, plan: Plan) -> DecodedRecords:
        for known, decoded in self._decoded:
            if known.reads_as(plan):
                return decoded
        decoder = self._decoders.of(plan)
        decoded = DecodedRecords(
            *decode_without(decoder, self._raw, self._quarantined, budgeted=True)
        )
        self._decoded.append((plan, decoded))
        return decoded
