"""Merges the summaries' event-time windows over partitions and closes them by watermark.

A partition's watermark is the newest event time of its summaries. A window closes when the smallest
watermark of the active partitions has passed its end by the lateness. A partition that is read
later than the others (a backlog arrives partition by partition, in chunks) keeps all windows open
until it has caught up. A partition whose watermark has not moved for ``watermarks.IDLE_MS`` does
not. That time is measured by the summaries' Kafka timestamps, not by a clock, so that reading the
same summaries again closes the same windows at the same places.

All counts and sums are integers. So a window has the same bits, however its events were cut into
batches. A window whose sums do not fit into 64 bits is marked, as one with a gap is: those of
logarithms have room for 2 * 10^8 events with usual amounts.

Any client that may write to the topic chooses the windows. Forged ones may never close. So the
numbers of open windows, of their cells and of partitions are limited. A forged watermark would
close all windows to come. So one that is more than a day ahead of Kafka time does not count.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final

from stream_scorer.core.summaries.summary_reading import (
    WindowCells,
    milliseconds_of,
    read_windows,
)
from stream_scorer.drift.windows.contract import ClosedWindow, fits
from stream_scorer.drift.windows.kafka_time import KafkaTime
from stream_scorer.drift.windows.watermarks import Watermarks

OPEN_MOST: Final = 10_000
"""Maximum number of open windows; of more, those that end last are dropped."""
OPEN_CELLS_MOST: Final = 1 << 22
"""Maximum number of cells of all open windows together, 32 MiB; of more, likewise."""
HOUR_MS: Final = 3_600_000
_FEW: Final = 100
"""So many new windows of a summary are inserted one by one; more are sorted with the others."""

milliseconds = milliseconds_of

_Key = tuple[int, str, str, str, tuple[str, ...], int]


class Windows:
    """Open windows and watermarks: a fold over the summaries in the order of their topic.

    Windows shorter than an hour are merged into hours.

    Args:
        partitions: The input's partitions; one without any summary keeps windows open, too.
        lateness_ms: An event may be this much older than the newest one of its partition.
        ahead_ms: An event may be this much newer than its Kafka timestamp.

    Attributes:
        late: Number of decisions that arrived after their windows had closed.
        dropped: Number of windows that were dropped because too many were open.
    """

    def __init__(self, partitions: Iterable[int], lateness_ms: int, ahead_ms: int = 0) -> None:
        self._watermarks = Watermarks(partitions)
        self._lateness_ms = lateness_ms
        self._ahead_ms = ahead_ms
        self._open: dict[_Key, ClosedWindow] = {}
        self._own: set[_Key] = set()
        self._by_end: list[tuple[int, _Key]] = []
        self._cells = 0
        self._passed = -1
        self._time = KafkaTime()
        self.late = 0
        self.dropped = 0

    def copy(self) -> "Windows":
        """Return a copy; the arrays of an open window are copied when one of the two changes it."""
        made = copy(self)
        self._own = set()
        vars(made).update(
            _watermarks=self._watermarks.copy(),
            _time=self._time.copy(),
            _open=dict(self._open),
            _by_end=list(self._by_end),
            _own=set(),
        )
        return made

    @property
    def watermark(self) -> int:
        """The time up to which windows are closed, ms since the epoch; -1 before any."""
        return self._passed

    @property
    def now(self) -> int:
        """Kafka time, ms since the epoch; -1 before any summary."""
        return self._time.now

    def update(
        self, summary: Mapping[str, Any], published_ms: int, cells: int = 0, *, tiled: bool = True
    ) -> list[ClosedWindow]:
        """Add one summary.

        Args:
            summary: A record of the summary schema, v4 or read as v4, that is plausible.
            published_ms: Its Kafka timestamp.
            cells: Number of cells of the reference that it names; 0 if that is not known.
            tiled: Whether it continues the summaries before it; otherwise all open windows, its own
                among them, are marked.

        Returns:
            The windows that it closes, by start, then model, version, reference and segments.

        Raises:
            ValueError: The packed counts are not valid; nothing was added.
        """
        found = list(read_windows(summary, cells))
        now = self._time.move(published_ms)
        self._watermarks.begin(now)
        for source in summary["sources"]:
            watermark = milliseconds_of(source["watermark"])
            if self._time.allows(watermark, self._ahead_ms):
                self._watermarks.move(source["partition"], watermark, now)
        reference = summary.get("reference", "") if cells else ""
        name = (summary["model"], summary["model_version"], reference)
        opened: list[tuple[int, _Key]] = []
        for window in found:
            self._count(name, tuple(summary.get("segments", ())), window, opened)
        self._place(opened)
        if not tiled:
            for key in self._open:
                self._owned(key).tiled = False
        closed = self._close()
        self._drop()
        return closed

    def _count(
        self, name: tuple[str, str, str], segments: tuple[str, ...], window: WindowCells,
        opened: list[tuple[int, _Key]],
    ) -> None:  # fmt: skip
        width = window.width_ms if HOUR_MS % window.width_ms else HOUR_MS
        start = window.start - window.start % width
        if start + width <= self._passed:
            self.late += window.count
            return
        key: _Key = (start, *name, segments, width)
        if key in self._open:
            known = self._owned(key)
            known.count += window.count
            known.late += window.late
            known.counts += window.counts
            if fits(known.score_sum, window.score_sum) and fits(known.log_sum, window.log_sum):
                known.score_sum += window.score_sum
                known.log_sum += window.log_sum
            else:
                known.tiled = False
            return
        self._open[key] = ClosedWindow(
            *name, segments, start, start + width, window.count, window.late, window.counts,
            window.score_sum, window.log_sum, tiled=True,
        )  # fmt: skip
        self._own.add(key)
        self._cells += window.counts.size
        opened.append((start + width, key))

    def _owned(self, key: _Key) -> ClosedWindow:
        """Return an open window that no other copy of this state has."""
        window = self._open[key]
        if key not in self._own:
            window = self._open[key] = replace(
                window, counts=window.counts.copy(), score_sum=window.score_sum.copy(),
                log_sum=window.log_sum.copy(),
            )  # fmt: skip
            self._own.add(key)
        return window

    def _place(self, opened: list[tuple[int, _Key]]) -> None:
        """Add windows to those that are in the order of their ends."""
        if len(opened) > _FEW:
            self._by_end = sorted(self._by_end + opened)
            return
        for each in opened:
            insort(self._by_end, each)

    def _close(self) -> list[ClosedWindow]:
        newest = self._watermarks.least(self.now)
        if newest is None:
            return []
        # Never backwards: closed windows stay closed when an idle partition becomes active again.
        self._passed = max(self._passed, newest - self._lateness_ms)
        ended = bisect_right(self._by_end, self._passed, key=lambda each: each[0])
        closing = sorted(key for _, key in self._by_end[:ended])
        del self._by_end[:ended]
        return [self._taken(key) for key in closing]

    def _taken(self, key: _Key) -> ClosedWindow:
        window = self._open.pop(key)
        self._own.discard(key)
        self._cells -= window.counts.size
        return window

    def _drop(self) -> None:
        """Drop the windows that end last, the future ones first, until few enough are left."""
        while len(self._open) > OPEN_MOST or self._cells > OPEN_CELLS_MOST:
            _, key = self._by_end.pop()
            self._taken(key)
            self.dropped += 1

    def document(self) -> dict[str, Any]:
        """Return the numbers of the state for JSON, without the open windows' arrays."""
        return {
            "watermarks": self._watermarks.document(), "passed": self._passed,
            "time": self._time.document(), "late": self.late, "dropped": self.dropped,
        }  # fmt: skip

    def opened(self) -> list[ClosedWindow]:
        """Return the open windows, in the order of their ends."""
        return [self._open[key] for _, key in self._by_end]

    def read(self, document: Mapping[str, Any], opened: Iterable[ClosedWindow]) -> None:
        """Continue from a state.

        Args:
            document: See :meth:`document`.
            opened: See :meth:`opened`.

        Raises:
            KeyError: A number is missing.
            ValueError: It is not a state.
        """
        self._watermarks = Watermarks.read(document["watermarks"])
        self._passed, self._time = int(document["passed"]), KafkaTime.read(document["time"])
        self.late, self.dropped = int(document["late"]), int(document["dropped"])
        self._open, self._own, self._cells = {}, set(), 0
        for window in opened:
            key: _Key = (
                window.start, window.model, window.version, window.reference, window.segments,
                window.end - window.start,
            )  # fmt: skip
            self._open[key] = window
            self._own.add(key)
            self._cells += window.counts.size
        self._by_end = sorted((window.end, key) for key, window in self._open.items())
