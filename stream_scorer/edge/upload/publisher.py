"""Publishes devices' rows exactly once: each transaction also writes up to which row it goes.

Each device has its own transactional id. A process that opens a device's producer fences the one
before, and settles its open transaction. Only then does it read the device's progress. So two
gateways, or a gateway and the device itself, need no lock: rows that one of them published are not
published by the other.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal, Protocol

from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow, PublishedRows
from stream_scorer.edge.claims.headers import headers_of
from stream_scorer.errors import FencedError, UnavailableError
from stream_scorer.kafka.loop.producer import CommitUncertain, TransactionalProducer
from stream_scorer.kafka.membership.transactional_id import command
from stream_scorer.ports import BytesColumn, Outgoing, TransactionAborted
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import Listener

IDLE_SECONDS: Final = 60.0
_NOTHING: Final = EdgeProgress()
_PATIENCE_SECONDS: Final = 5.0
"""How long a producer that is replaced waits for the broker, beyond its first request."""
_TRIES: Final = 4
_AGAIN: Final = "upload again; nothing is published twice"


class UploadRefused(Exception):  # noqa: N818 an answer to a device, not a user's error
    """Rows do not follow what is published of the device.

    Attributes:
        kind: ``gap``: rows are missing in front of them; ``fork``: the device had other rows in
            front of them, as a copied or restored device has; ``order``: they do not follow each
            other; ``large``: one is larger than the topic takes.
        progress: Up to which row the device's rows are published.
    """

    def __init__(
        self, kind: Literal["gap", "fork", "order", "large"], progress: EdgeProgress
    ) -> None:
        super().__init__(f"{kind}: rows up to {progress.sequence} are published")
        self.kind = kind
        self.progress = progress


class DeviceProgress(Protocol):
    """Up to which row each device's rows are published."""

    def newest(self, device: str) -> EdgeProgress:
        """Return a device's progress, with all that was committed before the call."""
        ...

    def outgoing(self, device: str, progress: EdgeProgress, rows: int) -> Outgoing:
        """Return the record of new progress."""
        ...


class DeviceProducer(Protocol):
    """The part of ``TransactionalProducer`` that a publisher needs."""

    births: int

    def begin(self, stop: Callable[[], bool]) -> None: ...  # noqa: D102 see TransactionalProducer
    def send(self, outgoing: Outgoing) -> None: ...  # noqa: D102
    def commit(self) -> None: ...  # noqa: D102
    def rebirth(self, cause: str, stop: Callable[[], bool]) -> None: ...  # noqa: D102
    def abort_open(self) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


@dataclass(slots=True)
class _Open:
    """A device's open producer.

    Attributes:
        lock: Held while it is used.
        producer: None before it is opened, and after it was closed.
        progress: Up to which row this process knows the device's rows to be published.
        births: How often the producer had been born when that was read. A producer is born again
            by itself where it takes another process's fencing for its own late request.
        used: When it was used last, seconds, monotonic.
        users: Calls that use it.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    producer: DeviceProducer | None = None
    progress: EdgeProgress = _NOTHING
    births: int = 0
    used: float = 0.0
    users: int = 0


class EdgePublisher:
    """Publishes the rows of devices; thread-safe, one upload of a device at a time.

    Args:
        topic: The transactions topic.
        progress: Reads and encodes progress.
        make: Opens a device's producer; that fences the one before.
        most: Producers that may be open at the same time.
        clock: Seconds, monotonic.
        hook: Called with each step's name when it is over; a test raises from it.
        checked: Whether rows that are published are skipped; only a test says no, to show that the
            check is what prevents repeats.
    """

    def __init__(
        self, topic: str, progress: DeviceProgress, make: Callable[[str], DeviceProducer],
        most: int = 1, clock: Callable[[], float] = time.monotonic,
        hook: Callable[[str], None] = lambda _: None, *, checked: bool = True,
    ) -> None:  # fmt: skip
        self._topic = topic
        self._progress = progress
        self._make = make
        self._most = most
        self._clock = clock
        self._hook = hook
        self._checked = checked
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _Open] = OrderedDict()

    @property
    def producers(self) -> int:
        """Number of open producers."""
        return sum(each.producer is not None for each in list(self._open.values()))

    def progress(self, device: str) -> EdgeProgress:
        """Return up to which row a device's rows are published.

        Another process may publish more at any time.

        Raises:
            UnavailableError: The broker does not answer.
        """
        return self._progress.newest(device)

    def publish(self, device: str, rows: Sequence[EdgeRow]) -> PublishedRows:
        """Publish a device's rows, without those that are published; all of them or none.

        Args:
            device: The device. The caller has judged that these are its rows.
            rows: One or more, with numbers in order.

        Raises:
            UploadRefused: They do not follow what is published.
            UnavailableError: The broker does not answer, or another process took the device over,
                or another call publishes its rows now. Whether the rows are published is known at
                the next call.
        """
        entry = self._entry(device)
        try:
            # One device that uploads many times at once must not take all threads.
            if not entry.lock.acquire(blocking=False):
                raise UnavailableError(f"device {device}: another upload of it runs", _AGAIN)
            try:
                return self._published(device, entry, rows)
            finally:
                entry.lock.release()
        finally:
            with self._lock:
                entry.users -= 1

    def _published(self, device: str, entry: _Open, rows: Sequence[EdgeRow]) -> PublishedRows:
        """Publish rows; a producer of which the state is not known is closed."""
        try:
            return self._publish(device, entry, rows)
        except UploadRefused:
            raise
        except BaseException as error:
            # What happened is read again, by a producer that fences this one.
            self._close(entry)
            if isinstance(error, FencedError):
                why = f"device {device}: another process publishes its rows"
                raise UnavailableError(why, _AGAIN) from error
            raise

    def close(self) -> None:
        """Close all producers; an upload that runs is waited for."""
        for entry in list(self._open.values()):
            with entry.lock:
                self._close(entry)

    def _publish(self, device: str, entry: _Open, rows: Sequence[EdgeRow]) -> PublishedRows:
        producer, fresh = entry.producer, False
        if producer is None:
            producer = entry.producer = self._make(device)
            fresh = True
            self._read(device, entry, producer)
        for _ in range(_TRIES):
            try:
                news = self._news(device, entry.progress, rows)
            except UploadRefused:
                if fresh:
                    raise
                # Another process may have published the rows in between.
                producer.rebirth("upload refused", self._deadline())
                fresh = True
                self._read(device, entry, producer)
                continue
            if not news:
                return PublishedRows(entry.progress, 0, len(rows))
            if self._begun(device, entry, producer):
                return self._sent(device, entry, producer, rows, news)
        raise UnavailableError(f"device {device}: its producer keeps being replaced", _AGAIN)

    def _begun(self, device: str, entry: _Open, producer: DeviceProducer) -> bool:
        """Begin a transaction; return false if the rows must be judged again before it."""
        producer.begin(self._deadline())
        if producer.births == entry.births:
            return True
        before = entry.progress
        self._read(device, entry, producer)
        if entry.progress == before:
            return True
        producer.abort_open()
        return False

    def _sent(
        self, device: str, entry: _Open, producer: DeviceProducer, rows: Sequence[EdgeRow],
        news: Sequence[EdgeRow],
    ) -> PublishedRows:  # fmt: skip
        """Send the new rows and the progress in the open transaction, and commit it."""
        last = news[-1]
        reached = EdgeProgress(last.sequence, chained(last.previous, device, last))
        try:
            producer.send(
                Outgoing(
                    self._topic, BytesColumn.of([row.value for row in news]),
                    BytesColumn.of([row.key for row in news]),
                    [headers_of(device, row) for row in news],
                )
            )  # fmt: skip
            producer.send(self._progress.outgoing(device, reached, len(news)))
            self._hook("sent")
            producer.commit()
        except TransactionAborted as error:
            if error.too_large:
                raise UploadRefused("large", entry.progress) from error
            raise UnavailableError(f"device {device}: {error}", _AGAIN) from error
        except CommitUncertain as error:
            producer.rebirth(str(error), self._deadline())
            self._read(device, entry, producer)
            if entry.progress != reached:
                raise UnavailableError(f"device {device}: {error}", _AGAIN) from error
        entry.progress = reached
        self._hook("committed")
        return PublishedRows(reached, len(news), len(rows) - len(news))

    def _read(self, device: str, entry: _Open, producer: DeviceProducer) -> None:
        """Read a device's progress; the producer must have been born before."""
        entry.births = producer.births
        entry.progress = self._progress.newest(device) if self._checked else EdgeProgress()

    def _news(
        self, device: str, progress: EdgeProgress, rows: Sequence[EdgeRow]
    ) -> Sequence[EdgeRow]:
        """Return the rows that are not published, if they follow those that are.

        Raises:
            UploadRefused: They do not.
        """
        for before, row in pairwise(rows):
            follows = row.sequence == before.sequence + 1
            if not follows or row.previous != chained(before.previous, device, before):
                raise UploadRefused("order", progress)
        if not self._checked:
            return rows
        known = [row for row in rows if row.sequence <= progress.sequence]
        news = rows[len(known) :]
        if news and news[0].sequence != progress.sequence + 1:
            raise UploadRefused("gap", progress)
        # The chain where both must be the same: before the first new row, or after the last one.
        chain = news[0].previous if news else chained(rows[-1].previous, device, rows[-1])
        if (news or rows[-1].sequence == progress.sequence) and chain != progress.chain:
            raise UploadRefused("fork", progress)
        return news

    def _deadline(self) -> Callable[[], bool]:
        """Return whether a wait that begins now has been long enough."""
        until = self._clock() + _PATIENCE_SECONDS
        return lambda: self._clock() >= until

    def _entry(self, device: str) -> _Open:
        """Return a device's entry; close what was idle longest if there are too many."""
        with self._lock:
            entry = self._open.setdefault(device, _Open())
            self._open.move_to_end(device)
            entry.used = self._clock()
            entry.users += 1
            for name, other in list(self._open.items()):
                idle = self._clock() - other.used >= IDLE_SECONDS
                if not other.users and (idle or len(self._open) > self._most):
                    self._close(other)
                    del self._open[name]
            return entry

    def _close(self, entry: _Open) -> None:
        if entry.producer is not None:
            producer, entry.producer = entry.producer, None
            producer.close()


def producer_maker(kafka: Kafka, listener: Listener) -> Callable[[str], TransactionalProducer]:
    """Return what opens a device's producer.

    Args:
        kafka: The cluster. All ways of a device's rows need the same ``kafka.group``: then they
            share its transactional id.
        listener: Notified of outages.
    """
    return lambda device: TransactionalProducer(
        kafka, kafka.group, listener, identity=command(kafka.group, f"edge/{device}")
    )
