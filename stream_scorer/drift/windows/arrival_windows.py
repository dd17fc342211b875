"""Merges the summaries' windows of arrival, by the Kafka timestamps of the input records.

A window closes when each active partition has records of a later one. A partition is idle when it
has had none of a later window for the width of a window and ``watermarks.IDLE_MS`` more.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final

from stream_scorer.core.summaries.summary_reading import ArrivalWindow, read_arrivals
from stream_scorer.drift.windows.contract import ClosedArrivals
from stream_scorer.drift.windows.kafka_time import KafkaTime
from stream_scorer.drift.windows.watermarks import Watermarks
from stream_scorer.drift.windows.windows import HOUR_MS

ARRIVALS_MOST: Final = 2_000
"""Maximum number of open windows of arrival; of more, those that end last are dropped."""


class ArrivalWindows:
    """Open windows of arrival: a fold over the summaries in the order of their topic.

    Args:
        partitions: The input's partitions.

    Attributes:
        late: Number of records that are in no window: they came after it had closed, or it was
            dropped because too many were open.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._watermarks = Watermarks(partitions)
        self._open: dict[tuple[int, int], ClosedArrivals] = {}
        self._passed = -1
        self._time = KafkaTime()
        self.late = 0

    def copy(self) -> "ArrivalWindows":
        """Return a copy; a window is replaced, never changed."""
        made = copy(self)
        vars(made).update(
            _watermarks=self._watermarks.copy(), _open=dict(self._open), _time=self._time.copy()
        )
        return made

    def update(
        self, summary: Mapping[str, Any], published_ms: int, *, tiled: bool = True
    ) -> list[ClosedArrivals]:
        """Add one summary; return the windows that it closes, by start.

        Args:
            summary: A record of the summary schema, v4 or read as v4, that is plausible.
            published_ms: Its Kafka timestamp.
            tiled: As in :meth:`Windows.update`.
        """
        found = list(read_arrivals(summary))
        if not found:
            return []
        now = self._time.move(published_ms)
        self._watermarks.begin(now)
        for each in found:
            if self._time.allows(each.start):
                self._watermarks.move(each.partition, each.start, now)
            self._count(each)
        if not tiled:
            for key, window in self._open.items():
                self._open[key] = replace(window, tiled=False)
        widths = [each.width_ms for each in found] + [width for _, width in self._open]
        newest = self._watermarks.least(now, max(widths))
        if newest is not None:
            self._passed = max(self._passed, newest)
        closing = sorted(key for key in self._open if key[0] + key[1] <= self._passed)
        closed = [self._open.pop(key) for key in closing]
        while len(self._open) > ARRIVALS_MOST:
            self.late += self._open.pop(max(self._open)).records
        return closed

    def _count(self, more: ArrivalWindow) -> None:
        width = more.width_ms if HOUR_MS % more.width_ms else HOUR_MS
        start = more.start - more.start % width
        if start + width <= self._passed:
            self.late += more.records
            return
        known = self._open.get((start, width))
        rejected = dict(known.rejected) if known else {}
        for reason, count in more.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
        self._open[start, width] = ClosedArrivals(
            start, start + width,
            more.records + (known.records if known else 0),
            more.late + (known.late if known else 0),
            rejected, tiled=known.tiled if known else True,
        )  # fmt: skip

    def document(self) -> dict[str, Any]:
        """Return the state for JSON."""
        return {
            "watermarks": self._watermarks.document(), "passed": self._passed,
            "time": self._time.document(), "late": self.late,
            "open": [
                [each.start, each.end, each.records, each.late, each.rejected, each.tiled]
                for _, each in sorted(self._open.items())
            ],
        }  # fmt: skip

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "ArrivalWindows":
        """Return the windows of a state.

        Raises:
            KeyError: A part is missing.
            ValueError: It is not a state.
        """
        made = cls(())
        made._watermarks = Watermarks.read(document["watermarks"])
        made._passed, made._time = int(document["passed"]), KafkaTime.read(document["time"])
        made.late = int(document.get("late", 0))
        for start, end, records, late, rejected, tiled in document["open"]:
            counts = {str(reason): int(count) for reason, count in rejected.items()}
            made._open[start, end - start] = ClosedArrivals(
                start, end, records, late, counts, tiled
            )
        return made
