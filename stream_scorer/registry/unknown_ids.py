"""Ids for which the registry fails while it works otherwise: one must not stop a partition."""

import threading
from collections.abc import Callable
from typing import Final

_SECONDS: Final = 5.0
_FAILURES_LEAST: Final = 3
"""How long, and how often, an id must fail before the registry itself is checked."""
_RECENTLY_SECONDS: Final = 60.0
"""For this long after such an id, other ids are judged at their first failure."""
_REMEMBERED: Final = 100


class FailingIds:
    """Counts, by id, the answers that were errors; thread-safe.

    Args:
        answers_others: Makes another query to the registry.
        clock: Seconds; only differences count.
    """

    def __init__(self, answers_others: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._answers_others = answers_others
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[int, tuple[float, int]] = {}
        self._last: float | None = None

    def answered(self, schema_id: int) -> None:
        """Forget an id that was answered."""
        with self._lock:
            self._failing.pop(schema_id, None)

    def alone(self, schema_id: int) -> bool:
        """Count one failure; return whether it concerns only the id, not the registry."""
        with self._lock:
            now = self._clock()
            since, failures = self._failing.pop(schema_id, (now, 0))
            while len(self._failing) >= _REMEMBERED:
                del self._failing[next(iter(self._failing))]
            self._failing[schema_id] = since, failures + 1
            recently = self._last is not None and now - self._last < _RECENTLY_SECONDS
            often = failures + 1 >= _FAILURES_LEAST and now - since >= _SECONDS
        if not (recently or often) or not self._answers_others():
            return False
        with self._lock:
            self._last = self._clock()
            self._failing.pop(schema_id, None)
        return True
