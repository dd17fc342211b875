"""The scorer's work: a batch of transactions becomes decisions, dead letters and a summary."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.avro import TransactionDecoder
from stream_scorer.codec.encode import DecisionEncoder
from stream_scorer.codec.record import RecordCodec
from stream_scorer.core.batch import Flag, Outcome, Rejections, RejectReason
from stream_scorer.core.plan import Plan
from stream_scorer.core.scorer import Model, ModelFailure, Rings, Scored, remember, score
from stream_scorer.core.summaries import flag_counts, summarize
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.happenings import (
    BatchCommitted,
    KeyMisplaced,
    Listener,
    ModelFailed,
    StateIncomplete,
)
from stream_scorer.kafka.deadletter import dead_letters
from stream_scorer.kafka.partitioner import misplaced
from stream_scorer.kafka.producer import Outgoing
from stream_scorer.kafka.replay import InputReplay, Replays
from stream_scorer.kafka.work import Paused, Result, Stages
from stream_scorer.ports import BytesColumn, Headers, RawRecords
from stream_scorer.settings import Topics

Int64 = NDArray[np.int64]

TRACE_HEADERS = frozenset({"traceparent", "tracestate", "baggage", "b3"})
"""Headers of a transaction that its decision carries on: W3C Trace Context, Baggage, B3."""

_SAMPLE_EVERY = 64


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
    rejected: tuple[RejectReason, ...]


@dataclass(slots=True)
class _Sample:
    """A rolling sample of keys against their partitions."""

    sampled: int = 0
    misplaced: int = 0
    pairs: list[tuple[bytes, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Span:
    """Oldest and newest event time that a replay has seen, ms."""

    oldest: int = 2**62
    newest: int = -(2**62)


class ScoringWork:
    """Scores batches for a transaction loop and keeps the customers' rings.

    Args:
        model: Decides.
        plan: What all models share.
        codecs: Bytes to columns and back.
        topics: Names of the input and of the outputs.
        instance: Name of this process, for dead letters.
        listener: Told of model failures, replays and misplaced keys.
        replay_of: Opens a replay of (partition, end offset); None when nothing is retained.
        partitions: How many partitions the input has.
        now_ms: The wall clock, ms since the epoch.
    """

    def __init__(
        self,
        model: Model,
        plan: Plan,
        codecs: Codecs,
        topics: Topics,
        instance: str,
        listener: Listener,
        replay_of: Callable[[int, int], InputReplay | None],
        partitions: Callable[[], int],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._model = model
        self._plan = plan
        self._codecs = codecs
        self._topics = topics
        self._instance = instance
        self._listener = listener
        self._partitions = partitions
        self._partition_count = 0
        self._now_ms = now_ms
        self._sample = _Sample()
        self._replays = Replays(replay_of, self._refold, listener)
        self._spans: dict[int, _Span] = {}
        self.rings = Rings(model.features)

    # -- partitions come and go -------------------------------------------------------------

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take partitions over; their rings are rebuilt by a silent replay."""
        self._partition_count = self._partitions()
        for partition in offsets:
            self.rings.drop(partition)
        self._replays.begin(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget the partitions' rings and replays."""
        for partition in partitions:
            self.rings.drop(partition)
            self._spans.pop(partition, None)
        self._replays.end(partitions)

    def restoring(self) -> bool:
        """Whether some partition is not handed to the loop yet."""
        return self._replays.pending

    def restore(self) -> set[int]:
        """Replay some records of one partition; return the partitions that are whole."""
        ready, ended = self._replays.step()
        if ended is not None:
            span = self._spans.pop(ended.partition, _Span())
            horizon = self._model.features.retention.horizon_ms
            if ended.low > 0 and span.newest - span.oldest < horizon:
                self._listener(StateIncomplete(ended.partition, ended.low))
        return ready

    def _refold(self, raw: RawRecords) -> None:
        """Take replayed records of one partition into the rings."""
        try:
            events, _, _ = self._codecs.transactions.decode(raw)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        seen = remember(events, self.rings, self._plan, self._model.features)
        self.rings.release(seen.journals)
        if len(seen.accepted):
            time_ms = events.int64("event_time")[seen.accepted]
            span = self._spans.setdefault(int(raw.partition[0]), _Span())
            span.oldest = min(span.oldest, int(time_ms.min()))
            span.newest = max(span.newest, int(time_ms.max()))

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
        try:
            scored = score(events, self.rings, self._plan, self._model, stages.lap)
        except ModelFailure as error:
            raise Paused("model", str(error)) from error
        try:
            return self._result(raw, rows, undecodable, scored, stages)
        except BaseException:
            self.rings.undo(scored.journals)
            raise

    def _result(
        self,
        raw: RawRecords,
        rows: Int64,
        undecodable: Rejections,
        scored: Scored,
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
        outgoing: list[Outgoing] = []
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
        encoded = BytesColumn.of((self._codecs.summaries.encode(summary),))
        outgoing.append(Outgoing(self._topics.summaries, encoded, BytesColumn.nulls(1), [timings]))
        stages.lap("summarize")
        return Result(outgoing, Scoring(scored, reasons))

    def keep(self, result: Result[Scoring], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Keep the rings' changes and say what was committed."""
        scored = result.delta.scored
        self.rings.release(scored.journals)
        decisions = scored.decisions
        if scored.failed_rows:
            self._listener(
                ModelFailed(decisions.model, decisions.version, scored.failed_rows, scored.failure)
            )
        self._check_keys(raw)
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

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:  # noqa: ARG002 see Work
        """Leave nothing behind."""
        return ()

    def undo(self, result: Result[Scoring]) -> None:
        """Take the rings' changes back."""
        self.rings.undo(result.delta.scored.journals)

    def _check_keys(self, raw: RawRecords) -> None:
        """Sample keys: upstream must partition as we do, or customers' histories are split."""
        key = raw.keys[-1]
        if key is not None:
            self._sample.pairs.append((key, int(raw.partition[-1])))
        if len(self._sample.pairs) < _SAMPLE_EVERY:
            return
        self._sample.sampled += len(self._sample.pairs)
        self._sample.misplaced += misplaced(self._sample.pairs, self._partition_count)
        self._sample.pairs.clear()
        self._listener(KeyMisplaced(self._sample.sampled, self._sample.misplaced))


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
