"""Chooses the mapping by which the profiler decodes each record: the scorers' at its offset.

The control log has the mapping of each revision, and the activations have the offsets where it
begins. While a revision with another mapping is not active in a partition, only the scorers know
where it will begin. So the profiler then reads only what they have committed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from stream_scorer.codec.reading.mapped import EventDecoder
from stream_scorer.codec.records.event_decoders import EventDecoders, rows_by_mapping
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.ports import Int64, Paused, RawRecords
from stream_scorer.registry.sources import SchemaSource
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, RolloutNotVisible

Part = tuple[Plan, EventDecoder, Int64]
"""A plan, the decoder of its mapping, and int64[k], the rows of a batch that it decodes."""


class ActivationTimelines(Protocol):
    """Where revisions begin; implemented by :class:`ActivationLog`."""

    def timeline(self, partition: int) -> list[tuple[int, int]]:
        """Return (first offset, revision) of a partition, ascending."""
        ...

    def read_all(self) -> None:
        """Read to the end that the topic has now."""
        ...

    def mark_end(self) -> None:
        """Note the end that the topic has now, open transactions included."""
        ...

    def read(self) -> bool:
        """Read some records; return whether all up to the noted end are read."""
        ...


class FollowedMappings:
    """Splits a batch of transactions by the mappings that decode it.

    Args:
        plan: The plan file; its mapping decodes the records before a partition's first activation.
        routings: Reads on in the control log, and returns the routing of each known revision.
        activations: Where revisions begin.
        committed: Returns the scorers' committed offsets of the given partitions that have one.
        decoders: A decoder for each mapping.
        close: Closes the connections of what reads the two logs.

    Attributes:
        routings: As given.
        activations: As given.
    """

    def __init__(
        self, plan: Plan, routings: Callable[[], Mapping[int, Routing]],
        activations: ActivationTimelines,
        committed: Callable[[list[int]], Mapping[int, int]], decoders: EventDecoders,
        close: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._plan = plan
        self.routings = routings
        self.activations = activations
        self._committed = committed
        self._decoders = decoders
        self.close = close

    def __call__(self, raw: RawRecords) -> Sequence[Part]:
        """Return the parts of n transactions; each row is in one.

        Raises:
            Paused: Scorers have not decided all of them yet, and may decode some by a new mapping;
                or the control log is unavailable, or is not read far enough.
            RegistryUnavailableError: A writer schema cannot be fetched now.
        """
        try:
            return self._parts(raw)
        except RegistryUnavailableError:
            raise
        except UnavailableError as error:
            raise Paused("control log", str(error)) from error

    def _parts(self, raw: RawRecords) -> Sequence[Part]:
        routings = self.routings()
        ends = raw.next_offsets()
        if waiting := [each for each in ends if self._may_begin(each, raw, routings)]:
            # The offsets first: the activations that are read after them have all that begins
            # before them.
            committed = self._committed(waiting)
            self.activations.read_all()
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
            Paused: The control log is not read up to a revision that is active.
        """
        begun = self.activations.timeline(partition)
        if missing := [revision for _, revision in begun if revision not in routings]:
            raise Paused("control log", f"revision {missing[0]} is active, and not read here yet")
        return [(0, self._plan), *((at, routings[revision].shared) for at, revision in begun)]

    def _may_begin(
        self, partition: int, raw: RawRecords, routings: Mapping[int, Routing]
    ) -> bool:  # fmt: skip
        """Whether a revision with another mapping may begin in a batch of a partition.

        A revision with ``effective_at`` begins at a record that has such an event time by its own
        mapping. In a partition without activations, one begins at the first record.
        """
        begun = self.activations.timeline(partition)
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
        """Whether a record may have, by a revision's own mapping, an event time at which it begins.

        It may if its schema is not known or not prepared here: scorers may know it.
        """
        events, _, rejections = self._decoders.of(routing.shared).decode(raw, budgeted=True)
        return RejectReason.UNKNOWN_SCHEMA in rejections.reasons or bool(
            (events.int64("event_time") >= (routing.effective_at or 0)).any()
        )


def followed_mappings(
    settings: Settings, registry: SchemaSource, scorers: str, plan: Plan, listener: Listener
) -> FollowedMappings | None:
    """Return what splits the profiler's batches; None if the rollout's topics are not visible.

    Args:
        settings: The cluster, and whose commands count.
        registry: The profiler's own, so that all its look-ups have one budget.
        scorers: The scorers' consumer group.
        plan: The plan file.
        listener: Notified of the rollout's topics that the broker does not show.

    Raises:
        RolloutError: A log is not complete, or a newer version wrote there.
        UnavailableError: Broker or registry do not answer.
    """
    kafka, topics = settings.kafka, settings.kafka.topics
    known = partitions(admin(kafka), kafka, None)
    if hidden := tuple(each for each in (topics.rollout, topics.activations) if each not in known):
        listener(RolloutNotVisible(hidden))
        return None
    control = ControlLog(settings)
    read_patiently(control.refresh, listener)
    activations = ActivationLog(settings, registry)
    read_patiently(activations.read_all, listener)

    def routings() -> Mapping[int, Routing]:
        control.poll(0.0)
        return control.log.routings

    def close() -> None:
        control.close()
        activations.close()

    of_scorers = kafka.model_copy(update={"group": scorers})
    return FollowedMappings(
        plan, routings, activations,
        lambda wanted: committed_offsets(of_scorers, topics.transactions, wanted),
        EventDecoders(registry, settings.registry.directory), close,
    )  # fmt: skip
