"""The profiler process: builds and runs the loop that publishes terminal profile rows.

It runs the scorer's own transaction loop over transactions and labels, merged by time. One
transaction publishes a batch's rows and the watermark, and commits the next input offsets with the
notes that a restart needs.
"""

from collections.abc import Callable
from contextlib import ExitStack

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder
from stream_scorer.codec.reading.mapped import open_decoder, open_label_decoder
from stream_scorer.codec.records.record_key import refuse_unkeyed
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import OffsetsError, StateError
from stream_scorer.kafka.loop.merged_topics import MergedSource
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import LoopLimits
from stream_scorer.kafka.membership.transactional_id import command, fence_former
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.kafka.reading.topic_follower import TopicFollower
from stream_scorer.kafka.topics.groups import committed_offsets
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.ports import RawRecords
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import SchemaSource, open_registry, reader_schema
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Listener
from stream_scorer.terminals.label_policies import LabelPolicies
from stream_scorer.terminals.mappings import FollowedMappings, followed_mappings
from stream_scorer.terminals.outcomes import DecidedOutcomes, outcome_schema
from stream_scorer.terminals.profiler_work import (
    Decoders,
    Profiled,
    ProfilerWork,
    RowEncoder,
    SideInput,
)
from stream_scorer.terminals.warm_up import warm_profiler

_LINGER_SECONDS = 0.25
"""Rows are first used a day later or so, and large transactions cost the broker less."""
_ONE = "one"


class _Numbered(InputReplay):
    """A replay whose records have the partition numbers of the merged source."""

    def __init__(
        self, kafka: Kafka, topic: str, number: int, partition: int, first: int, end: int
    ) -> None:
        super().__init__(kafka, topic, number, first, end)
        self.partition = partition

    def step(self) -> RawRecords | None:
        raw = super().step()
        return None if raw is None else raw.of_partition(self.partition)


def profiler_loop(
    settings: Settings,
    deployment: Deployment,
    listener: Listener,
    hook: Callable[[str], None] | None = None,
    scorers: str = "",
) -> TransactionLoop[Profiled]:
    """Build the loop of a profiler.

    Args:
        settings: Settings of the process; see ``Settings.of_process``.
        deployment: Gives the plan, and where the first run begins.
        listener: Notified of all events.
        hook: Called with each step's name when it is over; a test raises from it.
        scorers: The scorers' consumer group: each record is decoded by the mapping by which they
            decide it. Empty: by the mapping of the plan file.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    kafka, topics = settings.kafka, settings.kafka.topics
    plan = deployed_plan(settings, deployment)
    refuse_unkeyed(plan, topics.transactions)
    registry = open_registry(settings.registry)
    schema = reader_schema("terminal-profile.v2", settings.registry.directory)
    out = partitions(admin(kafka), kafka, [topics.terminal_profiles])[topics.terminal_profiles]
    rows = RowEncoder(
        registry.id_for(f"{topics.terminal_profiles}-value", schema),
        schema, topics.terminal_profiles, len(out),
    )  # fmt: skip
    warm_profiler(rows, plan)
    # One transactional id for all profilers: a start fences the previous one, so that its last
    # transaction is completed before the committed offsets are read.
    only = command(kafka.group, _ONE)
    producer = TransactionalProducer(kafka, kafka.group, listener, identity=only)
    with ExitStack() as failed:
        failed.callback(producer.close)
        fence_former(kafka, only)
        # At equal times labels come first: a label counts for a transaction of the same
        # millisecond.
        source = MergedSource(
            kafka, (topics.transactions, topics.labels), (topics.labels, topics.transactions),
            kafka.group, deployment.start,
        )  # fmt: skip
        failed.callback(source.close)
        if not source.notes and next(read_all(kafka, topics.terminal_profiles), None) is not None:
            raise OffsetsError(
                f"group {kafka.group} has no committed offsets, though topic "
                f"{topics.terminal_profiles} holds rows",
                "see docs/RUNBOOK.md, section 'The profiler cannot continue where it was'",
            )
        decoders = _decoders(registry, plan, settings, scorers, listener)
        count = source.counts[topics.transactions]
        side = None
        if scorers and settings.profiler.decisions == "follow":
            side = _side_input(settings, registry, plan, scorers, count, decoders.parts_of)
        work = ProfilerWork(
            plan, count, sum(source.counts.values()), decoders, rows, source.notes, listener,
            _replays(kafka, source), side,
        )  # fmt: skip
        failed.pop_all()
    limits = LoopLimits.of(settings.scorer, _LINGER_SECONDS, ahead=False)
    return TransactionLoop(source, producer, work, limits, listener, hook)


def _replays(kafka: Kafka, source: MergedSource) -> Callable[[int, int, int], InputReplay]:
    """Return what reads pending rows again: by partition, first and next offset."""
    topics = kafka.topics
    first = source.counts[topics.transactions]

    def replay_of(partition: int, begin: int, end: int) -> InputReplay:
        topic = topics.transactions if partition < first else topics.labels
        number = partition if partition < first else partition - first
        if begin < source.lows[partition]:
            raise StateError(
                f"{topic} partition {number}: pending rows begin at offset {begin}, and the input "
                f"before {source.lows[partition]} was deleted",
                "see docs/RUNBOOK.md, section 'The profiler cannot continue where it was'",
            )
        return _Numbered(kafka, topic, number, partition, begin, end)

    return replay_of


def _decoders(
    registry: SchemaSource, plan: Plan, settings: Settings, scorers: str, listener: Listener
) -> Decoders:  # fmt: skip
    directory = settings.registry.directory
    return Decoders(
        open_decoder(registry, plan, directory),
        open_label_decoder(registry, plan, directory),
        followed_mappings(settings, registry, scorers, plan, listener) if scorers else None,
    )


def _side_input(
    settings: Settings, registry: SchemaSource, plan: Plan, scorers: str, count: int,
    mappings: FollowedMappings | None,
) -> SideInput:  # fmt: skip
    """Return what gives the profiler the decisions, and the label policies of the plans."""
    kafka, topics = settings.kafka, settings.kafka.topics
    policies = LabelPolicies(plan)
    if mappings is not None:
        policies = LabelPolicies(plan, mappings.routings, mappings.activations)
    of_scorers = kafka.model_copy(update={"group": scorers})
    schema = outcome_schema(reader_schema("decision.v3", settings.registry.directory))

    def open_from(since_ms: int) -> DecidedOutcomes:
        return DecidedOutcomes(
            TopicFollower(kafka, topics.decisions, "outcomes", since_ms),
            ColumnDecoder(registry, schema, UNLIMITED), topics.transactions, count,
            lambda wanted: committed_offsets(of_scorers, topics.transactions, wanted), policies,
        )  # fmt: skip

    return SideInput(policies, open_from)


def run_profiler(settings: Settings, deployment: Deployment) -> None:
    """Run a profiler until a signal ends it.

    Raises:
        StreamScorerError: It cannot run; see the tree in ``errors``.
    """
    own = settings.of_process("profiler")
    run_process(
        "profiler",
        own,
        own.kafka.topics.transactions,
        lambda listener: profiler_loop(own, deployment, listener, scorers=settings.kafka.group),
        together=True,
        member=False,
    )
