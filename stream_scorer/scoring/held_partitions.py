"""The state of a scorer's assigned partitions, from assignment through restore to revocation.

A partition is ready when its rings are restored, the revision that decided its last record is
known, and the terminal profile rows that its next events need have been read.
"""

import time
from dataclasses import dataclass, field

from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping
from stream_scorer.core.decision.observe import PartitionRings, refold
from stream_scorer.core.decision.routing import CHAMPION, Routing
from stream_scorer.core.events.batch import EventBatch, Rejections, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.kafka.reading.replay import Replays
from stream_scorer.ports import Paused, RawRecords
from stream_scorer.rollout.log.activation import Activations
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.ready_versions import Versions
from stream_scorer.state.checkpoints.history_coverage import INPUT, NOT_YET, merged, outlived
from stream_scorer.state.checkpoints.history_start import Beginning
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints
from stream_scorer.state.partitions.coverage_tracker import Histories
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.rejection_log import RejectionLog
from stream_scorer.state.partitions.restorer import AT_ONCE, CheckpointedReplay, Restoration
from stream_scorer.telemetry import Listener, RecordsSkipped, RevisionActivated, StateRestored
from stream_scorer.terminals.follower import TerminalFollower


@dataclass(frozen=True, slots=True)
class HeldState:
    """The state of the assigned partitions, with the objects that restore, write and judge it.

    Attributes:
        rings: The customers' histories.
        restoration: Restores the state of each newly assigned partition.
        checkpoints: Writes the rings to the checkpoint, a few buckets with each batch.
        rejections: Writes the offsets and reasons of rejected records, in the transaction of their
            batch.
        warmth: Decides whether a model may use a partition's histories.
    """

    rings: PartitionRings
    restoration: Restoration
    checkpoints: Checkpoints
    rejections: RejectionLog
    warmth: Warmth


@dataclass(slots=True)
class _Restoring:
    """A partition whose state is being restored.

    Attributes:
        replay: Loads its checkpoint and replays the input after it.
        beginning: Collects the first replayed events, which show where the history begins.
        timeline: (first offset, the plan that decided from there), ascending; empty: not read yet.
        began: When it began, seconds, monotonic.
    """

    replay: CheckpointedReplay
    beginning: Beginning = field(default_factory=Beginning)
    timeline: list[tuple[int, Plan]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)


class HeldPartitions:
    """Takes over partitions and restores each until it can be decided.

    Args:
        versions: The models, and the plan.
        decoders: Decode the replayed input, each by a mapping.
        state: The partitions' state.
        listener: Notified of restored partitions and of the revisions that decide them.
        terminals: Reads the terminal profile rows; None if no model uses them.
        recorded: The activations: which revision decided which offsets; None if one version is
            pinned.

    Attributes:
        state: The partitions' state.
        activations: The revision of each partition.
        histories: Since when each partition's history is complete.
        terminals: As above.
        recorded: As above.
    """

    def __init__(
        self,
        versions: Versions,
        decoders: EventDecoders,
        state: HeldState,
        listener: Listener,
        terminals: TerminalFollower | None = None,
        recorded: ActivationLog | None = None,
    ) -> None:
        self.state = state
        self.terminals = terminals
        self.recorded = recorded
        self.activations = Activations(self._lacking, versions.need)
        self.histories = Histories(listener, state.checkpoints.lacks)
        self._versions = versions
        self._decoders = decoders
        self._listener = listener
        self._replays = Replays(
            self._open_replay, self._refold, listener, AT_ONCE, lambda replay: replay.alone
        )
        self._restoring: dict[int, _Restoring] = {}
        self._restored: set[int] = set()
        self._unsure: dict[int, int] = {}
        self._marked = False

    def assigned(self, offsets: dict[int, int]) -> None:
        """Take over partitions; begin to restore their rings from the checkpoint and the input."""
        self.state.restoration.expect(set(offsets))
        if self.recorded is not None and offsets:
            self._unsure |= offsets
            self._marked = False
        for partition in offsets:
            self.state.rings.drop(partition)
        if self.terminals is not None:
            self.terminals.begin(offsets)
        self._replays.begin(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget the partitions' rings and replays."""
        self._replays.end(partitions)
        for partition in partitions:
            self.state.rings.drop(partition)
            self.state.checkpoints.stop(partition)
            self.state.rejections.stop(partition)
            self._restoring.pop(partition, None)
            self.histories.end(partition)
            self.activations.end(partition)
            self._unsure.pop(partition, None)
            self._restored.discard(partition)

    def close(self) -> None:
        """Close the connections of the replays, and of the terminal profile rows."""
        self._replays.close()
        if self.terminals is not None:
            self.terminals.close()

    def restoring(self) -> bool:
        """Whether some partition is not ready yet."""
        return self._replays.pending or bool(self._restored) or bool(self._unsure)

    def restore(self) -> set[int]:
        """Do one step of restoring; return the partitions that are ready now.

        Raises:
            Paused: The checkpoint store, the registry or the broker is unavailable, or a plan is
                not read yet.
            StateError: The checkpoint does not fit the input; names the fix.
            NotWarmError: History is missing for the model's features; names the time from which it
                is complete.
        """
        # A replay decodes each record by the mapping of the revision that decided it.
        if not self._sure():
            return set()
        ready, ended = self._replays.step()
        if ended is not None:
            self._whole(ended)
        self._restored |= ready
        # The rows that the next events need are known only when all rings are restored.
        if self.terminals is not None and (self._replays.pending or not self.terminals.catch_up()):
            return set()
        ready, self._restored = self._restored, set()
        for partition in ready:
            self._judge(partition)
        return ready

    def _judge(self, partition: int) -> None:
        """Refuse a partition if history is missing for the version that decides it."""
        fleet = self._versions.fleet
        active = self.activations.active(partition)
        routing = fleet.newest if fleet.pinned else fleet.of(active)
        watermark = self.state.rings.of(partition).watermark
        self.state.warmth.judge(
            partition,
            self.histories.since(partition),
            watermark,
            None if routing is None else fleet.models[routing.revision][routing.versions[CHAMPION]],
        )

    def _sure(self) -> bool:
        """Read the activations; return whether the last revision of each new partition is known."""
        if self.recorded is None or not self._unsure:
            return True
        try:
            if not self._marked:
                self.recorded.mark_end()
                self._marked = True
            if not self.recorded.read():
                return False
        except (RegistryUnavailableError, UnavailableError) as error:
            raise Paused("activations", str(error)) from error
        for partition, offset in self._unsure.items():
            revision = self.recorded.at(partition, offset)
            self.activations.begin(partition, revision)
            if revision is not None:
                self._listener(RevisionActivated(partition, offset, revision))
        self._unsure = {}
        return True

    def _open_replay(self, partition: int, offset: int) -> CheckpointedReplay:
        opened = self.state.restoration.open(partition, offset)
        self._restoring[partition] = _Restoring(opened)
        return opened

    def _refold(self, raw: RawRecords) -> None:
        """Fold replayed records of one partition into the rings that do not contain them yet.

        Records that were rejected are skipped before they are decoded. So a record that crashed the
        decoder does not reach it again, and a newer plan or registry cannot accept it.
        """
        partition = int(raw.partition[0])
        restoring = self._restoring[partition]
        restored = restoring.replay.restored
        if restored is not None:
            left = restored.others(raw)
            if left is None:
                return
            raw = left
        if not restoring.timeline:
            restoring.timeline = self._timeline(partition)
        fleet = self._versions.fleet
        # Everything is decoded before anything is folded, so that a pause leaves no trace.
        decoded: list[tuple[Plan, EventBatch]] = []
        unknown: list[tuple[int, str]] = []
        for plan, part in by_mapping(raw, restoring.timeline):
            try:
                events, _, refused = self._decoders.decode(part, plan, fleet.read_by)
            except RegistryUnavailableError as error:
                raise Paused("registry", str(error)) from error
            decoded.append((plan, events))
            unknown += _of_unknown_schemas(part, refused)
        if unknown:
            offset, why = min(unknown)
            self._listener(RecordsSkipped("transactions", len(unknown), partition, offset, why))
        for plan, events in decoded:
            restoring.beginning.read(events, plan)
            mine = events if restored is None else restored.unknown(events)
            self.state.rings.release(refold(mine, self.state.rings, plan, fleet.features))

    def _timeline(self, partition: int) -> list[tuple[int, Plan]]:
        """Return (first offset, the plan that decided from there), ascending."""
        if self.recorded is None:
            return [(0, self._versions.fleet.shared)]
        plans = self._versions.plans()
        told = self.recorded.timeline(partition)
        for _, revision in told:
            if revision not in plans:
                self._versions.need(revision)
                raise Paused("plan", f"revision {revision} is not read here yet")
        # Before the first activation a version was pinned, by a plan that is not recorded.
        oldest = plans[told[0][1]] if told else self._versions.fleet.routings[0].shared
        return [(0, oldest), *((offset, plans[revision]) for offset, revision in told)]

    def _whole(self, ended: CheckpointedReplay) -> None:
        """Begin to write a partition whose state is now complete up to its committed offset."""
        partition = ended.partition
        restoring = self._restoring.pop(partition)
        beginning = restoring.beginning
        restored = ended.restored
        if restored is None:
            raise RuntimeError(f"partition {partition}: the replay ended before it began")
        rings = self.state.rings.of(partition)
        rings.watermark = max(rings.watermark, restored.watermark)
        since = dict(restored.since)
        if restored.low > 0 and restored.buckets < len(restored.labels):
            since = merged([since, {INPUT: NOT_YET}])
        since = beginning.settled(since, rings.retention.lateness_ms)
        since = outlived(since, rings.watermark, rings.retention.horizon_ms)
        self.histories.begin(partition, since, beginning, restored.low)
        self.state.rejections.start(partition, restored.rejected.segments, restored.low)
        seconds = time.monotonic() - restoring.began
        self._listener(
            StateRestored(partition, restored.buckets, restored.first, ended.end, seconds)
        )
        self.state.checkpoints.start(
            partition, self.state.restoration.partitions, ended.end, restored.low, restored.labels,
            since,
        )  # fmt: skip

    def _lacking(self, partition: int, routing: Routing) -> str:
        """Return why history is missing for a routing in a partition; empty if none is."""
        models = self._versions.fleet.models[routing.revision]
        return self.state.warmth.lacking(
            partition,
            self.histories.since(partition),
            self.state.rings.of(partition).watermark,
            (models[version] for version in dict.fromkeys(routing.versions.values())),
        )


def _of_unknown_schemas(raw: RawRecords, refused: Rejections) -> list[tuple[int, str]]:
    """Return offset and reason of each record whose schema the registry does not have.

    It was not rejected then. So it was decided, and the state now lacks it; or the group did not
    read it, or a version without segments of rejections rejected it.
    """
    return [
        (int(raw.offset[row]), f"{why}: left out of the replay")
        for row, reason, why in zip(
            refused.rows.tolist(), refused.reasons, refused.details, strict=True
        )
        if reason is RejectReason.UNKNOWN_SCHEMA
    ]
