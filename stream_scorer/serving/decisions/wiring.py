"""Connects a gateway to Kafka: reads the window, follows both topics, produces, watches."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import read_policy
from stream_scorer.kafka.reading.record_at import RecordAt
from stream_scorer.kafka.reading.topic_tail import Edges, TopicTail
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import RawRecords
from stream_scorer.processes.mailbox import Mailbox
from stream_scorer.producing.sender import Sender
from stream_scorer.registry.sources import SchemaSource, open_registry
from stream_scorer.serving.decisions.admission import Admission
from stream_scorer.serving.decisions.asked import Charge
from stream_scorer.serving.decisions.correlation import PendingTransaction
from stream_scorer.serving.decisions.gateway import Gateway
from stream_scorer.serving.decisions.gateway_parts import GatewayParts
from stream_scorer.serving.decisions.judging import Judge
from stream_scorer.serving.decisions.published import PublishedDecisions, letter_of
from stream_scorer.serving.decisions.records import RecordForm, RecordMaker
from stream_scorer.serving.decisions.window import DecisionWindow
from stream_scorer.serving.following.active_plans import ActivePlans, open_plans
from stream_scorer.serving.following.decision_ends import DecisionEnds, PassedEnds
from stream_scorer.serving.following.scorers_watch import NO_BROKER, ScorersWatch
from stream_scorer.serving.following.topic_lookups import TopicLookups
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, WindowRebuilt

_MEGABYTE: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class GatewayConnections:
    """A gateway with its connections.

    Attributes:
        gateway: The gateway.
        tails: The topics that it reads.
        sender: Produces.
        watch: Observes the scorers.
        plans: What the log of plans names now.
        down: Returns why nothing can be decided now; empty if it can.
        form: What the records of requests must be.
        stack: Closes all.
    """

    gateway: Gateway
    tails: tuple[TopicTail, ...]
    sender: Sender
    watch: ScorersWatch
    plans: ActivePlans
    down: Callable[[], str]
    form: RecordForm
    stack: ExitStack

    @property
    def failure(self) -> BaseException | None:
        """What a part cannot recover from. None: nothing."""
        parts: tuple[TopicTail | Sender | ScorersWatch | ActivePlans, ...] = (
            *self.tails, self.sender, self.watch, self.plans,
        )  # fmt: skip
        return next((each.failure for each in parts if each.failure is not None), None)


def connected(
    settings: Settings, deployment: Deployment, listener: Listener, mailbox: Mailbox,
    charge: Charge,
) -> GatewayConnections:  # fmt: skip
    """Connect, and read the decisions of the window; takes as long as that.

    Args:
        settings: The cluster and the limits.
        deployment: Which plan judges.
        listener: Notified on several threads.
        mailbox: Calls what threads bring on the event loop.
        charge: Counts the records of a batch; see :class:`GatewayParts`.

    Raises:
        StreamScorerError: It cannot be connected; see the tree in ``errors``.
    """
    with ExitStack() as stack:
        found = _Wiring(settings, deployment, listener, mailbox, charge, stack).connect()
        # Nothing has failed: all stays open.
        return replace(found, stack=stack.pop_all())


class _Wiring:
    """Connects the parts. Its methods run on a thread before the gateway is used."""

    def __init__(
        self, settings: Settings, deployment: Deployment, listener: Listener, mailbox: Mailbox,
        charge: Charge, stack: ExitStack,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._deployment = deployment
        self._listener = listener
        self._mailbox = mailbox
        self._charge = charge
        self._stack = stack
        own = settings.serving.decisions
        self._timeout = own.timeout_ms / 1_000
        self._window = DecisionWindow(own.window_seconds, own.window_mb * _MEGABYTE)
        self._admission = Admission(own.in_flight_max, self._timeout, time.perf_counter)
        self._gateway: Gateway | None = None

    def connect(self) -> GatewayConnections:
        """Return the gateway with its connections."""
        settings, kafka = self._settings, self._settings.kafka
        registry = open_registry(settings.registry)
        plans = open_plans(settings, self._deployment, registry, self._listener)
        self._stack.callback(plans.close)
        published = PublishedDecisions(
            registry, kafka.topics.transactions, settings.registry.directory
        )
        letters = self._letters()
        decisions = self._decisions(published)
        sender = Sender(kafka, kafka.topics.transactions, self._delivered)
        self._stack.callback(sender.close)

        def seen(age: float) -> None:
            self._mailbox.post(self._admission.lagging, age)

        watch = ScorersWatch(kafka, sender.reached, seen, self._listener)
        self._stack.callback(watch.close)

        def down() -> str:
            return watch.down or ("" if sender.connected else NO_BROKER)

        records = RecordAt(kafka, kafka.topics.transactions, "serve")
        self._stack.callback(records.close)
        ends = DecisionEnds(decisions)
        self._stack.callback(ends.close)
        passed = PassedEnds(decisions, ends, self._mailbox.post)
        lookups = TopicLookups(records, watch.committed, decisions, ends)
        self._stack.callback(lookups.close)
        parts = self._parts(registry, plans, published, sender, down, lookups)
        self._gateway = Gateway(
            parts, lambda pending, read: self._when_read(decisions, passed, pending, read),
            self._timeout,
        )  # fmt: skip
        watch.start()
        letters.start()
        return GatewayConnections(
            self._gateway, (decisions, letters), sender, watch, plans, down, parts.maker.form,
            self._stack,
        )  # fmt: skip

    def _parts(
        self, registry: SchemaSource, plans: ActivePlans, published: PublishedDecisions,
        sender: Sender, down: Callable[[], str], lookups: TopicLookups,
    ) -> GatewayParts:  # fmt: skip
        settings, kafka = self._settings, self._settings.kafka
        topic, directory = kafka.topics.transactions, settings.registry.directory
        maker = RecordMaker(registry, settings.serving.decisions, plans()[0], topic, directory)
        judge, made_up = Judge(EventDecoders(registry, directory), plans), maker.made_up()
        # The first record compiles what reads it, which would block the event loop for seconds.
        judge([made_up], _now_ms())

        def prepare(plan: Plan) -> None:
            self._mailbox.post(judge.add, plan, judge.prepared(plan, made_up, _now_ms()))

        plans.prepare_with(prepare)
        return GatewayParts(
            maker, judge, self._window, published, self._admission, sender,
            lambda: provisional_outcome(plans()[0]), down, lookups.stored,
            lookups.decisions_read, self._listener, charge=self._charge,
        )  # fmt: skip

    def _decisions(self, published: PublishedDecisions) -> TopicTail:
        """Follow the decisions, and read those of the window."""
        kafka, own = self._settings.kafka, self._settings.serving.decisions
        began = time.monotonic()
        topic = kafka.topics.decisions
        edges = Edges(kafka, topic)
        try:
            start = edges.since(_now_ms() - own.window_seconds * 1_000)
        finally:
            edges.close()

        def take(raw: RawRecords) -> None:
            found = list(published.of(raw))
            self._window.add(found, _now_ms())
            gateway = self._gateway
            if gateway is not None:
                waited = [each for each in found if each.key in gateway.correlation]
                if waited:
                    self._mailbox.post(gateway.correlation.decided, waited)

        tail = TopicTail(kafka, topic, start, take, self._listener)
        self._stack.callback(tail.close)
        ends = tail.ends()
        tail.start()
        tail.wait_for(ends)
        self._listener(WindowRebuilt(len(self._window), time.monotonic() - began))
        return tail

    def _letters(self) -> TopicTail:
        """Follow the dead letters from now on."""
        kafka = self._settings.kafka
        topic, source = kafka.topics.dead_letters, kafka.topics.transactions
        edges = Edges(kafka, topic)
        try:
            start = {partition: edges.end(partition) for partition in edges.partitions()}
        finally:
            edges.close()

        def take(raw: RawRecords) -> None:
            found = [letter for row in range(len(raw)) if (letter := letter_of(raw, row, source))]
            if found and self._gateway is not None:
                self._mailbox.post(self._gateway.correlation.rejected, found)

        tail = TopicTail(kafka, topic, start, take, self._listener)
        self._stack.callback(tail.close)
        return tail

    def _when_read(
        self, decisions: TopicTail, passed: PassedEnds, pending: PendingTransaction,
        read: Callable[[], None],
    ) -> None:  # fmt: skip
        """Call ``read`` on the loop when all decisions of a transaction's partition are read."""
        passed.when_read(partition_of(pending.record_key, decisions.partition_count), read)

    def _delivered(self, pending: Any, partition: int, offset: int) -> None:
        if self._gateway is not None:
            self._mailbox.post(self._gateway.correlation.delivered, pending, partition, offset)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def provisional_outcome(plan: Plan) -> str:
    """Return the outcome of a transaction that is not decided in time: of the policy, or REVIEW."""
    outcome = read_policy(plan.policy, plan.exponent, plan.extras).on_timeout
    return (Outcome.REVIEW if outcome is None else outcome).name
