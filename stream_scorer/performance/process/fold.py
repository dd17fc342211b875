"""The fold of performance: from batches of merged records to windows, losses and warnings.

A batch is processed in the order of its records, and split after each decision whose watermark
closes a day. So what is published is a function of the records alone, wherever batches begin and
end. A day closes twice: at the age of a review, for the decisions that were drawn at random; and
when its last possible decision has matured.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.core.terminals.pending_labels import IDLE_MS, NEVER
from stream_scorer.core.terminals.profile_kernels import advance
from stream_scorer.performance.measures.contract import Int32, Int64, MaturedRows
from stream_scorer.performance.measures.measure import Measuring
from stream_scorer.performance.process.maturing import mature, review
from stream_scorer.performance.process.names import Names
from stream_scorer.performance.process.windows import Closed, MaturedWindows
from stream_scorer.performance.store.rows import SourcedStatements, WaitingDecisions
from stream_scorer.performance.store.store import OutboxRecord, PerformanceStore
from stream_scorer.performance.warning.watch import WarningBudget
from stream_scorer.retraining.rules.contract import RetrainRules
from stream_scorer.telemetry import Listener, PerformanceFolded

DAY_MS: Final = 86_400_000
WEEK_DAYS: Final = 7
_LATENESS_MS: Final = 3_600_000
"""How much earlier than the newest event time the watermark is."""
_CLOCK, _NAMES, _WATCHES = "clock", "names", "watches"


@dataclass(frozen=True, slots=True)
class FoldOptions:
    """What the fold computes.

    Attributes:
        maturity_ms: Age of a decision up to which labels must be known.
        slack_ms: Additional time for labels that were known in time to arrive.
        review_ms: Age at which a decision that was drawn for review counts.
        most_rows: Maximum number of decisions, waiting and matured; likewise of statements.
        measuring: Parameters of the measures.
        budget: Of the early warning.
        trust_declared_draws: Whether a draw that only a label declares counts.
        rules: Of retraining, which give the tolerance of the early warning; None: its budget does.
    """

    maturity_ms: int
    slack_ms: int
    review_ms: int
    most_rows: int
    measuring: Measuring
    budget: WarningBudget
    trust_declared_draws: bool = False
    rules: RetrainRules | None = None

    @property
    def horizon_ms(self) -> int:
        """How long after a day's end it closes."""
        return self.maturity_ms + self.slack_ms


@dataclass(frozen=True, slots=True, eq=False)
class PerformanceBatch:
    """A decoded batch. Places are row numbers of its records, ascending.

    Attributes:
        size: Number of records.
        decisions: n decisions.
        decided_at: int64[n], their places.
        partition: int32[n], partitions of the decisions' records.
        timestamp: int64[n], Kafka timestamps of these records, ms.
        told: m statements.
        told_at: int64[m], their places.
        unreadable: Records that are neither.
    """

    size: int
    decisions: WaitingDecisions
    decided_at: Int64
    partition: Int32
    timestamp: Int64
    told: SourcedStatements
    told_at: Int64
    unreadable: int = 0


class PerformanceFold:
    """Folds batches into the file; :meth:`commit` stores them.

    Args:
        store: The file.
        names: Numbers of versions and arms; it is restored from the file.
        partitions: Number of partitions of the decisions.
        options: What to compute.
        policies: Returns the policy for the unlabelled of a plan revision.
        publish: Encodes what a closing found.
        listener: Notified of what was counted.
        by_time: Returns whether labels name event times.
    """

    def __init__(
        self,
        store: PerformanceStore,
        names: Names,
        partitions: int,
        options: FoldOptions,
        policies: Callable[[int], LabelPolicy],
        publish: Callable[[Closed], Sequence[OutboxRecord]],
        listener: Listener,
        by_time: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._names = names
        self._options = options
        self._policies = policies
        self._publish = publish
        self._listener = listener
        self._by_time = by_time
        self._newest = np.full(partitions, NEVER)
        self._heard = self._newest.copy()
        self._watermark, self._timestamp = NEVER, 0
        self._matured: int | None = None
        self._reviewed: int | None = None
        self._factor = 1
        self._late = self._late_labels = self._full = 0
        self.windows = MaturedWindows(names, options.measuring, options.budget, options.rules)
        self._restore()
        self._pending, self._statements, self._kept = store.sizes()

    def _restore(self) -> None:
        if (kept := self._store.note(_CLOCK)) is None:
            return
        clock = json.loads(kept)
        newest, heard = np.array(clock["newest"], np.int64), np.array(clock["heard"], np.int64)
        # A partition that was added since then has been silent so far.
        known = min(len(newest), len(self._newest))
        self._newest[:known], self._heard[:known] = newest[:known], heard[:known]
        self._watermark, self._timestamp = clock["watermark"], clock["timestamp"]
        self._matured, self._reviewed = clock["matured"], clock["reviewed"]
        self._factor = clock["factor"]
        self._names.restore(self._store.note(_NAMES) or b"{}")
        self.windows.restore(json.loads(self._store.note(_WATCHES) or b"{}"))

    @property
    def clock_ms(self) -> int:
        """Watermark of event time."""
        return self._watermark

    def commit(self, places: Mapping[tuple[str, int], int]) -> None:
        """Store the state as of these offsets.

        Args:
            places: Next offset by topic and partition.

        Raises:
            UnavailableError: The file cannot be written.
        """
        clock: dict[str, Any] = {
            "newest": self._newest.tolist(), "heard": self._heard.tolist(),
            "watermark": self._watermark, "timestamp": self._timestamp,
            "matured": self._matured, "reviewed": self._reviewed, "factor": self._factor,
        }  # fmt: skip
        notes = {
            _CLOCK: json.dumps(clock).encode(),
            _NAMES: self._names.dump(),
            _WATCHES: json.dumps(self.windows.document()).encode(),
        }
        self._store.commit(places, notes)

    def take(self, batch: PerformanceBatch) -> None:
        """Count a batch.

        Raises:
            UnavailableError: The file cannot be written. The process must restart, and read again
                from the last commit.
        """
        before = self._watermark
        marks = np.empty(len(batch.decisions), np.int64)
        advance(
            batch.partition, batch.decisions.event_time, batch.timestamp, self._newest, self._heard,
            _LATENESS_MS, IDLE_MS, before, marks,
        )  # fmt: skip
        heard = np.maximum.accumulate(np.append(self._timestamp, batch.timestamp))[1:]
        grid = np.append(before, marks)
        closing = np.zeros(len(marks), np.bool_)
        for delay in (self._options.horizon_ms, self._options.review_ms):
            closing |= np.diff((grid - delay) // DAY_MS) > 0
        edges = (batch.decided_at[closing] + 1).tolist()
        at = 0
        for stop in dict.fromkeys([*edges, batch.size]):
            self._add(batch, at, stop)
            decided = int(np.searchsorted(batch.decided_at, stop))
            if decided:
                self._watermark, self._timestamp = int(marks[decided - 1]), int(heard[decided - 1])
                self._close()
            at = stop
        self._tell(batch.unreadable)

    # -- rows --------------------------------------------------------------------------------

    def _add(self, batch: PerformanceBatch, at: int, stop: int) -> None:
        """Add the rows of a batch from ``at`` to ``stop`` - 1."""
        first, last = np.searchsorted(batch.told_at, [at, stop]).tolist()
        told = batch.told.take(slice(first, last))
        first, last = np.searchsorted(batch.decided_at, [at, stop]).tolist()
        rows = batch.decisions.take(slice(first, last))
        if self._matured is not None:
            closed = (self._matured + 1) * DAY_MS
            self._late += int((rows.event_time < closed).sum())
            self._late_labels += int((told.event_time < closed).sum())
            rows, told = rows.take(rows.event_time >= closed), told.take(told.event_time >= closed)
        room = max(self._options.most_rows - self._statements, 0)
        self._full += max(len(told) - room, 0)
        self._statements += self._store.learn(told.take(slice(0, room)))
        self._wait(rows)

    def _wait(self, rows: WaitingDecisions) -> None:
        """Add decisions; with too many of them, keep a sample of the customers."""
        while True:
            rows = rows.take((rows.card & np.uint64(self._factor - 1)) == 0)
            room = self._options.most_rows - self._pending - self._kept
            self._pending += self._store.wait(rows.take(slice(0, max(room, 0))))
            if len(rows) <= room:
                return
            rows = rows.take(slice(max(room, 0), None))
            self._factor *= 2
            self._store.thin(self._factor - 1)
            self._store.thin_kept(self._factor - 1)
            self._pending, self._statements, self._kept = self._store.sizes()

    # -- closing -----------------------------------------------------------------------------

    def _close(self) -> None:
        """Close the days that are due, in the order of their times."""
        matured = (self._watermark - self._options.horizon_ms) // DAY_MS - 1
        reviewed = (self._watermark - self._options.review_ms) // DAY_MS - 1
        if self._matured is None or self._reviewed is None:
            self._matured, self._reviewed = matured, reviewed
            return
        waiting = self._store.days()
        due = [
            ((day + 1) * DAY_MS + self._options.horizon_ms, 0, day)
            for day in waiting
            if self._matured < day <= matured
        ] + [
            ((day + 1) * DAY_MS + self._options.review_ms, 1, day)
            for day in waiting
            if self._reviewed < day <= reviewed
        ]
        for closing, kind, day in sorted(due):
            if kind == 0:
                self._matured = day
                self._close_matured(day, closing)
            else:
                self._reviewed = day
                self._close_reviewed(day, closing)
        self._matured = max(self._matured, matured)
        self._reviewed = max(self._reviewed, reviewed)

    def _close_matured(self, day: int, closing: int) -> None:
        rows = self._store.waiting(day)
        options = self._options
        found = mature(
            rows, self._told(day), self._policies, options.maturity_ms, by_time=self._by_time(),
            factor=self._factor,
        )  # fmt: skip
        self._store.keep(day, found, day - WEEK_DAYS + 1)
        self._store.forget(day)
        self._pending, self._statements, self._kept = self._store.sizes()

        def week() -> MaturedRows:
            return self._store.kept(day - WEEK_DAYS + 1, day)

        policies = dict(self._policy_names(rows))
        closed = self.windows.close(day, found, week, policies, self._factor)
        self._post(closed, closing)

    def _close_reviewed(self, day: int, closing: int) -> None:
        found = review(
            self._store.waiting(day), self._told(day), self._policies, self._options.review_ms,
            by_time=self._by_time(), trusted=self._options.trust_declared_draws,
        )  # fmt: skip
        self._post(self.windows.review(day, found), closing)

    def _post(self, closed: Closed, closing: int) -> None:
        told = closed.at(closing, self._timestamp)
        self._store.post(self._publish(told))
        for event in told.events():
            self._listener(event)

    def _told(self, day: int) -> SourcedStatements:
        end = (day + 1) * DAY_MS if self._by_time() else None
        return self._store.statements(day * DAY_MS, end)

    def _policy_names(self, rows: WaitingDecisions) -> list[tuple[int, str]]:
        """Return the policy of each version's newest revision, by number of the version."""
        named = []
        for version in np.unique(rows.version).tolist():
            policy = self._policies(int(rows.revision[rows.version == version].max()))
            named.append((version, policy.unlabelled if policy.on else ""))
        return named

    def _tell(self, unreadable: int) -> None:
        self._listener(
            PerformanceFolded(
                self._pending, self._statements, self._late, self._late_labels, self._full,
                unreadable,
            )
        )  # fmt: skip
        self._late = self._late_labels = self._full = 0
