"""The device's HTTP: decisions, and its status, for programs of the same machine."""

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, Self

import msgspec

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.edge.device.decide import RecordRejected
from stream_scorer.edge.device.recent import DeviceAnswer
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.edge.run.answers import (
    Refusal,
    document_of,
    document_of_problem,
    problem_of,
)
from stream_scorer.edge.run.open_device import Device, DeviceOptions, opened_device
from stream_scorer.edge.run.requests import encoded, parsed
from stream_scorer.edge.run.status import status_of
from stream_scorer.edge.run.updates import follow_updates
from stream_scorer.errors import StreamScorerError
from stream_scorer.processes.blocking_calls import BlockingCalls, CallsFullError, run_to_end
from stream_scorer.serving.web.gate import RequestHead
from stream_scorer.serving.web.messages import Caller, Request, Response, Route
from stream_scorer.serving.web.problems import BUSY_TITLE, Problem
from stream_scorer.settings import Settings
from stream_scorer.telemetry import DeviceObserved, Listener

DECISIONS_PATH: Final = "/v1/decisions"
STATUS_PATH: Final = "/v1/edge/status"
_BODY_BYTES_MOST: Final = 4 * 1024 * 1024
_THREADS: Final = 2
_CALLS_MOST: Final = 256
_SECONDS: Final = 20.0
_OBSERVE_SECONDS: Final = 5.0
_JSON: Final = msgspec.json.Encoder()
_REFUSALS: Final = (DeviceRefused, RecordRejected, ModelFailure, JsonValueError)
_OK, _MULTI_STATUS = 200, 207
_LOCAL: Final = "localhost"
_HOST: Final = re.compile(
    r"(?:\[(?P<name>[0-9A-Fa-f:.]+)\]|(?P<bare>[^:\[\]]+|[0-9A-Fa-f:]+))(?::[0-9]{1,5})?"
)
"""A host with or without a port; an address of version 6 is in brackets, or alone."""


class ClosedGate:
    """Admits no caller: the device has no route that needs one."""

    def admit(self, head: RequestHead) -> Caller:
        """Refuse a caller.

        Raises:
            Problem: Always.
        """
        raise Problem(403, "forbidden", "The device has no clients.", head.path[:100])


class DeviceService:
    """Answers the requests of one device; use it as ``async with``, on one event loop.

    Args:
        settings: The device's.
        options: How it is started.
        listener: Notified of the device's state.
    """

    def __init__(self, settings: Settings, options: DeviceOptions, listener: Listener) -> None:
        self._settings = settings
        self._options = options
        self._listener = listener
        self._local = settings.edge.unix_socket is None
        self._calls = BlockingCalls("device", _THREADS, _CALLS_MOST, _SECONDS)
        self._stack = ExitStack()
        self._device: Device | None = None
        self._failure: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._users = 0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        try:
            self._device = await run_to_end(self._open)
        except asyncio.CancelledError:
            # The thread may have opened the device before it ended.
            await run_to_end(self._stack.close)
            raise
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._observe()))
        if self._settings.edge.update.url:
            updates = follow_updates(self._settings, self.reload, self._listener)
            self._tasks.append(loop.create_task(updates))
        for task in self._tasks:
            task.add_done_callback(self._ended)
        return self

    def _open(self) -> Device:
        device = self._stack.enter_context(opened_device(self._settings, self._options))
        # The consent was for that gap. Without it, a change of the release needs no network.
        self._options = replace(self._options, accept_gap=False)
        return device

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.to_thread(self._calls.close)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._users)
        await asyncio.to_thread(self._stack.close)

    async def reload(self) -> StreamScorerError | None:
        """Change over to the release that is current now; requests wait for it.

        Returns:
            Why the device cannot decide with it; then nothing decides until the next call.
        """
        async with self._changed:
            self._device = None
            await self._changed.wait_for(lambda: not self._users)
            await run_to_end(self._stack.close)
            try:
                self._device = await run_to_end(self._open)
            except StreamScorerError as error:
                return error
            self._changed.notify_all()
        return None

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[Device]:
        """Keep the device open during the block; wait while it changes over."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._device is not None)
            self._users += 1
        try:
            yield self._opened
        finally:
            self._users -= 1
            if not self._users:
                async with self._changed:
                    self._changed.notify_all()

    @property
    def _opened(self) -> Device:
        if self._device is None:
            raise RuntimeError("the service is not entered")
        return self._device

    def reasons(self) -> Sequence[str]:
        """Return nothing, or raise what ends the device."""
        device = self._device
        failure = self._failure or (None if device is None else device.failure)
        if failure is not None:
            raise failure
        return () if device is not None else ("device: changes over to another release",)

    def degraded(self) -> Sequence[str]:
        """Return why rows are not uploaded."""
        device = self._device
        if device is None or device.uploader is None or not device.uploader.refused:
            return ()
        return (f"upload: {device.uploader.refused}",)

    async def decide(self, request: Request) -> Response:
        """Answer ``POST /v1/decisions``.

        Raises:
            Problem: The only transaction has no decision, or nothing can be decided.
        """
        self._refuse_foreign(request)
        try:
            values, batch = parsed(request.body)
        except JsonValueError as error:
            raise problem_of(error) from None
        async with self._using() as device:
            answers = await self._answers(device, values)
        if not batch:
            if isinstance(answers[0], Problem):
                raise answers[0]
            return _json(_OK, document_of(answers[0]))
        failed = any(isinstance(each, Problem) for each in answers)
        return _json(_MULTI_STATUS if failed else _OK, {"answers": [_item(a) for a in answers]})

    async def _answers(self, device: Device, values: Sequence[Any]) -> list[DeviceAnswer | Problem]:
        try:
            found = await self._calls.run(lambda: [_submitted(device, value) for value in values])
        except (CallsFullError, TimeoutError):
            raise Problem(503, "overloaded", BUSY_TITLE, "too many requests wait") from None
        return [await _answered(each) for each in found]

    async def status(self, request: Request) -> Response:
        """Answer ``GET /v1/edge/status``.

        Raises:
            Problem: The request does not come from this machine's programs.
        """
        self._refuse_foreign(request)
        async with self._using() as device:
            status = await run_to_end(partial(status_of, device))
        return _json(_OK, status.document())

    def _refuse_foreign(self, request: Request) -> None:
        """Refuse a browser's page of another site, whose name leads to this machine.

        Raises:
            Problem: The host is not this machine.
        """
        if not self._local:
            return
        match = _HOST.fullmatch(request.headers.get("host", ""))
        name = "" if match is None else match["name"] or match["bare"]
        try:
            local = ipaddress.ip_address(name).is_loopback
        except ValueError:
            local = name.lower() == _LOCAL
        if not local:
            raise Problem(
                403,
                "forbidden",
                "The request is for another host.",
                "ask by an address of loopback",
            )

    async def _observe(self) -> None:
        while True:
            async with self._using() as device:
                status = await run_to_end(partial(status_of, device))
            self._listener(
                DeviceObserved(
                    status.release, status.content_hash, status.outbox, status.outbox_bytes,
                    status.oldest_seconds, status.state_bytes, status.terminals_age_seconds,
                    status.upload,
                )
            )  # fmt: skip
            await asyncio.sleep(_OBSERVE_SECONDS)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route("POST", DECISIONS_PATH, None, self.decide, _BODY_BYTES_MOST, _SECONDS),
            Route("GET", STATUS_PATH, None, self.status, content_types=frozenset()),
        )


def _submitted(device: Device, value: Any) -> "Future[DeviceAnswer] | Refusal":
    try:
        return device.scorer.submit(encoded(value, device.maker))
    except _REFUSALS as error:
        return error


async def _answered(found: "Future[DeviceAnswer] | Refusal") -> DeviceAnswer | Problem:
    if not isinstance(found, Future):
        return problem_of(found)
    try:
        return await asyncio.wrap_future(found)
    except DeviceRefused as error:
        return problem_of(error)


def _item(answer: DeviceAnswer | Problem) -> dict[str, Any]:
    if isinstance(answer, Problem):
        return {"status": answer.status, "problem": document_of_problem(answer)}
    return {"status": _OK, "decision": document_of(answer)}


def _json(status: int, document: dict[str, Any]) -> Response:
    return Response(status, _JSON.encode(document))
