"""The ends of the decisions: how far they must be read until a transaction is known to have none.

It belongs to the event loop. Only a partition's leader knows its end. So a partition without a
leader must cost the others nothing: neither threads that wait for it, nor time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.reading.topic_tail import TopicTail
from stream_scorer.processes.blocking_calls import BlockingCalls, CallsFullError

_THREADS: Final = 16
"""One is begun when the others are busy; a partition without a leader has at most one."""
_CALLS_MOST: Final = 64
_ANSWER_SECONDS: Final = 0.75
"""Less than a lookup waits, so that a partition without an answer is known by then."""
_SILENT_SECONDS: Final = 10.0
"""A partition that did not answer is not asked again for so long: its call may last half of it."""
_RETRY_SECONDS: Final = 0.5


@dataclass(slots=True)
class _Asked:
    """What was asked about a partition.

    Attributes:
        turn: One call at a time.
        begun: Calls that have begun.
        answered: The number of the last one that was answered.
        end: Its answer.
        silent_until: Nothing is asked before, seconds of the loop's clock.
        on_thread: Whether the last call has got a thread, and was not answered there.
    """

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: int = 0
    answered: int = 0
    end: int = 0
    silent_until: float = 0.0
    on_thread: bool = False


class DecisionEnds:
    """Asks for the ends of the decisions' partitions, on threads of its own.

    Args:
        decisions: Follows the decisions.
    """

    def __init__(self, decisions: TopicTail) -> None:
        self._decisions = decisions
        self._calls = BlockingCalls("ends", _THREADS, _CALLS_MOST, _ANSWER_SECONDS)
        self._asked: defaultdict[int, _Asked] = defaultdict(_Asked)
        self._closed = False

    async def of(self, partition: int) -> int:
        """Return the end of a partition, not older than this call; open transactions included.

        Who asks for the same partition meanwhile shares the next answer.

        Raises:
            UnavailableError: The broker does not answer, or has not a moment ago.
            TimeoutError: The broker does not answer in time.
            CallsFullError: Too many partitions are asked for.
        """
        asked, clock = self._asked[partition], asyncio.get_running_loop().time
        before = asked.begun
        async with asked.turn:
            if asked.answered > before:
                return asked.end
            if self._closed or clock() < asked.silent_until:
                raise UnavailableError(
                    f"decisions partition {partition}: did not answer a moment ago",
                    "check the brokers",
                )
            asked.begun += 1
            number, asked.on_thread = asked.begun, False
            try:
                asked.end = await self._calls.run(partial(self._end, partition, asked))
            except TimeoutError:
                asked.silent_until = clock() + _SILENT_SECONDS
                # A call that found no free thread says nothing about its partition. One whose
                # answer came meanwhile may have ended the silence before it began.
                if not asked.on_thread:
                    asked.silent_until = 0.0
                raise
            asked.answered = number
            return asked.end

    def _end(self, partition: int, asked: _Asked) -> int:
        asked.on_thread = True
        end = self._decisions.end(partition)
        # Perhaps late, but it answers again.
        asked.on_thread = False
        asked.silent_until = 0.0
        return end

    def close(self) -> None:
        """Wait for the calls that are running; nothing is asked any more."""
        self._closed = True
        self._calls.close()


class PassedEnds:
    """Calls functions when all decisions were read that are there now.

    One task asks for all that wait for a partition, so that a broker that is away costs no more
    for many of them than for one.

    Args:
        decisions: Follows the decisions.
        ends: Their ends.
        post: Runs a call on the event loop.
    """

    def __init__(
        self, decisions: TopicTail, ends: DecisionEnds, post: Callable[[Callable[[], None]], None]
    ) -> None:
        self._decisions = decisions
        self._ends = ends
        self._post = post
        self._waiting: defaultdict[int, list[Callable[[], None]]] = defaultdict(list)
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    def when_read(self, partition: int, read: Callable[[], None]) -> None:
        """Call a function on the event loop when what a partition has now was read.

        It is not called if the decisions are read no more.
        """
        self._waiting[partition].append(read)
        if partition not in self._tasks:
            self._tasks[partition] = asyncio.create_task(self._ask(partition))

    async def _ask(self, partition: int) -> None:
        try:
            while partition in self._waiting and not self._decisions.stopped:
                waiting = self._waiting.pop(partition)
                try:
                    end = await self._ends.of(partition)
                except (UnavailableError, TimeoutError, CallsFullError):
                    self._waiting[partition] += waiting
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                for each in waiting:
                    self._decisions.when_passed(partition, end, partial(self._post, each))
        finally:
            del self._tasks[partition]
