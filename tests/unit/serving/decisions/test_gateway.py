"""Requests and their answers: decisions, repeats, conflicts, rejections, provisional outcomes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stream_scorer.ports import BODY_HEADER, CLIENT_HEADER
from stream_scorer.serving.decisions.identity import key_of, public_id
from stream_scorer.serving.following.topic_lookups import StoredRecord
from stream_scorer.serving.web.messages import Request, Response
from stream_scorer.serving.web.problems import Problem
from stream_scorer.telemetry import AdmissionRefused, ProvisionalAnswered, ProvisionalSettled
from tests.support.serving.fake_scorers import NOW_MS, FakeScorers, body, request

SOME_SECONDS = 0.5
"""A time that ends soon, but not before the test has gone on."""


def run(scenario: Callable[[FakeScorers], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        await scenario(FakeScorers(**settings))

    asyncio.run(main())


async def asking(world: FakeScorers, sent: Request) -> "asyncio.Task[Response]":
    """Begin a request, and return when its record is produced."""
    task = asyncio.create_task(world.gateway.ask(sent))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def answered(world: FakeScorers, sent: Any, outcome: str = "APPROVE") -> dict[str, Any]:
    task = await asking(world, request(sent))
    world.decide(outcome=outcome)
    return document(await task)


def document(response: Response, status: int = 200) -> dict[str, Any]:
    assert response.status == status
    found: dict[str, Any] = json.loads(response.body)
    return found


async def problem(asked: Awaitable[Response]) -> Problem:
    with pytest.raises(Problem) as raised:
        await asked
    return raised.value


def fetching(key: str, client: str = "shop", scope: str = "score", query: str = "") -> Request:
    return request(b"", client, scope, method="GET", parameters={"id": key}, query=query)


ID = public_id(key_of("c", "t1"))


def test_a_decision_is_the_answer() -> None:
    async def scenario(world: FakeScorers) -> None:
        sent = request(body(), traceparent="00-a-b-01", tracestate="x=y")
        task = await asking(world, sent)
        assert not task.done()
        offset = world.decide(outcome="BLOCK")
        found = document(await task)
        assert found["id"] == ID
        assert (found["transaction_id"], found["decision"]) == ("t1", "BLOCK")
        assert found["event_time"] == "2023-11-14T22:13:19.000Z"
        assert found["features"] == [12.5, None]
        assert (found["source_offset"], found["source_partition"]) == (offset, 0)
        record = world.sent[0]
        assert record.key == b"c"
        assert record.headers["traceparent"] == b"00-a-b-01"
        assert record.headers["tracestate"] == b"x=y"
        assert record.headers[CLIENT_HEADER] == b"shop"
        assert record.headers[BODY_HEADER].startswith(b"1:")
        assert world.admission.in_flight == 0

    run(scenario)


def test_a_repeat_gets_the_first_answer() -> None:
    async def scenario(world: FakeScorers) -> None:
        first = await answered(world, body())
        text = b'{ "currency": "EUR",' + json.dumps(body()).encode()[1:].replace(
            b', "currency": "EUR"', b""
        )
        again = document(await world.gateway.ask(request(text, client="other")))
        assert again == first
        assert len(world.sent) == 1
        assert world.admission.in_flight == 0

    run(scenario)


def test_repeats_while_pending_share_one_record() -> None:
    async def scenario(world: FakeScorers) -> None:
        tasks = [await asking(world, request(body())) for _ in range(3)]
        assert len(world.sent) == world.admission.in_flight == 1
        other = await problem(world.gateway.ask(request(body(amount_minor=1))))
        assert (other.status, other.kind) == (409, "another-body")
        world.decide()
        assert len({(await task).body for task in tasks}) == 1

    run(scenario)


def test_another_body_is_a_conflict() -> None:
    async def scenario(world: FakeScorers) -> None:
        await answered(world, body())
        # The decision does not tell the code, but the mark of the body differs.
        for changed in ({"amount_minor": 1_251}, {"mcc": "5411"}):
            found = await problem(world.gateway.ask(request(body(**changed))))
            assert (found.status, found.kind) == (409, "another-body")

    run(scenario)


def test_a_decision_without_a_mark_is_compared_by_fields() -> None:
    async def scenario(world: FakeScorers) -> None:
        world.publish(body(), 7)
        found = document(await world.gateway.ask(request(body(mcc="5411"))))
        assert found["source_offset"] == 7
        other = await problem(world.gateway.ask(request(body(amount_minor=1))))
        assert other.kind == "another-body"
        # It has no client either: only a reader may fetch it.
        assert (await problem(world.gateway.fetch(fetching(ID)))).status == 404
        document(await world.gateway.fetch(fetching(ID, "auditor", "read")))

    run(scenario)


def test_the_first_decision_of_a_late_event_is_the_answer() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        # Another gateway sent it, too, and its record came first.
        other = world.sent[0]
        assert world.deliver() == 0
        world._next = 9
        world.gateway.correlation._by_place.clear()
        world.gateway.correlation.delivered(other.pending, 0, 9)
        world.publish(body(), 4, "BLOCK", other.headers)
        found = document(await task)
        assert (found["decision"], found["source_offset"]) == ("BLOCK", 4)
        world.publish(body(), 9, "APPROVE", other.headers)
        again = document(await world.gateway.ask(request(body())))
        assert again == found

    run(scenario)


def test_a_duplicate_gets_the_decision_once_it_is_read() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        offset = world.deliver()
        world.reject("DUPLICATE", offset)
        assert not task.done()
        assert len(world.barriers) == 1
        world.publish(body(), offset - 1, "REVIEW", world.sent[0].headers)
        world.read_all()
        assert document(await task)["decision"] == "REVIEW"

    run(scenario)


def test_a_duplicate_without_a_decision_is_already_decided() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        world.reject("DUPLICATE", world.deliver())
        world.read_all()
        found = await problem(task)
        assert (found.status, found.kind) == (409, "already-decided")
        assert world.admission.in_flight == 0

    run(scenario)


@pytest.mark.parametrize("early", [False, True])
def test_a_scorers_rejection_is_not_remembered(early: bool) -> None:  # noqa: FBT001 a parameter of the test
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        if early:
            world.reject("TIME_AHEAD", 0)
            world.deliver()
        else:
            world.reject("TIME_AHEAD", world.deliver())
        found = await problem(task)
        assert (found.status, found.members["reason"]) == (422, "TIME_AHEAD")
        await answered(world, body())
        assert len(world.sent) == 2

    run(scenario)


def test_what_the_mapping_rejects_is_not_produced() -> None:
    async def scenario(world: FakeScorers) -> None:
        for sent, reason in (
            (body(currency="USD"), "CURRENCY"),
            (body(customer_id=""), "ID_EMPTY"),
            (body(event_time=NOW_MS + 10**7), "TIME_AHEAD"),
            (body(amount_minor=-1), "AMOUNT_NEGATIVE"),
            (body(amount_minor="1"), "SCHEMA"),
            (body(extra=1), "SCHEMA"),
            ([body(), 1], "SCHEMA"),
        ):
            if isinstance(sent, list):
                continue
            found = await problem(world.gateway.ask(request(sent)))
            assert (found.status, found.members["reason"]) == (422, reason)
        assert found.detail == "'extra' is not a field of the schema"
        assert world.sent == []
        assert world.admission.in_flight == 0

    run(scenario)


def test_a_body_that_is_not_json_is_refused() -> None:
    async def scenario(world: FakeScorers) -> None:
        for sent in (b"", b"{", b"[]", b"1", b'{"transactions": []}', b'{"a": 1, "a": 2}',
                     b"[" * 70 + b"]" * 70, b"[" + b"{}," * 1_000 + b"{}]"):  # fmt: skip
            found = await problem(world.gateway.ask(request(sent)))
            assert (found.status, found.kind) == (400, "invalid-json")

    run(scenario)


def test_without_a_decision_in_time_the_answer_is_provisional() -> None:
    async def scenario(world: FakeScorers) -> None:
        response = await world.gateway.ask(request(body()))
        found = document(response, 202)
        location = f"/v1/decisions/{ID}"
        assert found == {"id": ID, "provisional_outcome": "REVIEW", "location": location}
        assert ("location", location) in response.headers
        assert document(await world.gateway.fetch(fetching(ID)), 202) == found
        assert (await problem(world.gateway.fetch(fetching(ID, "thief")))).status == 404
        # The same again, much later: still pending, and produced once.
        world.now_ms += 120_000
        document(await world.gateway.ask(request(body())), 202)
        assert len(world.sent) == 1
        world.decide(outcome="BLOCK")
        assert document(await world.gateway.fetch(fetching(ID)))["decision"] == "BLOCK"
        assert (await problem(world.gateway.fetch(fetching(ID, "thief")))).status == 404
        world.gateway.observe()
        assert ProvisionalAnswered(2) in world.heard
        assert ProvisionalSettled("REVIEW", "BLOCK") in world.heard

    run(scenario, timeout=0.05)


def test_another_gateways_transaction_is_found_by_its_place() -> None:
    async def scenario(world: FakeScorers) -> None:
        other = FakeScorers(timeout=SOME_SECONDS)
        task = await asking(other, request(body()))
        offset = other.deliver()
        found = document(await task, 202)
        query = f"at=0-{offset}"
        assert found["location"] == f"/v1/decisions/{ID}?{query}"
        (sent,) = other.sent
        world.records[0, offset] = StoredRecord(
            sent.key, sent.value, list(sent.headers.items()), False
        )
        assert document(await world.gateway.fetch(fetching(ID, query=query)), 202) == found
        document(await world.gateway.fetch(fetching(ID, "auditor", "read", query)), 202)
        strange = public_id(key_of("c", "t2"))
        for wrong in (
            fetching(ID, "thief", query=query), fetching(strange, query=query), fetching(ID),
            fetching(ID, query="at=0-9"), fetching(ID, query="at=-1-0"), fetching(ID, query="at=0"),
        ):  # fmt: skip
            assert (await problem(world.gateway.fetch(wrong))).status == 404
        world.records[0, offset] = StoredRecord(
            sent.key, sent.value, list(sent.headers.items()), True
        )
        assert (await problem(world.gateway.fetch(fetching(ID, query=query)))).status == 404
        world.publish(body(), offset, "BLOCK", sent.headers)
        assert document(await world.gateway.fetch(fetching(ID)))["decision"] == "BLOCK"

    run(scenario, timeout=0.05)


def test_unknown_and_malformed_ids_are_not_found() -> None:
    async def scenario(world: FakeScorers) -> None:
        for key in ("x", "", "A" * 22, "A" * 21 + "B", "../../etc/passwd", "\u0660" * 22):
            assert (await problem(world.gateway.fetch(fetching(key)))).status == 404

    run(scenario)


def test_past_the_window_it_is_a_new_transaction() -> None:
    async def scenario(world: FakeScorers) -> None:
        await answered(world, body())
        world.now_ms += 3_601_000
        assert (await problem(world.gateway.fetch(fetching(ID)))).status == 404
        await answered(world, body())
        assert len(world.sent) == 2

    run(scenario)


def test_a_record_that_is_not_acknowledged_is_sent_again() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        world.gateway.correlation.delivered(world.sent[0].pending, -1, -1)
        found = await problem(task)
        assert (found.status, found.kind) == (503, "unavailable")
        assert world.admission.in_flight == 0
        await answered(world, body())

    run(scenario)


def test_a_batch_has_an_answer_for_each_transaction() -> None:
    async def scenario(world: FakeScorers) -> None:
        sent = [body(1), body(2, currency="USD"), body(3), body(1), body(1, mcc="1")]
        task = await asking(world, request({"transactions": sent}))
        assert [each.transaction["transaction_id"] for each in world.sent] == ["t1", "t3"]
        world.decide(0)
        found = document(await task, 207)["answers"]
        assert [each["status"] for each in found] == [200, 422, 202, 200, 409]
        assert found[0] == found[3]
        assert found[1]["problem"]["reason"] == "CURRENCY"
        assert found[2]["pending"]["provisional_outcome"] == "REVIEW"
        world.decide(1)
        again = document(await world.gateway.ask(request([body(1), body(3)])))["answers"]
        assert [each["decision"]["transaction_id"] for each in again] == ["t1", "t3"]

    run(scenario, timeout=SOME_SECONDS)


def test_beyond_the_limit_requests_are_refused() -> None:
    async def scenario(world: FakeScorers) -> None:
        limit = world.admission.limit
        tasks = [await asking(world, request(body(number))) for number in range(limit)]
        found = await problem(world.gateway.ask(request(b"not even parsed")))
        assert (found.status, found.kind) == (503, "overloaded")
        assert found.headers == (("retry-after", "30"),)
        for number in range(limit):
            world.decide(number)
        for task in tasks:
            document(await task)
        world.down = "no broker"
        assert (await problem(world.gateway.ask(request(body())))).kind == "unavailable"
        world.gateway.observe()
        assert AdmissionRefused("limit", 1) in world.heard
        assert AdmissionRefused("unavailable", 1) in world.heard

    run(scenario)


def test_requests_at_one_moment_are_judged_together() -> None:
    async def scenario(world: FakeScorers) -> None:
        tasks = [
            asyncio.create_task(world.gateway.ask(request(body(number, currency=currency))))
            for number, currency in enumerate(("EUR", "USD", "EUR"))
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        assert world.judged == [3]
        assert [each.transaction["transaction_id"] for each in world.sent] == ["t0", "t2"]
        world.decide(0)
        world.decide(1)
        assert document(await tasks[0])["transaction_id"] == "t0"
        assert document(await tasks[2])["transaction_id"] == "t2"
        assert (await problem(tasks[1])).members["reason"] == "CURRENCY"
        # A defect concerns only the request whose record shows it.
        world.defect = b"t9"
        good = asyncio.create_task(world.gateway.ask(request(body(8))))
        bad = asyncio.create_task(world.gateway.ask(request(body(9))))
        for _ in range(5):
            await asyncio.sleep(0)
        world.decide()
        document(await good)
        with pytest.raises(ZeroDivisionError):
            await bad
        assert world.admission.in_flight == 0

    run(scenario)


def test_a_client_that_leaves_changes_nothing() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request(body()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.admission.in_flight == 1
        world.decide()
        assert world.admission.in_flight == 0
        document(await world.gateway.ask(request(body())))
        assert len(world.sent) == 1

    run(scenario)


def test_a_batch_counts_each_of_its_transactions() -> None:
    async def scenario(world: FakeScorers) -> None:
        task = await asking(world, request([body(1), body(2), body(3)]))
        assert world.charged == 2
        for number in range(3):
            world.decide(number)
        document(await task)
        found = await problem(world.gateway.ask(request([body(4), body(5), body(6)])))
        assert (found.status, found.kind) == (429, "too-many-requests")
        assert len(world.sent) == 3
        assert world.admission.in_flight == 0

    run(scenario, charged_most=3)
