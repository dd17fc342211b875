"""The process of ``rekey``: copies one topic to another that is keyed by the customer.

Records of one customer may be in any partition of the source. So one process reads all partitions,
merged by Kafka timestamp, as the profiler does: a customer's copies are ordered by time. Copies,
dead letters and the next offsets of the source are in one transaction.
"""

from collections.abc import Callable
from contextlib import ExitStack

from stream_scorer.codec.reading.mapped import open_decoder
from stream_scorer.errors import OffsetsError, SettingsError
from stream_scorer.kafka.loop.merged_topics import MergedSource
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import LoopLimits
from stream_scorer.kafka.membership.transactional_id import command
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.kafka.topics.timestamps import keeps_timestamps
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import open_registry
from stream_scorer.rekeying.work import Rekeyed, RekeyRoute, RekeyWork
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener

_LINGER_SECONDS = 0.02
_NAME = "rekey"


def rekey_loop(
    settings: Settings,
    deployment: Deployment,
    source: str,
    target: str,
    listener: Listener,
    hook: Callable[[str], None] | None = None,
) -> TransactionLoop[Rekeyed]:
    """Make the loop of a copy.

    Args:
        settings: Those of the process; see ``Settings.of_process``.
        deployment: Its plan gives the mapping, its start the first run's beginning.
        source: Topic to copy.
        target: Topic of the copies; it exists.
        listener: Notified of every event.
        hook: Called with each step's name when it is over; a test raises from it.

    Raises:
        SettingsError: A topic does not exist, two of them are the same, or the target would not
            keep timestamps.
        OffsetsError: The group's offsets and the target do not belong together.
        StreamScorerError: What else keeps it from running; see the tree in ``errors``.
    """
    kafka = settings.kafka
    letters = kafka.topics.dead_letters
    refuse_same(source, target, letters)
    plan = deployed_plan(settings, deployment)
    decoder = open_decoder(open_registry(settings.registry), plan, settings.registry.directory)
    found = partitions(admin(kafka), kafka, [source, target, letters])
    if not keeps_timestamps(kafka, target):
        raise SettingsError(
            f"topic {target} has message.timestamp.type LogAppendTime, and copies keep their time",
            "set it to CreateTime, or name another --target",
        )
    # One transactional id for all: a starting process fences an earlier one, so that its last
    # transaction has ended before the committed offsets are read.
    producer = TransactionalProducer(
        kafka, kafka.group, listener, identity=command(kafka.group, _NAME)
    )
    with ExitStack() as failed:
        failed.callback(producer.close)
        merged = MergedSource(kafka, (source,), (source,), kafka.group, deployment.start)
        failed.callback(merged.close)
        route = RekeyRoute(source, len(found[source]), target, letters, kafka.instance)
        route.check(merged.notes, kafka.group)
        if not merged.notes and next(read_all(kafka, target), None) is not None:
            raise OffsetsError(
                f"group {kafka.group} has no committed offsets of {source}, though topic {target} "
                "holds records",
                "name an empty --target, or the rekey.group that has filled it",
            )
        failed.pop_all()
    limits = LoopLimits.of(settings.scorer, _LINGER_SECONDS, ahead=False)
    return TransactionLoop(merged, producer, RekeyWork(route, decoder), limits, listener, hook)


def refuse_same(source: str, target: str, letters: str) -> None:
    """Refuse a copy that would read what it writes.

    Raises:
        SettingsError: The source is the target or the dead-letter topic, or these are the same.
    """
    if source == target:
        raise SettingsError(
            f"--source and --target are the same topic, {source}", "name another --target"
        )
    if letters in {source, target}:
        raise SettingsError(
            f"topic {letters} is kafka.topics.dead_letters", "name another topic, or change it"
        )


def run_rekey(settings: Settings, deployment: Deployment, source: str, target: str) -> None:
    """Copy until a signal ends it.

    Args:
        settings: How and where to run.
        deployment: As in :func:`rekey_loop`.
        source: Topic to copy.
        target: Topic of the copies.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    own = settings.of_process("rekey")
    run_process(
        _NAME,
        own,
        source,
        lambda listener: rekey_loop(own, deployment, source, target, listener),
        together=True,
        member=False,
    )
