"""Single requests of the transaction protocol, version 1, as bytes on a separate socket.

There is no client in between, so a test can send what no client would: twice, too late or under
another's name. The frames are those of https://kafka.apache.org/protocol.
"""

import socket
import struct
import time
from typing import Final

from confluent_kafka import KafkaError

_INIT, _PARTITIONS, _OFFSETS, _END, _OFFSET_COMMIT, _COORDINATOR = 22, 24, 25, 26, 28, 10
_LEAVE = 13
_GROUP, _TRANSACTION = 0, 1
_SECONDS = 30.0
_BREATH_SECONDS = 0.02
_COME_AGAIN: Final = frozenset(
    {
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def _compact(value: str) -> bytes:
    return bytes([len(value) + 1]) + value.encode()


class RawRequests:
    """Asks brokers; each method returns the answer's error code, 0 for none.

    Args:
        bootstrap: host:port of one of them.
        topic: Whose partition 0 is used.
        group: Whose offsets.
    """

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._bootstrap = (host, int(port))
        self._topic = topic
        self._group = group

    def init(self, name: str, timeout: float = 60.0) -> tuple[int, int]:
        """Return (producer id, epoch)."""
        body = _text(name) + struct.pack(">i", round(timeout * 1_000))
        answer = self._ask(name, _TRANSACTION, _INIT, 1, body, 4)
        producer, epoch = struct.unpack_from(">qh", answer, 6)
        return producer, epoch

    def add_partitions(self, name: str, producer: int, epoch: int) -> int:
        body = _text(name) + struct.pack(">qh", producer, epoch)
        body += struct.pack(">i", 1) + _text(self._topic) + struct.pack(">ii", 1, 0)
        at = 4 + 4 + 2 + len(self._topic) + 4 + 4
        return _code(self._ask(name, _TRANSACTION, _PARTITIONS, 1, body, at), at)

    def add_offsets(self, name: str, producer: int, epoch: int) -> int:
        body = _text(name) + struct.pack(">qh", producer, epoch) + _text(self._group)
        return _code(self._ask(name, _TRANSACTION, _OFFSETS, 1, body, 4), 4)

    def end(self, name: str, producer: int, epoch: int, *, committed: bool) -> int:
        body = _text(name) + struct.pack(">qhb", producer, epoch, committed)
        return _code(self._ask(name, _TRANSACTION, _END, 1, body, 4), 4)

    def expel(self, member: str) -> int:
        """Take a member out of the group, as Kafka's own tool can; classic protocol."""
        body = _text(self._group) + struct.pack(">i", 1) + _text(member) + struct.pack(">h", -1)
        return _code(self._ask(self._group, _GROUP, _LEAVE, 3, body, 4), 4)

    def offset_commit(
        self, name: str, producer: int, epoch: int, offset: int, member: tuple[str, int] = ("", -1)
    ) -> int:
        """``member``: (id, generation)."""
        body = _compact(name) + _compact(self._group) + struct.pack(">qh", producer, epoch)
        body += struct.pack(">i", member[1]) + _compact(member[0]) + b"\0"
        body += b"\2" + _compact(self._topic) + b"\2" + struct.pack(">iqi", 0, offset, -1)
        body += _compact("") + b"\0\0\0"
        at = 1 + 4 + 1 + 1 + len(self._topic) + 1 + 4
        return _code(self._ask(self._group, _GROUP, _OFFSET_COMMIT, 3, body, at, tags=True), at)

    def _ask(
        self, key: str, kind: int, api: int, version: int, body: bytes, at: int, *,
        tags: bool = False,
    ) -> bytes:  # fmt: skip
        """Return the answer after its correlation id; repeats a request that comes too early."""
        until = time.monotonic() + _SECONDS
        while True:
            answer = _exchange(self._coordinator(key, kind), api, version, body, tags=tags)
            if _code(answer, at) not in _COME_AGAIN or time.monotonic() > until:
                return answer
            time.sleep(_BREATH_SECONDS)

    def _coordinator(self, key: str, kind: int) -> tuple[str, int]:
        until = time.monotonic() + _SECONDS
        while True:
            body = _text(key) + struct.pack(">b", kind)
            answer = _exchange(self._bootstrap, _COORDINATOR, 1, body)
            if not _code(answer, 4):
                break
            assert time.monotonic() < until, f"no coordinator of {key}"
            time.sleep(_BREATH_SECONDS)
        at = 6
        (length,) = struct.unpack_from(">h", answer, at)
        at += 2 + max(length, 0) + 4
        (length,) = struct.unpack_from(">h", answer, at)
        host = answer[at + 2 : at + 2 + length].decode()
        (port,) = struct.unpack_from(">i", answer, at + 2 + length)
        return host, port


def _code(answer: bytes, at: int) -> int:
    return int(struct.unpack_from(">h", answer, at)[0])


def _exchange(
    address: tuple[str, int], api: int, version: int, body: bytes, *, tags: bool = False
) -> bytes:
    head = struct.pack(">hhi", api, version, 1) + _text("raw") + (b"\0" if tags else b"")
    frame = head + body
    with socket.create_connection(address, _SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        (length,) = struct.unpack(">i", _read(connection, 4))
        return _read(connection, length)[4:]


def _read(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        piece = connection.recv(length - len(found))
        assert piece, "the broker closed the connection"
        found += piece
    return found
