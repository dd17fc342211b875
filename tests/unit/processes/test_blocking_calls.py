"""Blocking calls of an event loop: bounded in number and in time, on threads of their own."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stream_scorer.processes.blocking_calls import (
    BlockingCalls,
    CallsFullError,
    open_unless_cancelled,
    run_to_end,
)
from tests.support.processes.cancelled_calls import cancel_begun


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_call_returns_and_raises() -> None:
    async def scenario() -> None:
        calls = BlockingCalls("reads", 1, 1, 10.0)
        for _ in range(3):
            assert await calls.run(lambda: threading.current_thread().name) == "reads_0"
            with pytest.raises(ZeroDivisionError):
                await calls.run(lambda: 1 // 0)
        calls.close()

    asyncio.run(scenario())


def test_calls_beyond_the_bound_are_refused(released: threading.Event) -> None:
    async def scenario() -> None:
        calls = BlockingCalls("reads", 1, 2, 10.0)
        tasks = [asyncio.create_task(calls.run(released.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(CallsFullError):
            await calls.run(released.wait)
        released.set()
        assert await asyncio.gather(*tasks) == [True, True]
        assert await calls.run(released.wait)
        calls.close()

    asyncio.run(scenario())


def test_closing_begins_no_further_call(released: threading.Event) -> None:
    async def scenario() -> None:
        calls = BlockingCalls("reads", 1, 2, 10.0)
        begun: list[int] = []
        running = asyncio.create_task(calls.run(released.wait))
        waiting = asyncio.create_task(calls.run(lambda: begun.append(1)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(calls.close))
        try:
            # Before the one that is running ends.
            with pytest.raises(asyncio.CancelledError):
                await waiting
        finally:
            released.set()
        await closing
        assert await running
        assert begun == []

    asyncio.run(scenario())


def test_a_call_waits_for_a_bounded_time(released: threading.Event) -> None:
    async def scenario() -> None:
        calls = BlockingCalls("reads", 1, 2, 0.05)
        begun: list[int] = []
        running = asyncio.create_task(calls.run(released.wait))
        waiting = asyncio.create_task(calls.run(lambda: begun.append(1)))
        for task in (running, waiting):
            with pytest.raises(TimeoutError):
                await task
        calls._seconds = 10.0
        # What has begun counts until it ends; what has not is never begun.
        third = asyncio.create_task(calls.run(lambda: begun.append(2)))
        await asyncio.sleep(0)
        with pytest.raises(CallsFullError):
            await calls.run(lambda: begun.append(3))
        released.set()
        await third
        assert begun == [2]
        calls.close()

    asyncio.run(scenario())


def test_a_failure_after_a_cancellation_is_not_reported(released: threading.Event) -> None:
    began, reports = threading.Event(), list[dict[str, Any]]()

    def failing() -> None:
        began.set()
        released.wait()
        raise ZeroDivisionError

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        await cancel_begun(run_to_end(failing), began, released)
        gc.collect()

    asyncio.run(scenario())
    assert reports == []


def test_what_a_cancelled_call_opens_is_closed(released: threading.Event) -> None:
    began, closed = threading.Event(), list[str]()

    def opening() -> str:
        began.set()
        released.wait()
        return "opened"

    async def scenario() -> None:
        await cancel_begun(open_unless_cancelled(opening, closed.append), began, released)
        assert closed == ["opened"]
        assert await open_unless_cancelled(lambda: "kept", closed.append) == "kept"

    asyncio.run(scenario())
    assert closed == ["opened"]
