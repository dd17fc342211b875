"""Ids that the registry does not know, or fails for, and how long each is taken as unknown.

An id for which the registry fails again and again, while it answers other queries, counts as
unknown: as an outage it could stop a partition for ever.
"""

import threading
from collections.abc import Callable
from typing import Final

from stream_scorer.errors import SchemaError

_UNKNOWN_MOST: Final = 10_000
_ID_MAX: Final = 2**31 - 1
"""A registry numbers schemas from 1 in a signed 32-bit integer."""

_SECONDS: Final = 5.0
_FAILURES_LEAST: Final = 3
"""How long, and how often, an id must fail before the registry itself is checked."""
_RECENTLY_SECONDS: Final = 60.0
"""For this long after such an id, other ids are judged at their first failure."""
_REMEMBERED: Final = 100


class UnknownIds:
    """Remembers ids that the registry did not know; not thread-safe.

    Args:
        seconds: For how long.
        clock: Seconds; only differences count.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._remembered: dict[int, tuple[float, SchemaError]] = {}

    def refuse(self, schema_id: int) -> None:
        """Refuse an id that is remembered, or that no registry gives.

        Raises:
            SchemaError: It is one; says why.
        """
        if not 0 < schema_id <= _ID_MAX:
            # Some registries answer such a query with an error that looks like an outage.
            raise SchemaError(f"schema id {schema_id}: no registry gives it", "see the producer")
        until, error = self._remembered.get(schema_id, (0.0, None))
        if error is None:
            return
        if self._clock() < until:
            raise SchemaError(error.what, error.fix)
        del self._remembered[schema_id]

    def remember(self, schema_id: int, error: SchemaError) -> None:
        """Remember an id and what was wrong with it."""
        # Corrupt headers can name any id, so the cache is bounded; the oldest entries are removed.
        while len(self._remembered) >= _UNKNOWN_MOST:
            del self._remembered[next(iter(self._remembered))]
        remembered = SchemaError(error.what, error.fix)
        self._remembered[schema_id] = (self._clock() + self._seconds, remembered)

    def forget(self, schema_id: int) -> None:
        """Forget an id, so that the registry is queried for it again."""
        self._remembered.pop(schema_id, None)


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
