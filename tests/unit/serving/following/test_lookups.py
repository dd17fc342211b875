"""Lookups in the topics: what is open in one partition keeps no other lookup waiting."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.serving.following import decision_ends, topic_lookups
from stream_scorer.serving.following.decision_ends import DecisionEnds
from stream_scorer.serving.following.topic_lookups import StoredRecord, TopicLookups

SECONDS = 30.0
KEYS = {partition_of(key, 2): key for key in (b"%d" % number for number in range(20))}


class OneRecord:
    """A topic with one record, at 0-3."""

    def read(self, partition: int, offset: int) -> Any:
        return self if (partition, offset) == (0, 3) else None

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"

    def headers(self) -> list[tuple[str, bytes]]:
        return []


class OpenDecisions:
    """Decisions of two partitions; in the first, a transaction is open at the end.

    Attributes:
        read: By partition, what is read.
        stopped: Whether it reads no more.
    """

    partition_count = 2

    def __init__(self) -> None:
        self.read = {0: 8, 1: 9}
        self.stopped = False

    def end(self, partition: int) -> int:
        del partition
        return 9

    def passed(self, ends: dict[int, int]) -> bool:
        return all(self.read[partition] >= end for partition, end in ends.items())


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> OpenDecisions:
    monkeypatch.setattr(topic_lookups, "_DECISIONS_SECONDS", SECONDS)
    return OpenDecisions()


@pytest.fixture
def lookups(decisions: OpenDecisions, monkeypatch: pytest.MonkeyPatch) -> Iterator[TopicLookups]:
    tail: Any = decisions
    monkeypatch.setattr(decision_ends, "_ANSWER_SECONDS", SECONDS)
    monkeypatch.setattr(topic_lookups, "_LOOKUP_SECONDS", SECONDS)
    ends = DecisionEnds(tail)
    records: Any = OneRecord()
    found = TopicLookups(records, {0: 4, 1: 0}.__getitem__, tail, ends)
    yield found
    found.close()
    ends.close()


def test_an_open_transaction_blocks_no_other_lookup(
    lookups: TopicLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known(_: int) -> int:
        return 9

    async def scenario() -> None:
        # More than there are threads.
        blocked = [asyncio.create_task(lookups.decisions_read(KEYS[0])) for _ in range(20)]
        await asyncio.sleep(0.05)
        assert await lookups.stored(0, 3) == StoredRecord(b"k", b"v", [], decided=True)
        assert await lookups.stored(0, 4) is None
        assert await lookups.decisions_read(KEYS[1])
        assert not any(each.done() for each in blocked)
        for each in blocked:
            each.cancel()
        await asyncio.wait(blocked)
        monkeypatch.setattr(lookups._ends, "of", known)
        monkeypatch.setattr(topic_lookups, "_DECISIONS_SECONDS", 0.05)
        assert not await lookups.decisions_read(KEYS[0])

    asyncio.run(scenario())


def test_a_lookup_waits_no_longer_than_its_time(
    lookups: TopicLookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: int) -> int:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(lookups._ends, "of", never)
    monkeypatch.setattr(topic_lookups, "_DECISIONS_SECONDS", 0.01)

    async def scenario() -> None:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(TimeoutError):
                await lookups.decisions_read(KEYS[0])

    asyncio.run(scenario())


def test_decisions_that_come_in_time_are_waited_for(
    lookups: TopicLookups, decisions: OpenDecisions
) -> None:
    async def scenario() -> None:
        waiting = asyncio.create_task(lookups.decisions_read(KEYS[0]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        decisions.read[0] = 9
        assert await waiting
        decisions.read[0], decisions.stopped = 8, True
        with pytest.raises(UnavailableError):
            await lookups.decisions_read(KEYS[0])

    asyncio.run(scenario())
