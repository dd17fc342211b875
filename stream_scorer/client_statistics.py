"""The newest statistics of each Kafka client of the process, as librdkafka reports them.

A client reports while it is polled, on the thread that decides. So only the bytes are kept there;
a scrape parses them, on its own thread.
"""

import itertools
import threading
from collections.abc import Iterator, Mapping

_LOCK = threading.Lock()
_REPORTS: dict[int, bytes] = {}
_NUMBERS = itertools.count()


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
