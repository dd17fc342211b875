"""Looks up single records of the input topic, and whether their decisions were read."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from stream_scorer.dead_letters.format import headers_of
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.record_at import RecordAt
from stream_scorer.kafka.reading.topic_tail import TopicTail
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import Headers
from stream_scorer.processes.blocking_calls import BlockingCalls
from stream_scorer.serving.following.decision_ends import DecisionEnds

_LOOKUPS_MOST: Final = 64
_LOOKUP_SECONDS: Final = 3.5
"""With the next, less than a fetch may take, so that its answer says what is unavailable."""
_DECISIONS_SECONDS: Final = 1.0
_DECISIONS_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record of the input topic.

    Attributes:
        key: Its key; empty without one.
        value: Its value.
        headers: Its headers.
        decided: Whether the scorers have ended it.
    """

    key: bytes
    value: bytes
    headers: Headers
    decided: bool


class TopicLookups:
    """Looks up records of the input topic, and waits until their decisions are read.

    Reading a record and waiting for decisions do not wait for each other: the end of the decisions
    may be that of a transaction which stays open for long.

    Args:
        records: Reads the input topic.
        committed: Returns the next offset of a partition that the scorers decide.
        decisions: Follows the decisions.
        ends: Their ends.
    """

    def __init__(
        self, records: RecordAt, committed: Callable[[int], int], decisions: TopicTail,
        ends: DecisionEnds,
    ) -> None:  # fmt: skip
        self._records = records
        self._committed = committed
        self._decisions = decisions
        self._ends = ends
        # One by one: that is how the records are read.
        self._reads = BlockingCalls("lookups", 1, _LOOKUPS_MOST, _LOOKUP_SECONDS)

    async def stored(self, partition: int, offset: int) -> StoredRecord | None:
        """Return a record of the input; None if there is none.

        Raises:
            UnavailableError: The broker does not answer.
            TimeoutError: The same.
            CallsFullError: Too many are being looked up.
        """
        return await self._reads.run(partial(self._stored, partition, offset))

    async def decisions_read(self, key: bytes) -> bool:
        """Wait until what is published of a record's key is read; return whether it is, in time.

        Args:
            key: The record's key.

        Raises:
            UnavailableError: The broker does not answer, or the decisions are not read any more.
            TimeoutError: The broker does not answer in time.
            CallsFullError: Too many are being looked up.
        """
        tail, clock = self._decisions, asyncio.get_running_loop().time
        until = clock() + _DECISIONS_SECONDS
        partition = partition_of(key, tail.partition_count)
        async with asyncio.timeout_at(until):
            ends = {partition: await self._ends.of(partition)}
        while not tail.passed(ends):
            if tail.stopped:
                raise UnavailableError("the decisions are no longer read", "restart the server")
            if clock() >= until:
                return False
            await asyncio.sleep(_DECISIONS_POLL_SECONDS)
        return True

    def close(self) -> None:
        """Wait for what is being read."""
        self._reads.close()

    def _stored(self, partition: int, offset: int) -> StoredRecord | None:
        try:
            message = self._records.read(partition, offset)
            if message is None or message.value() is None:
                return None
            headers, decided = headers_of(message), self._committed(partition) > offset
            return StoredRecord(message.key() or b"", message.value(), headers, decided)
        except ValueError:
            return None
