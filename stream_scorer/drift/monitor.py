"""The monitor process: turns the scorers' summaries into drift events, exactly once.

It runs the scorer's transaction loop over the summaries topic: a drift event is published in the
same transaction as the offsets of the summaries that revealed it. Its state is a fold over that
topic; a start silently replays the retained summaries, so that detectors keep their memory.

It reads no decisions: a summary contains the counts and sums of its transaction's decisions,
published with them, which give the means of score, amount and outcomes. Signals that need single
customers or labels would require the decisions.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stream_scorer.codec.records.record import RecordCodec, RecordDecoder, RecordError
from stream_scorer.core.decision.plausible_summary import refuse_implausible
from stream_scorer.drift.detectors import SIGNALS, Drift
from stream_scorer.drift.watch import DriftWatch
from stream_scorer.drift.windows import OPEN_MOST
from stream_scorer.errors import (
    RegistryUnavailableError,
    SchemaError,
    SettingsError,
)
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import NO_ROWS, LoopLimits, Result, Stages
from stream_scorer.kafka.membership.transactional_id import fence_former, instance
from stream_scorer.kafka.reading.replay import InputReplay, Replays
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.ports import BytesColumn, Outgoing, Paused, RawRecords
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import SchemaSource, open_registry, reader_schema
from stream_scorer.settings import Settings
from stream_scorer.telemetry import BatchCommitted, DriftDetected, Listener, RecordsSkipped

_LINGER_SECONDS = 0.25
"""Windows close by the hour, and many summaries in one transaction cost the broker less."""
_UNREADABLE = "MALFORMED"
_QUARANTINED = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Watched:
    """The result of a batch of summaries.

    Attributes:
        before: The state before it.
        drifts: The changes that it revealed.
        skipped: Records that were not summaries, or of which windows were dropped.
        quarantined: Records that were skipped because the computation fails for them.
    """

    before: DriftWatch
    drifts: tuple[Drift, ...]
    skipped: RecordsSkipped | None
    quarantined: int = 0


class MonitorWork:
    """Watches summaries for a transaction loop.

    Args:
        fresh: Makes an empty watch.
        registry: Contains the writers' schemas.
        events: Encodes drift events.
        topic: Topic of the drift events.
        listener: Notified of drifts and replays.
        replay_of: Opens a replay of (partition, end offset); None when nothing is retained.
        now_ms: The wall clock, ms since the epoch.
    """

    def __init__(
        self,
        fresh: Callable[[], DriftWatch],
        registry: SchemaSource,
        events: RecordCodec,
        topic: str,
        listener: Listener,
        replay_of: Callable[[int, int], InputReplay | None],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._fresh = fresh
        self._summaries = RecordDecoder(registry, reader_schema("summary.v3"))
        self._events = events
        self._topic = topic
        self._listener = listener
        self._now_ms = now_ms
        self._watch = fresh()
        self._replays = Replays(replay_of, self._refold, listener)

    # -- assignment of the summaries' partition ---------------------------------------------

    def assigned(self, offsets: dict[int, int]) -> None:
        """Add the summaries' partition; the watch is rebuilt by a silent replay."""
        self._watch = self._fresh()
        self._replays.begin(offsets)

    def revoked(self, partitions: tuple[int, ...]) -> None:
        """Forget everything: the summaries have one partition, and another process has it now."""
        self._watch = self._fresh()
        self._replays.end(partitions)

    def close(self) -> None:
        """Close the replay's connection."""
        self._replays.close()

    def restoring(self) -> bool:
        """Whether the summaries are still being replayed."""
        return self._replays.pending

    def restore(self) -> set[int]:
        """Replay some summaries; return the partitions whose state is complete."""
        ready, _ = self._replays.step()
        return ready

    # -- batches ----------------------------------------------------------------------------

    def compute(
        self, raw: RawRecords, stages: Stages, quarantined: Mapping[int, str] = NO_ROWS
    ) -> Result[Watched]:
        """Fold a batch of summaries.

        Args:
            raw: The batch.
            stages: Its stopwatch.
            quarantined: Rows that are skipped.

        Raises:
            Paused: The registry does not answer.
        """
        before = self._watch.copy()
        try:
            drifts, skipped = self._fold(raw.without(quarantined)[0] if quarantined else raw)
            stages.lap("detect")
            outgoing = self._outgoing(drifts)
            stages.lap("encode")
        except BaseException:
            self._watch = before
            raise
        return Result(outgoing, Watched(before, tuple(drifts), skipped, len(quarantined)))

    def keep(self, result: Result[Watched], stages: Stages, raw: RawRecords) -> BatchCommitted:
        """Return the event of the commit; the watch is already updated."""
        watched = result.delta
        unreadable = watched.skipped.records if watched.skipped else 0
        rejected = {_UNREADABLE: unreadable, _QUARANTINED: watched.quarantined}
        for drift in watched.drifts:
            self._listener(DriftDetected(drift.detector, drift.signal))
        if watched.skipped is not None:
            self._listener(watched.skipped)
        return BatchCommitted(
            records=len(raw),
            outcomes={},
            model="",
            version="",
            rejected={reason: count for reason, count in rejected.items() if count},
            stage_seconds=stages.seconds,
            next_offsets=raw.next_offsets(),
        )

    def flush(self, partitions: set[int]) -> Sequence[Outgoing]:  # noqa: ARG002 see Work
        """Return nothing: there is no state to flush."""
        return ()

    def undo(self, result: Result[Watched]) -> None:
        """Restore the state before the batch."""
        self._watch = result.delta.before

    def _refold(self, raw: RawRecords) -> None:
        before = self._watch.copy()
        try:
            self._fold(raw)
        except BaseException:
            self._watch = before
            raise

    def _fold(self, raw: RawRecords) -> tuple[list[Drift], RecordsSkipped | None]:
        """Fold summaries; return the changes they reveal, and records that do not count in full."""
        summaries: list[tuple[int, dict[str, Any]]] = []
        skipped: RecordsSkipped | None = None
        for row, value in enumerate(raw.values):
            try:
                summary = self._summaries.decode(value)
                refuse_implausible(summary)
            except RegistryUnavailableError as error:
                raise Paused("registry", str(error)) from error
            except (RecordError, SchemaError, ValueError) as error:
                skipped = _and_skipped(skipped, raw, row, str(error))
                continue
            summaries.append((row, summary))
        # Everything is decoded before anything is folded, so that a pause leaves no trace.
        drifts: list[Drift] = []
        for row, summary in summaries:
            before = self._watch.dropped
            drifts += self._watch.update(summary, int(raw.timestamp[row]))
            if self._watch.dropped > before:
                why = f"more than {OPEN_MOST} windows are open, and those that end last are dropped"
                skipped = _and_skipped(skipped, raw, row, f"summary: {why}")
        return drifts, skipped

    def _outgoing(self, drifts: list[Drift]) -> list[Outgoing]:
        if not drifts:
            return []
        detected_at = self._now_ms()
        values = [
            self._events.encode(
                {
                    "detected_at": detected_at,
                    "window_start": drift.start,
                    "window_end": drift.end,
                    "signal": drift.signal,
                    "detector": drift.detector,
                    "model": drift.model,
                    "model_version": drift.version,
                    "value": drift.value,
                    "reference": drift.reference,
                    "estimate": drift.estimate,
                    "observations": drift.observations,
                }
            )
            for drift in drifts
        ]
        keys = [f"{drift.model}:{drift.version}:{drift.signal}".encode() for drift in drifts]
        return [Outgoing(self._topic, BytesColumn.of(values), BytesColumn.of(keys))]


def _and_skipped(
    before: RecordsSkipped | None, raw: RawRecords, row: int, why: str
) -> RecordsSkipped:
    """Return the event with one more record; it names the first one."""
    if before is not None:
        return replace(before, records=before.records + 1)
    return RecordsSkipped("summaries", 1, int(raw.partition[row]), int(raw.offset[row]), why)


def monitor_loop(
    settings: Settings,
    deployment: Deployment,
    listener: Listener,
    hook: Callable[[str], None] | None = None,
) -> TransactionLoop[Watched]:
    """Make the loop of a monitor.

    Args:
        settings: Settings of the process; see ``Settings.of_process``.
        deployment: Its plan gives the lateness, its start the first run's beginning.
        listener: Notified of all events.
        hook: Called with each step's name when it is over; a test raises from it.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    for signal in settings.monitor.signals:
        if signal not in SIGNALS:
            raise SettingsError(
                f"setting monitor.signals: unknown signal {signal!r}",
                f"known are {', '.join(SIGNALS)}",
            )
    kafka, topics = settings.kafka, settings.kafka.topics
    plan = deployed_plan(settings, deployment)
    registry = open_registry(settings.registry)
    schema = reader_schema("drift-event.v1", settings.registry.directory)
    events = RecordCodec(registry.id_for(f"{topics.drift_events}-value", schema), schema)
    found = partitions(admin(kafka), kafka, (topics.transactions, topics.summaries))
    if len(found[topics.summaries]) != 1:
        raise SettingsError(
            f"topic {topics.summaries}: has {len(found[topics.summaries])} partitions",
            "the monitor folds summaries in their order: give it a topic with one",
        )
    source = KafkaSource(kafka, topics.summaries, kafka.group, deployment.start)

    def replay_of(partition: int, end: int) -> InputReplay | None:
        low = source.low_watermark(partition)
        return InputReplay(kafka, topics.summaries, partition, low, end) if low < end else None

    work = MonitorWork(
        lambda: DriftWatch(
            settings.monitor.signals,
            settings.monitor.delta,
            found[topics.transactions],
            plan.lateness_ms,
        ),
        registry,
        events,
        topics.drift_events,
        listener,
        replay_of,
    )
    limits = LoopLimits.of(settings.scorer, _LINGER_SECONDS, guarded=True, takes=False)
    producer = TransactionalProducer(kafka, kafka.group, listener)
    fence_former(kafka, instance(kafka.group, kafka.instance))
    return TransactionLoop(source, producer, work, limits, listener, hook)


def run_monitor(settings: Settings, deployment: Deployment) -> None:
    """Run a monitor until a signal ends it.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    own = settings.of_process("monitor")
    run_process(
        "monitor",
        own,
        own.kafka.topics.summaries,
        lambda listener: monitor_loop(own, deployment, listener),
    )
