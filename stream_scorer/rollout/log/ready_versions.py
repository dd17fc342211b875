"""The versions that a scorer has loaded, and the revisions of the plan that it can follow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet

ANY_OLDER = 0
"""Requests every revision of the log."""


def revisions_to_hold(
    routings: Sequence[Routing], wanted: Callable[[int], bool], usable: Callable[[Routing], bool]
) -> Iterator[Routing]:
    """Yield the revisions that may have to decide, newest first.

    A revision without an event time replaces all earlier ones once it can be used.

    Args:
        routings: All revisions, ascending.
        wanted: Whether a revision is needed in any case: it decided the last record of a partition.
        usable: Whether a revision can be used; asked after it is yielded.
    """
    settled = False
    for routing in reversed(routings):
        if not settled or wanted(routing.revision):
            yield routing
            settled = settled or (usable(routing) and routing.effective_at is None)


@dataclass(frozen=True, slots=True)
class ReadyVersions:
    """Models with one engine, and their revisions. A change replaces the object.

    Attributes:
        models: By revision and version, compiled for the plan of the revision; all share their
            engine.
        routings: Revisions that these models can follow, ascending; at least one.
        refused: By revision that cannot be followed, the reason.
        pinned: Whether there is no rollout: the one routing decides everywhere, and is not
            recorded.
    """

    models: Mapping[int, Mapping[Version, Model]]
    routings: tuple[Routing, ...]
    refused: Mapping[int, str] = field(default_factory=dict)
    pinned: bool = False

    @property
    def features(self) -> FeatureSet:
        """Features of one of the models; all have the same engine."""
        return self.every[0].features

    @property
    def every(self) -> tuple[Model, ...]:
        """All models; a version occurs once for each revision that has it."""
        return tuple(model for models in self.models.values() for model in models.values())

    @property
    def read_by(self) -> Mapping[str, Plan]:
        """Extra fields that rings keep, each with a plan that defines it."""
        return self.features.engine.read_by

    @property
    def newest(self) -> Routing:
        """The newest revision that can be followed."""
        return self.routings[-1]

    @property
    def shared(self) -> Plan:
        """What all arms share. The parts on which state depends are the same in every revision."""
        return self.newest.shared

    def of(self, revision: int | None) -> Routing | None:
        """Return a revision's routing; None if it is not ready."""
        return next((each for each in self.routings if each.revision == revision), None)


class Versions(Protocol):
    """Provides a scorer's models and plan."""

    @property
    def fleet(self) -> ReadyVersions:
        """What is ready now; a new object after each change."""
        ...

    def plans(self) -> Mapping[int, Plan]:
        """Return the plan of each revision that is known, whether it is ready or not."""
        ...

    def need(self, revision: int) -> None:
        """Request the revision that decided a partition last, or ``ANY_OLDER``."""
        ...


class Pinned:
    """One version that decides everything, under a plan file.

    Args:
        model: The version.
        plan: The plan; its revision is that of the decisions.
    """

    def __init__(self, model: Model, plan: Plan) -> None:
        version = Version(model.name, model.version)
        routing = Routing.alone(version, plan)
        self.fleet = ReadyVersions({routing.revision: {version: model}}, (routing,), pinned=True)

    def plans(self) -> Mapping[int, Plan]:
        """Return the plan of the one revision."""
        return {self.fleet.newest.revision: self.fleet.shared}

    def need(self, revision: int) -> None:
        """Raise an error: there is only one revision."""
        raise RuntimeError(f"revision {revision}: there is no rollout")
