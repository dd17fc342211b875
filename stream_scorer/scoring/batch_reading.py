"""A batch of records, decoded by the mapping of each revision that may decide them."""

from collections.abc import Mapping

from stream_scorer.codec.records.decode_quarantined import decode_without
from stream_scorer.codec.records.event_decoders import EventDecoders
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
        self._decoded: dict[object, DecodedRecords] = {}

    def __call__(self, plan: Plan) -> DecodedRecords:
        """Return what a plan's mapping makes of the batch.

        Raises:
            RegistryUnavailableError: A writer schema cannot be had just now.
        """
        decoder = self._decoders.of(plan)
        if decoder not in self._decoded:
            reading = self._decoders.reading(plan, self._engine)
            found = decode_without(reading, self._raw, self._quarantined, budgeted=True)
            self._decoded[decoder] = DecodedRecords(*found)
        return self._decoded[decoder]
