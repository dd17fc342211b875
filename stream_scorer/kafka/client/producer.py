"""A transactional producer that sends columns of records."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException
from numpy.typing import NDArray

from stream_scorer.kafka.client import kernels
from stream_scorer.kafka.client.consumer import GroupMetadata
from stream_scorer.kafka.client.library import (
    PRODUCER,
    LibraryClient,
    check,
    check_error,
    milliseconds,
    new_topic,
    partition_count,
    places,
)
from stream_scorer.kafka.client.timed_calls import BoundedCalls
from stream_scorer.ports import BytesColumn, Headers

Int64 = NDArray[np.int64]

_COPY, _OWN_PARTITION = 2, 8
_PURGE_ALL = 7
_ANSWER_SECONDS = 5.0
_GRACE_SECONDS = 1.0
_NONE = np.empty(0, np.bool_)
_ANY_PARTITION = np.empty(0, np.int32)
# Kinds of arguments of produceva: topic handle, partition, value, key, flags, time, headers.
_KINDS = (2, 3, 4, 5, 7, 8, 10)
_TOPIC, _FLAGS = 0, 4


class ColumnProducer:
    """A transactional producer.

    Args:
        options: librdkafka's; ``error_cb`` is called with a KafkaError inside ``poll``.
        topic_options: By topic, the options in which it differs.

    Raises:
        KafkaException: An option is refused.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        topic_options: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        self._client = LibraryClient(PRODUCER, options)
        self._api = self._client.api
        self._topics: dict[str, int] = {}
        self._topic_options = topic_options
        self._known: set[str] = set()
        self._bounded = BoundedCalls("offsets")

    def init_transactions(self, seconds: float) -> None:
        """Raise the epoch of the transactional id; raises KafkaException."""
        check_error(self._api.init_transactions(self._client.handle, milliseconds(seconds)))

    def begin_transaction(self) -> None:
        """Open a transaction; raises KafkaException."""
        check_error(self._api.begin_transaction(self._client.handle))

    def send_offsets_to_transaction(
        self,
        topic: str,
        offsets: Mapping[int, int],
        group: GroupMetadata,
        seconds: float,
        notes: Mapping[int, bytes] | None = None,
    ) -> None:
        """Put a group's next offsets into the transaction; raises KafkaException.

        A fatal ``_TIMED_OUT`` means that the library did not keep the time limit; the client can
        then only be closed.

        Args:
            topic: The topic of the offsets.
            offsets: Next offset by partition.
            group: The group and this member of it.
            seconds: Time limit for the broker.
            notes: The metadata that the broker keeps with some of the offsets.
        """
        handle = self._client.handle

        def send() -> None:
            with places(topic, offsets, notes) as listed:
                check_error(
                    self._api.send_offsets_to_transaction(
                        handle, listed, group.address, milliseconds(seconds)
                    )
                )

        self._bounded.call(send, seconds + _GRACE_SECONDS)

    def commit_transaction(self, seconds: float) -> None:
        """Wait for all records' delivery and commit; raises KafkaException."""
        try:
            check_error(self._api.commit_transaction(self._client.handle, milliseconds(seconds)))
        except KafkaException as error:
            raise self._explained(error) from error

    def _explained(self, error: KafkaException) -> KafkaException:
        """Add the cause to an error that reports only that records were not delivered."""
        cause = error.args[0]
        if cause.code() == KafkaError._INCONSISTENT:  # noqa: SLF001 the binding's own name
            for topic in self._topics:
                try:
                    partition_count(self._client.handle, topic, _ANSWER_SECONDS)
                except KafkaException as told:
                    text = f"{cause.str()}: topic {topic}: {told.args[0].str()}"
                    requires_abort = cause.txn_requires_abort()
                    return KafkaException(
                        KafkaError(cause.code(), text, txn_requires_abort=requires_abort)
                    )
        return error

    def abort_transaction(self, seconds: float) -> None:
        """Drop queued records and abort; raises KafkaException."""
        check_error(self._api.abort_transaction(self._client.handle, milliseconds(seconds)))

    def produce(
        self,
        topic: str,
        values: BytesColumn,
        keys: BytesColumn,
        partition: NDArray[np.int32] | None = None,
        headers: Sequence[Headers] | None = None,
        timestamps: Int64 | None = None,
    ) -> None:
        """Put n records into the queue, in order.

        Args:
            topic: The topic.
            values: n values.
            keys: n keys.
            partition: int32[n]; None lets the partitioner choose by key.
            headers: n header lists; None if none has any.
            timestamps: int64[n], ms since the epoch; None takes the time of this call.

        Raises:
            KafkaException: A record is refused; the ones before it are queued.
            BufferError: The queue is full.
        """
        n = len(values)
        if not n:
            return
        messages = np.empty((n, kernels.MESSAGE_WORDS), np.int64)
        kernels.fill(
            messages,
            values.data, values.offsets, _NONE if values.null is None else values.null,
            keys.data, keys.offsets, _NONE if keys.null is None else keys.null,
            _ANY_PARTITION if partition is None else partition,
        )  # fmt: skip
        if partition is not None:
            self._know(topic)
        if headers is not None or timestamps is not None:
            # The call for many records supports neither.
            if timestamps is not None:
                messages[:, kernels.TIMESTAMP_WORD] = timestamps
            self._produce_one_by_one(self._topic(topic), messages, headers or [None] * n)
            return
        flags = _COPY if partition is None else _COPY | _OWN_PARTITION
        queued = self._api.produce_batch(self._topic(topic), -1, flags, messages.ctypes.data, n)
        if queued != n:
            _refuse(int(kernels.error_of(messages)))

    def _produce_one_by_one(self, topic: int, messages: Int64, headers: Sequence[Headers]) -> None:
        names, texts, counts = [], [], np.zeros(len(messages), np.int64)
        for row, listed in enumerate(headers):
            for name, text in listed or ():
                names.append(name.encode())
                texts.append(text)
                counts[row] += 1
        name_column, text_column = BytesColumn.of(names), BytesColumn.of(texts)
        null = text_column.null
        arguments = np.zeros((kernels.ARGUMENTS, kernels.ARGUMENT_WORDS), np.int64)
        arguments[:, 0] = _KINDS
        arguments[_TOPIC, 1] = topic
        arguments[_FLAGS, 1] = _COPY
        error, listed_headers = kernels.send_with_headers(
            self._client.handle, messages, arguments,
            name_column.data, name_column.offsets, text_column.data, text_column.offsets,
            np.zeros(len(texts), np.bool_) if null is None else null, counts,
            self._api.address("produceva"), self._api.address("headers_new"),
            self._api.address("header_add"),
        )  # fmt: skip
        if error:
            if listed_headers:
                # The library owns the headers only once the record is queued.
                self._api.headers_destroy(listed_headers)
            code = self._api.error_code(error)
            if code == KafkaError._QUEUE_FULL:  # noqa: SLF001 the binding's own name
                self._api.error_destroy(error)
                _refuse(code)
            check_error(error)

    def _know(self, topic: str) -> None:
        """Request a topic's partitions, once.

        For a topic that it does not know yet, the library would put partition -1 into the
        transaction, which the broker refuses.
        """
        if topic in self._known:
            return
        self._topic(topic)
        try:
            partition_count(self._client.handle, topic, _ANSWER_SECONDS)
        except KafkaException as error:
            cause = error.args[0]
            raise KafkaException(KafkaError(cause.code(), cause.str(), retriable=True)) from error
        self._known.add(topic)

    def _topic(self, name: str) -> int:
        """Return a topic's handle."""
        handle = self._topics.get(name)
        if handle is None:
            handle = self._topics[name] = new_topic(
                self._client.handle, name, self._topic_options.get(name, {})
            )
        return handle

    def poll(self, seconds: float) -> None:
        """Serve callbacks.

        Raises:
            KafkaException: A fatal error was reported.
        """
        self._api.poll(self._client.handle, milliseconds(seconds))
        self._client.raise_fatal()

    def flush(self, seconds: float) -> bool:
        """Wait until each record was delivered or has failed; return whether that was in time."""
        return not self._api.flush(self._client.handle, milliseconds(seconds))

    def purge(self) -> None:
        """Drop queued and in-flight records; raises KafkaException."""
        check(self._api.purge(self._client.handle, _PURGE_ALL))

    def close(self) -> None:
        """Free the client; queued records are lost. Further calls do nothing.

        If a call was abandoned, the client is freed when that call returns.
        """
        if self._client.handle:
            self._bounded.end(self._free)

    def _free(self) -> None:
        for handle in self._topics.values():
            self._api.topic_destroy(handle)
        self._topics.clear()
        self._client.destroy()


def _refuse(code: int) -> None:
    if code == KafkaError._QUEUE_FULL:  # noqa: SLF001 the binding's own name
        raise BufferError("the producer's queue is full")
    raise KafkaException(KafkaError(code))
