"""Errors planted in recorded answers: the verifier must notice each under its name."""

import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.faults.verifier.answers import judge_answers
from tests.faults.verifier.calls import AnswersEvidence, GatewayCall
from tests.faults.verifier.payloads import outcome
from tests.faults.verifier.reader import Seen

Planting = Callable[[AnswersEvidence, random.Random], AnswersEvidence | None]
"""Returns evidence with an error; None if nothing in it can have the error."""


@dataclass(frozen=True, slots=True)
class PlantedError:
    """An error.

    Attributes:
        fault: The name under which it must be counted.
        plant: Plants it.
    """

    fault: str
    plant: Planting


def _decided(evidence: AnswersEvidence) -> list[GatewayCall]:
    return [call for call in evidence.calls if call.status == 200]


def _with(evidence: AnswersEvidence, changed: Mapping[int, GatewayCall | None]) -> AnswersEvidence:
    """Return evidence with other calls, or without, in the places of some (by ``id``)."""
    calls = (changed.get(id(call), call) for call in evidence.calls)
    return replace(evidence, calls=[call for call in calls if call is not None])


def _answer(
    evidence: AnswersEvidence, choice: random.Random, **members: Any
) -> AnswersEvidence | None:
    if not (found := _decided(evidence)):
        return None
    call = choice.choice(found)
    return _with(evidence, {id(call): replace(call, answer={**call.answer, **members})})


def _status(
    evidence: AnswersEvidence, choice: random.Random, found: Sequence[GatewayCall], status: int,
    kind: str,
) -> AnswersEvidence | None:  # fmt: skip
    if not found:
        return None
    call = choice.choice(found)
    answer = {"type": f"urn:stream-scorer:problem:{kind}"}
    return _with(evidence, {id(call): replace(call, status=status, answer=answer)})


def _source(call: GatewayCall) -> tuple[int, int]:
    return int(call.answer["source_partition"]), int(call.answer["source_offset"])


def _outcome_of(evidence: AnswersEvidence, call: GatewayCall) -> Seen:
    return next(
        seen
        for seen in evidence.outputs
        if outcome(seen, evidence.source_topic).source == _source(call)
    )


def _lost(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Remove the published decision of an answer."""
    if not (found := _decided(evidence)):
        return None
    gone = _outcome_of(evidence, choice.choice(found))
    return replace(evidence, outputs=[seen for seen in evidence.outputs if seen is not gone])


def _doubled(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Publish the decision of an answer again."""
    if not (found := _decided(evidence)):
        return None
    first = _outcome_of(evidence, choice.choice(found))
    return replace(evidence, outputs=[*evidence.outputs, replace(first, offset=10**9)])


def _dead_letter(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Let the record of an answer also be a dead letter."""
    if not (found := _decided(evidence)):
        return None
    call = choice.choice(found)
    partition, offset = _source(call)
    told = {"reason": "CURRENCY", "source.topic": evidence.source_topic,
            "source.partition": partition, "source.offset": offset}  # fmt: skip
    headers = tuple((f"dlq.{name}", str(text).encode()) for name, text in told.items())
    letter = Seen("letters", partition, 10**9, b"", b"", headers, 0, 0.0)
    return replace(evidence, outputs=[*evidence.outputs, letter])


def _swapped(*, clients: bool) -> Planting:
    """Swap the answers of two requests: of two clients, or of one."""

    def plant(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
        found = [call for call in _decided(evidence) if call.purpose == "first"]
        choice.shuffle(found)
        for one in found[:1]:
            others = [
                call for call in found
                if call.identity != one.identity and (call.client != one.client) == clients
            ]  # fmt: skip
            if others:
                other = others[0]
                return _with(
                    evidence,
                    {id(one): replace(one, answer=other.answer),
                     id(other): replace(other, answer=one.answer)},
                )  # fmt: skip
        return None

    return plant


def _last_bit(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Change the last bit of an answer's score."""
    if not (found := _decided(evidence)):
        return None
    call = choice.choice(found)
    (bits,) = struct.unpack("<q", struct.pack("<d", call.answer["score"]))
    (score,) = struct.unpack("<d", struct.pack("<q", bits ^ 1))
    return _with(evidence, {id(call): replace(call, answer={**call.answer, "score": score})})


def _feature(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Exchange the first two features of an answer."""
    found = [
        call for call in _decided(evidence)
        if call.answer["features"][0] != call.answer["features"][1]
    ]  # fmt: skip
    if not found:
        return None
    call = choice.choice(found)
    one, other, *rest = call.answer["features"]
    changed = {**call.answer, "features": [other, one, *rest]}
    return _with(evidence, {id(call): replace(call, answer=changed)})


def _outcome(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    if not (found := _decided(evidence)):
        return None
    call = choice.choice(found)
    other = "BLOCK" if call.answer["decision"] == "APPROVE" else "APPROVE"
    return _with(evidence, {id(call): replace(call, answer={**call.answer, "decision": other})})


def _second(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Let a transaction be decided once more, before the decision that was the answer."""
    found = [call for call in _decided(evidence) if int(call.answer["source_offset"]) > 0]
    if not found:
        return None
    call = choice.choice(found)
    published = _outcome_of(evidence, call)
    value = published.value or b""
    topic = evidence.source_topic.encode()
    at = value.rindex(topic) + len(topic)
    partition, offset = _source(call)
    before = _varint(partition) + _varint(offset)
    if not value[at:].startswith(before):
        return None
    earlier = _varint(partition) + _varint(offset - 1)
    changed = value[:at] + earlier + value[at + len(before) :]
    again = replace(published, value=changed, offset=10**9)
    return replace(evidence, outputs=[*evidence.outputs, again])


def _varint(number: int) -> bytes:
    """Return a number as Avro writes it."""
    left, out = number << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _another_id(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Give the answer of a repeat another id than the first had."""
    seen: set[tuple[str, str]] = set()
    found = []
    for call in _decided(evidence):
        if call.identity in seen:
            found.append(call)
        seen.add(call.identity)
    if not found:
        return None
    call = choice.choice(found)
    changed = replace(call, answer={**call.answer, "id": "AAAAAAAAAAAAAAAAAAAAAA"})
    return _with(evidence, {id(call): changed})


def _answered_contradiction(
    evidence: AnswersEvidence, choice: random.Random
) -> AnswersEvidence | None:
    """Answer another body with the first decision."""
    answers = {call.identity: call.answer for call in _decided(evidence)}
    found = [call for call in evidence.calls if call.status == 409 and call.identity in answers]
    if not found:
        return None
    call = choice.choice(found)
    return _with(evidence, {id(call): replace(call, status=200, answer=answers[call.identity])})


def _leaked(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Let a client fetch another's decision."""
    answers = {call.identity: call.answer for call in _decided(evidence)}
    found = [
        call for call in evidence.calls
        if call.purpose == "stranger" and call.status == 404 and call.identity in answers
    ]  # fmt: skip
    if not found:
        return None
    call = choice.choice(found)
    return _with(evidence, {id(call): replace(call, status=200, answer=answers[call.identity])})


def _unanswered(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Lose all answers for a transaction."""
    if not (found := _decided(evidence)):
        return None
    identity = choice.choice(found).identity
    calls = [
        replace(call, status=0, answer={}) if call.identity == identity else call
        for call in evidence.calls
    ]
    return replace(evidence, calls=calls)


def _foreign_place(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Let a provisional answer name the place of another record."""
    found = [call for call in evidence.calls if call.status == 202]
    decided = _decided(evidence)
    if not found or not decided:
        return None
    call = choice.choice(found)
    others = [each for each in decided if each.identity != call.identity]
    partition, offset = _source(choice.choice(others))
    location = f"/v1/decisions/{call.answer['id']}?at={partition}-{offset}"
    changed = replace(call, answer={**call.answer, "location": location})
    return _with(evidence, {id(call): changed})


def _approving(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Let a provisional answer approve."""
    found = [call for call in evidence.calls if call.status == 202]
    if not found:
        return None
    call = choice.choice(found)
    changed = {**call.answer, "provisional_outcome": "APPROVE"}
    return _with(evidence, {id(call): replace(call, answer=changed)})


def _without_retry(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    found = [call for call in evidence.calls if call.status == 503]
    if not found:
        return None
    call = choice.choice(found)
    return _with(evidence, {id(call): replace(call, retry_after=False)})


def _produced(evidence: AnswersEvidence, choice: random.Random) -> AnswersEvidence | None:
    """Produce a record that no client has sent: all its requests are forgotten."""
    found = [call for call in evidence.calls if call.posts and call.status == 200]
    if not found:
        return None
    identity = choice.choice(found).identity
    return replace(evidence, calls=[call for call in evidence.calls if call.identity != identity])


def _of(purpose: str) -> Callable[[AnswersEvidence], list[GatewayCall]]:
    return lambda evidence: [
        call for call in _decided(evidence) if call.purpose == purpose and call.posts
    ]


PLANTED: Mapping[str, PlantedError] = {
    "decision lost": PlantedError("unpublished", _lost),
    "decision doubled": PlantedError("published_twice", _doubled),
    "decision of a dead letter": PlantedError("rejected", _dead_letter),
    "swapped between clients": PlantedError("swapped", _swapped(clients=True)),
    "swapped within a client": PlantedError("swapped", _swapped(clients=False)),
    "last bit of the score": PlantedError("altered", _last_bit),
    "features exchanged": PlantedError("altered", _feature),
    "another outcome": PlantedError("altered", _outcome),
    "another time": PlantedError(
        "altered", lambda e, c: _answer(e, c, decided_at="2026-01-01T00:00:00.000Z")
    ),
    "a member more": PlantedError("altered", lambda e, c: _answer(e, c, more=1)),
    "decided before": PlantedError("not_first", _second),
    "a repeat with another id": PlantedError("unlike_first", _another_id),
    "another body answered": PlantedError("swapped", _answered_contradiction),
    "a repeat refused as another body": PlantedError(
        "wrong_status", lambda e, c: _status(e, c, _of("repeat")(e), 409, "another-body")
    ),
    "a repeat refused as decided": PlantedError(
        "wrong_status", lambda e, c: _status(e, c, _of("repeat")(e), 409, "already-decided")
    ),
    "a valid record rejected": PlantedError(
        "wrong_status", lambda e, c: _status(e, c, _of("first")(e), 422, "rejected")
    ),
    "a server's failure": PlantedError(
        "wrong_status", lambda e, c: _status(e, c, _of("first")(e), 500, "internal")
    ),
    "an own decision not found": PlantedError(
        "wrong_status", lambda e, c: _status(e, c, _of("first")(e), 404, "decision-not-found")
    ),
    "fetched by another client": PlantedError("leaked", _leaked),
    "no answer": PlantedError("unanswered", _unanswered),
    "place of another record": PlantedError("pending", _foreign_place),
    "provisionally approved": PlantedError("pending", _approving),
    "busy without a time": PlantedError("wrong_status", _without_retry),
    "produced without a request": PlantedError("produced", _produced),
}


def noticed(evidence: AnswersEvidence, choice: random.Random) -> dict[str, bool]:
    """Return for each error that the evidence can have whether the verifier notices it.

    Args:
        evidence: Without a fault.
        choice: Chooses the answers.
    """
    found = {}
    for name, error in PLANTED.items():
        changed = error.plant(evidence, choice)
        if changed is not None:
            found[name] = judge_answers(changed).faults[error.fault] > 0
    return found
