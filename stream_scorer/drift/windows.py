"""Merges the summaries' event-time windows over partitions and closes them by watermark.

A partition's watermark is the newest event time of its summaries. A window closes when the smallest
watermark of the active partitions has passed its end by the lateness. A partition that is read
later than the others (a backlog arrives partition by partition, in chunks) keeps all windows open
until it has caught up. A partition whose watermark has not moved for :data:`IDLE_MS` does not. That
time is measured by the summaries' Kafka timestamps, not by a clock, so that reading the same
summaries again closes the same windows at the same places.

Any client that may write to the topic chooses the windows. Forged ones may never close. So the
numbers of open windows and of partitions are limited.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import nlargest
from typing import Any, Final

IDLE_MS: Final = 60_000
"""If a partition's watermark does not move for this long, it no longer keeps windows open."""
OPEN_MOST: Final = 10_000
"""Maximum number of open windows; of more, those that end last are dropped."""
PARTITIONS_MOST: Final = 10_000
"""Maximum number of partitions whose watermarks are kept; further ones keep no window open."""

_SUMS: Final = ("count", "review", "block", "score_sum", "amount_minor_sum")


@dataclass(slots=True)
class Window:
    """Decisions of one model with event times in ``[start, end)``, ms since the epoch."""

    model: str
    version: str
    start: int
    end: int
    count: int = 0
    review: int = 0
    block: int = 0
    score_sum: float = 0.0
    amount_minor_sum: int = 0

    def add(self, counts: "Mapping[str, Any] | Window") -> None:
        """Add a summary's window, or another window's counts."""
        for name in _SUMS:
            more = getattr(counts, name) if isinstance(counts, Window) else counts[name]
            setattr(self, name, getattr(self, name) + more)


def milliseconds(value: datetime | int) -> int:
    """Return a record's time, decoded or not, as ms since the epoch."""
    return value if isinstance(value, int) else round(value.timestamp() * 1_000)


@dataclass(slots=True)
class _PartitionWatermark:
    """What is known of one input partition, ms."""

    watermark: int | None
    moved: int


class Windows:
    """Open windows and watermarks: a fold over the summaries in the order of their topic.

    Args:
        partitions: The input's partitions; one without any summary keeps windows open, too.
        lateness_ms: An event may be this much older than the newest one of its partition.

    Attributes:
        late: Number of decisions that arrived after their windows had closed.
        dropped: Number of windows that were dropped because more than ``OPEN_MOST`` were open.
    """

    def __init__(self, partitions: Iterable[int], lateness_ms: int) -> None:
        self._partitions: dict[int, _PartitionWatermark] = {}
        self._unheard = set(partitions)
        self._lateness_ms = lateness_ms
        self._open: dict[tuple[int, str, str], Window] = {}
        self._passed = -1
        self._now = -1
        self.late = 0
        self.dropped = 0

    def copy(self) -> "Windows":
        """Return a copy; the cost of an open window is that of a reference."""
        made = copy(self)
        vars(made).update(
            _partitions={number: replace(each) for number, each in self._partitions.items()},
            _unheard=set(self._unheard),
            _open=dict(self._open),
        )
        return made

    def update(self, summary: Mapping[str, Any], published_ms: int) -> list[Window]:
        """Add one summary.

        Args:
            summary: A record of the summary schema.
            published_ms: Its Kafka timestamp.

        Returns:
            The windows that it closes, by start, then model and version.
        """
        self._now = max(self._now, published_ms)
        for number in self._unheard:
            self._partitions[number] = _PartitionWatermark(None, self._now)
        self._unheard.clear()
        for source in summary["sources"]:
            self._move(source["partition"], milliseconds(source["watermark"]))
        for counts in summary["windows"]:
            self._count(summary["model"], summary["model_version"], counts)
        closed = self._close()
        self._drop()
        return closed

    def _move(self, number: int, watermark: int) -> None:
        if number not in self._partitions and len(self._partitions) >= PARTITIONS_MOST:
            return
        known = self._partitions.setdefault(number, _PartitionWatermark(None, self._now))
        # A batch without any accepted event has the epoch.
        if watermark > (known.watermark or 0):
            known.watermark, known.moved = watermark, self._now

    def _count(self, model: str, version: str, counts: Mapping[str, Any]) -> None:
        start = milliseconds(counts["start"])
        if start + counts["width_ms"] <= self._passed:
            self.late += counts["count"]
            return
        key = (start, model, version)
        known = self._open.get(key)
        # A copy of this state may have the same object.
        window = (
            replace(known) if known else Window(model, version, start, start + counts["width_ms"])
        )
        window.add(counts)
        self._open[key] = window

    def _close(self) -> list[Window]:
        active = [p for p in self._partitions.values() if self._now - p.moved < IDLE_MS]
        if not active or any(p.watermark is None for p in active):
            return []
        newest = min(p.watermark for p in active if p.watermark is not None)
        # Never backwards: closed windows stay closed when an idle partition becomes active again.
        self._passed = max(self._passed, newest - self._lateness_ms)
        closing = sorted(key for key, window in self._open.items() if window.end <= self._passed)
        return [self._open.pop(key) for key in closing]

    def _drop(self) -> None:
        """Drop the windows that end last, the future ones first, until ``OPEN_MOST`` are left."""
        more = len(self._open) - OPEN_MOST
        if more <= 0:
            return
        for key in nlargest(more, self._open, key=lambda key: (self._open[key].end, key)):
            del self._open[key]
        self.dropped += more
