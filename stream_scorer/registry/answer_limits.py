"""Limits for a registry's answers: their size, time and encoding.

Registries are queried with confluent-kafka's client, which reads an answer to its end, and whose
time limit is for each part that arrives. So the limits apply to what it reads from: the time limit
to the connection, since the head of an answer can come byte by byte, too, and the size to the body.
"""

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka.schema_registry import SchemaRegistryClient

# The name of the binding's HTTP library changes between releases.
_httpx: Any = sys.modules[SchemaRegistryClient.__module__].httpx

ANSWER_BYTES_MOST: Final = 2 * 1024 * 1024
"""Maximum size of an answer's body: a schema of 256 KiB, escaped as JSON, fits."""


class AnswerRefusedError(Exception):
    """The registry's answer is slower than the limits allow, or compressed."""


class AnswerTooLargeError(AnswerRefusedError):
    """The answer is larger than the limit. Not an outage: it would be too large again."""


class _Bounded(_httpx.SyncByteStream):
    """A body that raises an error past the maximum size."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._stream:
            size += len(part)
            if size > ANSWER_BYTES_MOST:
                raise AnswerTooLargeError(f"answer of more than {ANSWER_BYTES_MOST} bytes")
            yield part

    def close(self) -> None:
        self._stream.close()


class _Deadline(threading.local):
    """When the query of this thread must be complete; each thread has one query at a time.

    Attributes:
        until: Seconds of the monotonic clock.
        answered: Whether a part of the answer is there. Then the registry is not out of reach, and
            a slow answer may concern this query alone.
    """

    until = 0.0
    answered = False

    def left(self, timeout: float | None) -> float:
        """Return the seconds that the next step may take, at most ``timeout``."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise AnswerRefusedError("answer not complete within registry.timeout_seconds")
        return left if timeout is None else min(left, timeout)


class _TimedStream:
    """A connection whose reads and writes keep the deadline of the query."""

    def __init__(self, stream: Any, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        left = self._deadline.left(timeout)
        try:
            part = self._stream.read(max_bytes, left)
        except Exception:
            # The library's own error of a time that is over would mean an outage.
            if self._deadline.answered:
                self._deadline.left(None)
            raise
        self._deadline.answered = self._deadline.answered or bool(part)
        return part

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_TimedStream":
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _TimedStream(stream, self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _TimedBackend:
    """Opens connections whose reads and writes keep the deadline of the query."""

    def __init__(self, backend: Any, deadline: _Deadline) -> None:
        self._backend = backend
        self._deadline = deadline

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *more: Any,
                    **options: Any) -> _TimedStream:  # fmt: skip
        stream = self._backend.connect_tcp(
            host, port, self._deadline.left(timeout), *more, **options
        )
        return _TimedStream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(self._deadline.left(seconds))


def bound_answers(client: SchemaRegistryClient, seconds: float) -> None:
    """Make a client refuse answers that are too large, too slow or compressed.

    Args:
        client: Of a registry.
        seconds: Time limit for a query, from the connection to the last byte of the answer.
    """
    # The binding has no public way to its HTTP client.
    session: Any = client._rest_client.session  # noqa: SLF001 see above

    def bound(response: Any) -> None:
        # A compressed answer could be small on the wire and unlimited in memory.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AnswerRefusedError("answer is compressed, which was not asked for")
        response.stream = _Bounded(response.stream)

    deadline = _Deadline()

    def begin(_: Any) -> None:
        deadline.until, deadline.answered = time.monotonic() + seconds, False

    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"request": [begin], "response": [bound]}
    # A proxy of the environment has a transport of its own; None is a host without one.
    for transport in (session._transport, *session._mounts.values()):  # noqa: SLF001 see above
        if transport is not None:
            pool = transport._pool  # noqa: SLF001
            pool._network_backend = _TimedBackend(pool._network_backend, deadline)  # noqa: SLF001


def is_outage(error: BaseException) -> bool:
    """Whether a failure of the client means that there was no answer.

    What is not HTTP is an answer. Like any other error, it may concern only this query.
    """
    broken = isinstance(error, _httpx.RemoteProtocolError)
    return isinstance(error, _httpx.TransportError) and not broken
