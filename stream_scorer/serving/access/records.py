"""Refusals in the audit log: counted in memory, written by another thread.

A line costs a write to the disk, and an attacker can cause as many refusals as it likes. So a
request only counts. Each action of an address becomes at most one line a minute, with its count,
and all of them together become at most 60.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from stream_scorer.clocks import Clock
from stream_scorer.errors import StreamScorerError
from stream_scorer.security.audit_access import AuditTrail
from stream_scorer.serving.access.limits import TokenBucket
from stream_scorer.telemetry.access import AccessNotRecorded
from stream_scorer.telemetry.event import Event

_WAITING_MOST: Final = 100
_MINUTE: Final = 60.0
_LINES_PER_MINUTE: Final = 60
OTHERS: Final = "other addresses"
_ACTOR: Final = "api"


class RefusalRecords:
    """Counts refusals and writes them.

    Args:
        audit: The log.
        report: Takes an event if the log cannot be written.
        clock: Seconds, monotonic.
        waiting_most: Actions of addresses that are counted apart.
    """

    def __init__(
        self,
        audit: AuditTrail,
        report: Callable[[Event], None],
        clock: Clock = time.monotonic,
        waiting_most: int = _WAITING_MOST,
    ) -> None:
        self._audit = audit
        self._report = report
        self._clock = clock
        self._waiting_most = waiting_most
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._written: dict[tuple[str, str], float] = {}
        self._lines = TokenBucket(_LINES_PER_MINUTE / _MINUTE, _LINES_PER_MINUTE, clock())

    def note(self, action: str, peer: str) -> None:
        """Count a refusal; costs no write.

        Args:
            action: As ``access.certificate-forged``; one of few.
            peer: The address.
        """
        key = (action, peer)
        with self._lock:
            if key not in self._counts and len(self._counts) >= self._waiting_most:
                key = (action, OTHERS)
            self._counts[key] = self._counts.get(key, 0) + 1

    def flush(self, *, final: bool = False) -> None:
        """Write a line for each action of an address that has none of the last minute.

        Args:
            final: Whether to write all, because the process ends.
        """
        now = self._clock()
        with self._lock:
            self._written = {key: at for key, at in self._written.items() if now - at < _MINUTE}
            due = [key for key in self._counts if final or key not in self._written]
        due = due if final else due[: self._lines.left(now)]
        for number, key in enumerate(due):
            with self._lock:
                count = self._counts.pop(key)
            try:
                self._audit.record(key[0], key[1], {"count": count}, actor=_ACTOR)
            except StreamScorerError as error:
                with self._lock:
                    self._counts[key] = self._counts.get(key, 0) + count
                self._report(AccessNotRecorded(len(due) - number, str(error)))
                return
            self._written[key] = now
            self._lines.take(now)
