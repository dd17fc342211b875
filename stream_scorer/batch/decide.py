"""Decides a batch job's chunks of rows with the core, in the order of the input."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.batch.input import BLOCKED, SKIPPED, BatchInput, Place
from stream_scorer.batch.ledger import Done
from stream_scorer.batch.output import Decided, Reject
from stream_scorer.batch.terminals import Met, PublishedEvents, Terminals
from stream_scorer.core.decision.decide import Model, ModelFailure
from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import (
    EventBatch,
    Flag,
    Outcome,
    Rejections,
    RejectReason,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.kernels.store import NEVER
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.errors import ModelError
from stream_scorer.tables.columns import plain
from stream_scorer.tables.order import refuse_disorder

Int64 = NDArray[np.int64]
_PARTITION = 0
_EVICTED_AT_ONCE = 8_192
"""Number of customers per chunk that are checked for eviction."""


@dataclass(slots=True)
class Chunk:
    """The result of some rows of the input.

    Attributes:
        decided: Decisions, in the order of the input.
        rejects: Rejected rows, likewise.
    """

    decided: list[Decided] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


class Decider:
    """Decides chunks, and keeps the state for later ones: rings, terminals, counts.

    Args:
        model: The deciding model.
        plan: What all models share.
        source: Returns a file's name.
        terminals: The terminals' table; None without one.
        decided_at: The job's time, ms; events too far after it are rejected.
        since: Events before it, ms, are remembered, not decided; None: all are decided.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        source: BatchInput,
        terminals: Terminals | None,
        decided_at: int,
        since: int | None,
    ) -> None:
        self._model = model
        self._plan = plan
        self._source = source
        self._terminals = terminals
        self._decided_at = decided_at
        self._since = since
        self._latest = decided_at + plan.ahead_ms
        self._rings = PartitionRings(model.features)
        self._done = Done()
        self._outcomes: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def load(self, done: Done, payloads: list[bytes]) -> None:
        """Continue from the state of an earlier run.

        Args:
            done: Its progress.
            payloads: Its result of ``dump``.

        Raises:
            ValueError: They are damaged.
        """
        self._done = done
        self._outcomes, self._rejected = Counter(done.outcomes), Counter(done.rejected)
        rings = self._rings.of(_PARTITION)
        rings.watermark = done.watermark
        for payload in payloads[1:]:
            rings.load(payload)
        if self._terminals is not None:
            self._terminals.load(payloads[0])
            told = done.labels
            self._terminals.met = Met(
                told.get("frauds_in_input", 0), bool(told.get("met", 0)), told.get("unknown", 0)
            )  # fmt: skip

    def dump(self) -> list[bytes]:
        """Return the terminals' table, then the rings' buckets."""
        rings = self._rings.of(_PARTITION)
        buckets = (rings.dump(bucket) for bucket in range(BUCKETS))
        terminals = b"" if self._terminals is None else self._terminals.dump()
        return [terminals, *(bucket for bucket in buckets if bucket)]

    def done(self) -> Done:
        """Return the progress so far."""
        return replace(
            self._done,
            watermark=self._rings.of(_PARTITION).watermark,
            outcomes=dict(self._outcomes),
            rejected=dict(self._rejected),
            labels={} if self._terminals is None else self._terminals.labels(),
        )

    def decide(self, rows: pa.RecordBatch) -> Chunk:
        """Decide a chunk.

        Args:
            rows: Rows of the input, with the columns of ``BatchInput.schema``.

        Raises:
            SettingsError: An event is older than an earlier row's by more than the lateness.
            ModelError: The model fails for too many rows.
        """
        chunk = Chunk()
        faults = rows.column("_fault")
        if faults.null_count < rows.num_rows:
            sound = faults.is_null().to_numpy(zero_copy_only=False)
            skipped = pc.equal(faults, SKIPPED).fill_null(False).to_numpy(zero_copy_only=False)
            self._refuse(chunk, rows.take(pa.array(np.flatnonzero(~sound & ~skipped))))
            count = self._done.skipped + int(np.count_nonzero(skipped))
            self._done = replace(self._done, skipped=count)
            fitting = rows.take(pa.array(np.flatnonzero(sound)))
        else:
            fitting = rows
        time = np.asarray(fitting.column("event_time").cast(pa.int64()).to_numpy())
        cuts = [slice(0, len(time))]
        if self._terminals is not None:
            cuts = self._terminals.pieces(time, self._latest)
        for cut in cuts:
            self._decide(chunk, fitting.slice(cut.start, cut.stop - cut.start), time[cut])
        chunk.rejects.sort(key=lambda reject: reject.place)
        self._rejected.update(reject.reason for reject in chunk.rejects)
        last = Place(rows.column("_file")[-1].as_py(), rows.column("_row")[-1].as_py() + 1)
        self._done = replace(
            self._done, rows=self._done.rows + rows.num_rows, file=last.file, row=last.row
        )
        return chunk

    def _decide(self, chunk: Chunk, rows: pa.RecordBatch, time: Int64) -> None:
        if not len(time):
            return
        offset = rows.column("_row").to_numpy()
        events = EventBatch(
            rows.select(self._source.names), np.full(len(time), _PARTITION, np.int32), offset,
            np.full(len(time), self._decided_at),
        )  # fmt: skip
        if self._terminals is not None:
            in_time = time[time <= self._latest]
            self._terminals.expect(max(self._done.newest, int(in_time.max(initial=0))))
        try:
            made = decide_alone(
                events, self._rings, self._model, self._plan,
                terminals=None if self._terminals is None else self._terminals.table,
            )  # fmt: skip
        except ModelFailure as error:
            raise ModelError(
                f"model {self._model.name}:{self._model.version}: {error}", "fix the model"
            ) from error
        file = rows.column("_file").to_numpy()
        decisions, failure = made.decided[0].decisions, made.decided[0].failure
        self._keep_order(decisions.events, file[made.accepted])
        self._rings.release(made.journals)
        self._rings.of(_PARTITION).evict(_EVICTED_AT_ONCE)
        if self._terminals is not None:
            repeated = _duplicates(made.rejections)
            clock = np.full(len(time), NEVER)
            clock[made.accepted] = time[made.accepted]
            clock = np.maximum.accumulate(clock)[repeated]
            blocked = None
            if self._source.outcomes:
                blocked = rows.column(BLOCKED).to_numpy(zero_copy_only=False)
            accepted, again = (
                PublishedEvents(some, None if blocked is None else blocked[at])
                for some, at in (
                    (decisions.events, made.accepted),
                    (events.take(repeated), repeated),
                )
            )
            self._terminals.remember(accepted, again, clock, self._done.newest)
        self._add_rejects(chunk, rows, made.rejections)
        decided = Decided(decisions, file[made.accepted])
        count = len(decisions)
        if self._since is not None:
            decided = _since(decided, self._since)
            decisions = decided.decisions
        chunk.decided.append(decided)
        outcomes = np.bincount(decisions.outcome, minlength=len(Outcome)).tolist()
        self._outcomes.update({outcome.name: outcomes[outcome] for outcome in Outcome})
        degraded = int(np.count_nonzero(decisions.flags & np.uint8(Flag.DEGRADED)))
        self._done = replace(
            self._done,
            degraded=self._done.degraded + degraded,
            failed_rows=self._done.failed_rows + (failure.rows if failure else 0),
            accepted=self._done.accepted + count,
            history=self._done.history + count - len(decisions),
        )

    def _keep_order(self, events: EventBatch, file: NDArray[np.int32]) -> None:
        """Refuse events that would be too late in a stream, and update the newest time."""
        if not len(events):
            return
        newest = refuse_disorder(
            events.int64("event_time"),
            self._plan,
            lambda row: f"{self._source.files[file[row]].name}: row {int(events.offset[row]) + 1}",
            "the input",
            self._done.newest,
        )
        self._done = replace(self._done, newest=newest)

    def _refuse(self, chunk: Chunk, rows: pa.RecordBatch) -> None:
        """Reject rows that do not fit the schema."""
        some = rows.select(["_file", "_row", "event_time", "_fault", "_raw"])
        for row in _times_as_numbers(some).to_pylist():
            reason, _, detail = row["_fault"].partition(": ")
            reject = Reject((row["_file"], row["_row"]), reason, detail, json.loads(row["_raw"]))
            self._tell(chunk, reject, row["event_time"])

    def _add_rejects(self, chunk: Chunk, rows: pa.RecordBatch, rejections: Rejections) -> None:
        if not len(rejections):
            return
        some = _times_as_numbers(rows.take(pa.array(rejections.rows)))
        records: list[dict[str, Any]] = some.to_pylist()
        for record, reason, detail in zip(
            records, rejections.reasons, rejections.details, strict=True
        ):
            place = record.pop("_file"), record.pop("_row")
            del record["_fault"], record["_raw"]
            record.pop(BLOCKED, None)
            reject = Reject(place, reason.value, detail, plain(record))
            self._tell(chunk, reject, record["event_time"])

    def _tell(self, chunk: Chunk, reject: Reject, event_time: int) -> None:
        """Add a reject, unless it is history, which was reported with its own day.

        A row without a valid event time (here 0) belongs to no day.
        """
        if self._since is not None and 0 < event_time < self._since:
            told = self._done.history_rejected + 1
            self._done = replace(self._done, history_rejected=told)
        else:
            chunk.rejects.append(reject)


def _times_as_numbers(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows with times in ms: Python has no dates for some of them."""
    for at, (name, column) in enumerate(zip(rows.schema.names, rows.columns, strict=True)):
        if pa.types.is_timestamp(column.type):
            rows = rows.set_column(at, name, column.cast(pa.int64()))
    return rows


def _duplicates(rejections: Rejections) -> Int64:
    """Return int64[r], the rows that are duplicates."""
    again = [reason is RejectReason.DUPLICATE for reason in rejections.reasons]
    return rejections.rows[np.array(again, np.bool_)]


def _since(decided: Decided, since: int) -> Decided:
    """Return the decisions from an event time on."""
    decisions = decided.decisions
    rows = np.flatnonzero(decisions.events.int64("event_time") >= since)
    if len(rows) == len(decisions):
        return decided
    return Decided(decisions.take(rows), decided.file[rows])
