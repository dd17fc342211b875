"""A consumer of one topic that returns records as columns."""

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException
from numpy.typing import NDArray

from stream_scorer.kafka.client import kernels
from stream_scorer.kafka.client.library import (
    ASSIGNED,
    CONSUMER,
    FATAL,
    NO_OFFSET,
    PLACES,
    LibraryClient,
    check,
    check_error,
    library,
    milliseconds,
    partition_count,
    places,
    read_notes,
    read_places,
)
from stream_scorer.ports import BytesColumn, Headers, Int64, RawRecords

HEADERS_PER_POLL = 1_000_000
"""The number of headers of a batch of 25,000 records with 40 headers each."""


@dataclass(frozen=True, slots=True)
class ConsumerError:
    """An error event among the records; its partition is -1 if it concerns none."""

    partition: int
    offset: int
    error: KafkaError


@dataclass(frozen=True, slots=True)
class Polled:
    """The result of a poll."""

    records: RawRecords | None
    failures: tuple[ConsumerError, ...]


class GroupMetadata:
    """The member's identity for ``send_offsets_to_transaction``.

    Attributes:
        address: Address of the library's own object.
        member: The member id that the group assigned; empty outside a group.
        generation: The generation (under KIP-848, the member's epoch); negative outside a group.
    """

    def __init__(self, address: int) -> None:
        self.address = address
        api = library()
        self.member: str = (api.consumer_group_metadata_member_id(address) or b"").decode()
        self.generation: int = api.consumer_group_metadata_generation_id(address)

    def __del__(self) -> None:
        library().consumer_group_metadata_destroy(self.address)


@dataclass(frozen=True, slots=True)
class Rebalance:
    """Callbacks inside ``poll`` for partitions that are assigned, revoked or lost."""

    assigned: Callable[[tuple[int, ...]], None]
    revoked: Callable[[tuple[int, ...]], None]
    lost: Callable[[tuple[int, ...]], None]


class ColumnConsumer:
    """Consumes one topic. Not thread-safe.

    Args:
        options: librdkafka's.
        topic: The topic.
        headers_per_poll: After so many headers, those of a poll's other records are not read.

    Raises:
        KafkaException: An option is refused.
    """

    def __init__(
        self, options: Mapping[str, Any], topic: str, headers_per_poll: int = HEADERS_PER_POLL
    ) -> None:
        self.topic = topic
        self._headers_per_poll = headers_per_poll
        self._rebalance: Rebalance | None = None
        self._raised: BaseException | None = None
        self._from: dict[int, int] = {}
        self._paused: set[int] = set()
        self._client = LibraryClient(CONSUMER, options, self._on_rebalance)
        self._api = self._client.api
        self._api.poll_set_consumer(self._client.handle)
        self._queue = self._api.queue_get_consumer(self._client.handle)
        self._messages = np.empty(0, np.int64)
        self._scratch = np.zeros(kernels.HEADER_WORDS, np.int64)
        self._functions = tuple(
            self._api.address(name)
            for name in ("message_timestamp", "message_headers", "header_cnt", "message_destroy")
        )

    # -- membership and offsets -------------------------------------------------------------

    def subscribe(self, rebalance: Rebalance) -> None:
        """Join the group; partitions are assigned and revoked inside ``poll``."""
        self._rebalance = rebalance
        with places(self.topic, {-1: NO_OFFSET}) as listed:
            check(self._api.subscribe(self._client.handle, listed))

    def _on_rebalance(self, handle: int, code: int, listed: int, _: object) -> None:
        """Call the rebalance callback; the poll that runs this raises its exception again."""
        told = self._rebalance
        if told is None:
            return
        try:
            partitions = tuple(read_places(ctypes.cast(listed, PLACES)))
            if code == ASSIGNED:
                told.assigned(partitions)
            elif self._api.assignment_lost(handle):
                told.lost(partitions)
            else:
                told.revoked(partitions)
        except BaseException as error:  # noqa: BLE001 it must not be lost inside the library
            self._raised = error

    def assign(self, offsets: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, without a group, paused before or not."""
        with places(self.topic, offsets) as listed:
            check(self._api.assign(self._client.handle, listed))
        self._from = dict(offsets)
        if self._paused:
            # In librdkafka a pause outlives an assignment.
            self.resume(tuple(self._paused))

    def add(self, offsets: Mapping[int, int]) -> None:
        """Add partitions that were assigned."""
        with places(self.topic, offsets) as listed:
            check_error(self._api.incremental_assign(self._client.handle, listed))
        self._from |= offsets

    def remove(self, partitions: Sequence[int]) -> None:
        """Remove partitions that were revoked."""
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check_error(self._api.incremental_unassign(self._client.handle, listed))
        for partition in partitions:
            self._from.pop(partition, None)

    def pause(self, partitions: Sequence[int]) -> None:
        """Fetch nothing of these partitions until ``resume``; positions stay."""
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check(self._api.pause_partitions(self._client.handle, listed))
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[int]) -> None:
        """Fetch these partitions again, immediately.

        After a resume alone, librdkafka's thread for the broker continues to sleep for up to a
        second. A seek wakes it up, even one to where the partition already is.
        """
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check(self._api.resume_partitions(self._client.handle, listed))
        again = self._paused.intersection(partitions, self._from)
        self._paused.difference_update(partitions)
        if again:
            self._wake(again)

    def _wake(self, partitions: Collection[int]) -> None:
        """Seek to where partitions are."""
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check(self._api.position(self._client.handle, listed))
            for number in range(listed.contents.count):
                place = listed.contents.elements[number]
                if place.offset < 0:
                    # Nothing was consumed since it was assigned or sought.
                    place.offset = self._from[place.partition]
            self._from |= read_places(listed)
            # Not waited for: a partition that is not fetched yet needs no wake-up.
            check_error(self._api.seek_partitions(self._client.handle, listed, 0))

    def seek(self, offsets: Mapping[int, int], seconds: float) -> None:
        """Read partitions again from these offsets.

        Raises:
            KafkaException: A partition is not being fetched yet.
        """
        with places(self.topic, offsets) as listed:
            check_error(
                self._api.seek_partitions(self._client.handle, listed, milliseconds(seconds))
            )
            read_places(listed)
        self._from |= offsets

    def committed(self, partitions: Sequence[int], seconds: float) -> dict[int, int]:
        """Return the group's committed offsets; NO_OFFSET for a partition without one."""
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check(self._api.committed(self._client.handle, listed, milliseconds(seconds)))
            return read_places(listed)

    def noted(self, partitions: Sequence[int], seconds: float) -> dict[int, tuple[int, bytes]]:
        """Return (offset, note) of each partition with a committed offset."""
        with places(self.topic, dict.fromkeys(partitions, NO_OFFSET)) as listed:
            check(self._api.committed(self._client.handle, listed, milliseconds(seconds)))
            notes = read_notes(listed)
            return {
                partition: (offset, notes.get(partition, b""))
                for partition, offset in read_places(listed).items()
                if offset >= 0
            }

    def watermarks(self, partition: int, seconds: float) -> tuple[int, int]:
        """Return a partition's (oldest offset, newest offset + 1)."""
        low, high = ctypes.c_int64(), ctypes.c_int64()
        check(
            self._api.query_watermark_offsets(
                self._client.handle, self.topic.encode(), partition, ctypes.byref(low),
                ctypes.byref(high), milliseconds(seconds),
            )
        )  # fmt: skip
        return low.value, high.value

    def partition_count(self, seconds: float) -> int:
        """Return how many partitions the topic has."""
        return partition_count(self._client.handle, self.topic, seconds)

    def group_metadata(self) -> GroupMetadata:
        """Return the member's current identity in the group."""
        return GroupMetadata(self._api.consumer_group_metadata(self._client.handle))

    def member_id(self) -> str:
        """Return the id that the group assigned to this member; empty while it has none."""
        address = self._api.memberid(self._client.handle)
        if not address:
            return ""
        try:
            return ctypes.string_at(address).decode()
        finally:
            self._api.mem_free(self._client.handle, address)

    def close(self) -> None:
        """Leave the group and free the client; further calls do nothing."""
        if self._client.handle:
            self._api.consumer_close(self._client.handle)
            self._api.queue_destroy(self._queue)
            self._client.destroy()

    # -- records ----------------------------------------------------------------------------

    def poll(self, maximum: int, wait: float, linger: float) -> Polled:
        """Wait for a record, and then for more.

        Of each record, at most the first 128 headers of at most 64 KiB are read. They are not read
        at all once the poll's earlier records had ``headers_per_poll`` headers. Once 32 MiB were
        read, the others are left out; :attr:`RawRecords.headless` marks their records.

        Args:
            maximum: Maximum number of records.
            wait: Seconds to wait for the first.
            linger: Seconds to wait for the others.

        Raises:
            KafkaException: The client cannot continue.
        """
        if len(self._messages) < maximum:
            self._messages = np.empty(maximum, np.int64)
        count = self._consume(0, 1, wait)
        if count and maximum > 1:
            count += self._consume(1, maximum - 1, linger)
        messages = self._messages[:count]
        failures: list[ConsumerError] = []
        values, keys, errors = kernels.measure(messages)
        if errors:
            messages, failures = self._failures(messages)
        self._client.raise_fatal()
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        if not len(messages):
            return Polled(None, tuple(failures))
        return Polled(self._columns(messages, values, keys), tuple(failures))

    def _consume(self, start: int, maximum: int, seconds: float) -> int:
        address = self._messages.ctypes.data + start * self._messages.itemsize
        count = self._api.consume_batch_queue(self._queue, milliseconds(seconds), address, maximum)
        if count < 0:
            raise KafkaException(KafkaError(KafkaError._STATE, "the consumer is closed"))  # noqa: SLF001 the binding's own name
        return int(count)

    def _failures(self, messages: Int64) -> tuple[Int64, list[ConsumerError]]:
        """Remove and return the error events."""
        kept, failures = [], []
        for message in messages.tolist():
            head = ctypes.cast(message, ctypes.POINTER(ctypes.c_int32))
            code = head[0]
            if code == 0:
                kept.append(message)
                continue
            if code == FATAL:
                # The event only reports a fatal error; the client knows which one.
                self._client.note_fatal()
            else:
                said = (self._api.message_errstr(message) or b"").decode(errors="replace")
                offset = ctypes.cast(message + 56, ctypes.POINTER(ctypes.c_int64))[0]
                failures.append(ConsumerError(head[4], offset, KafkaError(code, said)))
            self._api.message_destroy(message)
        return np.array(kept, np.int64), failures

    def _columns(self, messages: Int64, value_bytes: int, key_bytes: int) -> RawRecords:
        n = len(messages)
        values, keys = np.empty(value_bytes, np.uint8), np.empty(key_bytes, np.uint8)
        value_offsets, key_offsets = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
        value_null, key_null = np.empty(n, np.bool_), np.empty(n, np.bool_)
        partition, traced = np.empty(n, np.int32), np.empty(n, np.bool_)
        offset, timestamp = np.empty(n, np.int64), np.empty(n, np.int64)
        appended, headless = np.zeros((2, n), np.bool_)
        null_values, null_keys, with_headers = kernels.take(
            messages, values, value_offsets, value_null, keys, key_offsets, key_null,
            partition, offset, timestamp, appended, traced, self._scratch, self._headers_per_poll,
            *self._functions,
        )  # fmt: skip
        headers = self._headers(messages, traced, headless) if with_headers else None
        return RawRecords(
            values=BytesColumn(values, value_offsets, value_null if null_values else None),
            keys=BytesColumn(keys, key_offsets, key_null if null_keys else None),
            headers=headers,
            partition=partition,
            offset=offset,
            timestamp=timestamp,
            appended=appended if appended.any() else None,
            headless=headless if headless.any() else None,
        )

    def _headers(
        self, messages: Int64, traced: NDArray[np.bool_], headless: NDArray[np.bool_]
    ) -> list[Headers]:
        """Read the headers of the messages that have any, and free those messages.

        A name ends at its first NUL; bytes that are not UTF-8 become U+FFFD.
        """
        rows = np.flatnonzero(traced)
        chosen, counts, lack = messages[rows], np.empty(len(rows), np.int64), headless[rows]
        api, scratch = self._api, self._scratch
        headers_of, header_of = api.address("message_headers"), api.address("header_get_all")
        count, name_bytes, text_bytes = kernels.measure_headers(
            chosen, counts, lack, scratch, headers_of, header_of, api.length_of
        )
        headless[rows] = lack
        names, texts = np.empty(name_bytes, np.uint8), np.empty(text_bytes, np.uint8)
        name_offsets, text_offsets = np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)
        text_null = np.empty(count, np.bool_)
        kernels.take_headers(
            chosen, counts, names, name_offsets, texts, text_offsets, text_null, scratch,
            headers_of, header_of, api.length_of, api.address("message_destroy"),
        )  # fmt: skip
        name_of, text_of = names.tobytes(), texts.tobytes()
        known: dict[bytes, str] = {}
        pairs: list[tuple[str, bytes | None]] = []
        name_at = text_at = 0
        ends_of = zip(
            name_offsets[1:].tolist(), text_offsets[1:].tolist(), text_null.tolist(), strict=True
        )
        for name_end, text_end, null in ends_of:
            name = name_of[name_at:name_end]
            if name not in known:
                known[name] = name.decode(errors="replace")
            pairs.append((known[name], None if null else text_of[text_at:text_end]))
            name_at, text_at = name_end, text_end
        found: list[Headers] = [None] * len(messages)
        ends = np.cumsum(counts)
        spans = zip(rows.tolist(), (ends - counts).tolist(), ends.tolist(), strict=True)
        for row, first, end in spans:
            found[row] = pairs[first:end] or None
        return found
