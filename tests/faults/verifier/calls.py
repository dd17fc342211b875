"""What clients asked the gateways for, and what they were answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.faults.verifier.payloads import transaction
from tests.faults.verifier.reader import Seen

Purpose = Literal["first", "repeat", "another_body", "invalid", "unsent", "fetch", "stranger"]
"""``unsent``: the client left before its body's end. ``stranger``: a client fetches what it never
sent. The others as they are named."""
Identity = tuple[str, str]
"""Customer and transaction id."""

LOST, NOT_CONNECTED = 0, -1
"""In the place of a status: no answer to a request that was sent; no connection."""
_DEFAULTS: Mapping[str, Any] = {
    "channel": "UNKNOWN", "mcc": None, "country": None, "card_present": None, "device_id": None,
}  # fmt: skip
_SENDER = "scorer-client"


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """A request for one transaction, as its client recorded it.

    Attributes:
        client: The client's name.
        purpose: Why it was sent.
        identity: The transaction.
        body: The record, with the event time in ms; of a GET, the record that it asks about.
        began: When it was sent, monotonic seconds.
        ended: When it was answered, or lost.
        status: Status of the answer, or ``LOST``, or ``NOT_CONNECTED``.
        answer: The JSON object of the answer; empty without one.
        retry_after: Whether the answer says when to try again.
        place: Whether a GET names the place of the record.
        settled: Whether the fault was over and all processes were ready again.
    """

    client: str
    purpose: Purpose
    identity: Identity
    body: Mapping[str, Any]
    began: float
    ended: float
    status: int
    answer: Mapping[str, Any] = field(default_factory=dict)
    retry_after: bool = False
    place: bool = False
    settled: bool = False

    @property
    def posts(self) -> bool:
        """Whether a complete record was sent."""
        return self.purpose in {"first", "repeat", "another_body", "invalid"}

    @property
    def record(self) -> dict[str, Any]:
        """The record with its defaults."""
        return {**_DEFAULTS, **self.body}


@dataclass(frozen=True, slots=True)
class AnswersEvidence:
    """The data that the judgement of answers is based on.

    Attributes:
        source_topic: The input.
        calls: What the clients recorded, in order.
        inputs: The records of the input that gateways produced.
        outputs: Decisions and dead letters that a read-committed reader gets at the end.
    """

    source_topic: str
    calls: Sequence[GatewayCall]
    inputs: Sequence[Seen]
    outputs: Sequence[Seen]


def by_gateways(records: Sequence[Seen]) -> list[Seen]:
    """Return the records that gateways produced: they name the client."""
    return [each for each in records if any(name == _SENDER for name, _ in each.headers)]


def record_of(seen: Seen) -> dict[str, Any]:
    """Decode a record of the input; its event time in ms."""
    return transaction(seen.value or b"")
