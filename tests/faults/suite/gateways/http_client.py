"""One client's connections to the gateways: requests by ``http.client``, each recorded."""

import http.client
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.faults.suite.gateways.book import identity_of
from tests.faults.verifier.calls import LOST, NOT_CONNECTED, GatewayCall, Purpose

HOST = "127.0.0.1"
DECISIONS = "/v1/decisions"
_SECONDS = 60.0
_BATCH = frozenset({200, 207})


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back.

    Attributes:
        status: The status, or ``LOST``, or ``NOT_CONNECTED``.
        document: The JSON object.
        retry_after: Whether it says when to try again.
    """

    status: int
    document: Mapping[str, Any] = field(default_factory=dict)
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class OpenExchange:
    """A request that was sent and is not answered.

    Attributes:
        began: When it was sent.
        port: Where.
        status: ``NOT_CONNECTED`` or ``LOST`` if it could not be sent; else 200.
    """

    began: float
    port: int
    status: int


class ClientConnections:
    """A client's kept connections, one to each gateway; used by one thread.

    Args:
        client: Its name.
        key: Its API key.
        ports: The gateways, or the doors in front of them.
        choice: Random numbers.
    """

    def __init__(self, client: str, key: str, ports: Sequence[int], choice: random.Random) -> None:
        self.client = client
        self.ports = tuple(ports)
        self._key = key
        self._random = choice
        self._open: dict[int, http.client.HTTPConnection] = {}

    def port(self) -> int:
        """Return one of the gateways."""
        return self._random.choice(self.ports)

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of each request."""
        return {"authorization": f"Bearer {self._key}", "content-type": "application/json"}

    def written(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record as one of several JSON documents that mean the same."""
        items = list(body.items())
        self._random.shuffle(items)
        found = dict(items)
        if self._random.random() < 0.5:
            moment = datetime.fromtimestamp(found["event_time"] / 1_000, UTC)
            found["event_time"] = moment.isoformat(timespec="milliseconds")
        return found

    def encoded(self, body: Mapping[str, Any]) -> bytes:
        """Return a record as the body of a request."""
        return json.dumps(self.written(body)).encode()

    def head(self, length: int) -> bytes:
        """Return the head of a request with a body of ``length`` bytes."""
        fields = {"host": HOST, **self.headers, "content-length": str(length)}
        lines = [f"POST {DECISIONS} HTTP/1.1", *(f"{name}: {v}" for name, v in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    def begin(self, port: int, method: str, path: str, document: Any = None) -> OpenExchange:
        """Send a request."""
        began = time.monotonic()
        body = None if document is None else json.dumps(document).encode()
        connection = self._open.get(port)
        try:
            if connection is None:
                connection = http.client.HTTPConnection(HOST, port, timeout=_SECONDS)
                connection.connect()
                self._open[port] = connection
        except OSError:
            return OpenExchange(began, port, NOT_CONNECTED)
        try:
            connection.request(method, path, body, self.headers)
        except (OSError, http.client.HTTPException):
            self._drop(port)
            return OpenExchange(began, port, LOST)
        return OpenExchange(began, port, 200)

    def end(self, sent: OpenExchange) -> HttpReply:
        """Return the answer of a request."""
        if sent.status != 200:
            return HttpReply(sent.status)
        try:
            response = self._open[sent.port].getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self._drop(sent.port)
            return HttpReply(LOST)
        if response.will_close:
            self._drop(sent.port)
        document = json.loads(content) if content else {}
        return HttpReply(response.status, document, response.headers["retry-after"] is not None)

    def post(
        self, port: int, purpose: Purpose, body: Mapping[str, Any], *, settled: bool = False
    ) -> GatewayCall:
        """Send a record and return the call."""
        sent = self.begin(port, "POST", DECISIONS, self.written(body))
        return self.ended(sent, purpose, body, settled=settled)

    def ended(
        self, sent: OpenExchange, purpose: Purpose, body: Mapping[str, Any], *,
        settled: bool = False,
    ) -> GatewayCall:  # fmt: skip
        """Wait for the answer of a record and return the call."""
        return self._call(sent, self.end(sent), purpose, body, settled=settled)

    def batch(
        self, port: int, records: Sequence[tuple[Purpose, Mapping[str, Any]]]
    ) -> list[GatewayCall]:
        """Send several records in one request; return a call for each."""
        document = {"transactions": [self.written(body) for _, body in records]}
        sent = self.begin(port, "POST", DECISIONS, document)
        reply = self.end(sent)
        if reply.status not in _BATCH:
            return [self._call(sent, reply, *record) for record in records]
        items = [_item(each) for each in reply.document["answers"]]
        if len(items) != len(records):
            raise AssertionError(f"{len(records)} records, {len(items)} answers")
        pairs = zip(items, records, strict=True)
        return [self._call(sent, item, *record) for item, record in pairs]

    def fetch(
        self, port: int, purpose: Purpose, body: Mapping[str, Any], path: str, *,
        settled: bool = False,
    ) -> GatewayCall:  # fmt: skip
        """Ask for a decision by its location."""
        sent = self.begin(port, "GET", path)
        place = "?at=" in path
        return self._call(sent, self.end(sent), purpose, body, settled=settled, place=place)

    def close(self) -> None:
        """Close the connections."""
        for port in list(self._open):
            self._drop(port)

    def _drop(self, port: int) -> None:
        self._open.pop(port).close()

    def _call(
        self, sent: OpenExchange, reply: HttpReply, purpose: Purpose, body: Mapping[str, Any], *,
        settled: bool = False, place: bool = False,
    ) -> GatewayCall:  # fmt: skip
        return GatewayCall(
            self.client, purpose, identity_of(dict(body)), dict(body), sent.began,
            time.monotonic(), reply.status, reply.document, reply.retry_after, place, settled,
        )  # fmt: skip


def _item(answer: Mapping[str, Any]) -> HttpReply:
    """Return the answer of one record of a batch as if it had come alone."""
    status = int(answer["status"])
    found = answer.get("decision") or answer.get("pending") or answer.get("problem") or {}
    # The answer of a batch has no header for one of its records.
    return HttpReply(status, found, retry_after=status == 503)
