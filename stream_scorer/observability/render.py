"""Each happening becomes its metric and, where a person must act, its log line.

The line names what is wrong; a condition that repeats is logged once, then at most once a minute
with the count of what was left out.
"""

import time
from collections.abc import Callable, Hashable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import FilteringBoundLogger

from stream_scorer import telemetry as h
from stream_scorer.observability.metrics import Metrics
from stream_scorer.observability.render_controller import ControllerRenderer
from stream_scorer.observability.render_rollout import RolloutRenderer

_REPEAT_SECONDS = 60.0
_ABORTS_IN_A_ROW = 3
"""One abort mends itself; this many without a commit between them need a person."""


class Renderer:
    """A listener that keeps a process's metrics and writes its log.

    Args:
        registry: Where the metrics are scraped from.
        logger: Where lines go; see ``observability.logging``.
        clock: Seconds, monotonic; for the pause between repeated lines.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        logger: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = Metrics(registry)
        self._logger = logger
        self._clock = clock
        self._children: dict[tuple[int, Hashable], Any] = {}
        self._assigned: set[int] = set()
        self._lagging: set[int] = set()
        self._down: set[str] = set()
        self._refused: set[tuple[str, str]] = set()
        self._aborts = 0
        self._said: dict[Hashable, tuple[float, int]] = {}
        self._rollout = RolloutRenderer(registry, self._say)
        self._render: dict[type[h.Happening], Callable[[Any], None]] = {
            h.BatchCommitted: self._committed,
            h.BatchAborted: self._aborted,
            h.RecordQuarantined: self._quarantined,
            h.ReplayLeftOut: self._left_out,
            h.ComputationHung: self._hung,
            h.ComputationOver: self._over,
            h.ProducerReborn: self._reborn,
            h.CommitSettled: self._settled,
            h.PartitionsAssigned: self._partitions_assigned,
            h.FirstOffsetsCommitted: self._first_offsets,
            h.PartitionsRevoked: self._partitions_revoked,
            h.StandingBy: self._standing_by,
            h.ReplayProgress: self._replay,
            h.StateIncomplete: self._incomplete,
            h.StateComplete: self._complete,
            h.StateRestored: self._restored,
            h.ColdAccepted: self._cold,
            h.ModelWarming: self._warming,
            h.CheckpointWritten: self._checkpoint,
            h.CheckpointFailed: self._checkpoint_failed,
            h.DependencyUnavailable: self._unavailable,
            h.DependencyBack: self._back,
            h.LagObserved: self._lag,
            h.Stuck: self._stuck_at,
            h.Moving: self._moving,
            h.KeyMisplaced: self._misplaced,
            h.ModelFailed: self._model_failed,
            h.ModelVerified: self._model_verified,
            h.DriftDetected: self._drifted,
            h.RowsSettled: self._rows_settled,
            h.TerminalsRead: self._terminals_read,
            h.Stopping: self._stopping,
            **self._rollout.renderings,
            **ControllerRenderer(registry, self._say).render,
        }

    def __call__(self, happening: h.Happening) -> None:
        """Render one happening; cheap enough for every batch, safe from any thread."""
        self._render[type(happening)](happening)

    def _counter(self, metric: Counter, *labels: str) -> Counter:
        return self._child(metric, labels)

    def _gauge(self, metric: Gauge, *labels: str) -> Gauge:
        return self._child(metric, labels)

    def _child(self, metric: Counter | Gauge | Histogram, labels: tuple[str, ...]) -> Any:
        # ``labels()`` takes a lock and builds strings each time; the child itself is kept.
        key = (id(metric), labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _drop(self, metric: Gauge, partition: int) -> None:
        if self._children.pop((id(metric), (str(partition),)), None) is not None:
            metric.remove(str(partition))

    def _committed(self, happening: h.BatchCommitted) -> None:
        metrics = self._metrics
        self._counter(metrics.transactions, "committed").inc()
        metrics.batch.observe(happening.records)
        first = h.DecidedBy(happening.outcomes, happening.model, happening.version)
        for by in (first, *happening.others):
            for outcome, count in by.outcomes.items():
                self._counter(metrics.decisions, outcome, by.model, by.version).inc(count)
        for reason, count in happening.rejected.items():
            self._counter(metrics.rejected, reason).inc(count)
        for flag, count in happening.flagged.items():
            self._counter(metrics.flagged, flag).inc(count)
        for stage, seconds in happening.stage_seconds.items():
            self._child(metrics.stage, (stage,)).observe(seconds)
        for partition, offset in happening.next_offsets.items():
            self._gauge(metrics.next_offset, str(partition)).set(offset)
        if len(happening.age_seconds):
            metrics.age.observe(happening.age_seconds)
        self._aborts = 0

    def _aborted(self, happening: h.BatchAborted) -> None:
        self._counter(self._metrics.transactions, "aborted").inc()
        self._aborts += 1
        if self._aborts >= _ABORTS_IN_A_ROW:
            self._say(
                "aborts",
                "transactions_keep_aborting",
                in_a_row=self._aborts,
                cause=happening.cause,
                records=happening.records,
            )

    def _quarantined(self, happening: h.RecordQuarantined) -> None:
        """Leave a line for each: a batch has few, and each is a defect to be reported."""
        self._counter(self._metrics.quarantined, "batch").inc()
        self._logger.error(
            "record_quarantined", topic=happening.topic, partition=happening.partition,
            offset=happening.offset, error=happening.error,
        )  # fmt: skip

    def _left_out(self, happening: h.ReplayLeftOut) -> None:
        self._counter(self._metrics.quarantined, "replay").inc()
        self._logger.error(
            "replay_left_out", partition=happening.partition, offset=happening.offset,
            error=happening.error,
        )  # fmt: skip

    def _hung(self, happening: h.ComputationHung) -> None:
        self._metrics.hung.set(happening.seconds)
        self._logger.error(
            "computation_hung", seconds=round(happening.seconds, 1), stack=happening.stack
        )

    def _over(self, _: h.ComputationOver) -> None:
        """Leave no line: the metric and the probe show it."""
        self._metrics.hung.set(0)

    def _reborn(self, happening: h.ProducerReborn) -> None:
        self._metrics.rebirths.inc()
        self._say("reborn", "producer_reborn", cause=happening.cause)

    def _settled(self, happening: h.CommitSettled) -> None:
        result = "settled_committed" if happening.committed else "settled_aborted"
        self._counter(self._metrics.transactions, result).inc()

    def _partitions_assigned(self, happening: h.PartitionsAssigned) -> None:
        self._assigned.update(happening.partitions)
        self._metrics.assigned.set(len(self._assigned))
        self._metrics.rebalances.inc()
        self._metrics.standing_by.set(0)

    def _first_offsets(self, happening: h.FirstOffsetsCommitted) -> None:
        """Leave no line: the probe says it."""

    def _partitions_revoked(self, happening: h.PartitionsRevoked) -> None:
        metrics = self._metrics
        self._assigned.difference_update(happening.partitions)
        metrics.assigned.set(len(self._assigned))
        metrics.rebalances.inc()
        for partition in happening.partitions:
            for gauge in (
                metrics.replay, metrics.state_incomplete, metrics.next_offset, metrics.restored,
                metrics.cold, metrics.checkpoint_age, metrics.checkpoint_cycle,
            ):  # fmt: skip
                self._drop(gauge, partition)
            self._rollout.left(partition)
        if happening.lost:
            metrics.lost.inc(len(happening.partitions))
            self._say("lost", "partitions_lost", partitions=list(happening.partitions))

    def _standing_by(self, happening: h.StandingBy) -> None:
        """Leave no line: more instances than partitions is what somebody chose."""
        self._metrics.standing_by.set(happening.spare)

    def _replay(self, happening: h.ReplayProgress) -> None:
        left = max(happening.end_offset - happening.next_offset, 0)
        self._gauge(self._metrics.replay, str(happening.partition)).set(left)

    def _incomplete(self, happening: h.StateIncomplete) -> None:
        self._gauge(self._metrics.state_incomplete, str(happening.partition)).set(1)
        self._say(
            ("incomplete", happening.partition),
            "state_incomplete",
            partition=happening.partition,
            oldest_offset=happening.oldest_offset,
            reasons=list(happening.reasons),
        )

    def _complete(self, happening: h.StateComplete) -> None:
        """Leave no line: nobody has to act."""
        self._gauge(self._metrics.state_incomplete, str(happening.partition)).set(0)

    def _restored(self, happening: h.StateRestored) -> None:
        replayed = max(happening.end_offset - happening.first_offset, 0)
        self._gauge(self._metrics.restored, str(happening.partition)).set(replayed)

    def _cold(self, happening: h.ColdAccepted) -> None:
        self._gauge(self._metrics.cold, str(happening.partition)).set(len(happening.features))
        self._say(
            ("cold", happening.partition),
            "cold_accepted",
            partition=happening.partition,
            features=list(happening.features),
            warm_from_ms=happening.warm_from_ms,
        )

    def _warming(self, happening: h.ModelWarming) -> None:
        partition = str(happening.partition)
        self._gauge(self._metrics.warming, partition).set(len(happening.features))
        self._gauge(self._metrics.warm_from, partition).set(happening.warm_from_ms / 1_000)
        self._say(
            ("warming", happening.partition),
            "model_warming" if happening.features else "model_warm",
            model=happening.model,
            version=happening.version,
            partition=happening.partition,
            features=list(happening.features),
            warm_from_ms=happening.warm_from_ms,
        )

    def _checkpoint(self, happening: h.CheckpointWritten) -> None:
        metrics = self._metrics
        metrics.checkpoint_buckets.inc(happening.buckets)
        metrics.checkpoint_bytes.inc(happening.bytes)
        for partition, records in happening.age_records.items():
            self._gauge(metrics.checkpoint_age, str(partition)).set(records)
        for partition, seconds in happening.cycle_seconds.items():
            self._gauge(metrics.checkpoint_cycle, str(partition)).set(seconds)

    def _checkpoint_failed(self, happening: h.CheckpointFailed) -> None:
        self._metrics.checkpoint_failures.inc()
        self._say("checkpoint", "checkpoint_failed", level="error", detail=happening.detail)

    def _unavailable(self, happening: h.DependencyUnavailable) -> None:
        self._gauge(self._metrics.dependency_up, happening.name).set(0)
        if happening.name not in self._down:
            self._down.add(happening.name)
            self._logger.error(
                "dependency_unavailable", name=happening.name, detail=happening.detail
            )

    def _back(self, happening: h.DependencyBack) -> None:
        self._gauge(self._metrics.dependency_up, happening.name).set(1)
        if happening.name in self._down:
            self._down.discard(happening.name)
            self._logger.info("dependency_back", name=happening.name)

    def _lag(self, happening: h.LagObserved) -> None:
        metrics = self._metrics
        for gauge, values in (
            (metrics.lag, happening.to_high),
            (metrics.lag_stable, happening.to_stable),
            (metrics.lag_seconds, happening.seconds),
        ):
            # A partition without a number is shown without one: an old number looks like news.
            for partition in self._lagging - values.keys():
                self._drop(gauge, partition)
            for partition, value in values.items():
                self._gauge(gauge, str(partition)).set(value)
        self._lagging = set(happening.to_high)

    def _stuck_at(self, happening: h.Stuck) -> None:
        self._metrics.stuck.set(happening.seconds)
        self._say(
            "stuck",
            "stuck",
            level="error",
            seconds=happening.seconds,
            partitions=list(happening.partitions),
        )

    def _moving(self, _: h.Moving) -> None:
        """Leave no line: nobody has to act."""
        self._metrics.stuck.set(0)

    def _misplaced(self, happening: h.KeyMisplaced) -> None:
        self._metrics.keys_sampled.inc(happening.sampled)
        self._metrics.keys_misplaced.inc(happening.misplaced)
        if happening.misplaced:
            self._say(
                "misplaced",
                "keys_misplaced",
                sampled=happening.sampled,
                misplaced=happening.misplaced,
            )

    def _model_failed(self, happening: h.ModelFailed) -> None:
        model, version = happening.model, happening.version
        self._counter(self._metrics.model_errors, model, version).inc(happening.rows)
        self._say(
            ("model", model, version),
            "model_failed",
            level="error",
            model=model,
            version=version,
            rows=happening.rows,
            error=happening.error,
        )

    def _model_verified(self, happening: h.ModelVerified) -> None:
        """Leave a line about what is refused, and one when it is whole again or somebody asked."""
        version, refused = (happening.model, happening.version), bool(happening.refusal)
        self._gauge(self._metrics.model_refused, *version).set(refused)
        result = "refused" if refused else "whole"
        self._counter(self._metrics.model_verifications, happening.cause, result).inc()
        asked = happening.cause == "signal"
        told = {"model": happening.model, "version": happening.version, "cause": happening.cause}
        if refused and asked:
            self._logger.error("model_refused", **told, detail=happening.refusal)
        elif refused:
            self._say(
                ("refused", version), "model_refused", level="error", **told,
                detail=happening.refusal,
            )  # fmt: skip
        elif asked or version in self._refused:
            self._logger.info("model_verified", **told)
        (self._refused.add if refused else self._refused.discard)(version)

    def _drifted(self, happening: h.DriftDetected) -> None:
        self._counter(self._metrics.drift, happening.detector, happening.signal).inc()
        self._say(
            ("drift", happening.detector, happening.signal),
            "drift_detected",
            detector=happening.detector,
            signal=happening.signal,
        )

    def _rows_settled(self, happening: h.RowsSettled) -> None:
        metrics = self._metrics
        metrics.terminal_rows.inc(happening.rows)
        metrics.terminal_pending.set(happening.pending)
        metrics.terminal_late_rows.inc(happening.late_rows)
        for cause, count in happening.late_labels.items():
            self._counter(metrics.late_labels, cause).inc(count)
        self._terminal_watermark(happening.watermark_ms)
        if happening.late_rows:
            self._say("late rows", "terminal_rows_late", rows=happening.late_rows)

    def _terminals_read(self, happening: h.TerminalsRead) -> None:
        self._metrics.terminal_held.set(happening.rows)
        self._terminal_watermark(happening.watermark_ms)

    def _terminal_watermark(self, time_ms: int | None) -> None:
        if time_ms is not None:
            self._metrics.terminal_watermark.set(time_ms / 1_000)

    def _stopping(self, happening: h.Stopping) -> None:
        """Leave no line: being stopped is normal, and the end of the scrape shows it."""

    def _say(
        self, condition: Hashable, event: str, level: str = "warning", **values: object
    ) -> None:
        """Log a line unless the same condition was logged less than a minute ago."""
        now = self._clock()
        last, left_out = self._said.get(condition, (float("-inf"), 0))
        if now - last < _REPEAT_SECONDS:
            self._said[condition] = (last, left_out + 1)
            return
        self._said[condition] = (now, 0)
        if left_out:
            values["left_out"] = left_out
        getattr(self._logger, level)(event, **values)
