"""The routing at each offset: the activations have its revision, the control log its meaning."""

from bisect import bisect_right
from collections.abc import Mapping

from stream_scorer.core.decision.routing import Routing
from stream_scorer.errors import RolloutError, SettingsError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.bundles.trust import GrantedBundle
from stream_scorer.registry.sources import open_registry
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.fold_commands import Log
from stream_scorer.settings import Settings


class RecordedRoutings:
    """The activations of a cluster, with the routing of each revision.

    Without the topics, or before a partition's first activation, there is no routing: scorers ran
    with a pinned version.

    Args:
        settings: The cluster, the registry, and whose commands count.

    Raises:
        RolloutError: A log is not complete, or a newer version wrote there.
        UnavailableError: Broker or registry do not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._timelines: dict[int, tuple[list[int], list[int]]] = {}
        self._routings = recorded_revisions(settings)
        topics = settings.kafka.topics
        if not _there(settings, topics.rollout, topics.activations):
            return
        activations = ActivationLog(settings, open_registry(settings.registry))
        try:
            self._read(activations)
        finally:
            activations.close()

    def _read(self, activations: ActivationLog) -> None:
        read_patiently(activations.read_all)
        for partition in activations.last():
            timeline = activations.timeline(partition)
            for offset, revision in timeline:
                if revision not in self._routings:
                    raise RolloutError(
                        f"partition {partition} was decided by revision {revision} from offset "
                        f"{offset} on, and the control log has no such revision that counts",
                        "name the log that the scorers followed, and the operators' keys: "
                        "rollout.operator_keys",
                    )
            self._timelines[partition] = (
                [offset for offset, _ in timeline], [revision for _, revision in timeline],
            )  # fmt: skip

    def at(self, partition: int, offset: int) -> Routing | None:
        """Return the active routing at an offset of the input; None before the first activation."""
        offsets, revisions = self._timelines.get(partition, ((), ()))
        place = bisect_right(offsets, offset)
        return self._routings[revisions[place - 1]] if place else None

    def first(self, partition: int) -> Routing | None:
        """Return what decided the first record of a partition that a revision decided."""
        _, revisions = self._timelines.get(partition, ((), ()))
        return self._routings[revisions[0]] if revisions else None

    @property
    def revisions(self) -> Mapping[int, Routing]:
        """What each revision of the control log means, ascending."""
        return self._routings

    @property
    def active(self) -> frozenset[int]:
        """The last revision of each partition that has one."""
        return frozenset(revisions[-1] for _, revisions in self._timelines.values())

    @property
    def newest(self) -> Routing | None:
        """The routing of the newest revision that decided anywhere; None if none did."""
        return self._routings[max(self.active)] if self.active else None


def recorded_revisions(settings: Settings) -> dict[int, Routing]:
    """Return the routing of each revision of the control log; empty if there is no log.

    Args:
        settings: The cluster, the registry, and whose commands count.

    Raises:
        RolloutError: The log is not complete, or a newer version wrote there.
        UnavailableError: Broker or registry do not answer.
    """
    log = _recorded_log(settings)
    return {} if log is None else log.routings


def trained_bundles(settings: Settings) -> Mapping[str, GrantedBundle]:
    """Return the bundles of trainers that the control log accepted; raises as above."""
    log = _recorded_log(settings)
    return {} if log is None else log.state.trained


def _recorded_log(settings: Settings) -> Log | None:
    if not _there(settings, settings.kafka.topics.rollout):
        return None
    control = ControlLog(settings)
    try:
        read_patiently(control.refresh)
        return control.log
    finally:
        control.close()


def _there(settings: Settings, *topics: str) -> bool:
    kafka = settings.kafka
    try:
        partitions(admin(kafka), kafka, topics)
    except SettingsError:
        return False
    return True
