"""Events of the exactly-once loop: batches, their transactions, and computations that fail."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from stream_scorer.telemetry.event import (
    ArrayHistogram,
    Counter,
    Effect,
    Event,
    Gauge,
    Histogram,
    History,
    Line,
)

AGE_SLO_SECONDS = 0.1
"""The service level objective of the end-to-end age; exactly one bucket boundary."""

AGE_BOUNDS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, AGE_SLO_SECONDS, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
_STAGE_BOUNDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_BATCH_BOUNDS = (1, 5, 20, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000)

REJECT_REASONS = (
    "EMPTY", "FRAMING", "UNKNOWN_SCHEMA", "INCOMPATIBLE_SCHEMA", "MALFORMED", "TRAILING_BYTES",
    "TOO_LARGE", "MAPPING", "ID_EMPTY", "AMOUNT_NEGATIVE", "AMOUNT_TOO_LARGE", "CURRENCY",
    "TIME_INVALID", "TIME_AHEAD", "DUPLICATE", "UNREADABLE", "EDGE", "INTERNAL",
)  # fmt: skip
"""Each has a series from the start on: the increase of a series that is new is not seen."""
_ABORTS_IN_A_ROW = 3
"""A single abort resolves itself; this many without a commit between them need a person."""

_ABORTS = "Transactions keep aborting, producers are reborn, partitions are lost"
_QUARANTINED = "Degraded: records quarantined, left out of a replay"


@dataclass(frozen=True, slots=True)
class DecidedBy:
    """Decisions of one model by outcome (APPROVE, REVIEW, BLOCK)."""

    outcomes: Mapping[str, int]
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class BatchCommitted(Event):
    """One transaction was committed.

    Attributes:
        records: Its input records.
        outcomes: Decisions by outcome (APPROVE, REVIEW, BLOCK).
        model: The deciding model's name.
        version: Its version.
        rejected: Dead letters by reject reason.
        flagged: Decisions by flag.
        stage_seconds: Duration by stage (poll, decode, validate, features, score, encode, ...).
        age_seconds: Per decision, seconds between the record's Kafka timestamp and the commit;
            any sequence of floats or float64[n], one observation per decision.
        next_offsets: The next input offset by partition.
        others: Decisions of further models.
        skipped: Records that are not transactions.
    """

    records: int
    outcomes: Mapping[str, int]
    model: str
    version: str
    rejected: Mapping[str, int] = field(default_factory=dict)
    flagged: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    age_seconds: Sequence[float] | NDArray[np.float64] = ()
    next_offsets: Mapping[int, int] = field(default_factory=dict)
    others: Sequence[DecidedBy] = ()
    skipped: int = 0

    TRANSACTIONS = Counter(
        "transactions",
        "Transactions by result; settled_* are commits whose answer was lost and whose result "
        "was read from the committed offsets (settled_committed counts as committed too).",
        "result",
        begin=("committed", "aborted", "settled_committed", "settled_aborted"),
    )
    SIZE = Histogram(
        "batch_records", "Input records of one committed transaction.", bounds=_BATCH_BOUNDS
    )
    DECISIONS = Counter(
        "decisions", "Decisions in committed transactions.", "outcome", "model", "version"
    )
    REJECTED = Counter(
        "rejected",
        "Records sent to the dead-letter topic, by reject reason.",
        "reason",
        begin=REJECT_REASONS,
    )
    SKIPPED = Counter("skipped", "Records that [record] where of events.toml does not choose.")
    FLAGGED = Counter("flagged", "Decisions that carry a flag, by flag.", "flag")
    STAGE = Histogram(
        "stage_seconds", "Duration of one stage of one batch.", "stage", bounds=_STAGE_BOUNDS
    )
    UNACCOUNTED = Counter(
        "records_unaccounted",
        "Input records of committed transactions without a decision, a dead letter or a skip, and "
        "outputs without an input record: always 0.",
    )
    NEXT_OFFSET = Gauge(
        "next_offset", "Next input offset after the last commit of this process.", "partition"
    )
    AGE = ArrayHistogram(
        "age_seconds",
        "Seconds from a record's Kafka timestamp to the commit of its decision.",
        bounds=AGE_BOUNDS,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        history.aborts = 0
        yield self.TRANSACTIONS, 1, "committed"
        yield self.SIZE, self.records
        deciders: tuple[BatchCommitted | DecidedBy, ...] = (self, *self.others)
        for by in deciders:
            for outcome, count in by.outcomes.items():
                yield self.DECISIONS, count, outcome, by.model, by.version
        for reason, count in self.rejected.items():
            yield self.REJECTED, count, reason
        if self.skipped:
            yield self.SKIPPED, self.skipped
        if self.model:
            decided = sum(sum(by.outcomes.values()) for by in deciders)
            ended = decided + sum(self.rejected.values()) + self.skipped
            yield self.UNACCOUNTED, abs(self.records - ended)
        for flag, count in self.flagged.items():
            yield self.FLAGGED, count, flag
        for stage, seconds in self.stage_seconds.items():
            yield self.STAGE, seconds, stage
        for partition, offset in self.next_offsets.items():
            yield self.NEXT_OFFSET, offset, partition
        if len(self.age_seconds):
            yield self.AGE, self.age_seconds


@dataclass(frozen=True, slots=True)
class BatchAborted(Event):
    """A transaction was aborted; its state is undone and its input will be read again."""

    cause: str
    records: int

    LINE = Line("transactions_keep_aborting", _ABORTS, fields=("in_a_row", "cause", "records"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield BatchCommitted.TRANSACTIONS, 1, "aborted"
        history.aborts += 1
        if history.aborts >= _ABORTS_IN_A_ROW:
            yield self.LINE.given(in_a_row=history.aborts)


@dataclass(frozen=True, slots=True)
class RecordQuarantined(Event):
    """The computation always failed for one record; it was rejected, and that is committed.

    Attributes:
        topic: The record's topic.
        partition: Its partition.
        offset: Its offset.
        error: What failed, and where in the code.
    """

    topic: str
    partition: int
    offset: int
    error: str

    QUARANTINED = Counter(
        "records_quarantined",
        "Records for which the computation fails each time: batch rejected them, replay "
        "rebuilt the state without them.",
        "where",
        begin=("batch", "replay"),
    )
    # Not limited: a batch has few, and each is a defect to be reported.
    LINE = Line("record_quarantined", _QUARANTINED, "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.QUARANTINED, 1, "batch"
        yield self.LINE


@dataclass(frozen=True, slots=True)
class BatchUnreadable(Event):
    """A record batch is too large to be decompressed; skipping it is committed.

    Attributes:
        topic: Its topic.
        partition: Its partition.
        offset: Its first skipped offset.
        records: Number of skipped offsets.
    """

    topic: str
    partition: int
    offset: int
    records: int

    UNREADABLE = Counter(
        "records_unreadable",
        "Records that were skipped because their batch is too large to be inflated.",
    )
    LINE = Line("batch_unreadable", "Records that cannot be inflated are skipped")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.UNREADABLE, self.records
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ReplayLeftOut(Event):
    """A silent replay always fails for one record; the state was rebuilt without it.

    Attributes:
        partition: The record's partition.
        offset: Its offset.
        error: What failed, and where in the code.
    """

    partition: int
    offset: int
    error: str

    LINE = Line("replay_left_out", _QUARANTINED, "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield RecordQuarantined.QUARANTINED, 1, "replay"
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ComputationHung(Event):
    """A batch has been computed for longer than ``scorer.hang_seconds``.

    Attributes:
        seconds: For how long.
        stack: Stack of the computing thread, one line per frame, innermost last.
    """

    seconds: float
    stack: str

    HUNG = Gauge(
        "computation_hung_seconds",
        "Seconds that a batch had been computed when it was found hung; 0: none hangs.",
    )
    LINE = Line("computation_hung", "Not ready: hung", "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.HUNG, self.seconds
        yield self.LINE.given(seconds=round(self.seconds, 1))


@dataclass(frozen=True, slots=True)
class ComputationOver(Event):
    """The batch that hung has been computed after all, or failed."""

    def effects(self, history: History) -> Iterable[Effect]:
        """Log no line: the metric and the probe show it."""
        yield ComputationHung.HUNG, 0


@dataclass(frozen=True, slots=True)
class ProducerReborn(Event):
    """The producer was replaced so that a late request of the old one is fenced.

    Attributes:
        cause: Why it could be late; ``ABORTED`` after an abort that the broker confirmed.
    """

    cause: str

    ABORTED: ClassVar = "abort"
    REBIRTHS = Counter(
        "producer_rebirths", "Producers replaced so that a late request of the old is fenced."
    )
    LINE = Line("producer_reborn", _ABORTS)

    def effects(self, history: History) -> Iterable[Effect]:
        """Log no line for an abort: rebalances cause some, and too many in a row have a line."""
        yield self.REBIRTHS, 1
        if self.cause != self.ABORTED:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class CommitSettled(Event):
    """A commit whose answer was lost was settled by reading the stable committed offsets."""

    committed: bool

    def effects(self, history: History) -> Iterable[Effect]:
        result = "settled_committed" if self.committed else "settled_aborted"
        yield BatchCommitted.TRANSACTIONS, 1, result
