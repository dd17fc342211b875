"""Sends the records of the file's outbox, each exactly once.

One Kafka transaction has all records that are waiting, and commits the offsets of the decisions
with a note: the newest *closing* that was sent, an event time that grows. So after a kill, the note
tells which records were sent. If the file has lost its last commits, or was removed, the same
closings are computed again; those up to the note are not sent.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from stream_scorer.closing import Closing
from stream_scorer.errors import StateError
from stream_scorer.kafka.client.consumer import ColumnConsumer, GroupMetadata
from stream_scorer.kafka.loop.producer import CommitUncertain, TransactionalProducer
from stream_scorer.kafka.membership.transactional_id import command
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.groups import noted
from stream_scorer.performance.store.store import OutboxRecord, PerformanceStore
from stream_scorer.ports import BytesColumn, Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchAborted, CommitSettled, Listener

_ONE: Final = "one"
_NOTE: Final = b"performance 1 "
_NEVER: Final = -(2**62)


class OutboxSender(Closing):
    """Sends what is in the outbox; a new one fences the one before.

    Args:
        kafka: The cluster; ``group`` is the process's own.
        topic: The topic of the decisions, whose offsets are committed.
        listener: Notified of aborts and outages.

    Raises:
        StateError: The group's note is of a newer version.
        UnavailableError: The broker does not answer.
    """

    def __init__(self, kafka: Kafka, topic: str, listener: Listener) -> None:
        self._kafka = kafka
        self._topic = topic
        self._listener = listener
        with ExitStack() as failed:
            identity = command(kafka.group, _ONE)
            # It fences a process before, so that its last transaction has ended when the note is
            # read.
            self._producer = TransactionalProducer(kafka, kafka.group, listener, identity=identity)
            failed.callback(self._producer.close)
            options = client_options.consumer(kafka, kafka.group)
            self._consumer = ColumnConsumer(options, topic)
            failed.callback(self._consumer.close)
            self._closing = self._read()
            failed.pop_all()

    def _read(self) -> int:
        """Return the newest closing that was sent."""
        found = noted(self._consumer, self._kafka.group, [0])
        note = found[0][1] if 0 in found else b""
        if not note:
            return _NEVER
        if not note.startswith(_NOTE) or not note.removeprefix(_NOTE).isdigit():
            raise StateError(
                f"group {self._kafka.group}: the note of its offsets is not of this version",
                "start the program that wrote it, or name another performance.group",
            )
        return int(note.removeprefix(_NOTE))

    def send(
        self, store: PerformanceStore, places: Mapping[tuple[str, int], int], group: GroupMetadata
    ) -> bool:
        """Send all records that are waiting; return whether they are sent.

        Args:
            store: The file, after a commit.
            places: Next offset by topic and partition, as of that commit.
            group: The group.

        Raises:
            FencedError: Another process took over.
            UnavailableError: The broker does not answer.
        """
        store.sent(self._closing)
        waiting = store.outbox()
        closing = max([self._closing, *(each.closing for each in waiting)])
        offsets = {p: at for (topic, p), at in places.items() if topic == self._topic}
        notes = {0: _NOTE + b"%d" % closing} if closing != _NEVER else {}
        try:
            self._producer.begin()
            self._producer.offsets(self._topic, offsets, group, notes)
            for outgoing in _by_topic(waiting):
                self._producer.send(outgoing)
            self._producer.commit()
        except TransactionAborted as error:
            self._listener(BatchAborted(str(error), len(waiting)))
            return False
        except CommitUncertain as error:
            self._producer.rebirth(str(error))
            before, self._closing = self._closing, self._read()
            done = self._closing >= closing and self._closing > before
            self._listener(CommitSettled(committed=done))
            if not done:
                return False
        self._closing = closing
        store.sent(closing)
        return True

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()
        self._producer.close()


def _by_topic(records: Sequence[OutboxRecord]) -> list[Outgoing]:
    """Return the records of each topic, in their order."""
    return [
        Outgoing(
            topic,
            BytesColumn.of([each.value for each in records if each.topic == topic]),
            BytesColumn.of([each.key or None for each in records if each.topic == topic]),
        )
        for topic in dict.fromkeys(each.topic for each in records)
    ]
