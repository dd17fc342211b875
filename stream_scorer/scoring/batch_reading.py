"""Decodes a batch of records by the mapping of each revision that may decide them."""

from collections.abc import Mapping
from dataclasses import replace

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.codec.records.decode_quarantined import decode_without
from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import RawRecords
from stream_scorer.rollout.log.activation import DecodedRecords
from stream_scorer.scoring.edge_rows import NO_CLAIMS, JudgedClaims


class BatchReading:
    """Decodes one batch, once for each mapping.

    Args:
        decoders: A decoder for each mapping.
        raw: n records.
        quarantined: Rows that are rejected as ``INTERNAL`` without being decoded, each with its
            failure.
        read_by: Extra fields that rings keep, each with a plan that defines it.
        claims: The devices' rows among the records; the refused ones are rejected.
    """

    def __init__(
        self, decoders: EventDecoders, raw: RawRecords, quarantined: Mapping[int, str],
        read_by: Mapping[str, Plan], claims: JudgedClaims = NO_CLAIMS,
    ) -> None:  # fmt: skip
        self._decoders = decoders
        self._raw = raw
        self._quarantined = quarantined
        self._read_by = read_by
        self._claims = claims
        self._decoded: dict[EventDecoder, DecodedRecords] = {}

    def __call__(self, plan: Plan) -> DecodedRecords:
        """Return the batch, decoded by a plan's mapping.

        Raises:
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        decoder = self._decoders.of(plan)
        if decoder not in self._decoded:
            self._decoded[decoder] = self._decode(decoder, plan)
        return self._decoded[decoder]

    def _decode(self, decoder: EventDecoder, plan: Plan) -> DecodedRecords:
        foreign = self._decoders.foreign(plan, self._read_by)
        found = decode_without(
            decoder, self._raw, self._quarantined, self._claims.rejections(), budgeted=True
        )
        decoded = self._claims.placed(DecodedRecords(*found))
        if not foreign:
            return decoded
        events = self._decoders.with_fields(
            self._raw, decoded.events, decoded.rows, plan, foreign, budgeted=True
        )
        return replace(decoded, events=events)
