"""A device is closed, or changes over, while one of its blocking calls runs."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.edge.run import service as service_module
from stream_scorer.edge.run.open_device import Device, DeviceOptions, opened_device
from stream_scorer.edge.run.service import DeviceService
from stream_scorer.edge.run.status import DeviceStatus, status_of
from stream_scorer.edge.run.updates import Reload
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Event, Listener
from tests.support.device.device_process import cold, device_settings, posted

SECONDS = 60.0
SHORT_SECONDS = 0.2
Change = Coroutine[Any, Any, object]
OBSERVED, ASKED = 1, 2
"""Which read of the status: the first one is for the metrics."""


class SlowCall:
    """Waits in one of its calls, by number, until it may continue."""

    def __init__(self, slow: int) -> None:
        self._slow = slow
        self._calls = 0
        self.began = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self._calls += 1
        if self._calls == self._slow:
            self.began.set()
            assert self.may_end.wait(SECONDS)

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.began.wait, SECONDS)

    async def ends_before(self, task: asyncio.Task[object]) -> None:
        """Let the call end, and check that a task has waited for it."""
        early, _ = await asyncio.wait([task], timeout=SHORT_SECONDS)
        self.may_end.set()
        await asyncio.wait_for(task, SECONDS)
        assert not early


def slow_status(monkeypatch: pytest.MonkeyPatch, slow: int) -> tuple[SlowCall, list[int]]:
    """Let a read of the status take long; return it, and which rows were read."""
    call, found = SlowCall(slow), list[int]()

    def read(device: Device) -> DeviceStatus:
        call()
        status = status_of(device)
        found.append(status.sequence)
        return status

    monkeypatch.setattr(service_module, "status_of", read)
    return call, found


def slow_opening(monkeypatch: pytest.MonkeyPatch, slow: int) -> SlowCall:
    """Let one of the openings of the device take long."""
    call = SlowCall(slow)

    @contextmanager
    def slowly_opened(settings: Settings, options: DeviceOptions) -> Iterator[Device]:
        call()
        with opened_device(settings, options) as device:
            yield device

    monkeypatch.setattr(service_module, "opened_device", slowly_opened)
    return call


def test_a_cancelled_start_closes_what_it_opens(
    tmp_path: Path, release_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = slow_opening(monkeypatch, 1)
    settings = device_settings(tmp_path / "device")
    service = DeviceService(settings, cold(release_folder), lambda _: None)

    async def start() -> None:
        with suppress(asyncio.CancelledError):
            await service.__aenter__()

    async def run() -> None:
        task = asyncio.create_task(start())
        await call.wait()
        task.cancel()
        await call.ends_before(task)

    asyncio.run(run())
    with opened_device(settings, cold(release_folder)) as device:
        assert device.scorer.failure is None


@pytest.mark.parametrize("slow", [OBSERVED, ASKED])
@pytest.mark.parametrize("change", ["close", "reload"])
def test_a_cancelled_read_ends_before_the_device(
    tmp_path: Path, release_folder: Path, monkeypatch: pytest.MonkeyPatch, slow: int, change: str
) -> None:
    call, found = slow_status(monkeypatch, slow)

    async def run() -> None:
        settings = device_settings(tmp_path / "device")
        observed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def observe(_: Event) -> None:
            loop.call_soon(observed.set)

        service = DeviceService(settings, cold(release_folder), observe)
        await service.__aenter__()
        if slow == ASKED:
            await observed.wait()
            task = asyncio.create_task(service.status(posted(b"")))
            await call.wait()
            task.cancel()
        else:
            await call.wait()
        changes: Change = service.__aexit__() if change == "close" else service.reload()
        await call.ends_before(asyncio.create_task(changes))
        if change == "reload":
            await service.__aexit__()

    asyncio.run(run())
    assert found[:slow] == [0] * slow


def test_a_close_ends_what_an_update_opens(
    tmp_path: Path, release_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = slow_opening(monkeypatch, 2)

    async def updates(_: Settings, reload: Reload, __: Listener) -> None:
        await reload()

    monkeypatch.setattr(service_module, "follow_updates", updates)
    settings = device_settings(tmp_path / "device", update={"url": "https://updates.example"})

    async def run() -> None:
        service = DeviceService(settings, cold(release_folder), lambda _: None)
        await service.__aenter__()
        await call.wait()
        await call.ends_before(asyncio.create_task(service.__aexit__()))

    asyncio.run(run())
    # It holds neither the folder nor its files.
    with opened_device(settings, cold(release_folder)) as device:
        assert device.scorer.failure is None
