"""``dlq take``: an operator sends one record that crashes every process to the dead letters.

The command is a member of the scorers' group meanwhile, and commits with its generation: if a
scorer joins, the commit fails without an effect. It takes only the partition's next record, so that
none is skipped and none is taken twice.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.dead_letters.format import dead_letters
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.publishing import Aborts, Publisher
from stream_scorer.kafka.loop.source import Assigned, KafkaSource
from stream_scorer.kafka.topics.groups import refuse_members
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.ports import BytesColumn, Outgoing, Paused, RawRecords, TransactionAborted
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.checkpoints.rejected_segments import StoredSegment, segment
from stream_scorer.state.stores.open import owner_of
from stream_scorer.telemetry import Event

INSTANCE = "@dlq-take"
"""Name of the command in the group, in its transactional id and in the dead letter."""
_DETAIL = "taken by an operator: processes end while they compute it"
_PATIENCE_SECONDS = 90.0
_WAIT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TakenRecord:
    """The result.

    Attributes:
        record: The record.
        before: The partition's committed offset before.
        after: The committed offset after.
        retried: Whether the record stays in its place, to be attempted again.
    """

    record: RawRecords
    before: int
    after: int
    retried: bool


def take(
    settings: Settings, partition: int, offset: int, *, retry: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> TakenRecord:  # fmt: skip
    """Send a partition's next record to the dead letters, or have it attempted again.

    Args:
        settings: The scorers'.
        partition: Of the input.
        offset: Of the record, which must be the next for a scorer.
        retry: Delete the note of attempts instead; the record stays the next.
        stop: Called while waiting; true stops.

    Raises:
        SettingsError: It is not the next record of the partition.
        StateError: The group has members.
        FencedError: Another call of this command is running.
        UnavailableError: The brokers do not answer, or the group does not assign the partition.
    """
    kafka = settings.kafka.model_copy(update={"instance": INSTANCE, "static_membership": False})
    topic = kafka.topics.transactions
    _refuse_nowhere(kafka, topic, partition, offset)
    refuse_members(kafka)
    producer = TransactionalProducer(kafka, kafka.group, _nobody)
    try:
        # Partitions without an offset are assigned, too, but nothing is committed for them.
        source = KafkaSource(kafka, topic, kafka.group, "earliest")
        try:
            return _Taking(settings, kafka, source, producer, stop).take(partition, offset, retry)
        finally:
            source.close()
    finally:
        with suppress(TransactionAborted):
            producer.abort_open()
        producer.close()


def rejecting(
    settings: Settings, record: RawRecords, reason: RejectReason, detail: str
) -> list[Outgoing]:
    """Return the records of a transaction that rejects one record: a dead letter and a segment.

    The segment in the state topic keeps a restart from folding the record into the state; see
    ``state/partitions/rejection_log.py``.

    Args:
        settings: The scorers'.
        record: One record of the input.
        reason: Why.
        detail: For the reader of the dead letter.
    """
    topics = settings.kafka.topics
    letter = dead_letters(
        record, [0], [reason], [detail], topic=topics.dead_letters,
        source_topic=topics.transactions, instance=INSTANCE,
    )  # fmt: skip
    partition = int(record.partition[0])
    noted = StoredSegment.of(segment(partition, record.offset[:1], [reason]))
    key, value = owner_of(settings).rejection(noted)
    return [
        letter,
        Outgoing(
            topics.state, BytesColumn.of([value]), BytesColumn.of([key]),
            partition=np.array([partition], np.int32),
        ),
    ]  # fmt: skip


class _Taking:
    def __init__(
        self, settings: Settings, kafka: Kafka, source: KafkaSource,
        producer: TransactionalProducer, stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._group = kafka.group
        self._source = source
        self._producer = producer
        self._stop = stop
        self._until = time.monotonic() + _PATIENCE_SECONDS

    def take(self, partition: int, offset: int, retry: bool) -> TakenRecord:  # noqa: FBT001 the command's
        before = self._assigned(partition)
        record = self._next(partition, before)
        found = int(record.offset[0])
        if found != offset:
            where = "was dealt with" if found > offset else f"{found} comes before it"
            raise SettingsError(
                f"dlq take: offset {offset} of partition {partition} is not its next record: "
                f"{where}",
                f"the next one is at {found}; a scorer decides what comes before the record that "
                "ends it",
            )
        after = before if retry else offset + 1
        outgoing = []
        if not retry:
            outgoing = rejecting(self._settings, record, RejectReason.INTERNAL, _DETAIL)
        publisher = Publisher(self._source, self._producer, _nobody, self._tired)
        aborts = Aborts(_nobody)
        while not self._published(publisher, aborts, outgoing, partition, before, after):
            self._go_on("the commit")
        return TakenRecord(record, before, after, retry)

    def _published(
        self, publisher: Publisher, aborts: Aborts, outgoing: list[Outgoing], partition: int,
        before: int, after: int,
    ) -> bool:  # fmt: skip
        if not self._source.owns(partition):
            raise UnavailableError(
                f"group {self._group}: another member has partition {partition} by now",
                "stop every scorer of the group first; nothing was taken",
            )
        try:
            return publisher.publish(outgoing, {partition: before}, {partition: after}, 1)
        except TransactionAborted as error:
            aborts.note(error, 1)
            self._poll()
            return False

    def _assigned(self, partition: int) -> int:
        """Return a partition's committed offset once it is assigned."""
        while True:
            self._poll()
            for event in self._source.events():
                if isinstance(event, Assigned) and partition in event.offsets:
                    if partition in event.fresh:
                        raise SettingsError(
                            f"dlq take: group {self._group} has no committed offset of partition "
                            f"{partition}",
                            "no scorer of this group has begun there: check kafka.group",
                        )
                    return event.offsets[partition]
            self._go_on(f"partition {partition}")

    def _next(self, partition: int, before: int) -> RawRecords:
        """Return the next record for a scorer."""
        self._source.resume({partition})
        while True:
            raw = self._poll()
            if raw is not None:
                record = raw.where(raw.offset == raw.offset.min())
                self._source.pause()
                return record
            self._go_on(f"the record of partition {partition} after offset {before}")

    def _poll(self) -> RawRecords | None:
        try:
            return self._source.poll(1, 0.0, _WAIT_SECONDS)
        except Paused:
            # Another protocol's members are about to leave; wait for that as well.
            return None

    def _go_on(self, what: str) -> None:
        if self._tired():
            raise UnavailableError(
                f"group {self._group}: waited for {what} in vain",
                "check the brokers and that no scorer of the group runs; nothing was taken",
            )

    def _tired(self) -> bool:
        return self._stop() or time.monotonic() > self._until


def _refuse_nowhere(kafka: Kafka, topic: str, partition: int, offset: int) -> None:
    """Check that the input has the partition and offset."""
    first, end = bounds(kafka, topic)
    if partition not in end:
        raise SettingsError(f"dlq take: {topic} has no partition {partition}", "correct it")
    if not first[partition] <= offset < end[partition]:
        raise SettingsError(
            f"dlq take: {topic} partition {partition} has no committed record at {offset}",
            f"it holds offsets {first[partition]} to {end[partition] - 1}",
        )


def _nobody(_: Event) -> None:
    """Ignore events: the call ends with a report or an error."""
