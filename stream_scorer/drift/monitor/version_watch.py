"""What the monitor knows of one model version: its streams, quality rules and newest counts."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.summaries.summary_layout import ALL, NUMBER, TEXT, StreamKey, WatchedField
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.alarms.nulls import Int64
from stream_scorer.drift.alarms.river_streams import RiverStreams
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.quality.rules import QualityRules
from stream_scorer.drift.windows.contract import ClosedWindow
from stream_scorer.models.reference.contract import DriftReference
from stream_scorer.models.reference.matching import references_of
from stream_scorer.models.reference.stream_values import layout_of

RECENT: Final = 24
"""Number of windows whose counts of all events are kept."""
NO_REFERENCE: Final = "no reference: stream-scorer models reference NAME:VERSION"
WATCHED_MOST: Final = 16
"""Maximum number of versions with streams; of those that decide no longer, the oldest gives way."""
CROWDED: Final = (
    f"{WATCHED_MOST} other versions decided within a day, and no more are watched: it is watched "
    "as soon as one of them decides no longer"
)
OTHER_WIDTH: Final = "its windows have another width than those of its reference: make a new one"
RELEASED: Final = "decides no longer: its streams begin again when it does"
_OUTCOMES: Final = ("APPROVE", "REVIEW", "BLOCK")
LABELS_MOST: Final = 32


@dataclass(slots=True, eq=False)
class VersionWatch:
    """One model version.

    Attributes:
        model: Name of the model.
        version: Its version.
        reference: Digest of the reference that its summaries name; empty for none.
        note: Why it has no streams, or why they are not judged; empty if they are.
        last_start: Start of its newest window, ms.
        streams: Its streams; None without a reference.
        quality: Its rules; likewise.
        recent: int32[24, c], counts of all events by window and cell, oldest first.
        recent_start: int64[24], starts of those windows, ms; -1 where there is none.
        gone: Whether it decides no longer, because another version of its model does.
        river: What River's detectors say of its streams; None without a reference.
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
    gone: bool = False
    river: RiverStreams | None = None

    def copy(self) -> "VersionWatch":
        """Return a copy that can change separately."""
        return replace(
            self,
            streams=self.streams.copy() if self.streams else None,
            quality=self.quality.copy() if self.quality else None,
            recent=self.recent.copy(),
            recent_start=self.recent_start.copy(),
            river=self.river.copy() if self.river else None,
        )

    def begin(
        self, streams: StreamsOfVersion, quality: QualityRules, budget: AlarmBudget
    ) -> RiverStreams:
        """Watch streams; return River's new detectors of them.

        Args:
            streams: The streams.
            quality: The rules.
            budget: The budget of its alarms.
        """
        self.streams, self.quality = streams, quality
        self.river = RiverStreams(budget.windows(streams.reference.window_ms))
        return self.river

    def begin_again(self, budget: AlarmBudget, first_start: int) -> None:
        """Forget what the streams saw; what a person accepted stays usual.

        Args:
            budget: The budget of its alarms.
            first_start: Start of the first window of the input, ms.
        """
        before = self.streams
        if before is None:
            return
        before.take_accepted(np.ones(len(before.keys), np.bool_))
        made = StreamsOfVersion(before.reference, before.segments, budget, first_start)
        accepted = (before.base != made.base).any(axis=0)
        made.base[:] = before.base
        made.restart(accepted)
        made.since[:] = before.since
        self.begin(made, QualityRules(before.reference), budget)
        self.note = RELEASED
        self.recent, self.recent_start = np.zeros_like(self.recent), np.full(RECENT, -1)

    def release(self) -> None:
        """Give up the streams, until the version decides again."""
        self.streams, self.quality, self.river, self.note = None, None, None, RELEASED
        self.recent = np.zeros((RECENT, 0), np.int32)

    def count(self, closed: ClosedWindow) -> None:
        """Keep the counts of a window."""
        self.recent[:-1], self.recent_start[:-1] = self.recent[1:], self.recent_start[1:]
        self.recent[-1], self.recent_start[-1] = closed.counts[0], closed.start

    def ask_river(self, closed: ClosedWindow) -> None:
        """Let River's detectors see a window that the streams have judged."""
        if self.streams is not None and self.river is not None:
            history = self.streams.history
            self.river.update(
                self.streams.nulls, self.streams.observed, closed.end,
                lambda stream, count: history.begin_of(stream, count, closed.end),
            )  # fmt: skip

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


def version_of(
    closed: ClosedWindow, reference: DriftReference | None, budget: AlarmBudget, first_start: int,
    *, room: bool,
) -> VersionWatch:  # fmt: skip
    """Return a version that begins with a window: with streams, or with a note why it has none.

    Args:
        closed: The window.
        reference: The reference that it names; None if it is not known.
        budget: The budget of its alarms.
        first_start: Start of the first window of the input, ms.
        room: Whether one more version can have streams.
    """
    made = VersionWatch(
        closed.model, closed.version, closed.reference, NO_REFERENCE, -1, None, None,
        np.zeros((RECENT, 0), np.int32), np.full(RECENT, -1),
    )  # fmt: skip
    if reference is None:
        return made
    keys = references_of(reference, layout_of(reference, closed.segments).keys)
    count = len(keys) - keys.count(None)
    if closed.end - closed.start != reference.window_ms:
        made.note = OTHER_WIDTH
    elif not room:
        made.note = CROWDED
    elif count > budget.streams_most:
        made.note = too_many(count)
    else:
        made.note = ""
        streams = StreamsOfVersion(reference, closed.segments, budget, first_start)
        made.begin(streams, QualityRules(reference), budget)
        made.recent = np.zeros((RECENT, closed.counts.shape[1]), np.int32)
    return made


def too_many(streams: int) -> str:
    """Return the note of a version with too many streams."""
    return f"{streams} streams: has more streams than monitor.streams_most allows"


def _labels(field: WatchedField) -> tuple[str, ...]:
    if field.kind == NUMBER:
        edges = [f"≤ {edge:.4g}" if np.isfinite(edge) else "-" for edge in field.edges.tolist()]
        return (*edges, f"≤ {field.high:.4g}", "missing", "out of range")
    if field.kind == TEXT:
        return (*field.values, "missing", "unseen")
    return _OUTCOMES
