"""What the monitor knows of one model version: its streams, quality rules and newest counts."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL, NUMBER, TEXT, StreamKey, WatchedField
from stream_scorer.drift.alarms.nulls import Int64
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.quality.rules import QualityRules
from stream_scorer.drift.windows.contract import ClosedWindow

RECENT: Final = 24
"""Number of windows whose counts of all events are kept."""
NO_REFERENCE: Final = "no reference: stream-scorer models reference NAME:VERSION"
_OUTCOMES: Final = ("APPROVE", "REVIEW", "BLOCK")
LABELS_MOST: Final = 32


@dataclass(slots=True, eq=False)
class VersionWatch:
    """One model version.

    Attributes:
        model: Name of the model.
        version: Its version.
        reference: Digest of the reference that its summaries name; empty for none.
        note: Why it has no streams; empty if it has.
        last_start: Start of its newest window, ms.
        streams: Its streams; None without a reference.
        quality: Its rules; likewise.
        recent: int32[24, c], counts of all events by window and cell, oldest first.
        recent_start: int64[24], starts of those windows, ms; -1 where there is none.
    """

    model: str
    version: str
    reference: str
    note: str
    last_start: int
    streams: StreamsOfVersion | None
    quality: QualityRules | None
    recent: NDArray[np.int32]
    recent_start: Int64

    def copy(self) -> "VersionWatch":
        """Return a copy that can change separately."""
        return replace(
            self,
            streams=self.streams.copy() if self.streams else None,
            quality=self.quality.copy() if self.quality else None,
            recent=self.recent.copy(),
            recent_start=self.recent_start.copy(),
        )

    def count(self, closed: ClosedWindow) -> None:
        """Keep the counts of a window."""
        self.recent[:-1], self.recent_start[:-1] = self.recent[1:], self.recent_start[1:]
        self.recent[-1], self.recent_start[-1] = closed.counts[0], closed.start

    def distributions(
        self, key: StreamKey, onset: int, closed: ClosedWindow
    ) -> tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]:
        """Return labels, counts before and counts after a change of a stream.

        The counts before are the reference's. Those after are of the windows since the onset, at
        most 24; of a segment, of the closed window only.

        Args:
            key: The stream.
            onset: When the change began, ms.
            closed: The window that gave the alarm.
        """
        if self.streams is None:
            return (), (), ()
        reference = self.streams.reference
        first = reference.bins.first_cell
        for number, each in enumerate(reference.fields):
            if each.field.name != key.field:
                continue
            cells = slice(int(first[number]), int(first[number + 1]))
            segment = 0
            before = each.counts[0]
            if key.segment in reference.plan_segments:
                before = each.counts[1 + reference.plan_segments.index(key.segment)]
            if key.segment == ALL:
                since = (self.recent_start >= min(onset, closed.start)) & (self.recent_start >= 0)
                after = self.recent[since].sum(axis=0)[cells]
            else:
                segment = 1 + closed.segments.index(key.segment)
                after = closed.counts[segment, cells]
            names = _labels(each.field)
            return (
                names[:LABELS_MOST], tuple(before.tolist())[:LABELS_MOST],
                tuple(after.tolist())[:LABELS_MOST],
            )  # fmt: skip
        return (), (), ()


def _labels(field: WatchedField) -> tuple[str, ...]:
    if field.kind == NUMBER:
        edges = [f"≤ {edge:.4g}" if np.isfinite(edge) else "-" for edge in field.edges.tolist()]
        return (*edges, f"≤ {field.high:.4g}", "missing", "out of range")
    if field.kind == TEXT:
        return (*field.values, "missing", "unseen")
    return _OUTCOMES
