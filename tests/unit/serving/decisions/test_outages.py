"""Without a broker, an answer says so: a decision that cannot be looked up may exist."""

import asyncio
from dataclasses import replace

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.serving.decisions.identity import key_of, public_id
from stream_scorer.serving.following.topic_lookups import StoredRecord
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_scorers import FakeScorers, request


def test_a_pending_decision_is_not_unknown_in_an_outage() -> None:
    async def unreachable(partition: int, offset: int) -> StoredRecord | None:
        raise UnavailableError(f"no broker for {partition}-{offset}", "start it")

    async def scenario() -> Problem:
        world = FakeScorers()
        world.gateway._parts = replace(world.gateway._parts, stored=unreachable)
        own = public_id(key_of("c", "t1"))
        fetched = request(b"", method="GET", parameters={"id": own}, query="at=2-17")
        with pytest.raises(Problem) as raised:
            await world.gateway.fetch(fetched)
        return raised.value

    found = asyncio.run(scenario())
    assert (found.status, found.kind) == (503, "unavailable")
    assert found.headers == (("retry-after", "5"),)
