"""Who may fetch a decision, and what a fetch answers while the topic cannot be read."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.processes.blocking_calls import CallsFullError
from stream_scorer.serving.decisions import correlation
from stream_scorer.serving.decisions.correlation import LocatedClients
from stream_scorer.serving.decisions.identity import BodyMark, key_of, public_id
from stream_scorer.serving.following.scorers_watch import NO_BROKER, NO_SCORER
from stream_scorer.serving.following.topic_lookups import StoredRecord
from stream_scorer.serving.web.messages import Caller, Request, Response
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_scorers import FakeScorers, body, request

KEY = key_of("c", "t1")


def fetching(client: str = "shop", query: str = "") -> Request:
    own = {"id": public_id(KEY)}
    return request(b"", client, method="GET", parameters=own, query=query)


async def refused(world: FakeScorers, sent: Request) -> Problem:
    with pytest.raises(Problem) as raised:
        await world.gateway.fetch(sent)
    return raised.value


async def asking(world: FakeScorers, sent: Any) -> "asyncio.Task[Response]":
    task = asyncio.create_task(world.gateway.ask(sent))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_every_client_with_a_location_may_fetch() -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.05)
        for client in ("shop", "second", "third"):
            assert (await world.gateway.ask(request(body(), client))).status == 202
        assert len(world.sent) == 1
        for client in ("shop", "second", "third"):
            assert (await world.gateway.fetch(fetching(client))).status == 202
        assert (await refused(world, fetching("thief"))).status == 404
        world.decide()
        for client in ("shop", "second", "third"):
            assert (await world.gateway.fetch(fetching(client))).status == 200
        assert (await refused(world, fetching("thief"))).status == 404

    asyncio.run(scenario())


def test_the_first_client_may_fetch_what_came_first_from_another() -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.05)
        await world.gateway.ask(request(body()))
        offset = world.deliver()
        other = world.sent[0].headers | {"scorer-client": b"elsewhere"}
        world.publish(body(), offset - 1, headers=other)
        assert (await world.gateway.fetch(fetching("shop"))).status == 200
        assert (await world.gateway.fetch(fetching("elsewhere"))).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("mark", [b"", b"2:" + b"0" * 32])
def test_a_location_stays_valid_if_a_streams_record_came_first(mark: bytes) -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.05)
        for client in ("shop", "second"):
            assert (await world.gateway.ask(request(body(), client))).status == 202
        offset = world.deliver()
        # It names no client, and no body that can be compared, but has the same fields.
        headers = {"scorer-body": mark} if mark else {}
        world.publish(body(), offset - 1, headers=headers)
        for client in ("shop", "second"):
            assert (await world.gateway.fetch(fetching(client))).status == 200
        assert (await refused(world, fetching("thief"))).status == 404
        # Another body was decided first: its decision is not theirs.
        other = FakeScorers(timeout=0.05)
        assert (await other.gateway.ask(request(body()))).status == 202
        other.publish(body(amount_minor=1), other.deliver() - 1, headers=headers)
        assert (await refused(other, fetching())).status == 404

    asyncio.run(scenario())


def test_only_the_own_transactions_decision_is_waited_for() -> None:
    async def scenario() -> None:
        world, other = FakeScorers(), FakeScorers(timeout=0.05)
        await other.gateway.ask(request(body()))
        (sent,) = other.sent
        record = StoredRecord(sent.key, sent.value, list(sent.headers.items()), True)
        world.records[0, 0] = record
        other_id = {"id": public_id(key_of("c", "t2"))}
        strange = request(b"", "shop", method="GET", parameters=other_id, query="at=0-0")
        for sent_by in (fetching("thief", "at=0-0"), strange):
            assert (await refused(world, sent_by)).status == 404
        assert world.waited == []
        world.reads = False
        found = await refused(world, fetching(query="at=0-0"))
        assert (found.status, found.kind) == (503, "unavailable")
        assert "is not read yet" in found.detail
        assert world.waited == [b"c"]
        world.reads = True
        assert (await refused(world, fetching(query="at=0-0"))).status == 404
        # What is not decided has no decision to wait for.
        world.records[0, 0] = replace(record, decided=False)
        assert (await world.gateway.fetch(fetching(query="at=0-0"))).status == 202
        assert world.waited == [b"c", b"c"]

    asyncio.run(scenario())


def test_a_location_is_that_of_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_LOCATED_MOST", 3)
    own, other = BodyMark.of(1, b"x"), BodyMark.of(1, b"y")
    located = LocatedClients()

    def may(client: str, mark: BodyMark | None) -> bool:
        caller = Caller(client, frozenset({"score"}), "key")
        return located.may_fetch(caller, KEY, "first", lambda sent, _: sent == mark)

    located.add(KEY, "a", own, {})
    assert may("a", own)
    assert not may("a", other)
    assert not may("a", None)
    assert not may("b", own)
    assert may("first", None)
    for client in ("b", "c", "a", "d"):
        located.add(KEY, client, own, {})
    assert len(located) == 3
    assert [client for client in "abcd" if may(client, own)] == ["a", "c", "d"]


def test_requests_that_wait_for_one_transaction_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(correlation, "_WAITING_MOST", 3)

    async def scenario() -> None:
        world = FakeScorers()
        tasks = [await asking(world, request(body())) for _ in range(3)]
        with pytest.raises(Problem) as raised:
            await world.gateway.ask(request(body()))
        assert (raised.value.status, raised.value.kind) == (503, "overloaded")
        world.decide()
        assert [(await task).status for task in tasks] == [200] * 3
        assert world.admission.in_flight == 0

    asyncio.run(scenario())


def test_requests_that_have_ended_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "_WAITING_MOST", 3)

    async def scenario() -> None:
        world = FakeScorers(timeout=0.5)
        tasks = [await asking(world, request(body())) for _ in range(3)]
        assert [(await task).status for task in tasks] == [202] * 3
        # Their time is over: others may wait, also those whose clients leave.
        for _ in range(4):
            left = await asking(world, request(body()))
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
        again = await asking(world, request(body()))
        pending = world.gateway.correlation.find(KEY)
        assert pending is not None
        assert len(pending.waiting) == 1
        world.decide()
        assert (await again).status == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("down", "error", "kind"),
    [
        (NO_BROKER, None, "unavailable"),
        ("", UnavailableError("no broker", "start it"), "unavailable"),
        ("", TimeoutError(), "unavailable"),
        ("", CallsFullError(), "overloaded"),
    ],
)
def test_a_record_that_cannot_be_read_is_not_unknown(
    down: str, error: Exception | None, kind: str
) -> None:
    reads: list[tuple[int, int]] = []

    async def stored(partition: int, offset: int) -> StoredRecord | None:
        reads.append((partition, offset))
        if error is not None:
            raise error
        return None

    async def scenario() -> Problem:
        world = FakeScorers(down=down)
        world.gateway._parts = replace(world.gateway._parts, stored=stored)
        return await refused(world, fetching(query="at=2-17"))

    found = asyncio.run(scenario())
    assert (found.status, found.kind) == (503, kind)
    assert dict(found.headers)["retry-after"]
    # Without a broker nothing is read: each read would wait for its time limit.
    assert reads == ([] if down else [(2, 17)])


def test_what_is_known_here_is_fetched_without_a_broker() -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.05)
        await world.gateway.ask(request(body()))
        world.down = NO_BROKER
        assert (await world.gateway.fetch(fetching())).status == 202
        world.down = ""
        world.decide()
        world.down = NO_BROKER
        assert (await world.gateway.fetch(fetching())).status == 200
        # Without scorers, the broker still tells who has sent a transaction.
        world.down = NO_SCORER
        other = FakeScorers(down=NO_SCORER)
        (sent,) = world.sent
        other.records[0, 0] = StoredRecord(sent.key, sent.value, list(sent.headers.items()), False)
        assert (await other.gateway.fetch(fetching(query="at=0-0"))).status == 202

    asyncio.run(scenario())
