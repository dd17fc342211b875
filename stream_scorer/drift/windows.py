"""Merges the summaries' event-time windows over partitions and closes them by watermark.

A partition's watermark is the newest event time of its summaries. A window closes when the smallest
watermark of the active partitions has passed its end by the lateness. A partition that is read
later than the others (a backlog arrives partition by partition, in chunks) keeps all windows open
until it has caught up. A partition whose watermark has not moved for ``watermarks.IDLE_MS`` does
not. That time is measured by the summaries' Kafka timestamps, not by a clock, so that reading the
same summaries again closes the same windows at the same places.

Any client that may write to the topic chooses the windows. Forged ones may never close. So the
numbers of open windows and of partitions are limited.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from stream_scorer.drift.watermarks import Watermarks

OPEN_MOST: Final = 10_000
"""Maximum number of open windows; of more, those that end last are dropped."""

_SUMS: Final = ("count", "review", "block", "score_sum", "amount_minor_sum")
_FEW: Final = 100
"""So many new windows of a summary are inserted one by one; more are sorted with the others."""


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


_Key = tuple[int, str, str]


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
        self._watermarks = Watermarks(partitions)
        self._lateness_ms = lateness_ms
        self._open: dict[_Key, Window] = {}
        self._by_end: list[tuple[int, _Key]] = []
        self._passed = -1
        self._now = -1
        self.late = 0
        self.dropped = 0

    def copy(self) -> "Windows":
        """Return a copy; the cost of an open window is that of a reference."""
        made = copy(self)
        vars(made).update(
            _watermarks=self._watermarks.copy(),
            _open=dict(self._open),
            _by_end=list(self._by_end),
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
        self._watermarks.begin(self._now)
        for source in summary["sources"]:
            watermark = milliseconds(source["watermark"])
            self._watermarks.move(source["partition"], watermark, self._now)
        opened: list[tuple[int, _Key]] = []
        for counts in summary["windows"]:
            self._count(summary["model"], summary["model_version"], counts, opened)
        self._place(opened)
        closed = self._close()
        self._drop()
        return closed

    def _count(
        self, model: str, version: str, counts: Mapping[str, Any], opened: list[tuple[int, _Key]]
    ) -> None:
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
        if known is None:
            opened.append((window.end, key))

    def _place(self, opened: list[tuple[int, _Key]]) -> None:
        """Add windows to those that are in the order of their ends."""
        if len(opened) > _FEW:
            self._by_end = sorted(self._by_end + opened)
            return
        for each in opened:
            insort(self._by_end, each)

    def _close(self) -> list[Window]:
        newest = self._watermarks.least(self._now)
        if newest is None:
            return []
        # Never backwards: closed windows stay closed when an idle partition becomes active again.
        self._passed = max(self._passed, newest - self._lateness_ms)
        ended = bisect_right(self._by_end, self._passed, key=lambda each: each[0])
        closing = sorted(key for _, key in self._by_end[:ended])
        del self._by_end[:ended]
        return [self._open.pop(key) for key in closing]

    def _drop(self) -> None:
        """Drop the windows that end last, the future ones first, until ``OPEN_MOST`` are left."""
        more = len(self._open) - OPEN_MOST
        if more <= 0:
            return
        for _, key in self._by_end[OPEN_MOST:]:
            del self._open[key]
        del self._by_end[OPEN_MOST:]
        self.dropped += more
