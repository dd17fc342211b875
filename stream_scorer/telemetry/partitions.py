"""Events of input partitions: who owns them, their lag and their keys."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, History, Line
from stream_scorer.telemetry.kafka_loop import BatchCommitted
from stream_scorer.telemetry.rollout import RevisionActivated
from stream_scorer.telemetry.state import (
    CheckpointWritten,
    ColdAccepted,
    ModelWarming,
    ReplayProgress,
    StateIncomplete,
    StateRestored,
)

_OWNED = (
    BatchCommitted.NEXT_OFFSET, ReplayProgress.REMAINING, StateIncomplete.INCOMPLETE,
    StateRestored.REPLAYED, StateRestored.SECONDS, ColdAccepted.COLD, CheckpointWritten.AGE,
    CheckpointWritten.CYCLE, ModelWarming.FEATURES, ModelWarming.UNTIL, RevisionActivated.ACTIVE,
)  # fmt: skip
"""Metrics of a partition that are shown only while the process owns it."""


@dataclass(frozen=True, slots=True)
class PartitionsAssigned(Event):
    """Partitions were assigned to this process; ``fresh`` are those without a committed offset."""

    partitions: tuple[int, ...]
    fresh: tuple[int, ...] = ()

    ASSIGNED = Gauge("partitions_assigned", "Input partitions that this process owns.")
    REBALANCES = Counter("rebalances", "Times that partitions came to this process or left it.")

    def effects(self, history: History) -> Iterable[Effect]:
        history.assigned.update(self.partitions)
        yield self.ASSIGNED, len(history.assigned)
        yield self.REBALANCES, 1
        yield StandingBy.STANDING_BY, 0


@dataclass(frozen=True, slots=True)
class FirstOffsetsCommitted(Event):
    """The offsets of a first run are committed: from now on a start needs no ``--from``."""

    partitions: tuple[int, ...]

    def effects(self, history: History) -> Iterable[Effect]:
        """Change nothing: the probe shows it."""
        return ()


@dataclass(frozen=True, slots=True)
class PartitionsRevoked(Event):
    """Partitions left this process; ``lost`` if they had gone before it could finish."""

    partitions: tuple[int, ...]
    lost: bool = False

    LOST = Counter(
        "partitions_lost", "Partitions taken away before this process could finish its batch."
    )
    LINE = Line(
        "partitions_lost",
        "Transactions keep aborting, producers are reborn, partitions are lost",
        fields=("partitions",),
    )

    def effects(self, history: History) -> Iterable[Effect]:
        history.assigned.difference_update(self.partitions)
        yield PartitionsAssigned.ASSIGNED, len(history.assigned)
        yield PartitionsAssigned.REBALANCES, 1
        for partition in self.partitions:
            for gauge in _OWNED:
                yield gauge, None, partition
        if self.lost:
            yield self.LOST, len(self.partitions)
            yield self.LINE


@dataclass(frozen=True, slots=True)
class StandingBy(Event):
    """Whether this process rightly has no partitions, because the group has none for it."""

    spare: bool

    STANDING_BY = Gauge(
        "standing_by", "1 while other members own every partition and this process none."
    )

    def effects(self, history: History) -> Iterable[Effect]:
        """Log no line: more instances than partitions are an operator's choice."""
        yield self.STANDING_BY, self.spare


@dataclass(frozen=True, slots=True)
class LagObserved(Event):
    """Records between the group's committed offset and the input's end, by partition.

    ``to_stable`` is measured against the last stable offset, ``to_high`` against the high
    watermark; a difference that stays is a hanging transaction upstream. ``seconds`` is the age
    of the oldest uncommitted record. ``group`` and ``topic`` name what was observed.
    """

    to_high: Mapping[int, int]
    to_stable: Mapping[int, int]
    seconds: Mapping[int, float] = field(default_factory=dict)
    group: str = field(default="", compare=False)
    topic: str = field(default="", compare=False)

    TO_HIGH = Gauge(
        "lag_records",
        "Records between the group's committed offset and the high watermark.",
        "group",
        "topic",
        "partition",
    )
    TO_STABLE = Gauge(
        "lag_stable_records",
        "Records between the group's committed offset and the last stable offset; less than "
        "stream_scorer_lag_records for long is a hanging transaction upstream.",
        "group",
        "topic",
        "partition",
    )
    SECONDS = Gauge(
        "lag_seconds",
        "Age of the oldest record that the group has not committed.",
        "group",
        "topic",
        "partition",
    )

    def effects(self, history: History) -> Iterable[Effect]:
        for gauge, values in (
            (self.TO_HIGH, self.to_high),
            (self.TO_STABLE, self.to_stable),
            (self.SECONDS, self.seconds),
        ):
            # A partition without a number is shown without one: an old number would look current.
            shown = {(self.group, self.topic, partition): at for partition, at in values.items()}
            for series in history.lagging - shown.keys():
                yield gauge, None, *series
            for series, value in shown.items():
                yield gauge, value, *series
        history.lagging = {(self.group, self.topic, partition) for partition in self.to_high}


@dataclass(frozen=True, slots=True)
class Stuck(Event):
    """There is lag, and the position of some partitions has not moved.

    Attributes:
        seconds: For how long, at the longest.
        partitions: Those of this process's partitions.
    """

    seconds: float
    partitions: tuple[int, ...]

    STUCK = Gauge(
        "stuck_seconds",
        "Seconds that a partition's position has not moved despite lag; 0: all move.",
    )
    LINE = Line("stuck", "Not ready: stuck", "error")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.STUCK, self.seconds
        yield self.LINE


@dataclass(frozen=True, slots=True)
class Moving(Event):
    """No partition is stuck now."""

    def effects(self, history: History) -> Iterable[Effect]:
        """Log no line: no action is needed."""
        yield Stuck.STUCK, 0


@dataclass(frozen=True, slots=True)
class KeyMisplaced(Event):
    """A sampled record's key is in the wrong partition: the upstream partitioner differs.

    Attributes:
        sampled: Keys that were compared since the last such event.
        misplaced: Those that belong to another partition.
    """

    sampled: int
    misplaced: int

    SAMPLED = Counter("keys_sampled", "Keys compared with their partition.")
    MISPLACED = Counter("keys_misplaced", "Sampled keys that do not belong to their partition.")
    LINE = Line("keys_misplaced", "Degraded: sampled keys do not belong to their partition")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SAMPLED, self.sampled
        yield self.MISPLACED, self.misplaced
        if self.misplaced:
            yield self.LINE


@dataclass(frozen=True, slots=True)
class KeyOfAnother(Event):
    """A sampled record's key does not name the customer of its value.

    Attributes:
        sampled: Keys that were compared since the last such event.
        others: Those that name another customer, or none.
    """

    sampled: int
    others: int

    OTHERS = Counter(
        "keys_of_another", "Sampled keys that do not give the customer of their record's value."
    )
    LINE = Line("keys_of_another", "Degraded: sampled keys do not give the customer")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.OTHERS, self.others
        if self.others:
            yield self.LINE


def follow_assignment(assigned: set[int], event: Event) -> None:
    """Change a set of assigned partitions as an event reports; other events change nothing."""
    if isinstance(event, PartitionsAssigned):
        assigned.update(event.partitions)
    elif isinstance(event, PartitionsRevoked):
        assigned.difference_update(event.partitions)
