"""Decisions and statements as records of a merged stream, and what they should come to."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.performance.measures.contract import Measured
from stream_scorer.performance.measures.measure import Measuring
from stream_scorer.performance.process.fold import (
    DAY_MS,
    FoldOptions,
    PerformanceBatch,
    PerformanceFold,
)
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.process.windows import Closed
from stream_scorer.performance.store.rows import SourcedStatements, WaitingDecisions
from stream_scorer.performance.store.store import OutboxRecord, PerformanceStore
from stream_scorer.performance.warning.watch import WarningBudget
from stream_scorer.telemetry import Event
from tests.oracle.performance import JoinedRow

APPROVE, REVIEW, BLOCK = 0, 1, 2
GENUINE, FRAUD, UNKNOWN, DISPUTED = 0, 1, 2, 3
K = 5
MATURITY, SLACK, REVIEW_AGE = 3 * DAY_MS, DAY_MS, DAY_MS // 2
OPTIONS = FoldOptions(
    MATURITY, SLACK, REVIEW_AGE, 1_000_000, Measuring(cards_per_day=K), WarningBudget()
)
SOURCES = ("bank", "customer")
POLICY = LabelPolicy("genuine", 0, "genuine", SOURCES, on=True)


@dataclass(frozen=True)
class DecisionRecord:
    """A decision of transaction ``key``, in the stream."""

    key: int
    event_time: int
    score: float = 0.5
    amount: float = 50.0
    outcome: int = APPROVE
    through: bool = False
    propensity: float = 1.0
    drawn: bool = False
    pi: float = 0.0
    segments: int = 1
    card: int = 0
    version: int = 0
    arm: int = 0
    partition: int = 0


@dataclass(frozen=True)
class LabelRecord:
    """A statement about transaction ``key``, in the stream."""

    key: int
    event_time: int
    label_time: int
    state: int = FRAUD
    source: str = "bank"
    label_id: int = 0
    retracts: int = 0
    drawn: float = math.nan


StreamRecord = DecisionRecord | LabelRecord


@dataclass
class PerformanceWorld:
    """A fold over a file, which can be restarted from its last commit."""

    store: PerformanceStore = field(default_factory=lambda: PerformanceStore(None))
    options: FoldOptions = OPTIONS
    policies: Callable[[int], LabelPolicy] = lambda _: POLICY
    partitions: int = 1
    closed: list[Closed] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = Names()
        self.names.versions[:] = [("fraud", "1"), ("fraud", "2")]
        self.names.arms[:] = ["champion", "canary"]
        self.fold = PerformanceFold(
            self.store, self.names, self.partitions, self.options, self.policies, self._publish,
            self.told.append,
        )  # fmt: skip

    def _publish(self, closed: Closed) -> list[OutboxRecord]:
        self.closed.append(closed)
        return [OutboxRecord(closed.closing, "performance", b"", repr(closed.detected_at).encode())]

    def restart(self) -> None:
        """Continue from the file, as after a commit and a kill."""
        self.__post_init__()

    def give(self, records: Sequence[StreamRecord], first: int = 0) -> None:
        """Fold a batch whose first record has the number ``first`` in the stream."""
        self.fold.take(batch_of(records, first))
        self.fold.commit({("decisions", 0): first + len(records)})

    def windows(self, kind: str) -> list[Measured]:
        """Return the measured windows of a kind, in order."""
        return [w.measured for c in self.closed for w in c.windows if w.kind == kind]


def batch_of(records: Sequence[StreamRecord], first: int) -> PerformanceBatch:
    """Return records as a decoded batch; a record's number is its offset and Kafka time."""
    decided = [(n, r) for n, r in enumerate(records) if isinstance(r, DecisionRecord)]
    told = [(n, r) for n, r in enumerate(records) if isinstance(r, LabelRecord)]

    def of(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(r, name) for _, r in decided], kind)

    def said(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(r, name) for _, r in told], kind)

    count = len(decided)
    offset = np.array([first + n for n, _ in decided], np.int64)
    decisions = WaitingDecisions(
        of("partition", np.int32), offset, of("key", np.uint64), of("event_time", np.int64),
        of("card", np.uint64), of("version", np.int32), of("arm", np.uint8),
        of("segments", np.uint64), of("score", float), of("amount", float),
        of("outcome", np.uint8), of("through", np.bool_), of("propensity", float),
        of("drawn", np.bool_), of("pi", float), np.ones(count, np.int64),
    )  # fmt: skip
    statements = SourcedStatements(
        said("key", np.uint64), np.zeros(len(told), np.int32),
        np.array([first + n for n, _ in told], np.int64), said("event_time", np.int64),
        said("label_time", np.int64), said("state", np.uint8), said("label_id", np.uint64),
        said("retracts", np.uint64), said("drawn", float),
        np.array([r.source for _, r in told], object),
    )  # fmt: skip
    return PerformanceBatch(
        len(records), decisions, np.array([n for n, _ in decided], np.int64),
        of("partition", np.int32), offset.copy(), statements,
        np.array([n for n, _ in told], np.int64),
    )  # fmt: skip


def joined(records: Sequence[StreamRecord], first_day: int, last_day: int) -> list[JoinedRow]:
    """Return the joined table of some days of one stream, by plain loops over its records."""
    watermark = -(2**62)
    seen: list[tuple[int, LabelRecord]] = []
    waiting: list[tuple[int, DecisionRecord]] = []
    rows: list[JoinedRow] = []
    closed: int | None = None
    for number, record in enumerate(records):
        if isinstance(record, LabelRecord):
            seen.append((number, record))
            continue
        day = record.event_time // DAY_MS
        if closed is None or day > closed:
            waiting.append((number, record))
        watermark = max(watermark, record.event_time - 3_600_000)
        due = (watermark - MATURITY - SLACK) // DAY_MS - 1
        if closed is None:
            closed = due
        while closed < due and any(r.event_time // DAY_MS > closed for _, r in waiting):
            closed += 1
            mine = [r for _, r in waiting if r.event_time // DAY_MS == closed]
            if first_day <= closed <= last_day:
                rows += [_row(each, seen) for each in mine]
            waiting = [(n, r) for n, r in waiting if r.event_time // DAY_MS != closed]
        closed = max(closed, due)
    return rows


def _row(decision: DecisionRecord, seen: Sequence[tuple[int, LabelRecord]]) -> JoinedRow:
    blocked = decision.outcome == BLOCK and not decision.through
    weight = 1 / decision.propensity if decision.through else 1.0
    if blocked and decision.propensity < 1:
        weight = 0.0
    state = _state(decision, seen)
    fraud = None if state in {DISPUTED, UNKNOWN} else state == FRAUD
    if state is None:
        fraud = None if blocked else False
    return JoinedRow(
        decision.score, decision.amount, weight, decision.outcome, fraud, decision.card,
        decision.event_time,
    )  # fmt: skip


def _state(decision: DecisionRecord, seen: Sequence[tuple[int, LabelRecord]]) -> int | None:
    """Return the state that counts, or None, as docs and contract say it."""
    about = [
        (number, each) for number, each in seen
        if each.key == decision.key and each.label_time <= decision.event_time + MATURITY
    ]  # fmt: skip
    once: list[tuple[int, LabelRecord]] = []
    for number, each in about:
        if each.label_id and any(o.label_id == each.label_id for _, o in once):
            continue
        once.append((number, each))
    retracted = set()
    # From the last to the first, since a retraction may itself be retracted.
    for number, each in sorted(
        once, key=lambda n: (n[1].label_time, bool(n[1].retracts), n[0]), reverse=True
    ):
        if number in retracted or not each.retracts:
            continue
        for other_number, other in once:
            earlier = (other.label_time, bool(other.retracts), other_number) < (
                each.label_time, True, number,
            )  # fmt: skip
            if other.label_id == each.retracts and earlier:
                retracted.add(other_number)
    stated = [
        (len(SOURCES) - SOURCES.index(each.source) if each.source in SOURCES else 0,
         each.label_time, number, each.state)
        for number, each in once
        if number not in retracted and not each.retracts
    ]  # fmt: skip
    return max(stated)[3] if stated else None
