"""The load on the gateways: clients that ask, repeat, contradict and fetch, and some that leave."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faults.suite.gateways.book import CallBook, KnownTransaction, TransactionMaker
from tests.faults.suite.gateways.http_client import DECISIONS, HOST, ClientConnections
from tests.faults.verifier.calls import LOST, NOT_CONNECTED, GatewayCall, Purpose
from tests.support.faults.process import wait_until

_PAUSE_SECONDS = 0.25
"""Mean time between two requests of a client."""
_RECENT = 60
_BATCH_MOST = 8
_SETTLE_SECONDS = 120.0
_RETRY_SECONDS = 0.3
_STAY_MOST_SECONDS = 0.06
_RESET = struct.pack("ii", 1, 0)
_SENT, _UNSENT = 0.75, 0.25


class GatewayClient(threading.Thread):
    """A client with an API key of its own, which asks until it is stopped.

    Args:
        connections: Its connections.
        book: What all clients know.
        choice: Random numbers.

    Attributes:
        failure: What ended it early; None if nothing did.
    """

    def __init__(
        self, connections: ClientConnections, book: CallBook, choice: random.Random
    ) -> None:
        super().__init__(name=connections.client, daemon=True)
        self.failure: BaseException | None = None
        self._connections = connections
        self._book = book
        self._random = choice
        self._maker = TransactionMaker(connections.client, choice)
        self._enough = threading.Event()
        self._acts: Mapping[Callable[[], None], float] = self.acts()

    def acts(self) -> Mapping[Callable[[], None], float]:
        """Return what it does, and how often each."""
        return {
            self._ask: 0.45, self._ask_twice: 0.1, self._repeat: 0.15, self._batch: 0.05,
            self._contradict: 0.06, self._send_invalid: 0.05, self._fetch: 0.09,
            self._fetch_another: 0.05,
        }  # fmt: skip

    def run(self) -> None:
        acts, weights = list(self._acts), list(self._acts.values())
        try:
            while not self._enough.is_set():
                self._random.choices(acts, weights)[0]()
                self._enough.wait(self._random.expovariate(1 / _PAUSE_SECONDS))
        except BaseException as error:  # noqa: BLE001 raised by the stage, in its own thread
            self.failure = error
        finally:
            self._connections.close()

    def stop(self) -> None:
        """Stop after the current request."""
        self._enough.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    # -- requests -----------------------------------------------------------------------------

    def _new(self) -> KnownTransaction:
        return KnownTransaction(self._maker.make())

    def _post(self, known: KnownTransaction, purpose: Purpose, port: int) -> None:
        self._book.add(known, self.name)
        self._note(known, self._connections.post(port, purpose, known.body))

    def _note(self, known: KnownTransaction, call: GatewayCall) -> None:
        self._book.record([call])
        if call.status == 200:
            known.answered, known.id = True, str(call.answer.get("id"))
        elif call.status == 202:
            known.location = str(call.answer.get("location"))

    def _ask(self) -> None:
        self._post(self._new(), "first", self._connections.port())

    def _ask_twice(self) -> None:
        """Send one transaction to all gateways at the same time."""
        known, ports = self._new(), self._connections.ports
        self._book.add(known, self.name)
        body = self._connections.written(known.body)
        sent = [self._connections.begin(port, "POST", DECISIONS, body) for port in ports]
        for number, each in enumerate(sent):
            purpose: Purpose = "repeat" if number else "first"
            self._note(known, self._connections.ended(each, purpose, known.body))

    def _repeat(self) -> None:
        """Send a transaction again that this client or another one has sent."""
        if recent := self._book.recent(_RECENT):
            self._post(self._random.choice(recent), "repeat", self._connections.port())

    def _batch(self) -> None:
        found = [self._new() for _ in range(self._random.randint(2, _BATCH_MOST))]
        records: list[tuple[Purpose, KnownTransaction]] = [("first", each) for each in found]
        records += [("repeat", each) for each in self._book.recent(2)]
        for _, known in records:
            self._book.add(known, self.name)
        bodies = [(purpose, known.body) for purpose, known in records]
        calls = self._connections.batch(self._connections.port(), bodies)
        for (_, known), call in zip(records, calls, strict=True):
            self._note(known, call)

    def _contradict(self) -> None:
        """Send another record under an id that has its decision."""
        found = [each for each in self._book.recent(_RECENT) if each.answered]
        if not found:
            return
        known = self._random.choice(found)
        field, value = self._random.choice(
            (("amount_minor", known.body["amount_minor"] + 1), ("mcc", "5999"), ("country", "DE"))
        )
        other = KnownTransaction({**known.body, field: value})
        call = self._connections.post(self._connections.port(), "another_body", other.body)
        self._book.record([call])

    def _send_invalid(self) -> None:
        body = self._maker.make() | {"amount_minor": -5}
        self._book.record([self._connections.post(self._connections.port(), "invalid", body)])

    def _fetch(self) -> None:
        """Fetch a decision that this client has asked for."""
        own = [
            each for each in self._book.recent(_RECENT)
            if each.senders == {self.name} and (each.location or each.id)
        ]  # fmt: skip
        if not own:
            return
        known = self._random.choice(own)
        path = known.location or f"{DECISIONS}/{known.id}"
        call = self._connections.fetch(self._connections.port(), "fetch", known.body, path)
        self._book.record([call])

    def _fetch_another(self) -> None:
        """Fetch a decision that only others have asked for."""
        others = [
            each for each in self._book.recent(_RECENT)
            if self.name not in each.senders and each.id
        ]  # fmt: skip
        if not others:
            return
        known = self._random.choice(others)
        path = f"{DECISIONS}/{known.id}"
        call = self._connections.fetch(self._connections.port(), "stranger", known.body, path)
        self._book.record([call])


class LeavingClient(GatewayClient):
    """A client that leaves: before its body's end, or before its answer.

    Attributes:
        left: Identities of the transactions that it sent completely, and whose answer it left.
        unsent: Number of records that it did not send completely.
    """

    def __init__(
        self, connections: ClientConnections, book: CallBook, choice: random.Random
    ) -> None:
        super().__init__(connections, book, choice)
        self.left: set[tuple[str, str]] = set()
        self.unsent = 0

    def acts(self) -> Mapping[Callable[[], None], float]:
        """Return what it does, and how often each."""
        return {self._leave_answer: _SENT, self._leave_body: _UNSENT}

    def _leave_answer(self) -> None:
        known = self._new()
        self._book.add(known, self.name)
        call = self._left(known.body, "first", 1.0)
        self._book.record([call])
        if call.status == LOST:
            self.left.add(known.identity)

    def _leave_body(self) -> None:
        call = self._left(self._maker.make(), "unsent", self._random.uniform(0.1, 0.9))
        self._book.record([call])
        self.unsent += call.status == LOST

    def _left(self, body: dict[str, Any], purpose: Purpose, share: float) -> GatewayCall:
        """Send a share of a request's body, stay for a moment, and leave."""
        began = time.monotonic()
        status = LOST
        try:
            content = self._connections.encoded(body)
            with socket.create_connection((HOST, self._connections.port())) as opened:
                opened.sendall(self._connections.head(len(content)))
                opened.sendall(content[: int(len(content) * share)])
                self._enough.wait(self._random.uniform(0, _STAY_MOST_SECONDS))
                if self._random.random() < 0.5:
                    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:
            status = NOT_CONNECTED
        known = KnownTransaction(body)
        return GatewayCall(
            self.name, purpose, known.identity, body, began, time.monotonic(), status
        )


def settle(book: CallBook, clients: Mapping[str, ClientConnections], ports: Sequence[int]) -> None:
    """Fetch each answer that was promised, and send again what has none, until each has one.

    The clients do so at the same time: after twenty kills of the only scorer there are thousands.

    Args:
        book: What is known.
        clients: A connection of each client.
        ports: The gateways.
    """
    mine: dict[str, list[KnownTransaction]] = {name: [] for name in clients}
    for known in book.known():
        mine[min(known.senders)].append(known)
    with ThreadPoolExecutor(len(clients)) as threads:
        done = [
            threads.submit(_settle, book, clients[name], found, ports)
            for name, found in mine.items()
        ]
    for each in done:
        each.result()


def _settle(
    book: CallBook, sender: ClientConnections, found: Sequence[KnownTransaction],
    ports: Sequence[int],
) -> None:  # fmt: skip
    """Settle the transactions of one client."""
    for number, known in enumerate(found):
        port = ports[number % len(ports)]
        if known.location and known.senders == {sender.client}:
            book.record([sender.fetch(port, "fetch", known.body, known.location, settled=True)])
        if known.answered:
            continue

        def answered(known: KnownTransaction = known, port: int = port) -> bool:
            call = sender.post(port, "repeat", known.body, settled=True)
            book.record([call])
            known.answered = call.status == 200
            if not known.answered:
                time.sleep(_RETRY_SECONDS)
            return known.answered

        wait_until(answered, f"{known.identity} is answered", _SETTLE_SECONDS)
