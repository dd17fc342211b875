"""What all clients of a stage know together: the transactions, and what was recorded of them."""

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.faults.verifier.calls import GatewayCall, Identity

_BEGIN_MS = 1_523_145_600_000
"""A week after the first event of the stage's load.

A scorer forgets events that are older than its partition's newest one by the longest window, 30
days. The verifier's replay does not, so all events are within that span.
"""
_STEP_MS = 40_000
_DAY_MS = 86_400_000
_CUSTOMERS = 40
_TERMINALS = 60
_AMOUNT_MOST = 50_000
_LATE_SHARE, _MCC_SHARE = 0.03, 0.3


@dataclass(slots=True)
class KnownTransaction:
    """A valid transaction that a client has sent.

    Attributes:
        body: Its record, the event time in ms.
        senders: The clients that have sent it.
        answered: Whether one of them got the decision.
        id: Of its decision; empty before an answer.
        location: Where it can be fetched; empty without a 202.
    """

    body: dict[str, Any]
    senders: set[str] = field(default_factory=set)
    answered: bool = False
    id: str = ""
    location: str = ""

    @property
    def identity(self) -> Identity:
        """Its customer and its id."""
        return identity_of(self.body)


def identity_of(body: dict[str, Any]) -> Identity:
    """Return customer and transaction id of a record."""
    return str(body["customer_id"]), str(body["transaction_id"])


class TransactionMaker:
    """Makes a client's records, most of them in the order of their event times.

    Args:
        client: The client, which has customers of its own.
        choice: Random numbers.
    """

    def __init__(self, client: str, choice: random.Random) -> None:
        self._client = client
        self._random = choice
        self._made = 0

    def make(self) -> dict[str, Any]:
        """Return the next record."""
        choice = self._random
        self._made += 1
        late = choice.random() < _LATE_SHARE
        body: dict[str, Any] = {
            "transaction_id": f"{self._client}-{self._made}",
            "event_time": _BEGIN_MS + self._made * _STEP_MS - late * _DAY_MS,
            "customer_id": f"{self._client}-c{choice.randrange(_CUSTOMERS)}",
            "terminal_id": str(choice.randrange(_TERMINALS)),
            "amount_minor": choice.randrange(1, _AMOUNT_MOST),
            "currency": "EUR",
            "channel": choice.choice(("POS", "ECOM")),
        }
        if choice.random() < _MCC_SHARE:
            body["mcc"] = "5411"
        return body


class CallBook:
    """The calls and the transactions; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[GatewayCall] = []
        self._known: list[KnownTransaction] = []
        self.decided = 0

    def add(self, known: KnownTransaction, client: str) -> None:
        """Note that a client is about to send a transaction."""
        with self._lock:
            if not known.senders:
                self._known.append(known)
            known.senders.add(client)

    def record(self, calls: Iterable[GatewayCall]) -> None:
        """Keep what a client has recorded."""
        with self._lock:
            for call in calls:
                self._calls.append(call)
                self.decided += call.status == 200 and call.purpose == "first"

    def calls(self) -> list[GatewayCall]:
        """Return all calls so far."""
        with self._lock:
            return list(self._calls)

    def known(self) -> list[KnownTransaction]:
        """Return all transactions so far."""
        with self._lock:
            return list(self._known)

    def recent(self, most: int) -> list[KnownTransaction]:
        """Return the newest transactions."""
        with self._lock:
            return self._known[-most:]

    def first_decided(self, since: float) -> float | None:
        """Return when the first answer with a decision came of what was sent after a moment."""
        found = [call.ended for call in self.calls() if call.status == 200 and call.began >= since]
        return min(found, default=None)
