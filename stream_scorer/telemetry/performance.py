"""Events of performance and of a trainer: what was measured and warned of, and what followed."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line


@dataclass(frozen=True, slots=True)
class PerformanceFolded(Event):
    """Decisions and labels were read.

    Attributes:
        waiting: Decisions that wait for their labels.
        labels: Labels that are kept.
        late: Decisions that arrived after their day had closed.
        late_labels: Labels that arrived after their decision's day had closed.
        full: Labels that were left out, because the maximum is kept.
        unreadable: Records that do not belong in their topic.
    """

    waiting: int
    labels: int
    late: int = 0
    late_labels: int = 0
    full: int = 0
    unreadable: int = 0

    PENDING = Gauge("performance_pending", "Decisions that wait until their labels mature.")
    LABELS = Gauge("performance_labels", "Labels that are kept for decisions that wait.")
    LATE = Counter("performance_late_decisions", "Decisions that came after their day had closed.")
    LATE_LABELS = Counter(
        "performance_late_labels", "Labels that came after their decision's day had closed."
    )
    LEFT_OUT = Counter("performance_labels_left_out", "Labels left out because too many are kept.")
    UNREADABLE = Counter(
        "performance_records_unreadable", "Records that were not what their topic holds."
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.PENDING, self.waiting
        yield self.LABELS, self.labels
        yield self.LATE, self.late
        yield self.LATE_LABELS, self.late_labels
        yield self.LEFT_OUT, self.full
        yield self.UNREADABLE, self.unreadable


@dataclass(frozen=True, slots=True)
class PerformanceMeasured(Event):
    """A window closed; of several versions and arms, the one that decided most.

    Attributes:
        window: ``day`` or ``week``.
        values: Measures by name; NaN for one that is not defined.
        counts: Matured decisions by state: ``fraud``, ``genuine``, ``unknown``.
    """

    window: str
    values: Mapping[str, float]
    counts: Mapping[str, int]

    VALUE = Gauge(
        "performance_value",
        "Measures of the last closed window of the version that decided most.",
        "measure", "window",
    )  # fmt: skip
    ROWS = Counter("performance_rows", "Matured decisions of closed days by state.", "state")
    UNKNOWN = Gauge(
        "performance_unknown_share",
        "Share of the last closed day of which it is not known whether they are frauds.",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        for name, value in self.values.items():
            yield self.VALUE, None if math.isnan(value) else value, name, self.window
        if self.window != "day":
            return
        for state, count in self.counts.items():
            yield self.ROWS, count, state
        total = sum(self.counts.values())
        yield self.UNKNOWN, self.counts.get("unknown", 0) / total if total else None


@dataclass(frozen=True, slots=True)
class PerformanceWarned(Event):
    """The early warning was computed.

    Attributes:
        klass: The class that warned; empty without a warning.
        log_e: Logarithms of the evidence by class.
    """

    klass: str
    log_e: Mapping[str, float]

    EVIDENCE = Gauge(
        "performance_log_evidence",
        "Natural logarithm of the evidence that the loss per decision has risen.",
        "class",
    )
    LINE = Line("performance_warned", "The loss per decision has risen", per=("klass",))

    def effects(self, history: History) -> Iterable[Effect]:
        for name, value in self.log_e.items():
            yield self.EVIDENCE, value, name
        if self.klass:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class PerformanceSent(Event):
    """Records of performance were published, or could not be.

    Attributes:
        waiting: Records that are still to be sent.
    """

    waiting: int

    LAG = Gauge("performance_outbox_lag", "Records that are computed and not published yet.")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LAG, self.waiting


_TRAINER = "Log lines of the trainer"


@dataclass(frozen=True, slots=True)
class RetrainHeld(Event):
    """Whether a retraining is wanted and guards hold it back.

    Attributes:
        trigger: What wants it; empty if nothing does.
        guards: The guards that hold it back.
    """

    trigger: str
    guards: tuple[str, ...]

    HELD = Gauge("retrain_held", "Guards that hold back a retraining that is wanted.")
    LINE = Line("retrain_held", _TRAINER, "info", per=("guards",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.HELD, len(self.guards)
        if self.guards:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class RetrainStepped(Event):
    """A retraining has reached a step.

    Attributes:
        number: Its number.
        step: The step.
        trigger: What started it.
        reason: Why.
    """

    number: int
    step: str
    trigger: str
    reason: str

    RUN = Gauge("retrain_run", "Number of the newest retraining.")
    LINE = Line("retrain_stepped", _TRAINER, "info", per=("number", "step"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.RUN, self.number
        yield self.LINE


@dataclass(frozen=True, slots=True)
class RetrainEnded(Event):
    """A retraining has ended; the champion stays if it failed.

    Attributes:
        number: Its number.
        result: ``done`` or ``failed``.
        reason: Why.
    """

    number: int
    result: str
    reason: str

    ENDED = Counter("retrain_ended", "Retrainings that have ended.", "result")
    LINE = Line("retrain_ended", _TRAINER, per=("number",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.ENDED, 1, self.result
        if self.result == "failed":
            yield self.LINE
