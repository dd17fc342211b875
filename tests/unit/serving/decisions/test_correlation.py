"""Pending transactions: which decision ends one, and that each of them ends."""

import asyncio
from collections.abc import Callable

import pytest

from stream_scorer.serving.decisions import correlation as module
from stream_scorer.serving.decisions.correlation import (
    Correlation,
    Letter,
    PendingTransaction,
    Result,
    TooOld,
)
from stream_scorer.serving.decisions.identity import BodyMark, key_of
from stream_scorer.serving.decisions.judging import Rejection
from stream_scorer.serving.decisions.window import DecisionWindow, WindowDecision
from stream_scorer.serving.web.problems import Problem
from tests.support.serving.fake_scorers import FakeScorers, body, request

NOW = 1_700_000_000_000
KEY = key_of("c", "t")
MARK = BodyMark.of(1, b"x")


def decided(key: bytes = KEY, partition: int = 0, offset: int = 5) -> WindowDecision:
    return WindowDecision(key, NOW, partition, offset, b"p" * 340, "shop", MARK)


class World:
    """A correlation with a window.

    Attributes:
        ended: What is not pending any more.
    """

    def __init__(self, window_bytes: int = 1 << 24) -> None:
        self.window = DecisionWindow(3_600, window_bytes)
        self.ended: list[Result] = []
        self.own = Correlation(
            lambda key: self.window.find(key, NOW), lambda _, read: read(), self._end
        )

    def _end(self, _: PendingTransaction, result: Result) -> None:
        self.ended.append(result)

    def produced(self, key: bytes = KEY, offset: int = 5, began: float = 0.0) -> PendingTransaction:
        pending = self.own.begin(key, MARK, "shop", began)
        self.own.delivered(pending, 0, offset)
        return pending

    def publish(self, *decisions: WindowDecision) -> None:
        self.window.add(decisions, NOW)
        self.own.decided(decisions)


def test_the_decision_of_a_later_record_is_not_the_first() -> None:
    world = World()
    world.produced(offset=5)
    world.publish(decided(offset=9))
    assert world.ended == []
    world.publish(decided(offset=5))
    assert world.ended == [decided(offset=5)]


@pytest.mark.parametrize(("partition", "offset"), [(0, 5), (0, 3), (1, 9)])
def test_an_earlier_decision_and_that_of_another_place_end_it(partition: int, offset: int) -> None:
    world = World()
    world.produced(offset=5)
    world.publish(decided(partition=partition, offset=offset))
    assert world.ended == [decided(partition=partition, offset=offset)]


def test_a_decision_may_come_before_the_acknowledgement() -> None:
    world = World()
    pending = world.own.begin(KEY, MARK, "shop", 0.0)
    world.publish(decided(offset=5))
    world.own.delivered(pending, 0, 5)
    assert world.ended == [decided(offset=5)]
    assert (len(world.own), world.own._by_place) == (0, {})


def test_what_a_full_window_drops_still_ends_what_waits() -> None:
    world = World(window_bytes=100_000)
    keys = [key_of("c", str(number)) for number in range(500)]
    for offset, key in enumerate(keys):
        world.produced(key, offset)
    world.publish(*(decided(key, offset=offset) for offset, key in enumerate(keys)))
    assert len(world.window) < len(keys)
    assert [each.key for each in world.ended if isinstance(each, WindowDecision)] == keys
    assert len(world.own) == 0


def test_a_request_gets_the_decision_that_the_window_dropped() -> None:
    async def scenario() -> None:
        world = FakeScorers(window_bytes=1)
        task = asyncio.create_task(world.gateway.ask(request(body())))
        for _ in range(5):
            await asyncio.sleep(0)
        world.decide()
        assert (await task).status == 200
        assert (len(world.window), world.admission.in_flight) == (0, 0)

    asyncio.run(scenario())


def test_a_transaction_is_pending_for_so_long_at_most() -> None:
    world = World()
    for number, began in enumerate((1.0, 2.0, 3.0)):
        world.produced(key_of("c", str(number)), number, began)
    world.own.expire(2.0)
    assert world.ended == [TooOld(), TooOld()]
    assert list(world.own._by_place) == [(0, 2)]
    assert key_of("c", "2") in world.own


def test_what_is_too_old_gives_back_its_place() -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.5)
        assert (await world.gateway.ask(request(body()))).status == 202
        world.time = 3_599.0
        world.gateway.observe()
        assert (len(world.gateway.correlation), world.admission.in_flight) == (1, 1)
        waiting = asyncio.create_task(world.gateway.ask(request(body(), arrived=3_599.0)))
        for _ in range(5):
            await asyncio.sleep(0)
        world.time = 3_600.0
        world.gateway.observe()
        assert (len(world.gateway.correlation), world.admission.in_flight) == (0, 0)
        with pytest.raises(Problem) as raised:
            await waiting
        assert (raised.value.status, raised.value.kind) == (503, "unavailable")
        # It is a new transaction now.
        await world.gateway.ask(request(body(), arrived=3_600.0))
        assert len(world.sent) == 2

    asyncio.run(scenario())


def ends_by_decision(world: World, pending: PendingTransaction) -> None:
    world.publish(decided(pending.key, offset=pending.offset))


def ends_by_letter(world: World, pending: PendingTransaction) -> None:
    world.own.rejected([Letter(0, pending.offset, Rejection("SCHEMA", "why"))])


def ends_by_age(world: World, pending: PendingTransaction) -> None:
    world.own.expire(pending.began)


@pytest.mark.parametrize("end", [ends_by_decision, ends_by_letter, ends_by_age])
def test_what_has_ended_leaves_no_place(
    end: Callable[[World, PendingTransaction], None],
) -> None:
    world = World()
    end(world, world.produced())
    assert len(world.ended) == 1
    assert (len(world.own), world.own._by_place) == (0, {})


def test_dead_letters_of_others_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EARLY_MOST", 3)
    world = World()
    world.own.rejected(Letter(0, offset, Rejection("SCHEMA", "why")) for offset in range(10))
    assert list(world.own._early) == [(0, 7), (0, 8), (0, 9)]
    world.produced(offset=6)
    assert world.ended == []
    world.produced(key_of("c", "other"), offset=7)
    assert world.ended == [Rejection("SCHEMA", "why")]
    # It is kept no longer: another record never has the same place.
    assert list(world.own._early) == [(0, 8), (0, 9)]
