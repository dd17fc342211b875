"""Delivers drift events at least once: an event is sent, then its offset is committed.

A process that is killed between the two sends the event again. So each event has a key by which a
receiver can recognise it. Events are sent in their order: one that waits holds up the ones after
it, and none is lost.

A sink does not wake anyone: pages go through the Prometheus rule on the metric of open alarms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from stream_scorer.codec.records.record import RecordDecoder, RecordError
from stream_scorer.drift.sinks.message import SinkMessage, message_of
from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.ports import Paused
from stream_scorer.telemetry import DriftEventSent, Listener, RecordsSkipped

FIRST_WAIT: Final = 1.0
"""Seconds before the second attempt; each further wait is twice as long."""
LONGEST_WAIT: Final = 60.0
_IDLE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an attempt.

    Attributes:
        result: ``sent``; ``skipped`` if the receiver will never take it; ``waiting``.
        why: What the receiver answered; empty if it is sent.
    """

    result: str
    why: str


class DriftSink(Protocol):
    """Sends one event, once; it calls ``heartbeat`` often while that takes time."""

    name: str

    def send(self, message: SinkMessage, heartbeat: Callable[[], None]) -> Delivery: ...  # noqa: D102 see above


@dataclass(frozen=True, slots=True)
class FedRecord:
    """A record of the topic of drift events.

    Attributes:
        partition: Its partition.
        offset: Its offset.
        value: Its bytes.
    """

    partition: int
    offset: int
    value: bytes | None


class EventFeed(Protocol):
    """Reads drift events as a member of a group."""

    def next(self, wait: float) -> FedRecord | None: ...  # noqa: D102 the next record, if any
    def owns(self, record: FedRecord) -> bool: ...  # noqa: D102 whether its partition is ours
    def idle(self, seconds: float) -> None: ...  # noqa: D102 waits, and stays in the group
    def commit(self, record: FedRecord) -> None: ...  # noqa: D102 commits the offset after it
    def lag(self) -> int | None: ...  # noqa: D102 records after the last one; None if unknown
    def close(self) -> None: ...  # noqa: D102


class SinkLoop:
    """Sends each event of a feed to a sink until it is stopped.

    Args:
        feed: The events.
        sink: Where they go.
        decoder: Decodes ``drift-event.v3``; versions before are readable.
        listener: Notified of every attempt.
    """

    def __init__(
        self, feed: EventFeed, sink: DriftSink, decoder: RecordDecoder, listener: Listener
    ) -> None:
        self._feed = feed
        self._sink = sink
        self._decoder = decoder
        self._listener = listener
        self._outage = Outage(listener)
        self._stopping = False

    def stop(self) -> None:
        """End after the current attempt; safe in a signal handler."""
        self._stopping = True

    def run(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Run until ``stop``.

        Args:
            heartbeat: Called in each iteration, and while an attempt or a wait lasts.

        Raises:
            UnavailableError: The topic cannot be read any more.
        """
        try:
            while not self._stopping:
                heartbeat()
                self.step(heartbeat)
        finally:
            self._feed.close()

    def step(self, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Deliver the next event, if there is one."""
        record = self._feed.next(_IDLE_SECONDS)
        if record is None:
            return
        message = self._read(record, heartbeat)
        if message is None:
            if not self._stopping and self._feed.owns(record):
                self._feed.commit(record)
            return
        if self._delivered(message, record, heartbeat):
            self._feed.commit(record)

    def _read(self, record: FedRecord, heartbeat: Callable[[], None]) -> SinkMessage | None:
        """Return the message of a record; None if it is no event, or if the process must end."""
        wait = FIRST_WAIT
        while True:
            try:
                event = self._decoder.decode(record.value)
                found = message_of(event, f"{record.partition}-{record.offset}")
            except RegistryUnavailableError as error:
                self._outage.begin(Paused("registry", str(error)))
                if not self._waited(wait, record, heartbeat):
                    return None
                wait = min(2 * wait, LONGEST_WAIT)
            except (RecordError, SchemaError, ValueError) as error:
                skipped = RecordsSkipped(
                    "drift-events", 1, record.partition, record.offset, str(error)
                )
                self._listener(skipped)
                return None
            else:
                self._outage.end()
                return found

    def _delivered(
        self, message: SinkMessage, record: FedRecord, heartbeat: Callable[[], None]
    ) -> bool:
        """Send until the receiver takes or refuses it; return whether the offset may move."""
        wait = FIRST_WAIT
        while True:
            delivery = self._sink.send(message, heartbeat)
            self._listener(DriftEventSent(delivery.result, self._feed.lag(), delivery.why))
            if delivery.result != "waiting":
                return self._feed.owns(record)
            if not self._waited(wait, record, heartbeat):
                return False
            wait = min(2 * wait, LONGEST_WAIT)

    def _waited(self, seconds: float, record: FedRecord, heartbeat: Callable[[], None]) -> bool:
        """Wait, and return whether the record is still ours to send."""
        left = seconds
        while left > 0 and not self._stopping:
            heartbeat()
            self._feed.idle(min(left, _IDLE_SECONDS))
            left -= _IDLE_SECONDS
        return not self._stopping and self._feed.owns(record)
