"""The verdict on the gateways' answers: each is compared with the topics and with its request."""

import json
import math
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.faults.verifier.calls import (
    LOST,
    NOT_CONNECTED,
    AnswersEvidence,
    GatewayCall,
    Identity,
    record_of,
)
from tests.faults.verifier.payloads import decision, outcome
from tests.faults.verifier.reader import Seen

Source = tuple[int, int]

_EXAMPLES = 5
_OK, _PENDING, _NOT_FOUND, _CONFLICT, _REJECTED, _BUSY = 200, 202, 404, 409, 422, 503
_PLACE = re.compile(r"\?at=([0-9]+)-([0-9]+)$")
_PROVISIONAL = "REVIEW"
_LATE = "late"
_DRAWN = frozenset({"policy_outcome", "outcome_propensity", "review_propensity"})
_TYPE = "urn:stream-scorer:problem:"
_BUSY_TYPES = frozenset({"overloaded", "unavailable", "stopping", "timeout"})


@dataclass(slots=True)
class AnswersVerdict:
    """The number of faults of each kind in the answers.

    ``faults`` counts by name:

    - ``unpublished``: a 200 whose decision is not in the topic.
    - ``published_twice``: a decision that is there again, or another one of the same transaction
      that is not late.
    - ``rejected``: a 200 for a record that is a dead letter.
    - ``altered``: a 200 that differs from the decision in the topic.
    - ``swapped``: a 200 for another transaction, or for another body, than was asked for.
    - ``not_first``: a 200 with a decision that is not the transaction's first.
    - ``unlike_first``: two answers for a transaction that differ, or an id of two transactions.
    - ``leaked``: a decision fetched by a client that had not sent the transaction by then.
    - ``pending``: a 202 that does not name the transaction's own record, or that has another
      provisional outcome than the policy's.
    - ``wrong_status``: a status that the documents do not have for this request.
    - ``produced``: a record of the input that no client has sent, or an invalid one.
    - ``unanswered``: a transaction that had no 200, although it was sent again after the fault.

    Attributes:
        calls: Number of requests, each transaction of a batch counted.
        transactions: Number of valid transactions.
        repeats: Requests for a transaction that was sent before.
        statuses: Number of answers by status.
        problems: Number of problems by the end of their type.
        lost: Requests that were sent and got no answer.
        not_connected: Requests for which no gateway listened.
        faults: Number of faults by name.
        examples: The first few of each fault.
    """

    calls: int = 0
    transactions: int = 0
    repeats: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    not_connected: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, fault: str, what: object) -> None:
        """Count a fault and keep the first few examples."""
        self.faults[fault] += 1
        known = self.examples.setdefault(fault, [])
        if len(known) < _EXAMPLES:
            known.append(str(what))

    def as_record(self) -> dict[str, Any]:
        """Return it as plain data."""
        statuses = {str(status): count for status, count in sorted(self.statuses.items())}
        return {
            "calls": self.calls, "transactions": self.transactions, "repeats": self.repeats,
            "statuses": statuses, "problems": dict(self.problems), "lost": self.lost,
            "not_connected": self.not_connected, "faults": dict(self.faults),
        }  # fmt: skip


def judge_answers(evidence: AnswersEvidence) -> AnswersVerdict:
    """Judge all answers."""
    return _Judgement(evidence).verdict


class _Judgement:
    def __init__(self, evidence: AnswersEvidence) -> None:
        self.verdict = AnswersVerdict()
        self._evidence = evidence
        self._inputs: dict[Source, dict[str, Any]] = {
            (each.partition, each.offset): record_of(each) for each in evidence.inputs
        }
        self._decisions: dict[Source, list[dict[str, Any]]] = defaultdict(list)
        self._letters: set[Source] = set()
        self._by_identity: dict[Identity, list[dict[str, Any]]] = defaultdict(list)
        for each in evidence.outputs:
            self._take(each)
        for found in self._by_identity.values():
            found.sort(key=lambda fields: fields["source_offset"])
        self._sent_at: dict[tuple[Identity, str], float] = {}
        self._bodies: dict[Identity, list[dict[str, Any]]] = defaultdict(list)
        for call in evidence.calls:
            if call.purpose in {"first", "repeat"} and call.status != NOT_CONNECTED:
                key = call.identity, call.client
                self._sent_at[key] = min(call.began, self._sent_at.get(key, call.began))
            if call.posts:
                self._bodies[call.identity].append(call.record)
        self._answers: dict[Identity, str] = {}
        self._ids: dict[str, Identity] = {}
        self._answered: set[Identity] = set()
        for call in evidence.calls:
            self._judge(call)
        self._judge_inputs()
        self._judge_transactions()

    def _take(self, seen: Seen) -> None:
        found = outcome(seen, self._evidence.source_topic)
        if found.reason:
            self._letters.add(found.source)
            return
        fields = decision(seen)
        self._decisions[found.source].append(fields)
        self._by_identity[fields["customer_id"], fields["transaction_id"]].append(fields)

    # -- calls ------------------------------------------------------------------------------------

    def _judge(self, call: GatewayCall) -> None:
        verdict = self.verdict
        verdict.calls += 1
        verdict.repeats += call.purpose in {"repeat", "another_body"}
        if call.status == LOST:
            verdict.lost += 1
        elif call.status == NOT_CONNECTED:
            verdict.not_connected += 1
        else:
            verdict.statuses[call.status] += 1
            if kind := _kind(call):
                verdict.problems[kind] += 1
            if call.status in {_OK, _PENDING} and not (call.posts or self._has_sent(call)):
                verdict.note("leaked", _named(call))
            elif call.status == _OK:
                self._judge_decision(call)
            elif call.status == _PENDING:
                self._judge_pending(call)
            elif not self._due(call):
                verdict.note("wrong_status", f"{_named(call)}: {call.answer}")

    def _has_sent(self, call: GatewayCall) -> bool:
        """Return whether a client had sent this very transaction when it got an answer."""
        return self._sent_at.get((call.identity, call.client), math.inf) <= call.ended

    def _judge_decision(self, call: GatewayCall) -> None:
        answer, note = call.answer, self.verdict.note
        source = source_of(answer)
        record = self._inputs.get(source)
        own = (answer.get("customer_id"), answer.get("transaction_id"))
        if own != call.identity or (record is not None and record != call.record):
            note("swapped", f"{_named(call)}: answered with {own}, {record}")
            return
        self._answered.add(call.identity)
        text = _canonical(answer)
        if self._answers.setdefault(call.identity, text) != text:
            note("unlike_first", f"{_named(call)}: {text}, not {self._answers[call.identity]}")
        self._note_id(call)
        if source in self._letters:
            note("rejected", f"{_named(call)}: {source} is a dead letter")
        published = self._decisions.get(source, [])
        if not published:
            note("unpublished", f"{_named(call)}: no decision of {source}")
        elif _canonical({**_document(published[0]), "id": answer.get("id")}) != text:
            note("altered", f"{_named(call)}: {text}, published {_document(published[0])}")
        elif published[0]["source_offset"] != self._first(call.identity)["source_offset"]:
            note("not_first", f"{_named(call)}: {source}")

    def _judge_pending(self, call: GatewayCall) -> None:
        answer, note = call.answer, self.verdict.note
        if answer.get("provisional_outcome") != _PROVISIONAL:
            note("pending", f"{_named(call)}: {answer}")
        self._note_id(call)
        named = _PLACE.search(str(answer.get("location", "")))
        if named is None:
            return
        record = self._inputs.get((int(named[1]), int(named[2])))
        if record is None or (record["customer_id"], record["transaction_id"]) != call.identity:
            note("pending", f"{_named(call)}: {answer['location']} is not its record")

    def _due(self, call: GatewayCall) -> bool:
        """Return whether a request without a decision may have its status."""
        kind = _kind(call)
        if call.status == _BUSY:
            return call.retry_after and kind in _BUSY_TYPES
        if call.status == _CONFLICT:
            return call.posts and kind == "another-body" and self._conflicts(call)
        if call.status == _REJECTED:
            return call.purpose == "invalid" and kind == "rejected"
        if call.status == _NOT_FOUND and kind == "decision-not-found":
            return call.purpose == "stranger" or (call.purpose == "fetch" and self._absent(call))
        return False

    def _conflicts(self, call: GatewayCall) -> bool:
        """Return whether the transaction's first decision is of another body."""
        first = self._first_or_none(call.identity)
        known = None if first is None else self._inputs.get(source_of(first))
        if known is not None:
            return known != call.record
        return any(body != call.record for body in self._bodies[call.identity])

    def _absent(self, call: GatewayCall) -> bool:
        """Return whether an own decision may be unknown to a gateway.

        A gateway reads the topic a moment later than another one. With the record's place it waits.
        """
        return self._first_or_none(call.identity) is None or not (call.place or call.settled)

    def _note_id(self, call: GatewayCall) -> None:
        own = str(call.answer.get("id"))
        if self._ids.setdefault(own, call.identity) != call.identity:
            self.verdict.note("unlike_first", f"{_named(call)}: {own} is another's id")

    # -- topics -----------------------------------------------------------------------------------

    def _judge_inputs(self) -> None:
        for source, record in self._inputs.items():
            identity = record["customer_id"], record["transaction_id"]
            if record not in self._valid_bodies(identity):
                self.verdict.note("produced", f"{source}: {record}")

    def _judge_transactions(self) -> None:
        for identity, bodies in self._bodies.items():
            if not self._valid_bodies(identity):
                continue
            self.verdict.transactions += 1
            if identity not in self._answered:
                self.verdict.note("unanswered", f"{identity}: {bodies[0]}")
            found = self._by_identity.get(identity, [])
            places = [source_of(fields) for fields in found]
            # An event that is late is not in the history: it is decided each time it comes.
            timely = sum(_LATE not in fields["flags"] for fields in found)
            if len(set(places)) < len(places) or timely > 1:
                self.verdict.note("published_twice", f"{identity}: {places}")

    def _valid_bodies(self, identity: Identity) -> list[dict[str, Any]]:
        return [body for body in self._bodies.get(identity, ()) if body["amount_minor"] >= 0]

    def _first_or_none(self, identity: Identity) -> dict[str, Any] | None:
        return next(iter(self._by_identity.get(identity, ())), None)

    def _first(self, identity: Identity) -> dict[str, Any]:
        return self._by_identity[identity][0]


def source_of(fields: Mapping[str, Any]) -> Source:
    """Return the (partition, offset) that a decision or its answer names; -1 if it names none."""
    return int(fields.get("source_partition", -1)), int(fields.get("source_offset", -1))


def _kind(call: GatewayCall) -> str:
    """Return the end of a problem's type; empty for another answer."""
    return str(call.answer.get("type", "")).removeprefix(_TYPE)


def _named(call: GatewayCall) -> str:
    return f"{call.client} {call.purpose} {'/'.join(call.identity)} {call.status}"


def _canonical(document: Mapping[str, Any]) -> str:
    """Return a document as text in which equal documents are equal, floats bit for bit."""
    return json.dumps(document, sort_keys=True)


def _document(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision as docs/API.md describes the answer, without the member ``id``.

    An answer does not tell what was drawn at random.
    """
    bits = fields["features"]
    explanations = [
        {**each, "value": _finite(each["value"])} for each in fields["explanations"] or ()
    ]
    made = {
        **fields,
        "features": [_finite(number) for number in struct.unpack(f"<{len(bits) // 8}d", bits)],
        "score": _finite(fields["score"]),
        "explanations": explanations,
    }
    return {name: _time(value) if isinstance(value, datetime) else value
            for name, value in made.items() if name not in _DRAWN}  # fmt: skip


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
