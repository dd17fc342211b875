"""The transactional producer: begin, send, commit with offsets, abort, and rebirth.

librdkafka uses version 1 of the transaction protocol. In it, a delayed EndTxn request can end a
*later* transaction of the same producer epoch. So the producer is replaced before the next
transaction if a commit or abort raised a retriable error, took ``socket.timeout.ms`` although it
succeeded, or saw a transport error. The new producer's ``init_transactions`` raises the epoch, so
that a late request of the old one is refused. After an abort the producer is always replaced.

If this process was suspended for longer than ``transaction.timeout.ms``, the broker ends the open
transaction and raises the epoch. So does a late request for an epoch that this process has
abandoned. The client reports the same error as if another process had taken over. But this process
knows about both causes (:mod:`~stream_scorer.kafka.membership.fencing`), and replaces the client.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from confluent_kafka import KafkaError, KafkaException
from numpy.typing import NDArray

from stream_scorer.clocks import Clock, since_boot
from stream_scorer.errors import FencedError, StreamScorerError, TransactionError, UnavailableError
from stream_scorer.kafka.client.consumer import GroupMetadata
from stream_scorer.kafka.client.producer import ColumnProducer
from stream_scorer.kafka.membership.fencing import OwnDoing
from stream_scorer.kafka.membership.transactional_id import Identity, instance
from stream_scorer.kafka.topics import client_options
from stream_scorer.ports import BytesColumn, Headers, Int64, Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Listener, ProducerReborn

_FENCED = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001 the binding's own names
)
_TRANSPORT = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 the binding's own names
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
    }
)
_INIT_SECONDS = 10.0
_RECORDS_AT_ONCE: Final = 100_000
_BYTES_AT_ONCE: Final = 64 * 1024 * 1024
_QUEUED_RECORDS_MOST: Final = 500_000
_QUEUED_BYTES_MOST: Final = 512 * 1024 * 1024
"""Half of the client's queue: the other half is for headers, and for what a call adds."""


class CommitUncertain(Exception):  # noqa: N818 an outcome that the loop handles, not a user's error
    """The commit's answer was lost; the committed offsets show whether it happened.

    Attributes:
        fenced: The epoch was raised meanwhile, possibly by this process itself.
    """

    def __init__(self, cause: str, *, fenced: bool = False) -> None:
        super().__init__(cause)
        self.fenced = fenced


class ProducerClient(Protocol):
    """The part of ``ColumnProducer`` that the producer needs."""

    def init_transactions(self, seconds: float) -> None: ...  # noqa: D102 see ColumnProducer
    def begin_transaction(self) -> None: ...  # noqa: D102
    def send_offsets_to_transaction(  # noqa: D102
        self,
        topic: str,
        offsets: Mapping[int, int],
        group: GroupMetadata,
        seconds: float,
        notes: Mapping[int, bytes] | None = None,
    ) -> None: ...
    def commit_transaction(self, seconds: float) -> None: ...  # noqa: D102
    def abort_transaction(self, seconds: float) -> None: ...  # noqa: D102
    def produce(  # noqa: D102
        self,
        topic: str,
        values: BytesColumn,
        keys: BytesColumn,
        partition: NDArray[np.int32] | None,
        headers: Sequence[Headers] | None,
        timestamps: Int64 | None = None,
    ) -> None: ...
    def poll(self, seconds: float) -> None: ...  # noqa: D102
    def flush(self, seconds: float) -> bool: ...  # noqa: D102
    def purge(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


def cause_of(error: KafkaException) -> KafkaError:
    """Return the KafkaError of an exception of the binding."""
    return error.args[0]


def _first_cause(error: KafkaException, again: Callable[[], None]) -> KafkaException:
    """Return why a request was refused for the transaction's state.

    If the broker refuses something on another thread, the next request's error names only the
    resulting state of the transaction; the error of ``again`` has the cause.
    """
    if cause_of(error).code() == KafkaError._STATE:  # noqa: SLF001 the binding's own name
        try:
            again()
        except KafkaException as told:
            return told
    return error


class TransactionalProducer:
    """One producer with a stable transactional id, replaced when a late request could do harm.

    Args:
        kafka: Cluster, instance name and time limits.
        group: Consumer group.
        listener: Notified of rebirths and outages.
        make: Makes a client from its options; a test can insert a proxy.
        clock: Measures ages that the broker measures as well, so it includes suspension.
        identity: The transactional id; by default that of the instance in the group.
    """

    def __init__(
        self,
        kafka: Kafka,
        group: str,
        listener: Listener,
        make: Callable[[dict[str, Any]], ProducerClient] | None = None,
        clock: Clock = since_boot,
        identity: Identity | None = None,
    ) -> None:
        self.transactional_id = (identity or instance(group, kafka.instance)).current
        self._options = client_options.producer(kafka, self.transactional_id) | {
            "error_cb": self._on_error,
        }
        self._slow_seconds = kafka.socket_timeout_ms / 1_000
        self._timeout = kafka.transaction_timeout_ms / 1_000
        self._clock = clock
        self._listener = listener
        self._make = make or partial(ColumnProducer, topic_options=client_options.topics(kafka))
        self._transport_errors = 0
        self._suspicion = ""
        self._open = False
        self._unsettled = False
        self._began = 0.0
        self._queued_records = self._queued_bytes = 0
        self._own_doing = OwnDoing(self._slow_seconds, self._timeout)
        self.births = 0
        # At the start, brokers that cannot be connected to usually mean a wrong address; later on
        # they mean an outage.
        self._client = self._born(stop=lambda: self._transport_errors > 0)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in _TRANSPORT:
            self._transport_errors += 1

    def _born(self, stop: Callable[[], bool]) -> ProducerClient:
        """Make a client and raise the epoch; waits for the broker until ``stop`` returns true."""
        client = self._make(self._options)
        down = False
        started, errors = self._clock(), self._transport_errors
        while True:
            try:
                client.init_transactions(_INIT_SECONDS)
            except KafkaException as error:
                cause = cause_of(error)
                if cause.code() in _FENCED:
                    raise self.taken_over(cause.str()) from error
                with suppress(KafkaException):
                    # Serves error_cb; a fatal error is already handled.
                    client.poll(0)
                if not cause.retriable() or stop():
                    raise UnavailableError(
                        f"transactions of {self.transactional_id} cannot start on "
                        f"{self._options['bootstrap.servers']}: {cause.str()}",
                        "check the brokers and the setting kafka.bootstrap",
                    ) from error
                if not down:
                    down = True
                    self._listener(DependencyUnavailable("kafka", cause.str()))
            else:
                break
        if down:
            self._listener(DependencyBack("kafka"))
        with suppress(KafkaException):
            # Serves error_cb: a connection that broke meanwhile may have carried the request.
            client.poll(0)
        self._own_doing.born(self._clock() - started, self._transport_errors - errors)
        self._transport_errors = 0
        self._suspicion = ""
        self._unsettled = False
        self.births += 1
        return client

    def taken_over(self, cause: str) -> FencedError:
        """Build the error to raise when another process has fenced this producer."""
        self._open = False
        return FencedError(
            f"transactional id {self.transactional_id} was taken over by another process ({cause})",
            "give each instance its own kafka.instance; do not restart this one next to the other",
        )

    def _fenced_itself(self) -> bool:
        """Whether this process itself may have raised its epoch."""
        if not self._own_doing.explains(self._clock() - self._began if self._open else 0.0):
            return False
        self._suspicion = self._own_doing.cause
        return True

    def rebirth(self, cause: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Replace the client; the broker settles the old one's open transaction.

        Raises:
            FencedError: Another process runs under this transactional id.
            UnavailableError: The brokers cannot be reached and ``stop`` returned true.
        """
        old = self._client
        self._client = self._born(stop)
        self._open = False
        old.purge()
        old.close()
        self._listener(ProducerReborn(cause))

    def settle(self, stop: Callable[[], bool] = lambda: False) -> None:
        """End a transaction whose end the broker was never sent.

        Its offsets are not stable: a consumer that is assigned partitions would wait for them until
        the transaction's time limit, and only this process can end it earlier.

        Raises:
            FencedError: Another process runs under this transactional id.
            UnavailableError: The brokers cannot be reached and ``stop`` returned true.
        """
        if self._unsettled:
            self.rebirth(self._suspicion, stop)

    def begin(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Open a transaction, after a rebirth if the last one requires it."""
        try:
            self._client.poll(0)
        except KafkaException as error:
            # A fatal error is reported here once more, for example after an abort that overtook the
            # request which opens the transaction on the broker.
            cause = cause_of(error)
            if cause.code() in _FENCED and not self._fenced_itself():
                raise self.taken_over(cause.str()) from error
            self._suspicion = self._suspicion or f"fatal: {cause.str()}"
        if self._transport_errors and not self._suspicion:
            self._suspicion = "transport error"
        if self._suspicion:
            self.rebirth(self._suspicion, stop)
        try:
            self._client.begin_transaction()
        except KafkaException as error:
            raise self.given_up(error) from error
        self._began = self._clock()
        self._queued_records = self._queued_bytes = 0
        self._open = True

    def send(self, outgoing: Outgoing) -> None:
        """Queue records in the open transaction, in order.

        The results of a batch are not bounded by its size: a profiler's watermark can pass any
        number of rows in one batch. So before the client's queue is full, it is emptied.

        Raises:
            TransactionAborted: The client refused them, or the brokers did not accept them in time;
                the transaction is aborted.
        """
        for part in _parts(outgoing):
            self._make_room(part)
            try:
                self._client.produce(
                    part.topic, part.values, part.keys, part.partition, part.headers,
                    part.timestamps,
                )  # fmt: skip
            except KafkaException as error:
                # No transaction begins here: one is open, and the error names what ended it.
                cause = _first_cause(error, self._client.begin_transaction)
                raise self.given_up(cause) from error
            except BufferError as error:
                self.abort()
                raise TransactionAborted(str(error), network=False) from error

    def _make_room(self, part: Outgoing) -> None:
        """Wait until the queue is empty, if some records could make it too large."""
        records, size = len(part.values), _size(part.values) + _size(part.keys)
        full = (
            self._queued_records + records > _QUEUED_RECORDS_MOST
            or self._queued_bytes + size > _QUEUED_BYTES_MOST
        )
        if full and self._queued_records:
            if not self._client.flush(self._timeout):
                self.abort()
                raise TransactionAborted("records were not delivered in time", network=True)
            self._queued_records = self._queued_bytes = 0
        self._queued_records += records
        self._queued_bytes += size

    def offsets(
        self,
        topic: str,
        offsets: Mapping[int, int],
        group: GroupMetadata,
        notes: Mapping[int, bytes] | None = None,
    ) -> None:
        """Put the next input offsets, with notes, into the open transaction.

        Raises:
            TransactionAborted: The transaction is aborted; consumers will see nothing of it.
        """
        send = partial(
            self._client.send_offsets_to_transaction, topic, offsets, group, self._timeout, notes
        )
        try:
            send()
        except KafkaException as error:
            raise self.given_up(_first_cause(error, send)) from error

    def commit(self) -> None:
        """Commit the output together with the offsets.

        Raises:
            TransactionAborted: It did not happen; consumers will see nothing of the transaction.
            CommitUncertain: It may have happened; ``rebirth`` and read the committed offsets.
            FencedError: Another process runs under this transactional id.
        """
        started = self._clock()
        try:
            self._client.commit_transaction(self._timeout)
        except KafkaException as error:
            cause = cause_of(error)
            if cause.code() in _FENCED:
                if self._fenced_itself():
                    # An earlier request of the same commit may still have been in time.
                    raise CommitUncertain(cause.str(), fenced=True) from error
                raise self.taken_over(cause.str()) from error
            if cause.txn_requires_abort():
                raise self.given_up(error) from error
            self._suspicion = f"commit: {cause.str()}"
            raise CommitUncertain(cause.str()) from error
        self._open = False
        if self._clock() - started >= self._slow_seconds:
            self._suspicion = "slow commit"

    def abort(self) -> None:
        """Abort the open transaction; a rebirth is due before the next one begins.

        Records purged from the client's queue leave a gap in the sequence numbers, for which the
        broker would refuse the next transaction. A late abort request must not end that one either.
        """
        self._suspicion = ProducerReborn.ABORTED
        try:
            # It purges the queue and waits for what is in flight.
            self._client.abort_transaction(self._timeout)
        except KafkaException as error:
            cause = cause_of(error)
            if cause.code() in _FENCED and not self._fenced_itself():
                raise self.taken_over(cause.str()) from error
            self._suspicion = f"abort: {cause.str()}"
            self._unsettled = True
        finally:
            self._open = False

    def abort_open(self) -> None:
        """Abort the open transaction, if there is one."""
        if self._open:
            self.abort()

    def close(self) -> None:
        """Close; the time limit or the next process with this id ends an open transaction."""
        self._client.purge()
        self._client.close()

    def given_up(self, error: KafkaException) -> StreamScorerError | TransactionAborted:
        """Abort after an error before the commit; return the error for the caller to raise."""
        cause = cause_of(error)
        if cause.code() in _FENCED:
            if not self._fenced_itself():
                return self.taken_over(cause.str())
            self._open = False
            return TransactionAborted(cause.str(), network=True)
        if cause.fatal():
            self._open = False
            self._unsettled = True
            self._suspicion = f"fatal: {cause.str()}"
            return TransactionAborted(cause.str(), network=True)
        self.abort()
        expected = cause.retriable() or cause.txn_requires_abort()
        too_large = cause.code() == KafkaError.MSG_SIZE_TOO_LARGE
        if not expected and not too_large:
            return TransactionError(
                f"the broker refused the transaction: {cause.str()} ({cause.name()})",
                "see docs/RUNBOOK.md, section 'The scorer left with exit code 8'",
            )
        network = cause.retriable() or cause.code() in _TRANSPORT
        return TransactionAborted(cause.str(), network=network, too_large=too_large)


def _size(column: BytesColumn) -> int:
    return int(column.offsets[-1] - column.offsets[0])


def _parts(outgoing: Outgoing) -> Iterator[Outgoing]:
    """Yield records in parts that are small compared to the client's queue."""
    values, keys, count = outgoing.values, outgoing.keys, len(outgoing.values)
    if count <= _RECORDS_AT_ONCE and _size(values) + _size(keys) <= _BYTES_AT_ONCE:
        yield outgoing
        return
    begin = 0
    while begin < count:
        end = min(begin + _RECORDS_AT_ONCE, count)
        before = values.offsets[begin] + keys.offsets[begin]
        ends = values.offsets[begin + 1 : end + 1] + keys.offsets[begin + 1 : end + 1] - before
        end = begin + max(int(np.searchsorted(ends, _BYTES_AT_ONCE, side="right")), 1)
        yield Outgoing(
            outgoing.topic, values.between(begin, end), keys.between(begin, end),
            None if outgoing.headers is None else outgoing.headers[begin:end],
            None if outgoing.partition is None else outgoing.partition[begin:end],
            None if outgoing.timestamps is None else outgoing.timestamps[begin:end],
        )  # fmt: skip
        begin = end
