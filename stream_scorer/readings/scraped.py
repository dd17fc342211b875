"""Numbers that are kept where they arise, and that each scrape reads: no event reports them.

- How long requests to other services take. What sends them is made in many places, and needs no
  listener.
- The newest statistics of each Kafka client, as librdkafka reports them. A client reports while it
  is polled, on the thread that decides. So only the bytes are kept there; a scrape parses them.
"""

import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

REQUEST_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bucket boundaries, seconds."""

Piece = TypeVar("Piece")

Request = tuple[str, str]
"""The service, and what is requested."""


@dataclass(slots=True)
class RequestCount:
    """The requests of one kind.

    Attributes:
        buckets: By bucket of :data:`REQUEST_BOUNDS`, and one more for longer ones.
        seconds: Their sum.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(REQUEST_BOUNDS) + 1))
    seconds: float = 0.0


_LOCK = threading.Lock()
_REPORTS: dict[int, bytes] = {}
_NUMBERS = itertools.count()
_COUNTS: dict[Request, RequestCount] = {}


@contextmanager
def timed(service: str, operation: str) -> Iterator[None]:
    """Measure a request, whether it fails or not.

    Args:
        service: ``registry`` or ``checkpoint_store``.
        operation: What is requested, such as ``read``.

    >>> with timed("example", "read"):
    ...     pass
    >>> sum(counts()["example", "read"].buckets)
    1
    """
    began = time.perf_counter()
    try:
        yield
    finally:
        note(service, operation, time.perf_counter() - began)


def timed_reading(service: str, operation: str, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yield pieces, and measure how long they took to come, without what is done with them.

    Args:
        service: As in :func:`timed`.
        operation: As in :func:`timed`.
        pieces: Each is brought when it is asked for.

    >>> list(timed_reading("example", "read_all", [1, 2]))
    [1, 2]
    >>> sum(counts()["example", "read_all"].buckets)
    1
    """
    waited = 0.0
    source = iter(pieces)
    try:
        while True:
            began = time.perf_counter()
            try:
                piece = next(source)
            except StopIteration:
                return
            finally:
                waited += time.perf_counter() - began
            yield piece
    finally:
        note(service, operation, waited)


def note(service: str, operation: str, seconds: float) -> None:
    """Count a request."""
    with _LOCK:
        count = _COUNTS.setdefault((service, operation), RequestCount())
        count.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        count.seconds += seconds


def counts() -> Mapping[Request, RequestCount]:
    """Return a copy of all counts."""
    with _LOCK:
        return {
            key: RequestCount(list(each.buckets), each.seconds) for key, each in _COUNTS.items()
        }


class StatisticsSlot:
    """Where one client leaves its newest report."""

    def __init__(self) -> None:
        self._number = next(_NUMBERS)

    def keep(self, report: bytes) -> None:
        """Keep a report: JSON.

        >>> slot = StatisticsSlot()
        >>> slot.keep(b'{"type": "producer"}')
        >>> b'{"type": "producer"}' in reports()
        True
        >>> slot.forget()
        """
        with _LOCK:
            _REPORTS[self._number] = report

    def forget(self) -> None:
        """Forget the client, which is closed."""
        with _LOCK:
            _REPORTS.pop(self._number, None)


def reports() -> list[bytes]:
    """Return the newest report of each client."""
    with _LOCK:
        return list(_REPORTS.values())


def brokers(report: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the brokers of a report that the client has talked to."""
    found = report.get("brokers")
    if not isinstance(found, dict):
        return
    for each in found.values():
        if isinstance(each, dict) and isinstance(each.get("nodeid"), int) and each["nodeid"] >= 0:
            yield each
