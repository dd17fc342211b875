"""Each error of the gateways' answers is counted under its name, and flawless answers have none."""

import io
import json
import random
import struct
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from tests.faults.suite.gateways.planted import PLANTED, noticed
from tests.faults.verifier.answers import AnswersVerdict, judge_answers
from tests.faults.verifier.calls import (
    LOST,
    NOT_CONNECTED,
    AnswersEvidence,
    GatewayCall,
    by_gateways,
)
from tests.faults.verifier.judge import Verdict
from tests.faults.verifier.payloads import schema
from tests.faults.verifier.reader import Seen

INPUT, DECISIONS = "transactions", "decisions"
TIME_MS = 1_525_132_800_000
TYPE = "urn:stream-scorer:problem:"


def framed(name: str, schema_id: int, record: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(name), record)
    return b"\0" + schema_id.to_bytes(4, "big") + out.getvalue()


def body(number: int, client: str, **changed: Any) -> dict[str, Any]:
    return {
        "transaction_id": f"{client}-{number}", "event_time": TIME_MS + number * 1_000,
        "customer_id": f"{client}-c", "terminal_id": "7", "amount_minor": 100 + number,
        "currency": "EUR", "channel": "POS", **changed,
    }  # fmt: skip


class RecordedCalls:
    """A flawless record of calls, and what the topics have."""

    def __init__(self) -> None:
        self.calls: list[GatewayCall] = []
        self.inputs: list[Seen] = []
        self.outputs: list[Seen] = []

    def stored(self, sent: dict[str, Any], client: str) -> Seen:
        value = framed("transaction.v1", 1, sent)
        headers = (("scorer-client", client.encode()),)
        seen = Seen(INPUT, 1, len(self.inputs), b"key", value, headers, 0, 0.0)
        self.inputs.append(seen)
        return seen

    def decided(self, sent: dict[str, Any], client: str, *flags: str) -> dict[str, Any]:
        """Store a record and its decision; return the answer."""
        place = self.stored(sent, client)
        features = (1.25, float("nan"), 3.0 + place.offset)
        repeated = ("transaction_id", "customer_id", "terminal_id", "event_time", "amount_minor")
        record: dict[str, Any] = {name: sent[name] for name in repeated} | {
            "currency": "EUR", "channel": sent["channel"], "decided_at": TIME_MS,
            "score": 0.1 + place.offset / 97, "decision": "APPROVE", "reasons": [],
            "flags": list(flags), "model": "fraud", "model_version": "1.0.0", "arm": "champion",
            "plan_revision": 0, "propensity": 1.0, "engine": 1,
            "features": struct.pack("<3d", *features), "terminal_watermark": None,
            "source_topic": INPUT, "source_partition": 1, "source_offset": place.offset,
            "model_outcome": "APPROVE", "calibrated_score": None, "policy_revision": 0,
            "explanations": [],
        }  # fmt: skip
        value = framed("decision.v2", 11, record)
        self.outputs.append(Seen(DECISIONS, 1, len(self.outputs), b"key", value, (), 0, 0.0))
        answer = record | {
            "id": f"id-{sent['transaction_id']}", "features": [1.25, None, features[2]],
            "event_time": iso(sent["event_time"]), "decided_at": iso(TIME_MS),
        }  # fmt: skip
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found

    def call(
        self, client: str, purpose: Any, sent: dict[str, Any], status: int,
        answer: dict[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        identity = sent["customer_id"], sent["transaction_id"]
        began = float(len(self.calls))
        self.calls.append(
            GatewayCall(client, purpose, identity, sent, began, began, status, answer or {}, **more)
        )

    @property
    def evidence(self) -> AnswersEvidence:
        return AnswersEvidence(INPUT, self.calls, self.inputs, self.outputs)


def iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def problem(kind: str) -> dict[str, Any]:
    return {"type": TYPE + kind}


def pending(sent: dict[str, Any], place: str = "") -> dict[str, Any]:
    own = f"id-{sent['transaction_id']}"
    location = f"/v1/decisions/{own}{place}"
    return {"id": own, "provisional_outcome": "REVIEW", "location": location}


def recorded() -> RecordedCalls:
    found = RecordedCalls()
    for number in range(6):
        for client in ("a", "b"):
            sent = body(number, client)
            answer = found.decided(sent, client)
            found.call(client, "first", sent, 200, answer)
            found.call("a", "repeat", sent, 200, answer)
            other = body(number, client, mcc="5999")
            found.call("b", "another_body", other, 409, problem("another-body"))
            found.call("c", "stranger", sent, 404, problem("decision-not-found"))
    late = body(20, "a", event_time=TIME_MS - 86_400_000)
    first = found.decided(late, "a", "late")
    found.decided(late, "a", "late")
    found.call("a", "first", late, LOST)
    found.call("a", "repeat", late, 200, first)
    slow = body(21, "b")
    answer = found.decided(slow, "b")
    found.call("b", "first", slow, 503, problem("overloaded"), retry_after=True)
    place = f"?at=1-{answer['source_offset']}"
    found.call("b", "repeat", slow, 202, pending(slow, place))
    found.call("b", "fetch", slow, 404, problem("decision-not-found"))
    found.call("b", "fetch", slow, 200, answer, settled=True)
    found.call("a", "invalid", body(22, "a", amount_minor=-5), 422, problem("rejected"))
    found.call("a", "unsent", body(23, "a"), LOST)
    found.call("a", "repeat", late, NOT_CONNECTED)
    return found


def judged(evidence: AnswersEvidence) -> AnswersVerdict:
    return judge_answers(evidence)


def test_flawless_answers_have_no_fault() -> None:
    verdict = judged(recorded().evidence)
    assert verdict.examples == {}
    assert verdict.as_record() == {
        "calls": 57, "transactions": 14, "repeats": 27, "lost": 2, "not_connected": 1,
        "statuses": {"200": 26, "202": 1, "404": 13, "409": 12, "422": 1, "503": 1}, "faults": {},
        "problems": {
            "another-body": 12, "decision-not-found": 13, "overloaded": 1, "rejected": 1,
        },
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_every_planted_error_is_noticed(seed: int) -> None:
    found = noticed(recorded().evidence, random.Random(seed))  # noqa: S311 no secrets
    assert found == dict.fromkeys(PLANTED, True)
    assert len(PLANTED) >= 12


def test_an_answer_before_the_client_has_sent_is_leaked() -> None:
    found = recorded()
    sent = found.calls[0]
    # "c" was a stranger when it asked for the decision. Another body under the same id, or a record
    # that was not sent, changes nothing of that; then it sends the transaction itself.
    found.calls[:0] = [
        replace(sent, client="c", purpose="repeat", status=NOT_CONNECTED, answer={}),
        replace(
            sent, client="c", purpose="another_body", status=409, answer=problem("another-body"),
            body={**sent.body, "mcc": "5999"},
        ),
    ]  # fmt: skip
    found.call("c", "repeat", dict(sent.body), 200, dict(sent.answer))
    assert judged(found.evidence).faults == {}
    found.calls = [
        replace(call, status=200, answer=sent.answer)
        if call.purpose == "stranger" and call.identity == sent.identity else call
        for call in found.calls
    ]  # fmt: skip
    assert judged(found.evidence).faults == {"leaked": 1}


def test_errors_count_in_the_verdict_of_the_suite() -> None:
    evidence = recorded().evidence
    broken = replace(evidence, outputs=evidence.outputs[1:])
    verdict = Verdict()
    verdict.take_answers(judged(broken), {"planted": 24})
    assert not verdict.clean
    # The first decision is gone, with two answers.
    assert verdict.faults == {"answers": 2}
    assert verdict.examples["answers"][0].startswith("unpublished: ")
    assert verdict.as_record()["asked"]["planted"] == 24


def test_the_second_decision_of_a_late_event_is_not_the_first() -> None:
    found = recorded()
    late = next(call for call in found.calls if call.status == LOST)
    second = dict(next(c.answer for c in found.calls if c.identity == late.identity and c.answer))
    second["source_offset"] += 1
    second["features"] = [1.25, None, 3.0 + second["source_offset"]]
    second["score"] = 0.1 + second["source_offset"] / 97
    found.calls = [
        replace(call, answer=second) if call.identity == late.identity and call.answer else call
        for call in found.calls
    ]
    assert judged(found.evidence).faults == {"not_first": 1}


@pytest.mark.parametrize(
    ("purpose", "status", "kind"),
    [
        ("fetch", 404, "decision-not-found"),
        ("first", 409, "already-decided"),
        ("repeat", 409, "another-body"),
        ("first", 429, "too-many-requests"),
        ("another_body", 422, "rejected"),
        ("repeat", 503, "internal"),
    ],
)
def test_a_status_that_is_not_due_is_wrong(purpose: str, status: int, kind: str) -> None:
    found = recorded()
    found.call("a", purpose, body(1, "a"), status, problem(kind), retry_after=True, settled=True)
    assert judged(found.evidence).faults == {"wrong_status": 1}


def test_a_gateway_may_read_later_unless_it_knows_the_place() -> None:
    found = recorded()
    found.call("a", "fetch", body(1, "a"), 404, problem("decision-not-found"))
    assert judged(found.evidence).faults == {}
    found.call("a", "fetch", body(1, "a"), 404, problem("decision-not-found"), place=True)
    assert judged(found.evidence).faults == {"wrong_status": 1}


def test_an_incomplete_record_must_not_be_produced() -> None:
    found = recorded()
    found.stored(body(23, "a"), "a")
    assert judged(found.evidence).faults == {"produced": 1}


def test_records_of_gateways_name_their_client() -> None:
    found = recorded()
    streamed = replace(found.inputs[0], headers=())
    assert by_gateways([streamed, *found.inputs]) == found.inputs
