"""The scorer's work: a batch of transactions becomes decisions, dead letters and a summary."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.records.codecs import Codecs
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.core.decision.decide_batch import decide_batch
from stream_scorer.core.decision.observe import Rings, refold
from stream_scorer.core.decision.routing import CHAMPION, Routing
from stream_scorer.core.decision.summaries import flag_counts, outcome_counts
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.kafka.loop.work_interface import NO_ROWS, Result, Stages
from stream_scorer.kafka.reading.replay import Replays
from stream_scorer.kafka.topics.key_sample import KeySample
from stream_scorer.ports import Outgoing, Paused, RawRecords
from stream_scorer.rollout.log.activation import Activations, BatchPlan
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.ready_versions import Versions
from stream_scorer.scoring.decode_quarantined import decode_without
from stream_scorer.scoring.outputs import Decoded, Outcomes, PieceDecisions
from stream_scorer.settings import Topics
from stream_scorer.state.checkpoints.history_coverage import INPUT, NOT_YET, merged, outlived
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints, Share
from stream_scorer.state.partitions.coverage_tracker import Histories
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.rejection_log import Noted, RejectionLog
from stream_scorer.state.partitions.restorer import AT_ONCE, CheckpointedReplay, Restoration
from stream_scorer.telemetry import (
    BatchCommitted,
    DecidedBy,
    Listener,
    ModelFailed,
    RevisionActivated,
    RevisionRefused,
    StateRestored,
)
from stream_scorer.terminals.follower import TerminalFollower

Int64 = NDArray[np.int64]

_EVICTED_AT_ONCE = 256
"""Customers per batch and partition that are looked at for leaving."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What keeping or undoing a batch needs."""

    scored: tuple[PieceDecisions, ...]
    cut: BatchPlan
    share: Share
    noted: Noted
    rejected: tuple[RejectReason, ...]


class ScoringWork:
    """Scores batches for a transaction loop and keeps the customers' rings.

    Args:
        versions: Who decides, and under which plan.
        codecs: Bytes to columns and back.
        topics: Names of the input and of the outputs.
        instance: Name of this process, for dead letters.
        listener: Told of model failures, replays and misplaced keys.
        rings: The customers' histories.
        restoration: Brings the state of partitions that come.
        checkpoints: Writes it, a little with each batch.
        rejections: Writes which records were rejected, with the batch that rejects them.
        warmth: Judges whether a model may decide on it.
        now_ms: The wall clock, ms since the epoch.
        terminals: Brings terminals' rows; None where no model asks for any.
        recorded: Which revision decided what; None where one version is pinned.
    """

    def __init__(
        self,
        versions: Versions,
        codecs: Codecs,
        topics: Topics,
        instance: str,
        listener: Listener,
        rings: Rings,
        restoration: Restoration,
        checkpoints: Checkpoints,
        rejections: RejectionLog,
        warmth: Warmth,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        terminals: TerminalFollower | None = None,
        recorded: ActivationLog | None = None,
    ) -> None:
        self._versions = versions
        self._codecs = codecs
        self._outcomes = Outcomes(codecs, topics, instance)
        self._activations = Activations(self._lacking, versions.need)
        self._recorded = recorded
        self._unsure: dict[int, int] = {}
        self._marked = False
        self._listener = listener
        self._restoration = restoration
        self._checkpoints = checkpoints
        self._rejections = rejections
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
        if self._recorded is not None and offsets:
            self._unsure |= offsets
            self._marked = False
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
            self._rejections.stop(partition)
            self._opened.pop(partition, None)
            self._beginnings.pop(partition, None)
            self._histories.end(partition)
            self._activations.end(partition)
            self._unsure.pop(partition, None)
            self._whole_ones.discard(partition)

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:
        """Return what the checkpoint of partitions that are about to leave lacks, bounded."""
        return self._checkpoints.flush(partitions)

    def restoring(self) -> bool:
        """Whether some partition is not handed to the loop yet."""
        return self._replays.pending or bool(self._whole_ones) or bool(self._unsure)

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
        self._whole_ones |= ready
        if not self._sure():
            return set()
        # Only when all are whole it is known which of terminals' rows the next events may see.
        if self._terminals is not None and (
            self._replays.pending or not self._terminals.catch_up()
        ):
            return set()
        ready, self._whole_ones = self._whole_ones, set()
        for partition in ready:
            self._judge(partition)
        return ready

    def _judge(self, partition: int) -> None:
        """Refuse a partition whose history does not serve the version that decides it."""
        fleet = self._versions.fleet
        active = self._activations.active(partition)
        routing = fleet.newest if fleet.pinned else fleet.of(active)
        watermark = self.rings.of(partition).watermark
        self._warmth.judge(
            partition,
            self._histories.since(partition),
            watermark,
            None if routing is None else fleet.models[routing.versions[CHAMPION]],
        )

    def _sure(self) -> bool:
        """Whether it is known which revision decided last what came."""
        if self._recorded is None or not self._unsure:
            return True
        try:
            if not self._marked:
                self._recorded.mark_end()
                self._marked = True
            if not self._recorded.read():
                return False
        except (RegistryUnavailableError, UnavailableError) as error:
            raise Paused("activations", str(error)) from error
        for partition, offset in self._unsure.items():
            revision = self._recorded.at(partition, offset)
            self._activations.begin(partition, revision)
            if revision is not None:
                self._listener(RevisionActivated(partition, offset, revision))
        self._unsure = {}
        return True

    def _open_replay(self, partition: int, offset: int) -> CheckpointedReplay:
        opened = self._opened[partition] = self._restoration.open(partition, offset)
        self._beginnings[partition] = Beginning()
        return opened

    def _refold(self, raw: RawRecords) -> None:
        """Take replayed records of one partition into the rings that do not know them yet.

        What was rejected then is passed over before it is decoded: a decoder that cannot take it
        is not asked again, and what today's plan and registry would make of it does not matter.
        """
        restored = self._opened[int(raw.partition[0])].restored
        if restored is not None:
            left = restored.others(raw)
            if left is None:
                return
            raw = left
        try:
            events, _, _ = self._codecs.transactions.decode(raw)
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        partition = int(raw.partition[0])
        fleet = self._versions.fleet
        self._beginnings[partition].read(events, fleet.shared)
        if restored is not None:
            events = restored.unknown(events)
        self.rings.release(refold(events, self.rings, fleet.shared, fleet.features))

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
        self._histories.begin(partition, since, beginning, restored.low)
        self._rejections.start(partition, restored.rejected.segments, restored.low)
        self._listener(StateRestored(partition, restored.buckets, restored.first, ended.end))
        self._checkpoints.start(
            partition, self._restoration.partitions, ended.end, restored.low, restored.labels,
            since,
        )  # fmt: skip

    # -- batches ----------------------------------------------------------------------------

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Scoring]:
        """Decide a batch.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that are rejected as ``INTERNAL`` unread, each with what fails.

        Raises:
            Paused: The registry is out of reach, or the model fails for too many rows.
        """
        try:
            events, rows, undecodable = decode_without(
                self._codecs.transactions, raw, quarantined, budgeted=True
            )
        except RegistryUnavailableError as error:
            raise Paused("registry", str(error)) from error
        stages.lap("decode")
        if self._terminals is not None and len(events):
            self._terminals.wait_for(events)
            stages.lap("terminals")
        fleet = self._versions.fleet
        self.rings.adopt(fleet.features)
        cut = self._activations.cut(raw, events, fleet)
        # As the batch before this one left the rings.
        share = self._share(raw, cut)
        scored: list[PieceDecisions] = []
        try:
            stages.lap("checkpoint")
            table = None if self._terminals is None else self._terminals.table
            for piece in cut.pieces:
                part = piece.of(events)
                made = decide_batch(
                    part, self.rings, piece.routing, fleet.models, stages.lap, table
                )
                scored.append(PieceDecisions(piece, part, made))
            self._checkpoints.advance(share, raw.next_offsets())
            decoded = Decoded(raw, rows, undecodable)
            return self._result(decoded, scored, cut, share, stages)
        except BaseException as error:
            self._take_back(scored, cut, share)
            if isinstance(error, ModelFailure):
                raise Paused("model", str(error)) from error
            raise

    def _share(self, raw: RawRecords, cut: BatchPlan) -> Share:
        try:
            return self._checkpoints.take(len(raw))
        except BaseException:
            self._activations.undo(cut)
            raise

    def _take_back(self, scored: Sequence[PieceDecisions], cut: BatchPlan, share: Share) -> None:
        for each in reversed(scored):
            self.rings.undo(each.made.journals)
        self._activations.undo(cut)
        self._checkpoints.undo(share)

    def _lacking(self, partition: int, routing: Routing) -> str:
        """Return why a partition's history does not serve a routing."""
        models = self._versions.fleet.models
        return self._warmth.lacking(
            partition,
            self._histories.since(partition),
            self.rings.of(partition).watermark,
            (models[version] for version in dict.fromkeys(routing.versions.values())),
        )

    def _result(
        self,
        batch: Decoded,
        scored: Sequence[PieceDecisions],
        cut: BatchPlan,
        share: Share,
        stages: Stages,
    ) -> Result[Scoring]:
        """Encode what was decided."""
        decided_at = self._now_ms()
        scored = tuple(each.marked(decided_at) for each in scored)
        outgoing = [*share.outgoing, *self._outcomes.decisions(batch, scored, decided_at)]
        letters, rejected = self._outcomes.dead_letters(batch, scored)
        outgoing += letters
        if self._recorded is not None:
            outgoing += self._recorded.outgoing(cut, decided_at)
        outgoing += self._outcomes.shadow_scores(batch, scored)
        stages.lap("encode")
        reasons = rejected.reasons
        outgoing.append(self._outcomes.summary(batch, scored, reasons, stages.seconds))
        stages.lap("summarize")
        # Last: nothing fails behind it, so only a computed batch has to take it back.
        noted = self._rejections.take(batch.raw, rejected.rows, reasons)
        outgoing += noted.outgoing
        return Result(outgoing, Scoring(scored, cut, share, noted, reasons))

    def keep(self, result: Result[Scoring], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Keep the rings' changes and say what was committed."""
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
                self._histories.committed(partition, rings, each.events, each.made.accepted)
        if self._terminals is not None and not self.restoring():
            self._terminals.evict()
        self._checkpoints.keep(result.delta.share)
        cut = result.delta.cut
        for begun in cut.activations:
            self._listener(RevisionActivated(begun.partition, begun.offset, begun.revision))
        for refusal in cut.refusals:
            self._listener(RevisionRefused(refusal.revision, refusal.reason, refusal.partition))
        decided = [part for each in scored for part in each.made.decided]
        failures = [part.failure for each in scored for part in each.made.shadowed]
        for failure in [*(part.failure for part in decided), *failures]:
            if failure is not None:
                self._listener(
                    ModelFailed(
                        failure.version.name, failure.version.version, failure.rows, failure.error
                    )
                )
        self._sample.take(raw, self._restoration.partitions)
        batches = [part.decisions for part in decided]
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
        )

    def undo(self, result: Result[Scoring]) -> None:
        """Take the rings' changes back."""
        delta = result.delta
        self._rejections.undo(delta.noted)
        self._take_back(delta.scored, delta.cut, delta.share)
