"""The monitor process: turns the scorers' summaries into drift events, exactly once.

It runs the scorer's transaction loop over the summaries topic: a drift event is published in the
same transaction as the offsets of the summaries that revealed it, and as a snapshot of its state. A
start continues from the newest snapshot and silently replays the summaries after it.

It reads no decisions: a summary contains the counts of its transaction's decisions by field,
segment and version. What is usual for them is in the reference of the version's bundle.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.drift.alarms.budget import AlarmBudget
from stream_scorer.drift.monitor.references import References
from stream_scorer.drift.monitor.state_keeping import StateKeeper
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.monitor.work import MonitorWork, Watched
from stream_scorer.drift.operator.command import authority
from stream_scorer.drift.state.topic import newest
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.loop.control_topic import ControlRecord, KeptTopic
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.kafka.loop.source import KafkaSource
from stream_scorer.kafka.loop.transaction import TransactionLoop
from stream_scorer.kafka.loop.work_interface import LoopLimits
from stream_scorer.kafka.membership.transactional_id import fence_former, instance
from stream_scorer.kafka.reading.replay import InputReplay
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.models.stores.remote import open_store
from stream_scorer.processes.run_process import run_process
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.settings import Monitor, Settings
from stream_scorer.state.checkpoints.record_mac import read_seal
from stream_scorer.telemetry import Listener

_LINGER_SECONDS = 1.0
"""Windows close by the hour, and many summaries in one transaction cost the broker less."""


class CommandPolls:
    """Reads the commands topic; it opens it when it is first asked.

    Args:
        open_topic: Opens the topic.
    """

    def __init__(self, open_topic: Callable[[], KeptTopic]) -> None:
        self._open = open_topic
        self._topic: KeptTopic | None = None

    def __call__(self) -> Sequence[ControlRecord]:
        """Return the commands that have come since the last call.

        Raises:
            RolloutError: The topic has several partitions, or its beginning is gone.
            SettingsError: It does not exist.
            UnavailableError: The broker does not answer.
        """
        if self._topic is None:
            topic = self._open()
            found = topic.to_end()
            self._topic = topic
            return found
        return self._topic.poll(0.0)

    def close(self) -> None:
        """Close the connection."""
        if self._topic is not None:
            self._topic.close()


def budget_of(monitor: Monitor) -> AlarmBudget:
    """Return the budget that the settings give.

    Raises:
        SettingsError: ``history_from`` is not a time.
    """
    since: int | None = None
    if monitor.history_from:
        try:
            since = round(datetime.fromisoformat(monitor.history_from).timestamp() * 1_000)
        except ValueError as error:
            raise SettingsError(
                f"setting monitor.history_from: {error}", "write it as 2026-01-31T00:00:00Z"
            ) from error
    return AlarmBudget(monitor.false_alarm_days, monitor.tolerance, since, monitor.streams_most)


def monitor_loop(
    settings: Settings,
    deployment: Deployment,
    listener: Listener,
    hook: Callable[[str], None] | None = None,
) -> TransactionLoop[Watched]:
    """Make the loop of a monitor.

    Args:
        settings: Settings of the process; see ``Settings.of_process``.
        deployment: Its plan gives the lateness, its start the first run's beginning.
        listener: Notified of all events.
        hook: Called with each step's name when it is over; a test raises from it.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    kafka, topics = settings.kafka, settings.kafka.topics
    budget = budget_of(settings.monitor)
    allowed = authority(settings.rollout)
    mac = read_seal(settings.state.mac_key_file, required=settings.state.mac_required)
    plan = deployed_plan(settings, deployment)
    references = References(open_store(settings.models), trust_of(settings.models), listener)
    registry = open_registry(settings.registry)
    schema = reader_schema("drift-event.v3", settings.registry.directory)
    events = RecordCodec(registry.id_for(f"{topics.drift_events}-value", schema), schema)
    wanted = (topics.transactions, topics.summaries, topics.drift_commands, topics.drift_state)
    found = partitions(admin(kafka), kafka, wanted)
    for topic in wanted[1:]:
        if len(found[topic]) != 1:
            raise SettingsError(
                f"topic {topic}: has {len(found[topic])} partitions",
                "the monitor needs its records in one order: give it a topic with one",
            )
    source = KafkaSource(kafka, topics.summaries, kafka.group, deployment.start)
    (number,) = found[topics.summaries]

    def replay_of(first: int, end: int) -> InputReplay | None:
        if first >= end:
            return None
        return InputReplay(kafka, topics.summaries, number, first, end)

    keeper = StateKeeper(
        topics.drift_state,
        lambda: newest(kafka, topics.drift_state, mac),
        references.prepare,
        references.of,
        lambda: source.low_watermark(number),
        listener,
        mac,
    )
    commands = CommandPolls(lambda: KeptTopic(kafka, topics.drift_commands, "drift-commands"))
    work = MonitorWork(
        lambda: DriftWatch(
            budget, found[topics.transactions], plan.lateness_ms, references.of, plan.ahead_ms
        ),
        references, registry, events, topics.drift_events, listener, replay_of, keeper,
        commands, allowed,
    )  # fmt: skip
    limits = LoopLimits.of(settings.scorer, _LINGER_SECONDS, guarded=True, takes=False, ahead=False)
    producer = TransactionalProducer(kafka, kafka.group, listener)
    fence_former(kafka, instance(kafka.group, kafka.instance))
    return TransactionLoop(source, producer, work, limits, listener, hook)


def run_monitor(settings: Settings, deployment: Deployment) -> None:
    """Run a monitor until a signal ends it.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    own = settings.of_process("monitor")
    run_process(
        "monitor",
        own,
        own.kafka.topics.summaries,
        lambda listener: monitor_loop(own, deployment, listener),
    )
