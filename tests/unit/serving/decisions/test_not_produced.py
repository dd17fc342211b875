"""Transactions whose record the producer or the broker refuses: none stays pending."""

import asyncio

import pytest

from stream_scorer.producing.sender import TOO_LARGE, NotSentError, RecordTooLargeError
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_scorers import FakeScorers, body, request


def nothing_is_pending(world: FakeScorers) -> None:
    assert (len(world.gateway.correlation), world.admission.in_flight) == (0, 0)


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (NotSentError(), 503, "unavailable"),
        (RecordTooLargeError(), 422, "rejected"),
        (ZeroDivisionError(), 0, ""),
    ],
)
def test_a_failing_send_gives_back_its_place(refusal: Exception, status: int, kind: str) -> None:
    async def scenario() -> None:
        world = FakeScorers(refusal=refusal)
        for _ in range(3):
            with pytest.raises(Problem if status else type(refusal)) as raised:
                await world.gateway.ask(request(body()))
            if isinstance(raised.value, Problem):
                assert (raised.value.status, raised.value.kind) == (status, kind)
                assert raised.value.members.get("reason") in (None, "TOO_LARGE")
            nothing_is_pending(world)
        world.refusal = None
        task = asyncio.create_task(world.gateway.ask(request(body())))
        for _ in range(5):
            await asyncio.sleep(0)
        world.decide()
        assert (await task).status == 200

    asyncio.run(scenario())


def test_a_record_that_the_broker_finds_too_large_is_rejected() -> None:
    async def scenario() -> Problem:
        world = FakeScorers()
        task = asyncio.create_task(world.gateway.ask(request(body())))
        for _ in range(5):
            await asyncio.sleep(0)
        world.gateway.correlation.delivered(world.sent[0].pending, -1, TOO_LARGE)
        with pytest.raises(Problem) as raised:
            await task
        nothing_is_pending(world)
        return raised.value

    found = asyncio.run(scenario())
    assert (found.status, found.members["reason"]) == (422, "TOO_LARGE")
