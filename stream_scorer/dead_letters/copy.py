"""Copies dead letters back to the input and updates a group's offsets, in one transaction.

A copy has one header more than the original, so it may exceed the input's maximum record size. If
the client or the broker refuses a batch for its size, parts of it are tried in aborted transactions
until every refused record is known. The others are copied.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.dead_letters.progress import LetterProgress
from stream_scorer.errors import FencedError, OffsetsError, TransactionError, UnavailableError
from stream_scorer.kafka.client.consumer import ColumnConsumer
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.loop.producer import CommitUncertain, ProducerClient, TransactionalProducer
from stream_scorer.kafka.loop.publishing import Aborts
from stream_scorer.kafka.membership.transactional_id import command
from stream_scorer.kafka.topics.groups import noted
from stream_scorer.ports import BytesColumn, Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Event

_PATIENCE_SECONDS = 60.0
_FLUSH_SECONDS = 0.5
# The input's owner chooses its largest record. Only a batch of the producer could be larger than
# any record in it; this is the default batch size of Java's producers.
_BATCH_BYTES = 16_384


def progress_of(
    consumer: ColumnConsumer, group: str, numbers: list[int]
) -> dict[int, LetterProgress]:
    """Return a group's stable progress by partition, if it has any.

    Raises:
        OffsetsError: The note with an offset is another program's.
        UnavailableError: The broker does not answer.
    """
    found = {}
    for partition, (offset, note) in noted(consumer, group, numbers).items():
        try:
            found[partition] = LetterProgress.read(offset, note)
        except ValueError as error:
            raise OffsetsError(
                f"group {group}, {consumer.topic} partition {partition}: {error}",
                "another program commits for this group: give replay.group a separate group",
            ) from error
    return found


class FlushingClient(ProducerClient, Protocol):
    """A client that can be flushed before the commit."""

    def flush(self, seconds: float) -> bool: ...  # noqa: D102 see ColumnProducer


class CopyingStopped(Exception):  # noqa: N818 an outcome that the caller handles
    """Asked to stop before it was certain that the current batch is committed."""


class LetterCopier:
    """Copies records and moves the group's offsets in one transaction, until both are certain.

    Args:
        kafka: The cluster.
        group: The group.
        consumer: Reads its offsets.
        make: Makes a client from its options; a test can insert another.
        stop: Called before each irreversible step and while waiting; true stops.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        consumer: ColumnConsumer,
        make: Callable[[dict[str, Any]], FlushingClient] = ColumnProducer,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._group = group
        self._make = make
        self._consumer = consumer
        self._input = kafka.topics.transactions
        self._producer = TransactionalProducer(
            kafka, group, _nobody, self._made, identity=command(group, consumer.topic)
        )
        self._aborts = Aborts(_nobody)
        self._stop = stop
        self._until = 0.0
        self._for_size = False

    def _made(self, options: dict[str, Any]) -> ProducerClient:
        self._client = self._make(options | {"batch.size": _BATCH_BYTES})
        return self._client

    def copy(
        self,
        letters: list[DeadLetter],
        before: Mapping[int, LetterProgress],
        after: Mapping[int, LetterProgress],
    ) -> list[DeadLetter]:
        """Copy dead letters, and move the progress of some partitions, in one transaction.

        Args:
            letters: The dead letters.
            before: The committed progress, by partition; partitions without any are missing.
            after: The new progress.

        Returns:
            Dead letters that were refused for their size, and so not copied.

        Raises:
            CopyingStopped: Asked to stop before the commit; ``close`` aborts what is open.
        """
        refused: list[DeadLetter] = []
        self._until = time.monotonic() + _PATIENCE_SECONDS
        while not self._try(letters, before, after):
            if self._for_size and (found := self._too_large(letters, after)):
                refused += found
                without = {each.place for each in found}
                letters = [each for each in letters if each.place not in without]
                self._aborts.over()
        self._aborts.over()
        return refused

    def _too_large(
        self, letters: list[DeadLetter], after: Mapping[int, LetterProgress]
    ) -> list[DeadLetter]:
        """Return those of some letters that are refused for their size."""
        self._until = time.monotonic() + _PATIENCE_SECONDS
        if not letters or self._passes(letters, after):
            return []
        if len(letters) == 1:
            return letters
        middle = len(letters) // 2
        return [
            *self._too_large(letters[:middle], after),
            *self._too_large(letters[middle:], after),
        ]

    def _passes(self, letters: list[DeadLetter], after: Mapping[int, LetterProgress]) -> bool:
        """Send letters, and abort; return whether no record was refused for its size."""
        while True:
            try:
                self._send(letters, after)
                # A record may have been refused when there is nothing left to wait for.
                self._offsets(after)
                self._producer.abort()
            except TransactionAborted as error:
                if error.too_large:
                    return False
                self._note(error, letters)
            else:
                return True

    def _try(
        self,
        letters: list[DeadLetter],
        before: Mapping[int, LetterProgress],
        after: Mapping[int, LetterProgress],
    ) -> bool:
        """Return whether it is committed; False if it is not and may be tried again."""
        self._for_size = False
        try:
            self._send(letters, after)
            self._producer.commit()
        except TransactionAborted as error:
            self._note(error, letters)
            self._for_size = error.too_large
            return False
        except CommitUncertain as error:
            self._producer.rebirth(str(error), self._tired)
            if not self._settled(before, after):
                self._note(TransactionAborted(str(error), network=True), letters)
                return False
        return True

    def _send(self, letters: list[DeadLetter], after: Mapping[int, LetterProgress]) -> None:
        """Begin a transaction and send letters with the progress; wait for their delivery."""
        topic = self._consumer.topic
        self._go_on()
        self._producer.begin(self._tired)
        if letters:
            self._producer.send(
                Outgoing(
                    self._input,
                    BytesColumn.of(letter.value for letter in letters),
                    BytesColumn.of(letter.key for letter in letters),
                    [letter.headers_of_copy(topic) for letter in letters],
                    np.array([letter.source_partition for letter in letters], np.int32),
                )
            )
        self._offsets(after)
        # After a refused record, those of other partitions are no longer sent. A commit would wait
        # for them until its time limit, without the cause. Another request for the offsets shows
        # the cause.
        while not self._client.flush(_FLUSH_SECONDS):
            self._go_on()
            self._offsets(after)
        self._go_on()

    def _offsets(self, after: Mapping[int, LetterProgress]) -> None:
        self._producer.offsets(
            self._consumer.topic,
            {partition: each.offset for partition, each in after.items()},
            self._consumer.group_metadata(),
            {partition: each.note for partition, each in after.items()},
        )

    def _settled(
        self, before: Mapping[int, LetterProgress], after: Mapping[int, LetterProgress]
    ) -> bool:
        """Return whether a commit whose answer was lost has happened."""
        found = progress_of(self._consumer, self._group, list(after))
        if found == after:
            return True
        if found == {partition: before[partition] for partition in after if partition in before}:
            return False
        raise OffsetsError(
            f"the answer to a commit was lost, and the offsets of group {self._group} are neither "
            "those from before it nor those that it had to write",
            "a later `dlq replay` has continued, or another program commits for this group: "
            "stop that program, and run this again",
        )

    def _note(self, error: TransactionAborted, letters: list[DeadLetter]) -> None:
        self._go_on()
        if error.network and self._tired():
            raise UnavailableError(
                f"topic {self._input}: nothing could be copied for {_PATIENCE_SECONDS:.0f} s: "
                f"{error}",
                "check the brokers and run it again; nothing is copied twice",
            ) from error
        try:
            self._aborts.note(error, len(letters))
        except TransactionError as cause:
            if not letters:
                raise
            largest = max(letters, key=lambda each: each.size)
            place = f"{self._consumer.topic}:{largest.partition}:{largest.offset}"
            raise TransactionError(
                f"{cause.what}; the largest of {len(letters)} dead letters is {place} with "
                f"{largest.size} bytes",
                f"see whether {self._input} takes it: its max.message.bytes, and your rights",
            ) from error

    def _go_on(self) -> None:
        if self._stop():
            raise CopyingStopped

    def _tired(self) -> bool:
        return self._stop() or time.monotonic() > self._until

    def close(self) -> None:
        """Close; an open transaction is aborted."""
        try:
            # The process that has fenced it has ended the transaction, too.
            with suppress(FencedError):
                self._producer.abort_open()
        finally:
            self._producer.close()


def _nobody(_: Event) -> None:
    """Ignore events: the call ends with a report or an error."""
