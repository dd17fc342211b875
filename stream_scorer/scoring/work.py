"""The scorer's work: computes the decisions, dead letters and summaries of each batch."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.records.codecs import Codecs
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.core.decision.decide_batch import decide_batch
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.summaries.summaries import flag_counts, outcome_counts
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Deferred, Result, Stages
from stream_scorer.kafka.topics.key_sample import KeySample
from stream_scorer.ports import Outgoing, Paused, RawRecords
from stream_scorer.rollout.log.activation import BatchPlan
from stream_scorer.rollout.log.ready_versions import Versions
from stream_scorer.scoring.batch_parts import NotYet, headless_from, records_before, see_rows
from stream_scorer.scoring.batch_reading import BatchReading
from stream_scorer.scoring.edge_rows import EdgeJudge, judged_rows
from stream_scorer.scoring.held_partitions import HeldPartitions
from stream_scorer.scoring.outputs import DecodedBatch, Outcomes, PieceDecisions
from stream_scorer.state.partitions.checkpoint_writer import Share
from stream_scorer.state.partitions.rejection_log import Noted
from stream_scorer.telemetry import (
    BatchCommitted,
    DecidedBy,
    Listener,
    ModelFailed,
    RevisionActivated,
    RevisionRefused,
)

Int64 = NDArray[np.int64]

_EVICTED_AT_ONCE = 256
"""Customers per batch and partition that are checked for eviction."""
_ALONE_SECONDS: Final = 0.5
_TURN_SECONDS: Final = 0.05
"""How long a batch waits for rows of terminals before it is read again, seconds: a moment if other
partitions may be decided meanwhile.
"""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is needed to keep or undo a batch."""

    scored: tuple[PieceDecisions, ...]
    cut: BatchPlan
    share: Share
    noted: Noted
    rejected: tuple[RejectReason, ...]
    skipped: int


class ScoringWork:
    """Decides batches for a transaction loop, and keeps or undoes their changes.

    Args:
        held: The assigned partitions.
        versions: The models, and the plan.
        codecs: Bytes to columns and back.
        outputs: Encodes the results as records.
        sample: Checks some of the keys.
        listener: Notified of model failures, and of revisions that begin or are refused.
        now_ms: The wall clock, ms since the epoch.
        judge: Judges rows that devices decided; None: all are refused.
    """

    def __init__(
        self,
        held: HeldPartitions,
        versions: Versions,
        codecs: Codecs,
        outputs: Outcomes,
        sample: KeySample,
        listener: Listener,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        judge: EdgeJudge | None = None,
    ) -> None:
        self._held = held
        self._versions = versions
        self._codecs = codecs
        self._outputs = outputs
        self._listener = listener
        self._now_ms = now_ms
        self._sample = sample
        self._judge = judge or EdgeJudge()
        self.rings = held.state.rings

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take over partitions; see :class:`HeldPartitions`."""
        self._held.assigned(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget partitions that left."""
        self._held.revoked(partitions)

    def close(self) -> None:
        """Close the connections."""
        self._held.close()

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        """Return the outdated checkpoint buckets of partitions that will leave, within bounds."""
        return self._held.state.checkpoints.flush(partitions)

    def restoring(self) -> bool:
        """Whether some partition is not ready yet."""
        return self._held.restoring()

    def restore(self) -> set[int]:
        """Do a step of restoring; return the partitions that are ready now.

        Raises:
            Paused: The checkpoint store, the registry or the broker is unavailable, or a plan is
                not read yet.
            StateError: The checkpoint does not fit the input; names the fix.
            NotWarmError: History is missing for the model's features; names the time from which it
                is complete.
        """
        return self._held.restore()

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Scoring]:
        """Decide a batch, as much of it as can be decided now.

        Partitions that must wait for rows of terminals are left for later. So a partition that is
        far ahead of another one does not delay it. That one may be what the profiler waits for.
        Records whose headers were left out are read again: a device may have decided them.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that are rejected as ``INTERNAL`` without being decoded, each with its
                failure.

        Raises:
            Deferred: All of it must wait.
            Paused: The registry is unavailable, a revision is not ready, or the model fails for too
                many rows.
        """
        part, rejected = raw, quarantined
        if headless := headless_from(raw):
            part, rejected = records_before(raw, quarantined, headless)
            if not len(part):
                raise Deferred("headers of records", frozenset(headless))
        first: Mapping[int, int] = {}
        try:
            result = self._decided(part, stages, rejected, waits=True)
        except NotYet as error:
            first = error.first
        if first:
            part, rejected = records_before(part, rejected, first)
            if not len(part):
                self._wait(frozenset(first))
            result = self._decided(part, stages, rejected, waits=False)
        return result if part is raw else replace(result, ends=part.next_offsets())

    def _wait(self, partitions: frozenset[int]) -> None:
        """Wait for rows of terminals, and have the batch read again.

        Raises:
            Deferred: Always.
        """
        if self._held.terminals is not None:
            alone = partitions >= set(self.rings.partitions())
            self._held.terminals.wait(_ALONE_SECONDS if alone else _TURN_SECONDS)
        raise Deferred("terminal-profiles", partitions)

    def _decided(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str], *, waits: bool
    ) -> Result[Scoring]:
        """Decide a batch.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: As for :meth:`compute`.
            waits: Whether partitions may have to wait for rows of terminals.

        Raises:
            NotYet: Some must.
            Paused: As for :meth:`compute`.
        """
        fleet = self._versions.fleet
        claims = self._judge(raw)
        reading = BatchReading(self._codecs.transactions, raw, quarantined, fleet.read_by, claims)
        try:
            reading(fleet.shared)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        stages.lap("decode")
        self.rings.adopt(fleet.features)
        try:
            cut = self._held.activations.cut(raw, reading, fleet)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        # Before this batch changes the rings.
        share = self._share(raw, cut)
        scored: list[PieceDecisions] = []
        try:
            stages.lap("checkpoint")
            if self._held.terminals is not None and len(cut.rows):
                see_rows(self._held.terminals, [piece.events for piece in cut.pieces], waits=waits)
                stages.lap("terminals")
            table = None if self._held.terminals is None else self._held.terminals.table
            for piece in cut.pieces:
                models = fleet.models[piece.routing.revision]
                made = decide_batch(
                    piece.events, self.rings, piece.routing, models, stages.lap, table,
                    self._outputs.draws, claims.given(cut, piece),
                )  # fmt: skip
                scored.append(PieceDecisions(piece, made))
            self._held.state.checkpoints.advance(share, raw.next_offsets())
            decoded = DecodedBatch(raw, cut.rows, cut.undecodable)
            return self._result(decoded, scored, cut, share, stages)
        except BaseException as error:
            self._take_back(scored, cut, share)
            if isinstance(error, ModelFailure):
                raise Paused("model", str(error)) from error
            raise

    def _share(self, raw: RawRecords, cut: BatchPlan) -> Share:
        try:
            return self._held.state.checkpoints.take(len(raw))
        except BaseException:
            self._held.activations.undo(cut)
            raise

    def _take_back(self, scored: Sequence[PieceDecisions], cut: BatchPlan, share: Share) -> None:
        for each in reversed(scored):
            self.rings.undo(each.made.journals)
        self._held.activations.undo(cut)
        self._held.state.checkpoints.undo(share)

    def _result(
        self,
        batch: DecodedBatch,
        scored: Sequence[PieceDecisions],
        cut: BatchPlan,
        share: Share,
        stages: Stages,
    ) -> Result[Scoring]:
        """Encode the results."""
        decided_at = self._now_ms()
        scored = tuple(each.marked(decided_at) for each in scored)
        outgoing = [*share.outgoing, *self._outputs.decisions(batch, scored, decided_at)]
        letters, rejected = self._outputs.dead_letters(batch, scored)
        outgoing += letters
        if self._held.recorded is not None:
            outgoing += self._held.recorded.outgoing(cut, decided_at)
        outgoing += self._outputs.shadow_scores(batch, scored)
        stages.lap("encode")
        reasons = rejected.reasons
        outgoing.append(self._outputs.summary(batch, scored, rejected, stages.seconds))
        stages.lap("summarize")
        # Last: nothing can fail after it, so only ``undo`` reverses it.
        noted = self._held.state.rejections.take(batch.raw, rejected.rows, reasons)
        outgoing += noted.outgoing
        return Result(outgoing, Scoring(scored, cut, share, noted, reasons, batch.skipped))

    def keep(self, result: Result[Scoring], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Keep the rings' changes; return the event that reports the commit."""
        scored = result.delta.scored
        touched: set[int] = set()
        for each in scored:
            self.rings.release(each.made.journals)
            touched.update(each.made.journals)
        for partition in touched:
            self.rings.of(partition).evict(_EVICTED_AT_ONCE)
        for each in scored:
            for partition in each.made.journals:
                rings = self.rings.of(partition)
                self._held.histories.committed(
                    partition, rings, each.piece.events, each.made.accepted
                )
        if self._held.terminals is not None and not self.restoring():
            self._held.terminals.evict()
        self._held.state.checkpoints.keep(result.delta.share)
        self._tell(result.delta.cut, scored)
        decoded = [each.piece.events for each in scored]
        partitions = self._held.state.restoration.partitions
        self._sample.take(raw, decoded, partitions, self._versions.fleet.shared)
        batches = [part.decisions for each in scored for part in each.made.decided]
        counted = [DecidedBy(outcome_counts(each), each.model, each.version) for each in batches]
        age = stages.committed_ms - np.concatenate([each.events.timestamp for each in batches])
        return BatchCommitted(
            len(raw),
            counted[0].outcomes,
            counted[0].model,
            counted[0].version,
            others=counted[1:],
            rejected=Counter(reason.value for reason in result.delta.rejected),
            flagged=sum((Counter(flag_counts(each)) for each in batches), Counter()),
            stage_seconds=stages.seconds,
            age_seconds=age / 1_000,
            next_offsets=raw.next_offsets(),
            skipped=result.delta.skipped,
        )

    def _tell(self, cut: BatchPlan, scored: Sequence[PieceDecisions]) -> None:
        """Report what a committed batch was besides its decisions."""
        for begun in cut.activations:
            self._listener(RevisionActivated(begun.partition, begun.offset, begun.revision))
        for refusal in cut.refusals:
            self._listener(RevisionRefused(refusal.revision, refusal.reason, refusal.partition))
        failures = [part.failure for each in scored for part in each.made.decided]
        failures += [part.failure for each in scored for part in each.made.shadowed]
        for why in filter(None, failures):
            who = why.version
            self._listener(ModelFailed(who.name, who.version, why.rows, why.error))
        if (judged := judged_rows(cut, scored)) is not None:
            self._listener(judged)

    def undo(self, result: Result[Scoring]) -> None:
        """Undo the changes of a batch."""
        delta = result.delta
        self._held.state.rejections.undo(delta.noted)
        self._take_back(delta.scored, delta.cut, delta.share)
