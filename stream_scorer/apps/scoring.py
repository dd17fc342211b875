"""The scorer's work: a batch of transactions becomes decisions, dead letters and a summary."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.apps.checkpoints import Checkpoints, Share
from stream_scorer.apps.histories import Histories
from stream_scorer.apps.key_sample import KeySample
from stream_scorer.apps.restoring import AT_ONCE, CheckpointedReplay, Restoration
from stream_scorer.apps.terminals import TerminalFollower
from stream_scorer.apps.warmth import Warmth
from stream_scorer.codec.avro import TransactionDecoder
from stream_scorer.codec.encode import DecisionEncoder
from stream_scorer.codec.record import RecordCodec
from stream_scorer.core.batch import Flag, Outcome, Rejections, RejectReason
from stream_scorer.core.deciding import Model, ModelFailure
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Rings, Scored, replay, score
from stream_scorer.core.summaries import flag_counts, parts, summarize
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.happenings import (
    BatchCommitted,
    Listener,
    ModelFailed,
    StateRestored,
)
from stream_scorer.kafka.deadletter import dead_letters
from stream_scorer.kafka.producer import Outgoing
from stream_scorer.kafka.replay import Replays
from stream_scorer.kafka.work import Paused, Result, Stages
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.settings import Topics
from stream_scorer.state.beginning import Beginning
from stream_scorer.state.history import INPUT, NOT_YET, merged, outlived

Int64 = NDArray[np.int64]

TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage", "b3"})
"""Headers of a transaction that its decision carries on: W3C Trace Context, Baggage, B3."""

_EVICTED_AT_ONCE = 256
"""Customers per batch and partition that are looked at for leaving."""


@dataclass(frozen=True, slots=True)
class Codecs:
    """How bytes become columns and back."""

    transactions: TransactionDecoder
    decisions: DecisionEncoder
    summaries: RecordCodec


@dataclass(frozen=True, slots=True)
class Scoring:
    """What keeping or undoing a batch needs."""

    scored: Scored
    share: Share
    rejected: tuple[RejectReason, ...]


class ScoringWork:
    """Scores batches for a transaction loop and keeps the customers' rings.

    Args:
        model: Decides.
        plan: What all models share.
        codecs: Bytes to columns and back.
        topics: Names of the input and of the outputs.
        instance: Name of this process, for dead letters.
        listener: Told of model failures, replays and misplaced keys.
        rings: The customers' histories.
        restoration: Brings the state of partitions that come.
        checkpoints: Writes it, a little with each batch.
        warmth: Judges whether the model may decide on it.
        now_ms: The wall clock, ms since the epoch.
        terminals: Brings terminals' rows; None for a model that asks for none.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        codecs: Codecs,
        topics: Topics,
        instance: str,
        listener: Listener,
        rings: Rings,
        restoration: Restoration,
        checkpoints: Checkpoints,
        warmth: Warmth,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        terminals: TerminalFollower | None = None,
    ) -> None:
        self._model = model
        self._plan = plan
        self._codecs = codecs
        self._topics = topics
        self._instance = instance
        self._listener = listener
        self._restoration = restoration
        self._checkpoints = checkpoints
        self._warmth = warmth
        self._now_ms = now_ms
        self._sample = KeySample(listener)
        self._replays = Replays(
            self._open_replay, self._refold, listener, AT_ONCE, lambda replay: replay.alone
        )
        self._opened: dict[int, CheckpointedReplay] = {}
        self._beginnings: dict[int, Beginning] = {}
        self._histories = Histories(listener, checkpoints.lacks)
        self._terminals = terminals
        self._whole_ones: set[int] = set()
        self.rings = rings

    # -- partitions come and go -------------------------------------------------------------

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take partitions over; their rings come back from the checkpoint and the input."""
        self._restoration.expect(set(offsets))
        for partition in offsets:
            self.rings.drop(partition)
        if self._terminals is not None:
            self._terminals.begin(offsets)
        self._replays.begin(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget the partitions' rings and replays."""
        self._replays.end(partitions)
        for partition in partitions:
            self.rings.drop(partition)
            self._checkpoints.stop(partition)
            self._opened.pop(partition, None)
            self._beginnings.pop(partition, None)
            self._histories.end(partition)
            self._whole_ones.discard(partition)

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        """Return what the checkpoint of partitions that are about to leave lacks, bounded."""
        return self._checkpoints.flush(partitions)

    def restoring(self) -> bool:
        """Whether some partition is not handed to the loop yet."""
        return self._replays.pending or bool(self._whole_ones)

    def restore(self) -> set[int]:
        """Take one partition a step nearer to being whole; return those that are.

        Raises:
            Paused: The checkpoint store or the registry is out of reach.
            StateError: The checkpoint does not fit the input; names what resolves it.
            NotWarmError: The model's features lack history; says until when.
        """
        ready, ended = self._replays.step()
        if ended is not None:
            self._whole(ended)
        if self._terminals is None:
            return ready
        # Only when all are whole it is known which rows the next events may see.
        self._whole_ones |= ready
        if self._replays.pending or not self._terminals.catch_up():
            return set()
        ready, self._whole_ones = self._whole_ones, set()
        return ready

    def _open_replay(self, partition: int, offset: int) -> CheckpointedReplay:
        opened = self._opened[partition] = self._restoration.open(partition, offset)
        self._beginnings[partition] = Beginning()
        return opened

    def _refold(self, raw: RawRecords) -> None:
        """Take replayed records of one partition into the rings that do not know them yet."""
        try:
            events, _, _ = self._codecs.transactions.decode(raw)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        partition = int(raw.partition[0])
        self._beginnings[partition].read(events, self._plan)
        restored = self._opened[partition].restored
        if restored is not None:
            events = restored.unknown(events)
        self.rings.release(replay(events, self.rings, self._plan, self._model.features))

    def _whole(self, ended: CheckpointedReplay) -> None:
        """A partition's state is as of its committed offset: from now on it is written."""
        partition = ended.partition
        self._opened.pop(partition)
        beginning = self._beginnings.pop(partition)
        restored = ended.restored
        if restored is None:
            raise RuntimeError(f"partition {partition}: the replay ended before it began")
        rings = self.rings.of(partition)
        rings.watermark = max(rings.watermark, restored.watermark)
        since = dict(restored.since)
        if restored.low > 0 and restored.buckets < len(restored.labels):
            since = merged([since, {INPUT: NOT_YET}])
        since = beginning.settled(since, rings.retention.lateness_ms)
        since = outlived(since, rings.watermark, rings.retention.horizon_ms)
        self._warmth.judge(partition, since, rings.watermark)
        self._histories.begin(partition, since, beginning, restored.low)
        self._listener(StateRestored(partition, restored.buckets, restored.first, ended.end))
        self._checkpoints.start(
            partition, self._restoration.partitions, ended.end, restored.low, restored.labels,
            since,
        )  # fmt: skip

    # -- batches ----------------------------------------------------------------------------

    def compute(self, raw: RawRecords, stages: Stages) -> Result[Scoring]:
        """Decide a batch.

        Raises:
            Paused: The registry is out of reach, or the model fails for too many rows.
        """
        try:
            events, rows, undecodable = self._codecs.transactions.decode(raw)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        stages.lap("decode")
        if self._terminals is not None and len(events):
            self._terminals.wait_for(events)
            stages.lap("terminals")
        # As the batch before this one left the rings.
        share = self._checkpoints.take(len(raw))
        try:
            stages.lap("checkpoint")
            table = None if self._terminals is None else self._terminals.table
            scored = score(events, self.rings, self._plan, self._model, stages.lap, table)
        except BaseException as error:
            self._checkpoints.undo(share)
            if isinstance(error, ModelFailure):
                raise Paused("model", str(error)) from error
            raise
        self._checkpoints.advance(share, raw.next_offsets())
        try:
            return self._result(raw, rows, undecodable, scored, share, stages)
        except BaseException:
            self._take_back(scored, share)
            raise

    def _take_back(self, scored: Scored, share: Share) -> None:
        self.rings.undo(scored.journals)
        self._checkpoints.undo(share)

    def _result(
        self,
        raw: RawRecords,
        rows: Int64,
        undecodable: Rejections,
        scored: Scored,
        share: Share,
        stages: Stages,
    ) -> Result[Scoring]:
        """Encode what was decided; the decoded events are the rows ``rows`` of ``raw``."""
        decided_at = self._now_ms()
        decisions = scored.decisions
        late = decided_at - decisions.events.timestamp > self._plan.late_decision_ms
        if late.any():
            flags = decisions.flags | np.where(late, np.uint8(Flag.LATE_DECISION), np.uint8(0))
            decisions = replace(decisions, flags=flags)
            scored = replace(scored, decisions=decisions)
        outgoing: list[Outgoing] = [*share.outgoing]
        if len(decisions):
            of_decision = rows[scored.accepted]
            keys = raw.keys if len(of_decision) == len(raw) else raw.keys.take(of_decision)
            outgoing.append(
                Outgoing(
                    self._topics.decisions,
                    self._codecs.decisions.encode(decisions, decided_at),
                    keys,
                    _trace_headers(raw.headers, of_decision),
                )
            )
        rejected = _rejected(rows, undecodable, scored.rejections)
        if rejected:
            letters = dead_letters(
                raw, [row for row, _, _ in rejected], [reason for _, reason, _ in rejected],
                [detail for _, _, detail in rejected], topic=self._topics.dead_letters,
                source_topic=self._topics.transactions, instance=self._instance,
            )  # fmt: skip
            outgoing.append(
                Outgoing(
                    self._topics.dead_letters,
                    BytesColumn.of(letter.value for letter in letters),
                    BytesColumn.of(letter.key for letter in letters),
                    [letter.headers for letter in letters],
                )
            )
        reasons = tuple(reason for _, reason, _ in rejected)
        summary = summarize(
            raw.partition, raw.offset, decisions, reasons, self._plan.summary_window_ms
        )
        stages.lap("encode")
        # Timings stay outside the payload, which is a pure function of the batch.
        timings: Headers = [
            (f"seconds.{stage}", f"{seconds:.6f}".encode())
            for stage, seconds in stages.seconds.items()
        ]
        encoded = [self._codecs.summaries.encode(part) for part in parts(summary)]
        n = len(encoded)
        outgoing.append(
            Outgoing(
                self._topics.summaries, BytesColumn.of(encoded), BytesColumn.nulls(n),
                [None] * (n - 1) + [timings],
            )
        )  # fmt: skip
        stages.lap("summarize")
        return Result(outgoing, Scoring(scored, share, reasons))

    def keep(self, result: Result[Scoring], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Keep the rings' changes and say what was committed."""
        scored = result.delta.scored
        self.rings.release(scored.journals)
        for partition in scored.journals:
            rings = self.rings.of(partition)
            rings.evict(_EVICTED_AT_ONCE)
            self._histories.committed(partition, rings, scored.decisions.events)
        if self._terminals is not None and not self.restoring():
            self._terminals.evict()
        self._checkpoints.keep(result.delta.share)
        decisions = scored.decisions
        if scored.failed_rows:
            self._listener(
                ModelFailed(decisions.model, decisions.version, scored.failed_rows, scored.failure)
            )
        self._sample.take(raw, self._restoration.partitions)
        outcomes = np.bincount(decisions.outcome, minlength=len(Outcome)).tolist()
        rejected: dict[str, int] = {}
        for reason in result.delta.rejected:
            rejected[reason.value] = rejected.get(reason.value, 0) + 1
        return BatchCommitted(
            records=len(raw),
            outcomes={outcome.name: outcomes[outcome] for outcome in Outcome},
            model=decisions.model,
            version=decisions.version,
            rejected=rejected,
            flagged=flag_counts(decisions),
            stage_seconds=stages.seconds,
            age_seconds=(stages.committed_ms - decisions.events.timestamp) / 1_000,
            next_offsets=raw.next_offsets(),
        )

    def undo(self, result: Result[Scoring]) -> None:
        """Take the rings' changes back."""
        self._take_back(result.delta.scored, result.delta.share)


def _rejected(
    rows: Int64, undecodable: Rejections, invalid: Rejections
) -> list[tuple[int, RejectReason, str]]:
    """Merge both kinds of rejection in the order of the raw records."""
    merged = list(
        zip(undecodable.rows.tolist(), undecodable.reasons, undecodable.details, strict=True)
    )
    merged += zip(rows[invalid.rows].tolist(), invalid.reasons, invalid.details, strict=True)
    return sorted(merged, key=lambda rejection: rejection[0])


def _trace_headers(headers: Sequence[Headers] | None, rows: Int64) -> list[Headers] | None:
    """Return what decisions carry on; None when no transaction of the batch is traced."""
    if headers is None:
        return None
    kept = [
        [(name, value) for name, value in headers[row] or () if name.lower() in TRACE_HEADERS]
        for row in rows.tolist()
    ]
    return [one or None for one in kept] if any(kept) else None
