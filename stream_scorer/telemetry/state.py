"""Events of a partition's state: restore, history, checkpoints."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line

_COLD = "The scorer left with exit code 10"


@dataclass(frozen=True, slots=True)
class ReplayProgress(Event):
    """A silent replay is rebuilding a partition's state from the input."""

    partition: int
    next_offset: int
    end_offset: int

    REMAINING = Gauge(
        "replay_remaining_records",
        "Input records still to be replayed before the partition's state is complete.",
        "partition",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REMAINING, max(self.end_offset - self.next_offset, 0), self.partition


@dataclass(frozen=True, slots=True)
class StateIncomplete(Event):
    """A partition's known history is shorter than the windows, so features miss some of it.

    Attributes:
        partition: Input partition.
        oldest_offset: The oldest retained offset.
        reasons: ``input`` if earlier input is unknown; ``ring_cap`` if full rings were kept with a
            smaller cap.
    """

    partition: int
    oldest_offset: int
    reasons: tuple[str, ...] = ("input",)

    INCOMPLETE = Gauge(
        "state_incomplete",
        "1 while less is known of the partition than windows reach back; see the log line.",
        "partition",
    )
    LINE = Line("state_incomplete", "Degraded: history begins at offset …", per=("partition",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.INCOMPLETE, 1, self.partition
        yield self.LINE


@dataclass(frozen=True, slots=True)
class StateComplete(Event):
    """All windows of a partition now begin after the missing history."""

    partition: int

    def effects(self, history: History) -> Iterable[Effect]:
        """Log no line: no action is needed."""
        yield StateIncomplete.INCOMPLETE, 0, self.partition


@dataclass(frozen=True, slots=True)
class StateRestored(Event):
    """A partition's state is complete: its buckets were loaded and the input after them replayed.

    Attributes:
        partition: Input partition.
        buckets: Buckets that were found; 0 without a checkpoint.
        first_offset: Where the replay began.
        end_offset: Where live reading begins.
        seconds: From the assignment until then; None: not measured.
    """

    partition: int
    buckets: int
    first_offset: int
    end_offset: int
    seconds: float | None = None

    REPLAYED = Gauge(
        "restore_replayed_records",
        "Input records that the partition's last restore replayed after its checkpoint.",
        "partition",
    )

    SECONDS = Gauge(
        "restore_seconds",
        "Duration of the partition's last restore: reading its checkpoint and replaying the input "
        "after it.",
        "partition",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REPLAYED, max(self.end_offset - self.first_offset, 0), self.partition
        if self.seconds is not None:
            yield self.SECONDS, self.seconds, self.partition


@dataclass(frozen=True, slots=True)
class KernelsReady(Event):
    """Everything that decides has run once.

    Attributes:
        seconds: How long it took to compile the kernels, or to load them, and to run them.
    """

    seconds: float

    SECONDS = Gauge(
        "compile_seconds",
        "Duration of compiling or loading all kernels before the first record.",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SECONDS, self.seconds


@dataclass(frozen=True, slots=True)
class ModelWarming(Event):
    """A version that does not decide yet was judged by the histories kept for it.

    Attributes:
        model: Its name.
        version: Its version.
        partition: Input partition.
        features: Those with missing history; none if it could decide.
        warm_from_ms: Event time from which none is missing, ms.
    """

    model: str
    version: str
    partition: int
    features: tuple[str, ...]
    warm_from_ms: int

    FEATURES = Gauge(
        "warming_features",
        "Features of the version being warmed that had too little history when the partition came.",
        "partition",
    )
    UNTIL = Gauge(
        "warming_until_event_time_seconds", "Event time from which on they do not.", "partition"
    )
    WARMING = Line("model_warming", _COLD, per=("partition",))
    WARM = Line("model_warm", _COLD, per=("partition",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.FEATURES, len(self.features), self.partition
        yield self.UNTIL, self.warm_from_ms / 1_000, self.partition
        yield self.WARMING if self.features else self.WARM


@dataclass(frozen=True, slots=True)
class ColdAccepted(Event):
    """A model decides although features have missing history, because of ``--accept-cold``.

    Attributes:
        partition: Input partition.
        features: Those with missing history.
        warm_from_ms: Event time from which none is missing, ms.
    """

    partition: int
    features: tuple[str, ...]
    warm_from_ms: int

    COLD = Gauge(
        "cold_features",
        "Features that had too little history when the partition came, and decide all the same.",
        "partition",
    )
    LINE = Line("cold_accepted", _COLD, per=("partition",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.COLD, len(self.features), self.partition
        yield self.LINE


@dataclass(frozen=True, slots=True)
class CheckpointWritten(Event):
    """Some buckets of the rolling checkpoint are safe.

    Attributes:
        buckets: How many.
        bytes: Their records' sizes.
        age_records: By partition, records that a restart would replay now.
        cycle_seconds: By partition, duration of the last complete cycle, once there is one.
    """

    buckets: int
    bytes: int
    age_records: Mapping[int, int]
    cycle_seconds: Mapping[int, float]

    BUCKETS = Counter("checkpoint_buckets", "Buckets written.")
    BYTES = Counter("checkpoint_bytes", "Bytes of checkpoint records written.")
    AGE = Gauge(
        "checkpoint_age_records",
        "Input records that a restart would replay: from the partition's oldest bucket on.",
        "partition",
    )
    CYCLE = Gauge(
        "checkpoint_cycle_seconds",
        "How long it last took to write every bucket of the partition once.",
        "partition",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.BUCKETS, self.buckets
        yield self.BYTES, self.bytes
        for partition, records in self.age_records.items():
            yield self.AGE, records, partition
        for partition, seconds in self.cycle_seconds.items():
            yield self.CYCLE, seconds, partition


@dataclass(frozen=True, slots=True)
class CheckpointFailed(Event):
    """Buckets could not be written; scoring continues, and a restart would replay more."""

    detail: str

    FAILURES = Counter("checkpoint_failures", "Buckets that the checkpoint store did not take.")
    LINE = Line("checkpoint_failed", "Degraded: checkpoints are not written", "error")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.FAILURES, 1
        yield self.LINE
