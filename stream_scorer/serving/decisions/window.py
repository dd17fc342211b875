"""The decisions of the last hour, by transaction, so that a repeat gets the first answer.

Of each transaction the window keeps the decision with the lowest source offset: a scorer decides a
late event each time it comes, and the first decision is the answer. Entries leave when they are
older than the window, or when the window needs more memory than it may have. Then the oldest minute
leaves, and the window is shorter: first of transactions that came through the stream, because it is
rare that a client asks for them again; when none is left, of those that came through the API. An
entry is one ``bytes`` object, which the garbage
collector does not traverse.
"""

import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream_scorer.serving.decisions.identity import BodyMark

_MINUTE_MS: Final = 60_000
_HEAD: Final = struct.Struct("<qiqB?q16s")
"""Timestamp; source partition and offset; bytes of the client; whether there is a mark; its schema
id; the mark."""
_ENTRY_BYTES: Final = 260
"""Memory of an entry besides its bytes: key, table and list, measured with CPython 3.11."""
_CLIENT_MOST: Final = 255


@dataclass(frozen=True, slots=True)
class WindowDecision:
    """A published decision.

    Attributes:
        key: The transaction's key.
        timestamp: Kafka timestamp of the decision, ms.
        partition: Source partition.
        offset: Source offset.
        payload: The record's value, in Confluent framing.
        client: The client that sent the transaction; empty if the record does not name it.
        mark: Of the body; None if the record has none.
    """

    key: bytes
    timestamp: int
    partition: int
    offset: int
    payload: bytes
    client: str = ""
    mark: BodyMark | None = None

    def packed(self) -> bytes:
        """Return it as one byte string, without the key."""
        client = self.client.encode()
        if len(client) > _CLIENT_MOST:
            client = b""
        mark = self.mark
        head = _HEAD.pack(
            self.timestamp, self.partition, self.offset, len(client), mark is not None,
            0 if mark is None else mark.schema_id, b"" if mark is None else mark.digest,
        )  # fmt: skip
        return head + client + self.payload

    @classmethod
    def unpacked(cls, key: bytes, packed: bytes) -> "WindowDecision":
        """Return the decision in such a byte string."""
        timestamp, partition, offset, size, marked, schema_id, digest = _HEAD.unpack_from(packed)
        end = _HEAD.size + size
        mark = BodyMark(schema_id, digest) if marked else None
        client = packed[_HEAD.size : end].decode("utf-8", "ignore")
        return cls(key, timestamp, partition, offset, packed[end:], client, mark)


class DecisionWindow:
    """Decisions by transaction. Thread-safe.

    Args:
        seconds: Age, by the Kafka timestamp of the decision, up to which a repeat is answered.
        bytes_max: Memory that the entries may use.
    """

    def __init__(self, seconds: float, bytes_max: int) -> None:
        self._milliseconds = round(seconds * 1_000)
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._packed: dict[bytes, bytes] = {}
        # By whether they came through the API, and by minute.
        self._minutes: dict[tuple[bool, int], list[bytes]] = {}
        self._bytes = 0
        self._shortened = 0

    def __len__(self) -> int:
        return len(self._packed)

    @property
    def seconds(self) -> float:
        """The age up to which it keeps a decision."""
        return self._milliseconds / 1_000

    @property
    def memory(self) -> int:
        """Estimated bytes of all entries."""
        return self._bytes

    def shortened(self) -> int:
        """Return how many entries have left a full window early since the last call."""
        with self._lock:
            count, self._shortened = self._shortened, 0
        return count

    def add(self, decisions: Iterable[WindowDecision], now_ms: int) -> None:
        """Add decisions; of two of one transaction, the one with the lower offset stays.

        Args:
            decisions: In the order of their topic.
            now_ms: The wall clock, ms since the epoch.
        """
        oldest = now_ms - self._milliseconds
        with self._lock:
            for one in decisions:
                if one.timestamp > oldest:
                    self._add(one, oldest)
            self._expire(oldest)
            while self._bytes > self._bytes_max and self._minutes:
                self._shortened += self._drop(min(self._minutes))

    def find(self, key: bytes, now_ms: int) -> WindowDecision | None:
        """Return a transaction's first decision; None if the window does not have it."""
        with self._lock:
            packed = self._packed.get(key)
        if packed is None:
            return None
        found = WindowDecision.unpacked(key, packed)
        return found if found.timestamp > now_ms - self._milliseconds else None

    def expire(self, now_ms: int) -> None:
        """Let entries leave that are too old."""
        with self._lock:
            self._expire(now_ms - self._milliseconds)

    def _add(self, one: WindowDecision, oldest: int) -> None:
        known = self._packed.get(one.key)
        if known is not None:
            first = WindowDecision.unpacked(one.key, known)
            later = first.partition != one.partition or first.offset <= one.offset
            if first.timestamp > oldest and later:
                return
            self._bytes -= len(known) + _ENTRY_BYTES
        packed = one.packed()
        self._packed[one.key] = packed
        self._minutes.setdefault(_group_of(packed), []).append(one.key)
        self._bytes += len(packed) + _ENTRY_BYTES

    def _expire(self, oldest: int) -> None:
        for group in [each for each in self._minutes if each[1] < oldest // _MINUTE_MS]:
            self._drop(group)

    def _drop(self, group: tuple[bool, int]) -> int:
        """Let a minute's entries leave; return how many."""
        left = 0
        for key in self._minutes.pop(group):
            packed = self._packed.get(key)
            # Another decision of the same transaction may have replaced the minute's.
            if packed is not None and _group_of(packed) == group:
                del self._packed[key]
                self._bytes -= len(packed) + _ENTRY_BYTES
                left += 1
        return left


def _group_of(packed: bytes) -> tuple[bool, int]:
    timestamp, _, _, client_bytes, *_ = _HEAD.unpack_from(packed)
    return client_bytes > 0, timestamp // _MINUTE_MS
