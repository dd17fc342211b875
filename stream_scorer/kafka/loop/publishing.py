"""One transaction: begin, offsets, records, commit, and the outcome when an answer is lost.

Offsets come before records, and possibly before the records are computed. See
docs/adr/0095-offsets-first.md.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, KafkaException

from stream_scorer.errors import OffsetsError, TransactionError
from stream_scorer.kafka.loop.producer import CommitUncertain, TransactionalProducer
from stream_scorer.kafka.loop.source import NotAMember, Source
from stream_scorer.ports import Outgoing, TransactionAborted
from stream_scorer.telemetry import BatchAborted, CommitSettled, Listener

_BREATH_SECONDS = 0.05
_MOST = 5
_NO_NOTES: Mapping[int, bytes] = {}


def _no_lap(_: str) -> None:
    pass


class Aborts:
    """Counts aborts in a row, so that a batch that can never be published is not retried for ever.

    Args:
        listener: Notified of every abort.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._count = 0

    def over(self) -> None:
        """Reset the count: a batch was committed."""
        self._count = 0

    def note(self, error: TransactionAborted, records: int) -> None:
        """Count an abort that the network did not cause.

        Raises:
            TransactionError: There were too many in a row.
        """
        self._listener(BatchAborted(str(error), records))
        if error.network:
            time.sleep(_BREATH_SECONDS)
            return
        self._count += 1
        if self._count >= _MOST:
            raise TransactionError(
                f"{_MOST} transactions in a row were aborted: {error}",
                "see docs/RUNBOOK.md, section 'The scorer left with exit code 8'",
            )


class Publisher:
    """Publishes records together with the input's next offsets.

    Args:
        source: The input.
        producer: The producer.
        listener: Notified of the outcome of an uncertain commit.
        stop: Called while waiting; true ends the wait.
    """

    def __init__(
        self,
        source: Source,
        producer: TransactionalProducer,
        listener: Listener,
        stop: Callable[[], bool],
    ) -> None:
        self._source = source
        self._producer = producer
        self._listener = listener
        self._stop = stop
        self._early: tuple[Mapping[int, int], Mapping[int, bytes]] | None = None

    @property
    def opened(self) -> bool:
        """Whether :meth:`open` opened a transaction that is neither published nor discarded."""
        return self._early is not None

    def open(self, ends: Mapping[int, int], notes: Mapping[int, bytes] = _NO_NOTES) -> None:
        """Open a transaction and put offsets into it, before the records are known.

        :meth:`publish` continues it if its offsets and notes are the same, and aborts it otherwise.

        Args:
            ends: The new offset by partition.
            notes: Notes for the broker to keep with offsets, by partition.

        Raises:
            TransactionAborted: The offsets were refused; the transaction is aborted.
            FencedError: Another process of this name took over.
        """
        self._begin(ends, notes, _no_lap)
        self._early = dict(ends), dict(notes)

    def discard(self) -> None:
        """Abort the transaction that is open, if there is one."""
        self._early = None
        self._producer.abort_open()

    def _begin(
        self, ends: Mapping[int, int], notes: Mapping[int, bytes], lap: Callable[[str], None]
    ) -> None:
        self._producer.begin(self._stop)
        try:
            lap("begin")
            # First: for a moment after a commit the coordinator refuses to add anything to the
            # next transaction. librdkafka then adds offsets after ``retry.backoff.ms``, but
            # partitions after a fixed 20 ms.
            for at in self._source.places(ends, notes):
                self._producer.offsets(
                    at.topic, at.offsets, self._source.group_metadata(), at.notes
                )
            lap("offsets")
        except KafkaException as error:
            raise self._producer.given_up(error) from error
        except NotAMember as error:
            # The next poll reports the lost partitions; until then the batch is read again.
            self._producer.abort()
            raise TransactionAborted(str(error), network=True) from error

    def publish(
        self,
        outgoing: Sequence[Outgoing],
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        records: int,
        lap: Callable[[str], None] = _no_lap,
        notes: Mapping[int, bytes] = _NO_NOTES,
    ) -> bool:
        """Send records with offsets; return whether they are committed.

        Args:
            outgoing: The records.
            starts: The committed offset by partition.
            ends: The new offset by partition.
            records: Number of input records, for reports.
            lap: Called at the end of each stage: begin, offsets, send.
            notes: Notes for the broker to keep with offsets, by partition.

        Raises:
            TransactionAborted: They are not committed; the transaction is aborted.
            FencedError: Another process of this name took over while this one was suspended.
            OffsetsError: The answer was lost and the committed offsets are neither starts nor ends,
                though no other process owns the partitions.
        """
        early, self._early = self._early, None
        try:
            continued = early == (dict(ends), dict(notes))
            if not continued:
                self._producer.abort_open()
                self._begin(ends, notes, lap)
            try:
                for stage in ("begin", "offsets") if continued else ():
                    lap(stage)
                for one in outgoing:
                    self._producer.send(one)
                lap("send")
            except KafkaException as error:
                raise self._producer.given_up(error) from error
            self._producer.commit()
        except CommitUncertain as error:
            return self._settle(error, starts, ends, records)
        return True

    def _settle(
        self,
        uncertain: CommitUncertain,
        starts: Mapping[int, int],
        ends: Mapping[int, int],
        records: int,
    ) -> bool:
        """Find out whether a commit whose answer was lost has happened."""
        cause = str(uncertain)
        if uncertain.fenced:
            # The old transaction can no longer change. A process that was suspended for long enough
            # may have a successor of its name; a rebirth would fence that one.
            found = self._source.committed(set(ends))
            if found not in (starts, ends) and self._source.has_successor():
                raise self._producer.taken_over(cause)
        # The new producer's init_transactions ends the old transaction in either case.
        self._producer.rebirth(cause, self._stop)
        found = self._source.committed(set(ends))
        ours = set(ends)
        while (committed := _outcome(found, starts, ends, ours)) is None:
            if not self._source.wait_for_revocation(ours):
                raise OffsetsError(
                    f"after a lost commit answer the group's offsets are {found}, neither the "
                    f"batch's start {dict(starts)} nor its end {dict(ends)}",
                    "another process commits for this group; give it a separate group",
                )
            # A partition's next owner has committed, so its offset does not show this batch's
            # outcome. The transaction is atomic: the partitions that are still ours show it.
            before, ours = ours, self._source.settled(ours)
            if not ours or ours == before:
                # All partitions left, or are about to, inside a flush.
                self._listener(BatchAborted(cause, records))
                return False
        self._listener(CommitSettled(committed=committed))
        if not committed:
            self._listener(BatchAborted(cause, records))
        return committed


def _outcome(
    found: Mapping[int, int],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    partitions: Collection[int],
) -> bool | None:
    """Return whether the committed offsets of some partitions are all ends, or all starts."""
    for at, committed in ((ends, True), (starts, False)):
        if all(found.get(partition, OFFSET_INVALID) == at[partition] for partition in partitions):
            return committed
    return None
