"""A gateway whose records go to scorers that a test moves by hand."""

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import BODY_HEADER, CLIENT_HEADER
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.serving.decisions.admission import Admission
from stream_scorer.serving.decisions.correlation import Letter, PendingTransaction
from stream_scorer.serving.decisions.gateway import Gateway
from stream_scorer.serving.decisions.gateway_parts import GatewayParts
from stream_scorer.serving.decisions.identity import BodyMark, key_of
from stream_scorer.serving.decisions.judging import Judge, Judgement, Rejection
from stream_scorer.serving.decisions.published import PublishedDecisions
from stream_scorer.serving.decisions.records import RecordMaker
from stream_scorer.serving.decisions.window import DecisionWindow, WindowDecision
from stream_scorer.serving.following.topic_lookups import StoredRecord
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.serving.web.messages import Caller, Request
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import SCHEMAS_DIRECTORY
from stream_scorer.telemetry import Event

TOPIC = "transactions"
NOW_MS = 1_700_000_000_000
FILES = FileRegistry(SCHEMAS_DIRECTORY)
TRANSACTION = fastavro.parse_schema(json.loads(reader_schema("transaction.v1")))
DECISION = fastavro.parse_schema(json.loads(reader_schema("decision.v2")))
_DECISION_ID = 11


def body(number: int = 1, **changed: Any) -> dict[str, Any]:
    """Return a transaction as its client writes it."""
    return {
        "transaction_id": f"t{number}", "event_time": NOW_MS - 1_000, "customer_id": "c",
        "terminal_id": "s", "amount_minor": 1_250, "currency": "EUR", **changed,
    }  # fmt: skip


def request(
    sent: Any, client: str = "shop", scope: str = "score", arrived: float = 0.0, **more: Any
) -> Request:
    """Return a request of a client."""
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    caller = Caller(client, frozenset({scope}), "key")  # type: ignore[arg-type]
    given: dict[str, Any] = {
        "method": "POST", "path": "/v1/decisions", "query": "", "headers": {}, "body": content,
        "parameters": {}, "caller": caller, "request_id": "r", "traceparent": "", "tracestate": "",
        "arrived": arrived,
    }  # fmt: skip
    return Request(**{**given, **more})


@dataclass
class Sent:
    """A record that was produced."""

    pending: PendingTransaction
    key: bytes
    value: bytes
    headers: dict[str, bytes]

    @property
    def transaction(self) -> dict[str, Any]:
        """The record's fields."""
        found: Any = fastavro.schemaless_reader(io.BytesIO(self.value[5:]), TRANSACTION, None)
        return dict(found)


def payload(transaction: dict[str, Any], offset: int, outcome: str = "APPROVE") -> bytes:
    """Return the decision of a transaction, as a scorer publishes it."""
    own = ("transaction_id", "customer_id", "terminal_id", "event_time", "amount_minor", "currency")
    record = {name: transaction[name] for name in own} | {
        "decided_at": NOW_MS, "score": 0.25, "decision": outcome, "model": "fraud",
        "model_version": "1.0.0", "engine": 1, "features": struct.pack("<2d", 12.5, float("nan")),
        "source_topic": TOPIC, "source_partition": 0, "source_offset": offset,
        "channel": transaction.get("channel", "UNKNOWN"),
    }  # fmt: skip
    out = io.BytesIO()
    fastavro.schemaless_writer(out, DECISION, record)
    return b"\0" + _DECISION_ID.to_bytes(4, "big") + out.getvalue()


@dataclass
class FakeScorers:
    """A gateway, its topic and its scorers; the test says what they do.

    Attributes:
        sent: Records that were produced.
        heard: Events.
        down: Why nothing can be decided.
        time: The clock, seconds.
        judged: Sizes of what was judged together.
        defect: Records with these bytes raise an error when they are judged.
        refusal: What the producer raises instead of sending; None: it sends.
        records: Records of other gateways, by place.
        barriers: What runs when all decisions were read.
        waited: Keys of records whose decisions a lookup has waited for.
        reads: Whether the decisions are read in time.
        charged: Records of batches that were counted for the caller, and how many may be.
    """

    timeout: float = 60.0
    in_flight_max: int = 1_000
    window_bytes: int = 1 << 24
    plan: Plan = field(default_factory=Plan)
    sent: list[Sent] = field(default_factory=list)
    heard: list[Event] = field(default_factory=list)
    down: str = ""
    time: float = 0.0
    now_ms: int = NOW_MS
    judged: list[int] = field(default_factory=list)
    defect: bytes = b""
    refusal: Exception | None = None
    barriers: list[Callable[[], None]] = field(default_factory=list)
    records: dict[tuple[int, int], StoredRecord] = field(default_factory=dict)
    waited: list[bytes] = field(default_factory=list)
    reads: bool = True
    charged: int = 0
    charged_most: int = 1_000_000
    _next: int = 0

    def __post_init__(self) -> None:
        self.window = DecisionWindow(3_600, self.window_bytes)
        self.published = PublishedDecisions(FILES, TOPIC, SCHEMAS_DIRECTORY)
        self.admission = Admission(self.in_flight_max, self.timeout, lambda: self.time)
        judge = Judge(EventDecoders(FILES), lambda: (self.plan,))

        def judged(values: Sequence[bytes], now_ms: int) -> list[Judgement]:
            if self.defect and any(self.defect in value for value in values):
                raise ZeroDivisionError
            self.judged.append(len(values))
            return judge(values, now_ms)

        maker = RecordMaker(FILES, DecisionsApi(), self.plan, TOPIC, SCHEMAS_DIRECTORY)
        parts = GatewayParts(
            maker, judged, self.window, self.published,
            self.admission, self, lambda: "REVIEW", lambda: self.down, self.stored,
            self.decisions_read, self.heard.append,
            lambda: self.now_ms, lambda: self.time, self.charge,
        )  # fmt: skip
        self.gateway = Gateway(parts, lambda _, read: self.barriers.append(read), self.timeout)

    def send(
        self, token: Any, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(Sent(token, key, value, dict(headers)))

    def charge(self, _: Caller, requests: int) -> None:
        if self.charged + requests > self.charged_most:
            raise Problem(429, "too-many-requests", "The caller has reached a limit")
        self.charged += requests

    async def stored(self, partition: int, offset: int) -> StoredRecord | None:
        return self.records.get((partition, offset))

    async def decisions_read(self, key: bytes) -> bool:
        self.waited.append(key)
        return self.reads

    def deliver(self, number: int = -1) -> int:
        """Acknowledge a record, and return its offset."""
        offset, self._next = self._next, self._next + 1
        self.gateway.correlation.delivered(self.sent[number].pending, 0, offset)
        return offset

    def publish(
        self, transaction: dict[str, Any], offset: int, outcome: str = "APPROVE",
        headers: dict[str, bytes] | None = None,
    ) -> None:  # fmt: skip
        """Publish a decision, and let the gateway read it."""
        headers = headers or {}
        decided = WindowDecision(
            key_of(transaction["customer_id"], transaction["transaction_id"]), self.now_ms, 0,
            offset, payload(transaction, offset, outcome),
            headers.get(CLIENT_HEADER, b"").decode(), BodyMark.parsed(headers.get(BODY_HEADER)),
        )  # fmt: skip
        self.window.add([decided], self.now_ms)
        self.gateway.correlation.decided([decided])

    def decide(self, number: int = -1, outcome: str = "APPROVE") -> int:
        """Acknowledge a record and decide it; return its offset."""
        offset, sent = self.deliver(number), self.sent[number]
        time = sent.transaction["event_time"]
        milliseconds = round(time.timestamp() * 1_000)
        self.publish(sent.transaction | {"event_time": milliseconds}, offset, outcome, sent.headers)
        return offset

    def reject(self, reason: str, offset: int) -> None:
        """Write a dead letter, and let the gateway read it."""
        letter = Letter(0, offset, Rejection(reason, "why"))
        self.gateway.correlation.rejected([letter])

    def read_all(self) -> None:
        """Let the gateway have read all decisions."""
        while self.barriers:
            self.barriers.pop(0)()
