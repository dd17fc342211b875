"""By which mapping the profiler reads each record: the one by which scorers decide its offset.

The control log says what each revision means, and the activations where it begins. While a revision
with another mapping is not active in a partition, only the scorers know whose mapping holds there.
So the profiler then reads no further than they have committed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.codec.records.event_decoders import EventDecoders, rows_by_mapping
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.ports import Int64, Paused, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RolloutNotVisible

Part = tuple[Plan, EventDecoder, Int64]
"""A plan, what reads by its mapping, and int64[k], the rows of a batch that it reads."""
PartsOf = Callable[[RawRecords], Sequence[Part]]


class ActivationTimelines(Protocol):
    """Where revisions begin; an :class:`ActivationLog`."""

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        """Return (first offset, revision) of a partition, ascending."""
        ...

    def read_all(self) -> None:
        """Read to the end that there is now."""
        ...


class FollowedMappings:
    """Parts a batch of transactions by the mappings that read it.

    Args:
        plan: The plan file: it reads what was decided before the first activation of a partition.
        routings: Returns by revision what is known of the control log, and reads on.
        activations: Where revisions begin.
        committed: Returns the scorers' next offset of each of some partitions that has one.
        decoders: A decoder for each mapping.
    """

    def __init__(
        self, plan: Plan, routings: Callable[[], Mapping[int, Routing]],
        activations: ActivationTimelines,
        committed: Callable[[list[int]], Mapping[int, int]], decoders: EventDecoders,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._routings = routings
        self._activations = activations
        self._committed = committed
        self._decoders = decoders

    def __call__(self, raw: RawRecords) -> Sequence[Part]:
        """Return the parts of n transactions; each row is in one.

        Raises:
            Paused: Scorers have not decided all of them yet, and may read some by a new mapping; or
                the control log cannot be read, or only later.
            RegistryUnavailableError: A writer schema cannot be had just now.
        """
        try:
            return self._parts(raw)
        except RegistryUnavailableError:
            raise
        except UnavailableError as error:
            raise Paused("control log", str(error)) from error

    def _parts(self, raw: RawRecords) -> Sequence[Part]:
        routings = self._routings()
        ends = raw.next_offsets()
        if waiting := [each for each in ends if self._may_begin(each, raw, routings)]:
            # First the offsets: what begins before them is in the activations that are read then.
            committed = self._committed(waiting)
            self._activations.read_all()
            for partition in waiting:
                behind = committed.get(partition, 0) < ends[partition]
                if behind and self._may_begin(partition, raw, routings):
                    raise Paused(
                        "scorers",
                        f"partition {partition}: a plan with another mapping is not active yet, "
                        f"and scorers have not decided the records before {ends[partition]}",
                    )
        parts: dict[EventDecoder, tuple[Plan, list[Int64]]] = {}
        for partition in ends:
            rows = np.flatnonzero(raw.partition == partition)
            timeline = self._timeline(partition, routings)
            for plan, mine in rows_by_mapping(raw.offset[rows], timeline):
                _, held = parts.setdefault(self._decoders.of(plan), (plan, []))
                held.append(rows[mine])
        return [
            (plan, decoder, np.sort(np.concatenate(held)))
            for decoder, (plan, held) in parts.items()
        ]

    def _timeline(self, partition: int, routings: Mapping[int, Routing]) -> list[tuple[int, Plan]]:
        """Return (first offset, the plan that decides from there), ascending.

        Raises:
            Paused: A revision is active that the control log was not read up to.
        """
        begun = self._activations.timeline(partition)
        if missing := [revision for _, revision in begun if revision not in routings]:
            raise Paused("control log", f"revision {missing[0]} is active, and not read here yet")
        return [(0, self._plan), *((at, routings[revision].shared) for at, revision in begun)]

    def _may_begin(
        self, partition: int, raw: RawRecords, routings: Mapping[int, Routing]
    ) -> bool:  # fmt: skip
        """Whether a revision with another mapping may begin in a batch of a partition.

        One with an event time begins at a record that its own mapping reads with such a time. In a
        partition without any, the first record begins one.
        """
        begun = self._activations.timeline(partition)
        last = begun[-1][1] if begun else -1
        _, active = self._timeline(partition, routings)[-1]
        later = [
            routing
            for revision, routing in routings.items()
            if revision > last and not routing.shared.reads_as(active)
        ]
        if not begun or any(routing.effective_at is None for routing in later):
            return bool(later)
        mine = raw.where(raw.partition == partition)
        return any(self._reaches(mine, routing) for routing in later)

    def _reaches(self, raw: RawRecords, routing: Routing) -> bool:
        """Whether a record has, by a revision's own mapping, the time at which it begins."""
        events, _, _ = self._decoders.of(routing.shared).decode(raw, budgeted=True)
        return bool((events.int64("event_time") >= (routing.effective_at or 0)).any())


def followed_mappings(
    settings: Settings, registry: SchemaSource, scorers: str, plan: Plan, listener: Listener
) -> PartsOf | None:
    """Return what parts the profiler's batches; None where no control log can be seen.

    Args:
        settings: The cluster, and whose commands count.
        registry: The profiler's own: all its look-ups have one budget.
        scorers: The scorers' consumer group.
        plan: The plan file.
        listener: Receives which of the rollout's topics the broker does not show.

    Raises:
        RolloutError: A log is not complete, or a later program wrote there.
        UnavailableError: Broker or registry do not answer.
    """
    kafka, topics = settings.kafka, settings.kafka.topics
    known = partitions(admin(kafka), kafka, None)
    if hidden := tuple(each for each in (topics.rollout, topics.activations) if each not in known):
        listener(RolloutNotVisible(hidden))
        return None
    control = ControlLog(settings)
    control.refresh()
    activations = ActivationLog(settings, registry)
    activations.read_all()

    def routings() -> Mapping[int, Routing]:
        control.poll(0.0)
        return control.log.routings

    of_scorers = kafka.model_copy(update={"group": scorers})
    return FollowedMappings(
        plan, routings, activations,
        lambda wanted: committed_offsets(of_scorers, topics.transactions, wanted),
        EventDecoders(registry, settings.registry.directory),
    )  # fmt: skip
