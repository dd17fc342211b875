"""Detects a stuck process: it has lag, and its position does not move. A slow one is not stuck."""

import threading
import time
from collections.abc import Callable, Iterable

from stream_scorer.telemetry import (
    BatchCommitted,
    Event,
    LagObserved,
    Listener,
    Moving,
    PartitionsAssigned,
    PartitionsRevoked,
    ReplayProgress,
    Stuck,
    TerminalsRead,
)


class Progress:
    """A listener that notifies another one when there is lag and nothing moves.

    Only the process's own partitions count; other processes catch up with theirs. If an observation
    of lag has no value for a partition, the last one is kept: a missing answer shows neither lag
    nor movement.

    Args:
        listener: Notified with :class:`~stream_scorer.telemetry.Stuck` at every observation of lag
            while it lasts, and with :class:`~stream_scorer.telemetry.Moving` once it is over.
        stuck_seconds: How long nothing may move.
        clock: Seconds, monotonic.
        together: Whether partitions wait for each other, as when topics are merged by time: then
            one that moves shows that the others will.
    """

    def __init__(
        self,
        listener: Listener,
        stuck_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        together: bool = False,
    ) -> None:
        self._listener = listener
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._together = together
        # Lag is observed on a separate thread.
        self._lock = threading.Lock()
        self._moved: dict[int, float] = {}
        self._caught_up: set[int] = set()
        self._stuck: set[int] = set()

    def __call__(self, event: Event) -> None:
        """Note movement; judge after an observation of lag."""
        with self._lock:
            told = self._take(event)
        if told is not None:
            self._listener(told)

    def _take(self, event: Event) -> Stuck | Moving | None:
        match event:
            case PartitionsAssigned():
                self._moved |= dict.fromkeys(event.partitions, self._clock())
            case PartitionsRevoked():
                for partition in event.partitions:
                    self._moved.pop(partition, None)
                    self._caught_up.discard(partition)
                return self._free(event.partitions)
            case BatchCommitted():
                return self._move(event.next_offsets)
            case ReplayProgress():
                return self._move((event.partition,))
            case TerminalsRead():
                return self._move(self._moved)
            case LagObserved():
                return self._judge(event)
            case _:
                pass
        return None

    def _move(self, partitions: Iterable[int]) -> Moving | None:
        moved = set(self._moved) if self._together else self._moved.keys() & set(partitions)
        self._moved |= dict.fromkeys(moved, self._clock())
        return self._free(moved)

    def _free(self, partitions: Iterable[int]) -> Moving | None:
        was, self._stuck = self._stuck, self._stuck - set(partitions)
        return Moving() if was and not self._stuck else None

    def _judge(self, lag: LagObserved) -> Stuck | Moving | None:
        # Offsets alone do not mean lag: some belong to transaction markers and aborted records.
        # These are never delivered, so they have no age.
        behind = {p for p, count in lag.to_stable.items() if count and lag.seconds.get(p, 1.0)}
        now = self._clock()
        ours, seen = self._moved.keys(), lag.to_stable.keys()
        self._caught_up = (self._caught_up - behind) | ((ours & seen) - behind)
        self._moved |= dict.fromkeys(self._caught_up, now)
        stuck = {p for p in ours & behind if now - self._moved[p] >= self._stuck_seconds}
        was, self._stuck = self._stuck, stuck | (self._stuck - seen)
        if stuck:
            longest = now - min(self._moved[p] for p in self._stuck)
            return Stuck(longest, tuple(sorted(self._stuck)))
        return Moving() if was and not self._stuck else None
