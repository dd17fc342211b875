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


class Query(threading.local):
    """The query of this thread; each thread has one at a time.

    Attributes:
        until: When it must be complete, in seconds of the monotonic clock.
        answered: Whether a part of the answer is there. Then the registry is not out of reach, and
            a failure may concern this query alone.
    """

    until = 0.0
    answered = False

    def begin(self, seconds: float) -> None:
        """Start a query that has ``seconds``."""
        self.until, self.answered = time.monotonic() + seconds, False

    def is_outage(self, error: BaseException) -> bool:
        """Whether the failure of this thread's last query means that there was no answer."""
        failed = isinstance(error, _httpx.TransportError | AnswerRefusedError)
        return failed and not self.answered

    def left(self, timeout: float | None) -> float:
        """Return the seconds that the next step may take, at most ``timeout``."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise AnswerRefusedError("answer not complete within registry.timeout_seconds")
        return left if timeout is None else min(left, timeout)


class _TimedStream:
    """A connection whose reads and writes keep the deadline of the query."""

    def __init__(self, stream: Any, query: Query) -> None:
        self._stream = stream
        self._query = query

    def read(self, max_bytes: int, timeout: float | None = None) -> Any:
        part = self._stream.read(max_bytes, self._query.left(timeout))
        self._query.answered = self._query.answered or bool(part)
        return part

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._query.left(timeout))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_TimedStream":
        stream = self._stream.start_tls(ssl_context, server_hostname, self._query.left(timeout))
        return _TimedStream(stream, self._query)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _TimedBackend:
    """Opens connections whose reads and writes keep the deadline of the query."""

    def __init__(self, backend: Any, query: Query, seconds: float) -> None:
        self._backend = backend
        self._query = query
        self._seconds = seconds

    def connect_tcp(self, *where: Any, **options: Any) -> _TimedStream:
        stream = self._backend.connect_tcp(*where, **options)
        # An address that does not answer takes as long as a query, and the next may be good.
        self._query.begin(self._seconds)
        return _TimedStream(stream, self._query)

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(self._query.left(seconds))


def bound_answers(client: SchemaRegistryClient, seconds: float) -> Query:
    """Make a client refuse answers that are too large, too slow or compressed.

    Args:
        client: Of a registry.
        seconds: Time limit for a query, from the connection to the last byte of the answer.

    Returns:
        The query of each thread.
    """
    # The binding has no public way to its HTTP client.
    session: Any = client._rest_client.session  # noqa: SLF001 see above

    def bound(response: Any) -> None:
        # A compressed answer could be small on the wire and unlimited in memory.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AnswerRefusedError("answer is compressed, which was not asked for")
        response.stream = _Bounded(response.stream)

    query = Query()

    def begin(_: Any) -> None:
        query.begin(seconds)

    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"request": [begin], "response": [bound]}
    # A proxy of the environment has a transport of its own; None is a host without one.
    for transport in (session._transport, *session._mounts.values()):  # noqa: SLF001 see above
        if transport is not None:
            pool = transport._pool  # noqa: SLF001
            pool._network_backend = _TimedBackend(pool._network_backend, query, seconds)  # noqa: SLF001
    return query
