"""Calls from threads to the event loop, several at once if they come at once."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class Mailbox:
    """Runs calls on the event loop, in their order. :meth:`post` is thread-safe.

    Waking the loop takes longer than most calls, so calls that come before it has woken share that.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False

    def post(self, call: Callable[..., object], *arguments: Any) -> None:
        """Run a call on the loop; without effect once the loop is closed."""
        self._calls.append((call, arguments))
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        # First: what is posted from now on wakes the loop again, or is taken below.
        self._woken = False
        while self._calls:
            call, arguments = self._calls.popleft()
            call(*arguments)
