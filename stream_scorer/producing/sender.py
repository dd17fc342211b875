"""Produces requests' records: idempotent, each at once, acknowledged by all replicas in sync."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka

_POLL_SECONDS: Final = 0.1
_FLUSH_SECONDS: Final = 5.0
_DELIVERY_MS: Final = 30_000
_QUEUE: Final = 100_000

_SIZE_ERRORS: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
NOT_STORED: Final = -1
TOO_LARGE: Final = -2
VALUE_BYTES_MOST: Final = client_options.MESSAGE_BYTES_MAX - 65_536
"""The largest value that can be sent; the rest of a record is for its key and its headers."""

Delivered = Callable[[Any, int, int], None]
"""Called with what was given to ``send``, the partition and the offset.

A negative offset: it was not stored. ``TOO_LARGE``: it never will be, because its size is refused.
"""


class NotSentError(Exception):
    """A record is not sent: too many wait for the broker, or the producer cannot continue."""


class RecordTooLargeError(Exception):
    """A record is larger than any that the producer sends."""


def options(kafka: Kafka) -> dict[str, Any]:
    """Return the options of the producer."""
    return client_options.common(kafka) | {
        "client.id": f"{kafka.group}-serve",
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        # The same partitioner as every producer of the topic: a customer is in one partition.
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": _QUEUE,
        "delivery.timeout.ms": _DELIVERY_MS,
        "message.max.bytes": client_options.MESSAGE_BYTES_MAX,
    }


def place_of(error: KafkaError | None, message: Any) -> tuple[int, int]:
    """Return partition and offset of a record by its delivery report; negative: not known.

    A broker that has a repeated request's record already may answer without its offset. The record
    is stored then; who sends it again gets its decision.
    """
    if error is not None and error.code() in _SIZE_ERRORS:
        return -1, TOO_LARGE
    if error is not None or message.offset() is None:
        return -1, NOT_STORED
    return message.partition(), message.offset()


class Sender:
    """Produces records to one topic.

    Args:
        kafka: The cluster.
        topic: The topic.
        delivered: Called on a thread for each record.

    Attributes:
        failure: Why it can never send again, such as a gap in its sequence numbers that the broker
            refuses; None while it can.

    Raises:
        SettingsError: librdkafka refuses an option of ``kafka.client``.
    """

    def __init__(self, kafka: Kafka, topic: str, delivered: Delivered) -> None:
        self._topic = topic
        self._delivered = delivered
        self._connected = True
        self.failure: UnavailableError | None = None
        self._stopped = threading.Event()
        try:
            self._producer = Producer(options(kafka) | {"error_cb": self._on_error})
        except KafkaException as error:
            raise client_options.refused_option(error) or error from error
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        """Whether a broker could be reached when that was last known."""
        return self._connected

    def send(
        self, token: Any, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        """Produce a record; does not block.

        Args:
            token: Given back to ``delivered``.
            key: Its key.
            value: Its value.
            headers: Its headers.

        Raises:
            NotSentError: Too many records wait for the broker, or it can never send again.
            RecordTooLargeError: The record is too large, whenever it is sent.
        """

        def told(error: KafkaError | None, message: Any) -> None:
            self._connected |= error is None
            self._delivered(token, *place_of(error, message))

        try:
            self._producer.produce(self._topic, value, key, headers=list(headers), on_delivery=told)
        except BufferError:
            raise NotSentError from None
        except KafkaException as error:
            if error.args[0].code() in _SIZE_ERRORS:
                raise RecordTooLargeError from error
            if not error.args[0].fatal():
                raise
            self._on_error(error.args[0])
            raise NotSentError from error

    def reached(self) -> None:
        """Note that a broker has answered another client."""
        self._connected = True

    def close(self) -> None:
        """Wait a moment for the records that are on their way, and close the connection."""
        self._producer.flush(_FLUSH_SECONDS)
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(_POLL_SECONDS)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.failure = UnavailableError(
                f"the producer of requests' records cannot continue: {error.str()}",
                "start the process again",
            )
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 the binding's own name
            self._connected = False
