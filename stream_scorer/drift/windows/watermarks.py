"""The watermarks of the input's partitions, of which only the active ones hold windows open.

A summary costs as much as it has partitions itself, however many are known: the active ones are in
the order in which they moved, and in a heap by watermark.
"""

from collections.abc import Iterable
from copy import copy
from heapq import heapify, heappop, heappush
from typing import Any, Final

IDLE_MS: Final = 60_000
"""If a partition's watermark does not move for this long, it no longer keeps windows open."""
PARTITIONS_MOST: Final = 10_000
"""Maximum number of partitions whose watermarks are kept.

For one more, the partition that is idle for the longest time is forgotten. If all are active, the
new one keeps no window open.
"""

_NONE: Final = 0
"""The watermark of a partition without any accepted event."""
_STALE_MOST: Final = 64


class Watermarks:
    """Watermarks by partition, in ms since the epoch; times are Kafka timestamps, in ms.

    Args:
        partitions: The input's partitions; one without any summary is active at first, too.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._unheard = tuple(dict.fromkeys(partitions))
        # Each value is replaced, never changed: a copy of this state has the same ones.
        self._active: dict[int, tuple[int, int]] = {}
        self._idle: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._active) + len(self._idle)

    def copy(self) -> "Watermarks":
        """Return a copy; the cost of a partition is that of a reference."""
        made = copy(self)
        vars(made).update(
            _active=dict(self._active), _idle=dict(self._idle), _heap=list(self._heap)
        )
        return made

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "unheard": list(self._unheard),
            "active": [[number, *known] for number, known in self._active.items()],
            "idle": [list(each) for each in self._idle.items()],
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Watermarks":
        """Return the watermarks of a state.

        Raises:
            KeyError: A part is missing.
            ValueError: It is not a state.
        """
        made = cls(int(number) for number in document["unheard"])
        made._active = {int(n): (int(mark), int(at)) for n, mark, at in document["active"]}
        made._idle = {int(number): int(mark) for number, mark in document["idle"]}
        # The order in a heap of equal content does not matter: only its smallest entry is used.
        made._heap = [(mark, number) for number, (mark, _) in made._active.items()]
        heapify(made._heap)
        return made

    def begin(self, now: int) -> None:
        """Begin to wait for the input's partitions at the time of the first summary."""
        for number in self._unheard:
            self._set(number, _NONE, now)
        self._unheard = ()

    def move(self, number: int, watermark: int, now: int) -> None:
        """Note the watermark of a partition. The epoch means: no accepted event."""
        if number in self._active:
            known = self._active[number][0]
        elif number in self._idle:
            known = self._idle[number]
        elif self._has_room(now):
            known = _NONE
            if watermark <= _NONE:
                self._set(number, _NONE, now)
        else:
            return
        if watermark > known:
            self._set(number, watermark, now)

    def least(self, now: int, step_ms: int = 0) -> int | None:
        """Return the smallest watermark of the active partitions; None if one of them has none.

        Args:
            now: Kafka time, ms.
            step_ms: By how much a watermark moves at a time: that of an active partition stays for
                so long, and is idle after ``IDLE_MS`` more.
        """
        self._expire(now, IDLE_MS + step_ms)
        while self._heap and self._is_stale(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] or None if self._heap else None

    def _set(self, number: int, watermark: int, now: int) -> None:
        # At the last place, so that the first one is the one that has not moved for longest.
        self._active.pop(number, None)
        self._idle.pop(number, None)
        self._active[number] = (watermark, now)
        heappush(self._heap, (watermark, number))
        if len(self._heap) > 2 * len(self._active) + _STALE_MOST:
            self._heap = [(known, each) for each, (known, _) in self._active.items()]
            heapify(self._heap)

    def _is_stale(self, entry: tuple[int, int]) -> bool:
        watermark, number = entry
        return number not in self._active or self._active[number][0] != watermark

    def _expire(self, now: int, idle_ms: int) -> None:
        while self._active:
            number, (watermark, moved) = next(iter(self._active.items()))
            # One that moved after now did so before Kafka time went back.
            if 0 <= now - moved < idle_ms:
                return
            del self._active[number]
            self._idle[number] = watermark

    def _has_room(self, now: int) -> bool:
        if len(self) < PARTITIONS_MOST:
            return True
        self._expire(now, IDLE_MS)
        if not self._idle:
            return False
        del self._idle[next(iter(self._idle))]
        return True
