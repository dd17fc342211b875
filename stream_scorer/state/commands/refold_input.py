"""Folds the input again, each record read with the mapping that decided its offset."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.decision.routing import Routing
from stream_scorer.core.events.fields import STORABLE, fields_of, in_order
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import Bundle, check_features, load_bundle, models_under
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.choose_version import choose, find
from stream_scorer.models.stores.deployment import Deployment, load_models, plan_of, plan_trust
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import PlanMissingError
from stream_scorer.registry.sources import open_registry
from stream_scorer.reproduce.arms import routings
from stream_scorer.reproduce.rescore import Bundles
from stream_scorer.reproduce.routings import RecordedRoutings
from stream_scorer.rollout.log.ready_versions import revisions_to_hold
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.partitions.refold import PlansAt, Refolding


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """What a group's rings keep, and by which mapping each of its records is read.

    Attributes:
        kafka: The cluster and the input.
        decoders: A decoder for each mapping.
        asked: The bundles that rings serve, one at least, each with the plan that reads its events.
        plans_at: Returns the plan whose mapping reads each record.
        needed: Returns the stored fields that a bucket of (partition, offset) must have.
        defined: Further stored fields that a scorer may keep, each with a plan that defines it.
    """

    kafka: Kafka
    decoders: EventDecoders
    asked: Sequence[tuple[Bundle, Plan]]
    plans_at: PlansAt
    needed: Callable[[int, int], frozenset[str]]
    defined: Mapping[str, Plan] = field(default_factory=dict)

    def folding(self, kept: Iterable[str] = ()) -> Refolding:
        """Return an object that folds the input into rings as the cluster's scorers did.

        Args:
            kept: Stored fields that rings keep, too; those that are not known here are left out.
        """
        features = models_under(self.asked)[0].features
        engine, defined = features.engine, self.defined
        further = {name for name in kept if name in defined}.difference(engine.fields)
        if further:
            read_by = {name: defined[name] for name in further.difference(STORABLE)}
            fields = in_order([*engine.fields, *further])
            wider = replace(engine, fields=fields, read_by={**engine.read_by, **read_by})
            features = models_under(self.asked, wider)[0].features
        return Refolding(self.kafka, self.decoders, features, self.plans_at)


def open_layout(settings: Settings, deployment: Deployment) -> GroupLayout:
    """Return what the group's rings keep, and by which mapping each of its records is read.

    Records that an activated plan decided are read by its mapping. What was decided before the
    first activation of a partition is read by the deployment's plan.

    Args:
        settings: The cluster, the input, the registry.
        deployment: Its features determine what rings keep. Without a plan file, the newest
            activated plan determines what all models share. If it follows the rollout, rings keep
            what a scorer keeps that starts now, and the first activated plan of a partition reads
            the records before it, as in a scorer.

    Raises:
        ModelError: A version is missing or refused, or no revision can be used.
        RolloutError: The control log or the activations are not complete.
        SettingsError: The plan is refused.
        UnavailableError: The broker, the registry or the store does not answer.
    """
    recorded = RecordedRoutings(settings)
    newest = None if deployment.plan is not None else recorded.newest
    if newest is not None and deployment.follow:
        return _followed(settings, deployment, recorded)
    if newest is None:
        loaded = load_models(settings, deployment)
        bundles, shared, before = loaded.bundles, loaded.plan, loaded.plan
    else:
        bundles, shared = _named(settings, deployment), newest.shared
        before = _plan_beside(settings, bundles[0]) or shared
    asked = [(bundle, shared) for bundle in bundles]
    fields = frozenset(models_under(asked)[0].features.engine.fields)
    return GroupLayout(
        settings.kafka, _decoders(settings), asked,
        _plans_at(recorded, lambda _: before), lambda *_: fields,
    )  # fmt: skip


def _decoders(settings: Settings) -> EventDecoders:
    return EventDecoders(open_registry(settings.registry), settings.registry.directory)


def _named(settings: Settings, deployment: Deployment) -> tuple[Bundle, ...]:
    """Load the versions that a deployment names."""
    store, trust = open_store(settings.models), trust_of(settings.models)
    bundle = load_bundle(store.folder(choose(store, deployment.model)), trust)
    if deployment.warm is None:
        return (bundle,)
    return bundle, load_bundle(find(store, deployment.warm), trust)


def _plan_beside(settings: Settings, bundle: Bundle) -> Plan | None:
    """Return the plan next to a model's versions; None if there is none."""
    try:
        return plan_of(
            open_store(settings.models), bundle.manifest.name, None, plan_trust(settings)
        )
    except PlanMissingError:
        return None


def _plans_at(recorded: RecordedRoutings, before: Callable[[int], Plan]) -> PlansAt:
    """Return what finds the plans of records; ``before`` gives a partition's first one."""

    def plans_at(partition: int, first: int, end: int) -> Sequence[tuple[int, Plan]]:
        return [
            (begin, before(partition) if routing is None else routing.shared)
            for begin, _, routing in routings(recorded.at, partition, first, end)
        ]

    return plans_at


def _followed(
    settings: Settings, deployment: Deployment, recorded: RecordedRoutings
) -> GroupLayout:  # fmt: skip
    """Return the layout of a scorer that follows the rollout and starts now."""
    bundles = Bundles(open_store(settings.models), trust_of(settings.models))
    held = _held(recorded, bundles)
    asked = [each for routing in held for each in _asked_by(routing, bundles)]
    if deployment.warm is not None:
        asked.append((bundles.named(deployment.warm), held[-1].shared))

    def before(partition: int) -> Plan:
        return (recorded.first(partition) or held[0]).shared

    @cache
    def needed_by(revision: int) -> frozenset[str]:
        deciding = _asked_by(recorded.revisions[revision], bundles)
        sets = [compile_features(bundle.manifest.features, plan) for bundle, plan in deciding]
        return frozenset(name for each in sets for name in each.need.fields)

    def needed(partition: int, offset: int) -> frozenset[str]:
        routing = recorded.at(partition, offset - 1)
        return frozenset() if routing is None else needed_by(routing.revision)

    defined = {
        each.stored: routing.shared
        for routing in recorded.revisions.values()
        for each in fields_of(routing.shared).values()
    }
    return GroupLayout(
        settings.kafka, _decoders(settings), asked, _plans_at(recorded, before),
        needed, defined,
    )  # fmt: skip


def _held(recorded: RecordedRoutings, bundles: Bundles) -> list[Routing]:
    """Return the revisions that a scorer holds which starts now, ascending.

    Raises:
        ModelError: None can be used.
    """
    refused: dict[int, str] = {}

    def usable(routing: Routing) -> bool:
        for version in routing.versions.values():
            bundle = bundles.bundle(version)
            if bundle is None:
                refused[routing.revision] = bundles.refused[version.label]
                return False
            try:
                check_features(bundle.manifest, routing.shared)
            except ModelError as error:
                refused[routing.revision] = str(error)
                return False
        return True

    every = list(recorded.revisions.values())
    asked = revisions_to_hold(every, recorded.active.__contains__, usable)
    found = [each for each in asked if usable(each)]
    if not found:
        revision, reason = max(refused.items())
        raise ModelError(f"revision {revision}: {reason}", "start a rollout of what can be loaded")
    return found[::-1]


def _asked_by(routing: Routing, bundles: Bundles) -> list[tuple[Bundle, Plan]]:
    """Return the versions of a revision that can be loaded, each with its plan."""
    found = (bundles.bundle(version) for version in dict.fromkeys(routing.versions.values()))
    return [(bundle, routing.shared) for bundle in found if bundle is not None]
