"""Blocking calls of an event loop: bounded in number and time, or awaited to their end."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

_Answer = TypeVar("_Answer")


class CallsFullError(Exception):
    """As many calls as may be are running or waiting."""


class BlockingCalls:
    """Runs blocking calls without the event loop's shared threads, which others need.

    Args:
        name: Of the threads.
        threads: How many calls run at the same time.
        most: How many calls run or wait.
        seconds: How long a call may take until its answer, waiting included.
    """

    def __init__(self, name: str, threads: int, most: int, seconds: float) -> None:
        self._executor = ThreadPoolExecutor(threads, name)
        self._free = threading.BoundedSemaphore(most)
        self._seconds = seconds

    async def run(self, call: Callable[[], _Answer]) -> _Answer:
        """Return what a call returns.

        A call that is waited for no longer is not begun; one that has begun ends on its thread, and
        counts until then.

        Raises:
            CallsFullError: Too many are running or waiting.
            TimeoutError: It took too long.
        """
        if not self._free.acquire(blocking=False):
            raise CallsFullError
        try:
            future = self._executor.submit(call)
        except BaseException:
            self._free.release()
            raise
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)

    def close(self) -> None:
        """Wait for the calls that are running; those that wait are not begun."""
        self._executor.shutdown(cancel_futures=True)


async def run_to_end(call: Callable[[], _Answer]) -> _Answer:
    """Return what a blocking call returns, which runs on one of the event loop's threads.

    If it is cancelled, it ends only after the call, as a thread cannot be cancelled. So what the
    call uses can be closed then.
    """
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        # asyncio reports an exception that no code has looked at.
        running.exception()
        raise


async def open_unless_cancelled(
    opening: Callable[[], _Answer], close: Callable[[_Answer], None]
) -> _Answer:
    """Return what a blocking call opens, which runs on one of the event loop's threads.

    If it is cancelled once, it ends only after the call, and closes what was opened.
    """
    opened: list[_Answer] = []
    try:
        await run_to_end(lambda: opened.append(opening()))
    except asyncio.CancelledError:
        for each in opened:
            await run_to_end(partial(close, each))
        raise
    return opened[0]
