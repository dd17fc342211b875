"""Requests in flight while the server stops."""

import asyncio

import pytest

from stream_scorer.serving.server.open_requests import OpenRequest, OpenRequests
from stream_scorer.serving.web.problems import Problem

FAR = 1e12


async def hold(requests: OpenRequests, until: asyncio.Event) -> str:
    opened = OpenRequest("r")
    requests.begin(opened, FAR)
    opened.reading = False
    try:
        await until.wait()
    except asyncio.CancelledError:
        return opened.overdue_problem().kind
    finally:
        requests.end(opened)
    return "done"


def test_draining_waits_for_what_is_in_flight() -> None:
    async def run() -> tuple[int, str]:
        requests, until = OpenRequests(9, 9), asyncio.Event()
        held = asyncio.create_task(hold(requests, until))
        await asyncio.sleep(0)
        drained = asyncio.create_task(requests.drain(30.0))
        await asyncio.sleep(0)
        assert not drained.done()
        until.set()
        return await drained, await held

    assert asyncio.run(run()) == (0, "done")


def test_draining_gives_up_what_takes_too_long() -> None:
    async def run() -> tuple[int, str]:
        requests = OpenRequests(9, 9)
        held = asyncio.create_task(hold(requests, asyncio.Event()))
        await asyncio.sleep(0)
        return await requests.drain(0.01), await held

    assert asyncio.run(run()) == (1, "timeout")


def test_a_draining_server_refuses_and_closes() -> None:
    async def run() -> OpenRequest:
        requests = OpenRequests(9, 9)
        assert await requests.drain(30.0) == 0
        opened = OpenRequest("r")
        with pytest.raises(Problem, match="503 stopping"):
            requests.begin(opened, FAR)
        return opened

    assert asyncio.run(run()).close


def test_the_watch_beats() -> None:
    async def run() -> None:
        beaten = asyncio.Event()
        watch = asyncio.create_task(OpenRequests(1, 1).watch(beaten.set))
        await asyncio.wait_for(beaten.wait(), 30)
        watch.cancel()

    asyncio.run(run())
