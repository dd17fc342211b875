"""Limits for a registry's answers: their size, time and encoding.

Registries are queried with confluent-kafka's client, which reads an answer to its end. So the
limits apply to the stream that it reads from.
"""

import sys
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
    """A body that raises an error past the limits."""

    def __init__(self, stream: Any, until: float) -> None:
        self._stream = stream
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for part in self._stream:
            size += len(part)
            if size > ANSWER_BYTES_MOST:
                raise AnswerTooLargeError(f"answer of more than {ANSWER_BYTES_MOST} bytes")
            if time.monotonic() > self._until:
                raise AnswerRefusedError("answer not complete within registry.timeout_seconds")
            yield part

    def close(self) -> None:
        self._stream.close()


def bound_answers(client: SchemaRegistryClient, seconds: float) -> None:
    """Make a client refuse answers that are too large, too slow or compressed.

    Args:
        client: Of a registry.
        seconds: Time limit for a complete body.
    """
    # The binding has no public way to its HTTP client.
    session: Any = client._rest_client.session  # noqa: SLF001 see above

    def bound(response: Any) -> None:
        # A compressed answer could be small on the wire and unlimited in memory.
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise AnswerRefusedError("answer is compressed, which was not asked for")
        response.stream = _Bounded(response.stream, time.monotonic() + seconds)

    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"request": [], "response": [bound]}


def is_outage(error: BaseException) -> bool:
    """Whether a failure of the client means that there was no answer."""
    return isinstance(error, _httpx.TransportError)
