"""Reads the message of an admitted gRPC call: within a time, and only some at a time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

import grpc
import grpc.aio

from stream_scorer.serving.settings.api import Serving

_BUSY: Final = (("grpc-retry-pushback-ms", "1000"),)


def message_bytes_most(serving: Serving) -> int:
    """Return how many bytes a message may have: the methods of gRPC are those of ``/v2``."""
    return min(serving.grpc_message_bytes_max, serving.inference.body_bytes_max)


class MessageReader:
    """Reads messages of admitted calls.

    gRPC does not tell how long a message is before it has arrived. So each message that is being
    read counts as the longest one.

    Args:
        serving: Has the limits: ``requests_max`` calls at a time, of which each message arrives
            within ``body_seconds``; those that are being read have ``bodies_bytes_max`` bytes. One
            client has at most half of the calls and half of the bytes.

    Attributes:
        calls: Those that are admitted and not answered.
    """

    def __init__(self, serving: Serving) -> None:
        self._calls_most = serving.requests_max
        self._calls_each = max(1, serving.requests_max // 2)
        self._calls_by_client: Counter[str] = Counter()
        self._seconds = serving.body_seconds
        at_a_time = max(1, serving.bodies_bytes_max // message_bytes_most(serving))
        self._reading = asyncio.Semaphore(at_a_time)
        self._each = max(1, at_a_time // 2)
        self._by_client: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self.calls = 0
        self._due: dict[Any, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._aborts: set[asyncio.Task[None]] = set()

    async def answered(
        self, context: Any, client: str, answer: Callable[[bytes], Awaitable[Any]]
    ) -> Any:
        """Return the answer to a call, which is counted until then.

        Args:
            context: Of the call.
            client: Name of its caller, which is admitted.
            answer: Called with the message.

        Raises:
            grpc.aio.AbortError: The call has its status: UNAVAILABLE past a number of calls,
                DEADLINE_EXCEEDED past the time, INVALID_ARGUMENT without a message.
        """
        if self.calls >= self._calls_most:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is busy", _BUSY)
        if self._calls_by_client[client] >= self._calls_each:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "too many calls of this client", _BUSY)
        self.calls += 1
        self._calls_by_client[client] += 1
        try:
            return await answer(await self._read(context, client))
        finally:
            self.calls -= 1
            self._calls_by_client[client] -= 1
            if not self._calls_by_client[client]:
                del self._calls_by_client[client]

    async def _read(self, context: Any, client: str) -> bytes:
        own = self._by_client.setdefault(client, asyncio.Semaphore(self._each))
        # All have the same time, so the first one that came is due first: one timer is enough.
        loop = asyncio.get_running_loop()
        self._due[context] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._give_up)
        try:
            async with own, self._reading:
                message = await context.read()
        finally:
            self._due.pop(context, None)
        if not isinstance(message, bytes):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        return message

    def _give_up(self) -> None:
        """End the calls whose time is over; then their ``context.read`` raises, too.

        A read must not be cancelled instead: gRPC writes into the memory of the operation.
        """
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        for context, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._give_up)
                return
            del self._due[context]
            task = loop.create_task(_abort_late(context))
            self._aborts.add(task)
            task.add_done_callback(self._aborts.discard)


async def _abort_late(context: Any) -> None:
    # The client may be gone by now.
    with suppress(grpc.aio.AbortError, grpc.aio.BaseError):
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not arrive in time")
