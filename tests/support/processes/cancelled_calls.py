"""Cancels what waits for a thread."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest


async def cancel_begun(
    call: Coroutine[Any, Any, Any], began: threading.Event, released: threading.Event
) -> None:
    """Cancel a call, then let its thread end, and expect that the call ends as cancelled.

    Args:
        call: What waits for the thread.
        began: Set by the thread when it runs.
        released: What the thread waits for.
    """
    task = asyncio.create_task(call)
    assert await asyncio.to_thread(began.wait, 60.0)
    task.cancel()
    await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
