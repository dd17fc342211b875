"""Folds the retained input into rings again, as the scorer does: for the ``state`` commands."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping
from stream_scorer.core.decision.observe import PartitionRings, refold
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.rings.rings import CustomerRings, RingColumns
from stream_scorer.errors import StateError
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.replay import STEP_SECONDS, InputReplay
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints.history_coverage import INPUT
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.checkpoints.ring_columns import Events
from stream_scorer.state.partitions.rejected_offsets import Rejected

PlansAt = Callable[[int, int, int], Sequence[tuple[int, Plan]]]
"""Returns the plans for a partition between two offsets: (first offset, plan), ascending."""


class Refolding:
    """Folds the retained input into rings as the scorer does.

    Args:
        kafka: The cluster and the input.
        decoders: A decoder for each mapping.
        features: They determine what rings remember.
        plans_at: Returns the plan whose mapping and currencies decided each record.
    """

    def __init__(
        self, kafka: Kafka, decoders: EventDecoders, features: FeatureSet, plans_at: PlansAt
    ) -> None:
        self._kafka = kafka
        self._decoders = decoders
        self._features = features
        self._plans_at = plans_at
        self.retention = self._features.retention
        self.beginning = Beginning()

    def rings(self) -> PartitionRings:
        """Return empty rings."""
        return PartitionRings(self._features)

    def fold(
        self,
        rings: PartitionRings,
        partition: int,
        first: int,
        end: int,
        rejected: Rejected,
        keep: Callable[[EventBatch], EventBatch] = lambda events: events,
    ) -> None:
        """Fold a partition's input of ``[first, end)``, keeping some events of each chunk.

        Rejected records are neither decoded nor folded. ``beginning`` sees all others, kept or not.

        Raises:
            StateError: The rejections cannot be read.
            UnavailableError: No offset could be read for 30 s.
        """
        self.beginning = Beginning()
        timeline = self._plans_at(partition, first, end)
        for polled in input_of(self._kafka, partition, first, end):
            for reading, every in by_mapping(polled, timeline):
                raw = others_of(rejected, every, self._kafka, partition)
                if raw is None:
                    continue
                read_by = self._features.engine.read_by
                events, _, _ = self._decoders.decode(raw, reading, read_by)
                self.beginning.read(events, reading)
                rings.release(refold(keep(events), rings, reading, self._features))

    def insert(self, rings: CustomerRings, events: Events) -> None:
        """Fold events that were accepted earlier, each customer's ordered by time.

        The usual rules of a ring apply: the cap, the horizon, and duplicate transaction ids.
        """
        n = len(events.time)
        order = np.arange(n)
        kept = np.array([events.fields[name] for name in rings.fields], np.int64)
        columns = RingColumns(
            events.customers, hashes_of(events.customers), events.hash, events.time,
            events.amount, kept.reshape(len(rings.fields), n),
        )  # fmt: skip
        observed = np.empty((n, self._features.engine.width))
        journal = rings.fold(order, columns, np.zeros(n, np.bool_), np.zeros(n, np.uint8), observed)
        rings.release(journal)

    def complete_since(self, low: int) -> dict[str, int]:
        """Return since when history is complete after ``fold`` from the oldest retained offset."""
        if low == 0:
            return {}
        return {INPUT: self.beginning.whole_from(self.retention.lateness_ms)}


def others_of(
    rejected: Rejected, raw: RawRecords, kafka: Kafka, partition: int
) -> RawRecords | None:
    """Return the records of a partition that were not rejected; None if none is left.

    Raises:
        StateError: The rejections cannot be read.
    """
    try:
        return rejected.others(raw)
    except ValueError as error:
        raise StateError(
            f"checkpoint of {kafka.topics.transactions} partition {partition}: {error}",
            "with every scorer of the group stopped: stream-scorer state rebuild",
        ) from error


def input_of(kafka: Kafka, partition: int, first: int, end: int) -> Iterator[RawRecords]:
    """Yield the input of a partition in ``[first, end)``.

    Raises:
        StateError: It is deleted meanwhile.
        UnavailableError: No offset could be read for 30 s.
    """
    if first >= end:
        return
    topic = kafka.topics.transactions
    reading = InputReplay(kafka, topic, partition, first, end)
    limit = ReadLimit(topic, {partition: end})
    try:
        while not reading.done:
            raw = reading.step()
            limit.note({partition: reading.next_offset}, STEP_SECONDS)
            if raw is not None:
                yield raw
    finally:
        reading.close()
