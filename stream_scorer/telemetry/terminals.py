"""Events of terminal profile rows: published by the profiler, read by scorers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line


@dataclass(frozen=True, slots=True)
class RowsSettled(Event):
    """Terminal profile rows were published in a committed transaction.

    Attributes:
        rows: How many.
        watermark_ms: All rows up to this event time are published, ms; None before the first.
        pending: Rows that wait for their cut-off.
        late_rows: Transactions that arrived when their row could no longer be published.
        late_labels: Labels without effect, by cause: ``delivered_late`` or ``after_cutoff``.
    """

    rows: int
    watermark_ms: int | None
    pending: int
    late_rows: int
    late_labels: Mapping[str, int]

    ROWS = Counter("terminal_rows_published", "Terminals' rows published.")
    PENDING = Gauge(
        "terminal_rows_pending", "Transactions whose row waits for its label's cut-off."
    )
    LATE_ROWS = Counter(
        "terminal_rows_late", "Transactions that came when their row could no longer leave."
    )
    LATE_LABELS = Counter(
        "labels_late",
        "Labels that changed no row: delivered_late came when the row had left, after_cutoff "
        "became known after the row's cut-off.",
        "cause",
    )
    WATERMARK = Gauge(
        "terminal_watermark_seconds",
        "Event time up to which terminals' rows are out (profiler) or taken in (scorer).",
    )
    LINE = Line(
        "terminal_rows_late", "Terminals' rows are late, labels change nothing", fields=("rows",)
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ROWS, self.rows
        yield self.PENDING, self.pending
        yield self.LATE_ROWS, self.late_rows
        for cause, count in self.late_labels.items():
            yield self.LATE_LABELS, count, cause
        if self.watermark_ms is not None:
            yield self.WATERMARK, self.watermark_ms / 1_000
        if self.late_rows:
            yield self.LINE.given(rows=self.late_rows)


@dataclass(frozen=True, slots=True)
class RowsHeld(Event):
    """Terminal profile rows wait, or no longer wait, for scorers to decide their transactions.

    Attributes:
        seconds: How long the row that leaves next has waited; 0 if none waits.
    """

    seconds: float

    HELD = Gauge(
        "terminals_held_seconds",
        "How long the terminals' row that leaves next has waited until scorers decide it; 0: none "
        "waits.",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.HELD, self.seconds


@dataclass(frozen=True, slots=True)
class RolloutNotVisible(Event):
    """The profiler cannot follow a rollout: all records are decoded by its plan file's mapping.

    Attributes:
        topics: Topics of the rollout that do not exist, or that it may not describe.
    """

    topics: tuple[str, ...]

    LINE = Line(
        "rollout_not_visible", "The profiler does not see the rollout", fields=("topics", "mend")
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE.given(
            mend="if a rollout changes events.toml, let the profiler read and describe these topics"
        )


@dataclass(frozen=True, slots=True)
class TerminalsRead(Event):
    """A scorer read terminal profile rows.

    Attributes:
        rows: How many it holds.
        watermark_ms: It has all rows up to this event time, ms; None before the first.
        left: Records of the topic that it still reads before it scores.
    """

    rows: int
    watermark_ms: int | None
    left: int = 0

    HELD = Gauge("terminal_rows_held", "Terminals' rows in the scorer's table.")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.HELD, self.rows
        if self.watermark_ms is not None:
            yield RowsSettled.WATERMARK, self.watermark_ms / 1_000
