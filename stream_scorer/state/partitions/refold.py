"""Folds the retained input into rings again, as the scorer does: for the ``state`` commands."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping
from stream_scorer.core.decision.observe import PartitionRings, refold
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.rings.rings import CustomerRings, RingColumns
from stream_scorer.errors import StateError
from stream_scorer.kafka.reading.read_limit import ReadLimit
from stream_scorer.kafka.reading.replay import STEP_SECONDS, InputReplay
from stream_scorer.models.stores.deployment import Deployment, load_models
from stream_scorer.ports import RawRecords
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.checkpoints.history_coverage import INPUT
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.checkpoints.ring_columns import Events
from stream_scorer.state.partitions.rejected_offsets import Rejected

PlansAt = Callable[[int, int, int], Sequence[tuple[int, Plan | None]]]
"""Returns the plans for a partition between two offsets: (first offset, plan), ascending.

None is the deployment's own plan.
"""


class Refolding:
    """Folds the retained input into rings as the scorer does.

    Args:
        settings: The cluster, the input, the registry.
        deployment: Its features determine what rings remember.
        plans_at: Returns the mapping that decided each record; default: the deployment's for all.
        shared: What all models share now; None: the deployment's plan.
    """

    def __init__(
        self, settings: Settings, deployment: Deployment,
        plans_at: PlansAt = lambda *_: [(0, None)], shared: Plan | None = None,
    ) -> None:  # fmt: skip
        loaded = load_models(settings, deployment)
        self._first_plan = loaded.plan
        self._plan = shared or loaded.plan
        self._model = loaded.model if shared is None else loaded.bundles[0].model(shared)
        self._decoders = EventDecoders(
            open_registry(settings.registry), settings.registry.directory
        )
        self._plans_at = plans_at
        self._kafka = settings.kafka
        self.retention = self._model.features.retention
        self.beginning = Beginning()

    def rings(self) -> PartitionRings:
        """Return empty rings."""
        return PartitionRings(self._model.features)

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
        plans = self._plans_at(partition, first, end)
        timeline = [(at, self._first_plan if plan is None else plan) for at, plan in plans]
        for polled in input_of(self._kafka, partition, first, end):
            for reading, every in by_mapping(polled, timeline):
                raw = others_of(rejected, every, self._kafka, partition)
                if raw is None:
                    continue
                read_by = self._model.features.engine.read_by
                events, _, _ = self._decoders.decode(raw, reading, read_by)
                self.beginning.read(events, self._plan)
                rings.release(refold(keep(events), rings, self._plan, self._model.features))

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
        observed = np.empty((n, self._model.features.engine.width))
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
