"""Places in flight: when one is free, and which requests must wait for their turn."""

import asyncio

from stream_scorer.serving.decisions.admission import Admission, Refused
from tests.support.serving.fake_scorers import FakeScorers, body, request


class HandClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def admitted(admission: Admission, count: int = 1) -> bool:
    return admission.admit(count) is None


def decide(admission: Admission, clock: HandClock, times: int, latency: float) -> None:
    """Let transactions be decided, one each 10 ms."""
    for _ in range(times):
        assert admitted(admission)
        clock.now += 0.01
        admission.decided(latency)


def test_the_limit_is_never_higher_than_its_maximum() -> None:
    clock = HandClock()
    admission = Admission(10, 1.0, clock)
    assert admission.limit == 10
    # Without the maximum it would be what arrives within a second.
    decide(admission, clock, 2_000, 0.001)
    assert admission.limit == 10
    # While requests are refused, it would grow by a fifth.
    admission = Admission(34, 1.0, clock)
    assert not admitted(admission, 35)
    decide(admission, clock, 90, 0.1)
    assert admission.limit == 34


def test_overdue_transactions_count_for_the_maximum_only() -> None:
    admission = Admission(40, 1.0, HandClock())
    for _ in range(38):
        assert admitted(admission)
        admission.overdue()
    assert not admitted(admission, 3)
    assert admitted(admission, 2)
    assert not admitted(admission)
    admission.ended_overdue()
    assert admitted(admission)


def test_a_large_batch_waits_for_half_of_the_places() -> None:
    admission = Admission(1_000, 1.0, HandClock())
    assert admission.limit == 32
    assert admitted(admission, 17)
    # It would fit, if half of the limit were free.
    assert not admitted(admission, 17)
    admission.released()
    assert admitted(admission, 17)
    assert admission.in_flight == 33


def test_a_backlog_may_take_a_part_of_the_time_limit() -> None:
    admission = Admission(1_000, 2.0, HandClock())
    admission.lagging(1.6)
    assert admission.full() is None
    admission.lagging(1.7)
    assert admission.full() == Refused("lag", 1)
    admission.lagging(0.0)
    assert admission.full() is None


def test_a_batch_takes_the_turns_of_its_transactions() -> None:
    clock = HandClock()
    admission = Admission(1_000, 1.0, clock)
    decide(admission, clock, 25, 0.11)
    # While nothing is refused, no one waits for a turn.
    assert all(admitted(admission) for _ in range(10))
    admission.released(10)
    assert not admitted(admission, 1_001)
    # One turn takes 0.11 s / (1.1 x 32), about 3.1 ms; four may be taken together.
    assert admission.limit == 32
    assert [admitted(admission) for _ in range(6)] == [True] * 4 + [False] * 2
    clock.now += 0.003
    assert not admitted(admission)
    clock.now += 0.001
    assert admitted(admission)
    clock.now += 1.0
    assert admitted(admission, 10)
    clock.now += 0.02
    assert not admitted(admission)
    clock.now += 0.003
    assert admitted(admission)


def test_a_probe_looks_at_a_third_of_the_limit() -> None:
    clock = HandClock()
    admission = Admission(1_000, 1.0, clock)
    assert not admitted(admission, 1_001)
    decide(admission, clock, 49, 0.1)
    before = admission.limit
    decide(admission, clock, 1, 0.1)
    # The round is over: the limit grows by a fifth, and a probe begins.
    assert (before, admission.limit) == (32, 12)
    decide(admission, clock, 40, 0.1)
    assert admission.limit >= 38


def test_an_answer_without_a_decision_frees_its_place() -> None:
    async def scenario() -> None:
        world = FakeScorers(timeout=0.02)
        limit = world.admission.limit
        for number in range(limit + 3):
            assert (await world.gateway.ask(request(body(number)))).status == 202
        assert world.admission.in_flight == limit + 3
        # A repeat frees no second place.
        assert (await world.gateway.ask(request(body(0)))).status == 202
        for number in range(limit + 3):
            world.decide(number)
        assert world.admission.in_flight == 0
        assert world.admission._in_flight == 0

    asyncio.run(scenario())
