"""Whether a process is alive and ready; ``observability/endpoint.py`` serves the answer."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from stream_scorer import telemetry as events

HEARTBEAT_SECONDS = 30.0
"""A loop without progress for this long is not live, seconds."""

_LACKING = {
    "input": "partition {}: history begins at offset {}, less than a horizon",
    "ring_cap": "partition {}: rings were already full under an earlier, smaller ring_cap",
}


class Probed(Protocol):
    """The source of the probes' answers: one process's :class:`Health`, or a fleet."""

    @property
    def silent_seconds(self) -> float: ...  # noqa: D102 see Health
    @property
    def live(self) -> bool: ...  # noqa: D102
    def reasons(self) -> list[str]: ...  # noqa: D102
    def degraded(self) -> list[str]: ...  # noqa: D102


class Health:
    """A listener that holds the conditions of liveness and readiness.

    Ready needs all of this: partitions assigned, or none left for it in its group
    (:class:`~stream_scorer.telemetry.StandingBy`); a model loaded; complete state of every assigned
    partition; on a first run, its first offset committed; and no reason against it. A partition's
    state is complete with its last :class:`~stream_scorer.telemetry.ReplayProgress`, or with its
    first commit. The event also comes without a replay, possibly before the assignment.

    Args:
        heartbeat_seconds: The process is alive if :meth:`heartbeat` was called within this time.
        clock: Seconds, monotonic.
        needs_model: False for a process that works without a model.
    """

    def __init__(
        self,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        *,
        needs_model: bool = True,
    ) -> None:
        self._heartbeat_seconds = heartbeat_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._beat = clock()
        self._model = not needs_model
        self._assigned: set[int] | None = None
        self._spare = False
        self._replaying: dict[int, str] = {}
        self._whole: set[int] = set()
        self._fresh: set[int] = set()
        self._down: dict[str, str] = {}
        self._stuck = ""
        self._hung = ""
        self._quarantined: dict[str, tuple[int, str]] = {}
        self._stopping = ""
        self._incomplete: dict[int, events.StateIncomplete] = {}
        self._keys: dict[str, tuple[int, int]] = {}
        self._unwritten = ""
        self._refused: dict[str, str] = {}
        self._revisions: dict[tuple[int, int | None], str] = {}
        self._plan_awaited = False
        self._terminals = 0

    def heartbeat(self) -> None:
        """Note one more iteration of the loop."""
        self._beat = self._clock()

    def model_loaded(self) -> None:
        """Note that a verified model is in memory."""
        self._model = True

    def __call__(self, event: events.Event) -> None:
        """Apply one event to the conditions."""
        with self._lock:
            self._take(event)

    def _take(self, event: events.Event) -> None:  # noqa: C901, PLR0912, PLR0915 a branch per kind
        match event:
            case events.BatchCommitted():
                for partition in event.next_offsets:
                    self._restored(partition)
            case events.StandingBy():
                self._spare = event.spare
            case events.PartitionsAssigned():
                self._assigned = (self._assigned or set()) | set(event.partitions)
                for partition in set(event.partitions) - self._whole:
                    self._replaying.setdefault(partition, "its state is not restored yet")
                self._fresh |= set(event.fresh)
            case events.FirstOffsetsCommitted():
                self._fresh -= set(event.partitions)
            case events.PartitionsRevoked():
                self._assigned = (self._assigned or set()) - set(event.partitions) or None
                self._spare = False
                self._whole -= set(event.partitions)
                self._fresh -= set(event.partitions)
                for partition in event.partitions:
                    self._replaying.pop(partition, None)
                    self._incomplete.pop(partition, None)
                self._revisions = {
                    (revision, partition): said
                    for (revision, partition), said in self._revisions.items()
                    if partition not in event.partitions
                }
            case events.ReplayProgress():
                left = event.end_offset - event.next_offset
                if left > 0:
                    self._replaying[event.partition] = f"replay, {left} records left"
                else:
                    self._restored(event.partition)
            case events.DependencyUnavailable():
                self._down[event.name] = event.detail
            case events.DependencyBack():
                self._down.pop(event.name, None)
            case events.Stuck():
                partitions = ", ".join(map(str, event.partitions))
                self._stuck = (
                    f"position has not moved for {event.seconds:.0f} s despite lag: "
                    f"partition {partitions}"
                )
            case events.Moving():
                self._stuck = ""
            case events.Stopping():
                self._stopping = event.cause
            case events.TerminalsRead():
                self._terminals = event.left
            case events.RecordQuarantined():
                place = f"{event.topic}:{event.partition}:{event.offset}"
                self._set_aside("quarantined", f"{place} ({event.error})")
            case events.ReplayLeftOut():
                place = f"partition {event.partition} offset {event.offset}"
                self._set_aside("left out of a replay", f"{place} ({event.error})")
            case events.ComputationHung():
                self._hung = f"a batch has been computed for {event.seconds:.0f} s"
            case events.ComputationOver():
                self._hung = ""
            case events.StateIncomplete():
                self._incomplete[event.partition] = event
            case events.StateComplete():
                self._incomplete.pop(event.partition, None)
            case events.CheckpointFailed():
                self._unwritten = f"checkpoints are not written: {event.detail}"
            case events.CheckpointWritten():
                self._unwritten = ""
            case events.ModelVerified():
                label = f"model {event.model}:{event.version}"
                self._refused.pop(label, None)
                if event.refusal:
                    self._refused[label] = f"{label} would be refused: {event.refusal}"
            case events.PlanAwaited():
                self._plan_awaited = not event.over
                self._beat = self._clock()
            case events.RevisionRefused():
                where = "" if event.partition is None else f"partition {event.partition}: "
                self._revisions[event.revision, event.partition] = (
                    f"{where}revision {event.revision} of the plan is refused: {event.reason}"
                )
            case events.RevisionActivated():
                self._revisions = {
                    (revision, partition): said
                    for (revision, partition), said in self._revisions.items()
                    if revision > event.revision or partition not in {event.partition, None}
                }
            case events.KeyMisplaced():
                self._sampled("do not belong to their partition", event.misplaced, event.sampled)
            case events.KeyOfAnother():
                self._sampled("do not give the customer", event.others, event.sampled)
            case _:
                pass

    def _sampled(self, what: str, wrong: int, sampled: int) -> None:
        before, compared = self._keys.get(what, (0, 0))
        self._keys[what] = before + wrong, compared + sampled

    def _set_aside(self, how: str, place: str) -> None:
        count, _ = self._quarantined.get(how, (0, ""))
        self._quarantined[how] = count + 1, place

    def _restored(self, partition: int) -> None:
        self._replaying.pop(partition, None)
        self._whole.add(partition)

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last heartbeat."""
        return self._clock() - self._beat

    @property
    def live(self) -> bool:
        """Whether the loop made progress within ``heartbeat_seconds`` and no batch hangs."""
        return not self._hung and self.silent_seconds <= self._heartbeat_seconds

    @property
    def ready(self) -> bool:
        """Whether the process can do its work."""
        return not self.reasons()

    def reasons(self) -> list[str]:
        """Return why the process is not ready; empty when it is."""
        with self._lock:
            reasons = [f"stopping: {self._stopping}"] if self._stopping else []
            if not self._model:
                reasons.append(
                    "no plan yet: stream-scorer rollout start"
                    if self._plan_awaited
                    else "no model loaded"
                )
            if self._assigned is None and not self._spare:
                reasons.append("no partitions assigned")
            reasons += [f"partition {p}: {why}" for p, why in sorted(self._replaying.items())]
            reasons += [
                f"partition {p}: its first offset is not committed yet"
                for p in sorted(self._fresh - self._replaying.keys())
            ]
            if self._terminals:
                reasons.append(f"terminal profile rows: {self._terminals} records left")
            reasons += [f"paused: {name}: {why}" for name, why in sorted(self._down.items())]
            if self._stuck:
                reasons.append(f"stuck: {self._stuck}")
            if self._hung:
                reasons.append(f"hung: {self._hung}")
        if self.silent_seconds > self._heartbeat_seconds:
            reasons.append(f"no progress for {self.silent_seconds:.0f} s")
        return reasons

    def degraded(self) -> list[str]:
        """Return what works only in part; empty if there is none."""
        with self._lock:
            degraded = [
                _LACKING[reason].format(partition, each.oldest_offset)
                for partition, each in sorted(self._incomplete.items())
                for reason in each.reasons
            ]
            degraded += [*self._refused.values(), *self._revisions.values()]
            degraded += [
                f"{count} records {how} since the start, last {place}"
                for how, (count, place) in self._quarantined.items()
            ]
            degraded += [
                f"{wrong} of {sampled} sampled keys {what}"
                for what, (wrong, sampled) in self._keys.items()
                if wrong
            ]
            return degraded + [self._unwritten] * bool(self._unwritten)
