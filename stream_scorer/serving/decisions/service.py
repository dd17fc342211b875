"""The service behind ``/v1/decisions``: a gateway with its connections to Kafka, and its routes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Self

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import read_policy
from stream_scorer.dead_letters.format import parse
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.topic_tail import Edges, TopicTail
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.ports import Headers, RawRecords
from stream_scorer.registry.sources import SchemaSource, open_registry
from stream_scorer.serving.decisions.active_plans import ActivePlans, open_plans
from stream_scorer.serving.decisions.admission import Admission
from stream_scorer.serving.decisions.answers import PATH
from stream_scorer.serving.decisions.correlation import Letter, Pending
from stream_scorer.serving.decisions.gateway import Gateway, GatewayParts
from stream_scorer.serving.decisions.judging import Judge, Rejection
from stream_scorer.serving.decisions.mailbox import Mailbox
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.serving.decisions.records import RecordMaker
from stream_scorer.serving.decisions.scorers_watch import (
    NO_BROKER,
    DecisionRate,
    ScorersWatch,
    backlog_seconds,
)
from stream_scorer.serving.decisions.sender import Sender
from stream_scorer.serving.decisions.window import Window
from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, WindowRebuilt

_STARTING: Final = "the window is being read"
_MEGABYTE: Final = 1_048_576
_OBSERVE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 5.0
"""More than ``timeout_ms`` for parsing, judging and writing."""


class DecisionService:
    """Decides transactions in the call; use it as ``async with``, on one event loop.

    Entering reads the decisions of the window, which can take a minute; leaving waits for records
    that are on their way to the broker.

    Args:
        settings: ``kafka.group`` is the scorers' group.
        deployment: Which plan judges; as of the scorers.
        listener: Notified of what metrics and logs show; called on several threads.
    """

    def __init__(self, settings: Settings, deployment: Deployment, listener: Listener) -> None:
        self._settings = settings
        self._deployment = deployment
        self._listener = listener
        self._open: _Connections | None = None
        self._observing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        mailbox = Mailbox(asyncio.get_running_loop())
        self._open = await asyncio.to_thread(
            _connected, self._settings, self._deployment, self._listener, mailbox
        )
        self._observing = asyncio.create_task(self._observe())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._observing is not None:
            self._observing.cancel()
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.to_thread(opened.stack.close)

    def reasons(self) -> tuple[str, ...]:
        """Return why it is not ready; empty if it is. Thread-safe.

        Overload is never a reason: all gateways would leave the load balancer together.

        Raises:
            Exception: What ended a thread.
        """
        opened = self._open
        if opened is None:
            return (_STARTING,)
        for tail in opened.tails:
            if tail.failure is not None:
                raise tail.failure
        down = opened.down()
        return (down,) if down else ()

    def ready(self) -> bool:
        """Return whether decisions can be made; raises as :meth:`reasons`."""
        return not self.reasons()

    @property
    def gateway(self) -> Gateway:
        """What answers requests.

        Raises:
            RuntimeError: The service is not entered.
        """
        if self._open is None:
            raise RuntimeError("the service is not entered")
        return self._open.gateway

    async def ask(self, request: Request) -> Response:
        """Answer ``POST /v1/decisions``; see :meth:`Gateway.ask`."""
        return await self.gateway.ask(request)

    async def fetch(self, request: Request) -> Response:
        """Answer ``GET /v1/decisions/{id}``; see :meth:`Gateway.fetch`."""
        return await self.gateway.fetch(request)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(_OBSERVE_SECONDS)
            self.gateway.observe()


def routes(service: DecisionService, settings: Settings) -> list[Route]:
    """Return the routes of a service.

    Args:
        service: What answers.
        settings: Limits on bodies and time.
    """
    own = settings.serving.decisions
    seconds = own.timeout_ms / 1_000 + _ANSWER_SECONDS
    return [
        Route("POST", PATH, "score", service.ask, own.body_bytes_max, seconds),
        Route(
            "GET", f"{PATH}/{{id}}", "score", service.fetch, seconds_max=_ANSWER_SECONDS,
            content_types=frozenset(), other_scope="read",
        ),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Connections:
    """A gateway, and what is to be closed."""

    gateway: Gateway
    tails: tuple[TopicTail, ...]
    down: Callable[[], str]
    stack: ExitStack


def _connected(
    settings: Settings, deployment: Deployment, listener: Listener, mailbox: Mailbox
) -> _Connections:
    """Connect, and read the decisions of the window."""
    with ExitStack() as stack:
        gateway, tails, down = _Wiring(settings, deployment, listener, mailbox, stack).connect()
        # Nothing has failed: all stays open.
        return _Connections(gateway, tails, down, stack.pop_all())


class _Wiring:
    """Connects the parts. Its methods run on a thread before the gateway is used."""

    def __init__(
        self, settings: Settings, deployment: Deployment, listener: Listener, mailbox: Mailbox,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._deployment = deployment
        self._listener = listener
        self._mailbox = mailbox
        self._stack = stack
        self._rate = DecisionRate()
        own = settings.serving.decisions
        self._timeout = own.timeout_ms / 1_000
        self._window = Window(own.window_seconds, own.window_mb * _MEGABYTE)
        self._admission = Admission(own.in_flight_max, self._timeout, time.perf_counter)
        self._gateway: Gateway | None = None

    def connect(self) -> tuple[Gateway, tuple[TopicTail, ...], Callable[[], str]]:
        """Return the gateway, the topics that it reads, and why nothing can be decided now."""
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

        def seen(lag: int) -> None:
            sender.reached()
            self._lag_seen(lag)

        watch = ScorersWatch(kafka, seen)
        self._stack.callback(watch.close)

        def down() -> str:
            return watch.down or ("" if sender.connected else NO_BROKER)

        parts = self._parts(registry, plans, published, sender, down)
        self._gateway = Gateway(
            parts, lambda pending, read: self._when_read(decisions, pending, read), self._timeout
        )
        watch.start()
        letters.start()
        return self._gateway, (decisions, letters), down

    def _parts(
        self, registry: SchemaSource, plans: ActivePlans, published: PublishedDecisions,
        sender: Sender, down: Callable[[], str],
    ) -> GatewayParts:  # fmt: skip
        settings, kafka = self._settings, self._settings.kafka
        topic, directory = kafka.topics.transactions, settings.registry.directory
        maker = RecordMaker(registry, settings.serving.decisions, plans()[0], topic, directory)
        judge = Judge(EventDecoders(registry, directory), plans)
        # The first record of a schema compiles its decoder.
        judge([maker.shortest], 0)
        return GatewayParts(
            maker, judge, self._window, published, self._admission, sender,
            lambda: provisional_outcome(plans()[0]), down, self._listener,
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
            self._rate.add(len(raw))
            gateway = self._gateway
            if gateway is not None:
                waited = [each.key for each in found if each.key in gateway.correlation]
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
            self._rate.add(len(raw))
            found = [letter for row in range(len(raw)) if (letter := letter_of(raw, row, source))]
            if found and self._gateway is not None:
                self._mailbox.post(self._gateway.correlation.rejected, found)

        tail = TopicTail(kafka, topic, start, take, self._listener)
        self._stack.callback(tail.close)
        return tail

    def _when_read(self, decisions: TopicTail, pending: Pending, read: Callable[[], None]) -> None:
        """Call ``read`` on the loop when all decisions of a transaction's partition are read."""
        partition = partition_of(pending.record_key, decisions.partition_count)

        def ask() -> None:
            while not decisions.stopped:
                try:
                    decisions.when_passed(partition, lambda: self._mailbox.post(read))
                except UnavailableError:
                    time.sleep(_RETRY_SECONDS)
                else:
                    return

        asyncio.get_running_loop().run_in_executor(None, ask)

    def _delivered(self, pending: Any, partition: int, offset: int) -> None:
        if self._gateway is not None:
            self._mailbox.post(self._gateway.correlation.delivered, pending, partition, offset)

    def _lag_seen(self, lag: int) -> None:
        rate = self._rate.per_second()

        def note() -> None:
            own = self._admission.in_flight
            self._admission.lagging(backlog_seconds(lag, own, rate, self._timeout))

        self._mailbox.post(note)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def provisional_outcome(plan: Plan) -> str:
    """Return the outcome of a transaction that is not decided in time: of the policy, or REVIEW."""
    outcome = read_policy(plan.policy, plan.exponent, plan.extras).on_timeout
    return (Outcome.REVIEW if outcome is None else outcome).name


class _LetterRow:
    """A row of records as the message that ``dead_letters.format.parse`` reads."""

    def __init__(self, raw: RawRecords, row: int) -> None:
        self._raw = raw
        self._row = row

    def headers(self) -> Headers:
        return self._raw.headers[self._row] if self._raw.headers else None

    def set_headers(self, headers: list[Any]) -> None:
        raise NotImplementedError

    def partition(self) -> int:
        return int(self._raw.partition[self._row])

    def offset(self) -> int:
        return int(self._raw.offset[self._row])

    def timestamp(self) -> tuple[int, int]:
        return 1, int(self._raw.timestamp[self._row])

    def value(self) -> bytes | None:
        return self._raw.values[self._row]

    def key(self) -> bytes | None:
        return self._raw.keys[self._row]


def letter_of(raw: RawRecords, row: int, source: str) -> Letter | None:
    """Return the dead letter in a row; None if it is not one, or of another topic's record.

    Args:
        raw: Records of the dead-letter topic.
        row: The row.
        source: The input topic.
    """
    try:
        letter = parse(_LetterRow(raw, row))
    except (ValueError, UnicodeError):
        return None
    if letter.source_topic != source:
        return None
    rejection = Rejection(letter.reason, letter.detail)
    return Letter(letter.source_partition, letter.source_offset, rejection)
