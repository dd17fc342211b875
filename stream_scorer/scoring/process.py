"""The scorer process: builds a transaction loop from settings, models and a plan, and runs it."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.codec.records.record_key import KeyReader, refuse_unkeyed
from stream_scorer.core.decision.decide import Model
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.exploring.draws import NO_KEYS, Draws
from stream_scorer.edge.registry.registry import open_edge_registry
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import LoopLimits
from stream_scorer.kafka.membership.transactional_id import fence_former, instance
from stream_scorer.kafka.reading.replay import Consumers, InputReplay
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics.key_sample import KeySample
from stream_scorer.kafka.topics.offsets import oldest_offset
from stream_scorer.models.bundles.loader import Bundle
from stream_scorer.models.stores.deployment import (
    Deployment,
    load_models,
)
from stream_scorer.ports import CheckpointStore
from stream_scorer.processes.run_process import Exposed, run_process
from stream_scorer.registry.sources import SchemaSource, open_registry, reader_schema
from stream_scorer.rollout.log.activation_log import ActivationLog
from stream_scorer.rollout.log.load_versions import LiveVersions
from stream_scorer.rollout.log.ready_versions import Pinned, ReadyVersions
from stream_scorer.scoring.edge_rows import EdgeJudge
from stream_scorer.scoring.held_partitions import HeldPartitions, HeldState
from stream_scorer.scoring.outputs import Outcomes
from stream_scorer.scoring.reverify_bundles import BundleWatch
from stream_scorer.scoring.warm_up import warm
from stream_scorer.scoring.work import Scoring, ScoringWork
from stream_scorer.security.keys import read_secret
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.schedule import Schedule
from stream_scorer.state.partitions.checkpoint_writer import Checkpoints
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.rejection_log import RejectionLog
from stream_scorer.state.partitions.restorer import Restoration
from stream_scorer.state.stores.open import owner_of, store_of, topic_of
from stream_scorer.state.stores.topic_store import TopicStore
from stream_scorer.telemetry import KernelsReady, Listener, VersionsExpected
from stream_scorer.terminals.follower import TerminalFollower


def scorer_loop(
    settings: Settings,
    deployment: Deployment,
    listener: Listener,
    hook: Callable[[str], None] | None = None,
    watch: BundleWatch | None = None,
    followed: ExitStack | None = None,
) -> tuple[TransactionLoop[Scoring], ScoringWork]:
    """Wire a scorer: load the model, open the registry, join the group.

    Args:
        settings: How and where to run.
        deployment: What is deployed.
        listener: Notified of all events.
        hook: Called with each step's name when it is over; a test raises from it.
        watch: Receives the bundles, to verify them again.
        followed: Receives the callbacks that stop following the control log.
    """
    registry = open_registry(settings.registry)
    draws = draws_of(settings)
    deployed = (
        _followed(settings, deployment, registry, listener, watch, followed, draws)
        if deployment.follow
        else _pinned(settings, deployment, listener, watch, draws)
    )
    fleet = deployed.versions.fleet
    refuse_unkeyed(fleet.shared, settings.kafka.topics.transactions)
    codecs = open_codecs(settings, registry)
    began = time.monotonic()
    for routing in fleet.routings:
        for model in fleet.models[routing.revision].values():
            warm(codecs, model, routing.shared)
    listener(KernelsReady(time.monotonic() - began))
    kafka = settings.kafka
    topic = kafka.topics.transactions
    owner = owner_of(settings)
    store = store_of(settings, owner, listener)
    state_topic = topic_of(settings, owner, store, listener)
    state_topic.refuse_layout()
    producer = TransactionalProducer(kafka, kafka.group, listener)
    fence_former(kafka, instance(kafka.group, kafka.instance))
    source = KafkaSource(kafka, topic, kafka.group, deployment.start)

    rings = PartitionRings(fleet.features)
    terminals = follower_of(settings, fleet, registry, rings, listener)
    schedule = Schedule(settings.state.bytes_per_event, settings.state.buckets_per_second)
    state = HeldState(
        rings,
        restoration_of(settings, source, owner, store, rings, state_topic),
        Checkpoints(
            store, owner, rings, schedule, listener, write_format=settings.state.write_format
        ),
        RejectionLog(
            state_topic.topic, owner,
            lambda partition: oldest_offset(kafka, topic, partition),
        ),
        Warmth(listener, accept_cold=deployment.accept_cold, warming=deployed.warming),
    )  # fmt: skip
    held = HeldPartitions(
        deployed.versions, codecs.transactions, state, listener, terminals, deployed.recorded
    )
    outputs = Outcomes(codecs, kafka.topics, kafka.instance, draws)
    judge = judge_of(settings, registry, listener, followed)
    sample = KeySample(listener, KeyReader(registry, settings.registry.directory))
    work = ScoringWork(held, deployed.versions, codecs, outputs, sample, listener, judge=judge)
    linger = settings.scorer.maximum_linger_ms / 1_000
    limits = LoopLimits.of(settings.scorer, linger, guarded=True)
    loop = TransactionLoop(source, producer, work, limits, listener, hook)
    if terminals is not None:
        terminals.give_up_when(lambda: loop.stopping)
    if watch is not None:
        watch.begin(listener)
    if isinstance(deployed.versions, LiveVersions):
        # For the loader's thread: an encoder has a cache, which is not shared between threads.
        others = open_codecs(settings, registry)
        deployed.versions.begin(lambda model, plan: warm(others, model, plan))
    return loop, work


@dataclass(frozen=True, slots=True)
class _Deployed:
    """The versions that decide, and the version that is warming."""

    versions: Pinned | LiveVersions
    warming: Model | None
    recorded: ActivationLog | None = None


def _pinned(
    settings: Settings, deployment: Deployment, listener: Listener, watch: BundleWatch | None,
    draws: Draws,
) -> _Deployed:  # fmt: skip
    loaded = load_models(settings, deployment)
    try:
        draws.check(loaded.plan)
    except ValueError as error:
        raise SettingsError(f"plan: {error}", "give the process the key, or another plan") from None
    listener(VersionsExpected((f"{loaded.model.name}:{loaded.model.version}",)))
    for bundle in loaded.bundles:
        if watch is not None:
            watch.add(bundle, listener)
    return _Deployed(Pinned(loaded.model, loaded.plan), loaded.warming)


def _followed(
    settings: Settings, deployment: Deployment, registry: SchemaSource, listener: Listener,
    watch: BundleWatch | None, followed: ExitStack | None, draws: Draws = NO_KEYS,
) -> _Deployed:  # fmt: skip
    """Wait for a rollout plan, and load its versions."""
    recorded = ActivationLog(settings, registry, listener)
    recorded.mark_end()
    while not read_patiently(recorded.read, listener):
        pass

    def loaded(bundle: Bundle) -> None:
        if watch is not None:
            watch.add(bundle, listener)

    def unloaded(bundle: Bundle) -> None:
        if watch is not None:
            watch.remove(bundle, listener)

    live = LiveVersions(settings, listener, deployment.warm, loaded, unloaded, draws.check)
    if followed is not None:
        followed.callback(recorded.close)
        followed.callback(live.close)
    live.wait(recorded.last().values())
    return _Deployed(live, live.warming, recorded)


def draws_of(settings: Settings) -> Draws:
    """Return the keys of the draws that plans may ask for.

    Raises:
        SettingsError: A file of a key is not there, not private, or too short.
    """
    found: list[bytes | None] = []
    for name in ("explore_key_file", "review_key_file"):
        file = getattr(settings.scorer, name)
        found.append(None if file is None else read_secret(file, f"scorer.{name}"))
    try:
        return Draws(*found)
    except ValueError as error:
        raise SettingsError(str(error), "write 32 random bytes or more to the file") from None


def judge_of(
    settings: Settings, registry: SchemaSource, listener: Listener, followed: ExitStack | None
) -> EdgeJudge:
    """Return what judges rows that devices decided.

    Raises:
        SettingsError: They are accepted, and no operator's key is named, or the registry of devices
            does not exist.
        UnavailableError: They are accepted, and the broker does not answer.
    """
    if settings.scorer.edge == "refuse":
        return EdgeJudge()
    if not settings.edge.trusted_keys:
        raise SettingsError(
            "scorer.edge: accept has no meaning without edge.trusted_keys",
            "name the operators' public keys, or set it to refuse",
        )
    allowed = open_edge_registry(settings, registry, listener)
    if followed is not None:
        followed.callback(allowed.close)
    return EdgeJudge(allowed)


def restoration_of(
    settings: Settings, source: KafkaSource, owner: Owner, store: CheckpointStore, rings:
        PartitionRings,
    state_topic: TopicStore,
) -> Restoration:  # fmt: skip
    """Return what restores partitions' state; it closes its connections when all are restored."""
    kafka, topic = settings.kafka, settings.kafka.topics.transactions
    consumers = Consumers(kafka, topic)

    def rest() -> None:
        consumers.close()
        state_topic.rest()

    return Restoration(
        topic, source, owner, store, rings,
        lambda partition, first, end:
            InputReplay(kafka, topic, partition, first, end, consumers), rest, state_topic,
    )  # fmt: skip


def follower_of(
    settings: Settings,
    fleet: ReadyVersions,
    registry: SchemaSource,
    rings: PartitionRings,
    listener: Listener,
) -> TerminalFollower | None:
    """Return what reads the terminal profile rows; None if no model uses them.

    Raises:
        SettingsError: Their topic does not exist.
    """
    if not any(model.features.by_terminal for model in fleet.every):
        return None
    schema = reader_schema("terminal-profile.v2", settings.registry.directory)
    return TerminalFollower(
        lambda: TopicFollower(settings.kafka, settings.kafka.topics.terminal_profiles),
        ColumnDecoder(registry, schema, fleet.shared),
        fleet.shared, fleet.features.engine.delayed, rings, listener,
    )  # fmt: skip


def run_scorer(settings: Settings, deployment: Deployment, exposed: Exposed | None = None) -> None:
    """Run a scorer until a signal ends it; SIGHUP verifies its bundles again.

    Args:
        settings: How and where to run.
        deployment: What is deployed.
        exposed: Serves its metrics and probes; None: a separate HTTP endpoint.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    with BundleWatch(settings.models.verify_seconds) as watch, ExitStack() as followed:
        run_process(
            "scorer",
            settings,
            settings.kafka.topics.transactions,
            lambda listener: scorer_loop(
                settings, deployment, listener, watch=watch, followed=followed
            )[0],
            exposed,
            hangup=watch.ask,
        )
