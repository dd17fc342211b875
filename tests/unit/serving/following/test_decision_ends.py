"""The ends of the decisions: a partition that does not answer costs the others nothing."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.serving.following import decision_ends
from stream_scorer.serving.following.decision_ends import DecisionEnds, PassedEnds

SECONDS = 30.0
SILENT = 1.0
"""No answer for so long is a silence; a new thread begins sooner, also on a busy machine."""


class Partitions:
    """Decisions whose first partition may have no leader.

    Attributes:
        answers: Set while the first partition answers.
        refused: What every partition raises; None: nothing.
        asked: How often each partition was asked for its end.
        passed: What waits until an end is read, with that end.
        stopped: Whether it reads no more.
    """

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.refused: UnavailableError | None = None
        self.asked: Counter[int] = Counter()
        self.passed: list[tuple[int, int, Callable[[], None]]] = []
        self.stopped = False

    def end(self, partition: int) -> int:
        self.asked[partition] += 1
        if partition == 0:
            assert self.answers.wait(SECONDS)
        if self.refused is not None:
            raise self.refused
        return self.asked.total()

    def when_passed(self, partition: int, end: int, passed: Callable[[], None]) -> None:
        self.passed.append((partition, end, passed))


@pytest.fixture
def decisions() -> Iterator[Partitions]:
    found = Partitions()
    yield found
    found.answers.set()


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop and the threads go on until something holds."""
    async with asyncio.timeout(SECONDS):
        while True:
            if holds():
                return
            await asyncio.sleep(0.001)


def opened(decisions: Any, seconds: float = SECONDS) -> DecisionEnds:
    """Return the ends of decisions, and let an answer take so long."""
    found = DecisionEnds(decisions)
    found._calls._seconds = seconds
    return found


def test_a_silent_partition_blocks_no_other(
    decisions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_ends, "_THREADS", 2)
    ends = opened(decisions, SILENT)

    async def scenario() -> None:
        refused = await asyncio.gather(*(ends.of(0) for _ in range(40)), return_exceptions=True)
        assert [type(each) for each in refused] == [TimeoutError] + [UnavailableError] * 39
        assert decisions.asked == {0: 1}
        ends._calls._seconds = SECONDS
        for _ in range(5):
            await ends.of(1)
        assert decisions.asked == {0: 1, 1: 5}
        # It answers, though late: from then on it is asked again.
        decisions.answers.set()
        while True:
            try:
                await ends.of(0)
            except UnavailableError:
                await asyncio.sleep(0.001)
            else:
                break
        assert decisions.asked[0] == 2

    asyncio.run(scenario())
    ends.close()


def test_who_finds_no_free_thread_silences_nothing(
    decisions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_ends, "_THREADS", 1)
    ends = opened(decisions, SILENT)

    async def scenario() -> None:
        for partition in (0, 1):
            with pytest.raises(TimeoutError):
                await ends.of(partition)
        assert decisions.asked == {0: 1}
        decisions.answers.set()
        ends._calls._seconds = SECONDS
        await ends.of(1)
        assert decisions.asked[1] == 1

    asyncio.run(scenario())
    ends.close()


def test_an_answer_at_the_last_moment_is_no_silence(
    decisions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = opened(decisions)

    async def too_late(call: Callable[[], int]) -> int:
        await asyncio.to_thread(call)
        raise TimeoutError

    async def scenario() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(ends._calls, "run", too_late)
            with pytest.raises(TimeoutError):
                await ends.of(1)
        assert await ends.of(1) == 2

    asyncio.run(scenario())
    ends.close()


def test_an_answer_is_shared_if_it_is_not_older(decisions: Partitions) -> None:
    ends = opened(decisions)

    async def scenario() -> None:
        first = asyncio.create_task(ends.of(0))
        await until(lambda: decisions.asked[0] > 0)
        later = [asyncio.create_task(ends.of(0)) for _ in range(10)]
        await asyncio.sleep(0.01)
        decisions.answers.set()
        assert await first == 1
        # The first call was on its way before they came.
        assert await asyncio.gather(*later) == [2] * 10
        assert await ends.of(0) == 3

    asyncio.run(scenario())
    ends.close()


def test_who_leaves_leaves_no_answer_to_others(decisions: Partitions) -> None:
    ends = opened(decisions)

    async def scenario() -> None:
        decisions.answers.set()
        assert await ends.of(0) == 1
        decisions.answers.clear()
        gone = asyncio.create_task(ends.of(0))
        waiting = asyncio.create_task(ends.of(0))
        await until(lambda: decisions.asked[0] >= 2)
        gone.cancel()
        decisions.answers.set()
        assert await waiting == 3

    asyncio.run(scenario())
    ends.close()


def test_a_closed_one_refuses(decisions: Partitions) -> None:
    ends = opened(decisions)
    ends.close()
    with pytest.raises(UnavailableError):
        asyncio.run(ends.of(1))
    assert not decisions.asked


def test_many_that_wait_for_a_broker_ask_once(
    decisions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_ends, "_RETRY_SECONDS", 0.05)
    ends = opened(decisions)
    decisions.refused = UnavailableError("the broker does not answer")
    read: list[int] = []

    async def scenario() -> None:
        tail: Any = decisions
        passed = PassedEnds(tail, ends, lambda call: call())
        for number in range(1_000):
            passed.when_read(1, lambda number=number: read.append(number))  # type: ignore[misc]
        await until(lambda: decisions.asked[1] >= 3)
        # One task asks for all of them.
        assert len(asyncio.all_tasks()) == 2
        assert not decisions.passed
        decisions.refused = None
        await until(lambda: len(decisions.passed) >= 1_000)
        asked = decisions.asked[1]
        assert {each[:2] for each in decisions.passed} == {(1, asked)}
        for _, _, call in decisions.passed:
            call()
        assert sorted(read) == list(range(1_000))
        # A later one is not given an end from before it came.
        passed.when_read(1, lambda: None)
        await until(lambda: len(decisions.passed) >= 1_001)
        assert decisions.passed[-1][:2] == (1, asked + 1)

    asyncio.run(scenario())
    ends.close()


def test_nobody_waits_for_decisions_that_are_not_read(
    decisions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_ends, "_RETRY_SECONDS", 0.001)
    ends = opened(decisions)
    decisions.refused = UnavailableError("the broker does not answer")

    async def scenario() -> None:
        tail: Any = decisions
        PassedEnds(tail, ends, lambda call: call()).when_read(1, lambda: None)
        await until(lambda: decisions.asked[1] >= 3)
        decisions.stopped = True
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(scenario())
    assert not decisions.passed
    ends.close()
