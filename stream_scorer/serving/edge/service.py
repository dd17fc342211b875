"""The service behind ``/v1/edge``: it publishes what devices decided.

It makes sure that a device uploads its own rows only, that it is registered and not revoked, that
its key has signed the last row, and that the rows follow each other and those that are published.
The publisher computes the hash chain again from what is in the rows, so the last signature covers
key, value and decision of each row before it. It does not cover their signatures: scorers verify
those, as they trust no transport.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeVar

import msgspec

from stream_scorer.edge.claims.chain import is_signed
from stream_scorer.edge.claims.contract import EdgeProgress, EdgeRow, PublishedRows
from stream_scorer.edge.claims.verify import SIGNATURE, AllowedDevice
from stream_scorer.edge.registry.registration import DEVICE
from stream_scorer.edge.registry.registry import EdgeRegistry, open_edge_registry
from stream_scorer.edge.upload.progress import ProgressTopic
from stream_scorer.edge.upload.publisher import EdgePublisher, UploadRefused, producer_maker
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.processes.blocking_calls import (
    BlockingCalls,
    CallsFullError,
    open_unless_cancelled,
)
from stream_scorer.registry.sources import open_registry
from stream_scorer.serving.edge.upload_body import (
    EdgeUploadAnswer,
    UploadedProgress,
    uploaded,
)
from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Settings
from stream_scorer.telemetry import EdgeUploaded, Listener

EVENTS_PATH: Final = "/v1/edge/events"
PROGRESS_PATH: Final = "/v1/edge/progress"
_THREADS: Final = 4
_CALLS_MOST: Final = 64
_SECONDS: Final = 45.0
"""A producer is opened, the progress is read, and a transaction takes its time limit."""
_ANSWER_SECONDS: Final = 5.0
_RETRY: Final = (("retry-after", "5"),)
_ENCODER: Final = msgspec.json.Encoder()
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class EdgeConnections:
    """The connections of the service.

    Attributes:
        registry: Which devices operators allow.
        publisher: Publishes rows.
        stack: Closes all.
    """

    registry: EdgeRegistry
    publisher: EdgePublisher
    stack: ExitStack


def edge_connections(settings: Settings, listener: Listener) -> EdgeConnections:
    """Connect, and read the registry of devices.

    Raises:
        SettingsError: No operator's key is named, or a topic does not exist.
        UnavailableError: The broker does not answer.
    """
    if not settings.edge.trusted_keys:
        raise SettingsError(
            "serving.edge.enabled has no meaning without edge.trusted_keys",
            "name the operators' public keys",
        )
    kafka, own = settings.kafka, settings.serving.edge
    schemas = open_registry(settings.registry)
    with ExitStack() as stack:
        registry = open_edge_registry(settings, schemas, listener)
        stack.callback(registry.close)
        progress = ProgressTopic(settings, schemas, listener)
        stack.callback(progress.close)
        publisher = EdgePublisher(
            kafka.topics.transactions, progress, producer_maker(kafka, listener),
            own.producers_most,
        )  # fmt: skip
        stack.callback(publisher.close)
        return EdgeConnections(registry, publisher, stack.pop_all())


class EdgeService:
    """Takes devices' uploads; use it as ``async with``, on one event loop.

    Args:
        settings: The cluster, the operators' keys and the limits.
        listener: Notified of uploads; called on several threads.
        connect: Opens the connections.
    """

    def __init__(
        self, settings: Settings, listener: Listener,
        connect: Callable[[Settings, Listener], EdgeConnections] = edge_connections,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._listener = listener
        self._connect = connect
        self._calls = BlockingCalls("edge", _THREADS, _CALLS_MOST, _SECONDS)
        self._open: EdgeConnections | None = None

    async def __aenter__(self) -> Self:
        self._open = await open_unless_cancelled(
            lambda: self._connect(self._settings, self._listener),
            lambda opened: opened.stack.close(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._open = self._open, None
        await asyncio.to_thread(self._calls.close)
        if opened is not None:
            await asyncio.to_thread(opened.stack.close)

    @property
    def _opened(self) -> EdgeConnections:
        if self._open is None:
            raise RuntimeError("the service is not entered")
        return self._open

    async def upload(self, request: Request) -> Response:
        """Answer ``POST /v1/edge/events``.

        Raises:
            Problem: The rows are refused, or cannot be published now.
        """
        device = request.caller.client
        named, rows = uploaded(request.body, self._settings.serving.edge.rows_most)
        if named and named != device:
            self._tell("other_device", len(rows))
            raise Problem(
                403, "edge-device", "A device uploads its own rows only.",
                f"the client is {device}",
            )  # fmt: skip
        done = await self._run(lambda: self._publish(device, rows), len(rows))
        return _json(
            EdgeUploadAnswer(UploadedProgress.of(done.progress), done.published, done.repeated)
        )

    async def progress(self, request: Request) -> Response:
        """Answer ``GET /v1/edge/progress``: of the client's own device.

        Raises:
            Problem: The device is unknown, or its progress cannot be read now.
        """
        device = request.caller.client

        def read() -> EdgeProgress:
            self._judge(device, 0, 0)
            return self._opened.publisher.progress(device)

        return _json(UploadedProgress.of(await self._run(read, 0)))

    async def _run(self, call: Callable[[], _Answer], rows: int) -> _Answer:
        try:
            return await self._calls.run(call)
        except (CallsFullError, TimeoutError, UnavailableError) as error:
            self._tell("unavailable", rows)
            raise Problem(
                503, "edge-unavailable", "Rows cannot be published now.",
                "upload again; nothing is published twice", headers=_RETRY,
            ) from error  # fmt: skip

    def _publish(self, device: str, rows: Sequence[EdgeRow]) -> PublishedRows:
        allowed = self._judge(device, rows[-1].sequence, len(rows))
        self._verify(device, allowed, rows)
        began = time.perf_counter()
        try:
            done = self._opened.publisher.publish(device, rows)
        except UploadRefused as error:
            self._tell(error.kind, len(rows))
            raise _refused(error) from error
        seconds = time.perf_counter() - began
        if done.repeated:
            self._tell("repeated", done.repeated)
        if done.published:
            self._tell("published", done.published, seconds)
        return done

    def _judge(self, device: str, last: int, rows: int) -> AllowedDevice:
        """Return what operators allow the device, or refuse it.

        Raises:
            Problem: It is unknown, or its rows are after its revocation.
        """
        registry = self._opened.registry
        registry.follow()
        allowed = registry.device(device)
        if allowed is None:
            self._tell("unknown", rows)
            raise Problem(403, "edge-unknown", "The device is not registered.", device)
        revoked = allowed.revoked_after
        if revoked is None or last <= revoked:
            return allowed
        self._tell("revoked", rows)
        raise Problem(
            403, "edge-revoked", "The device is revoked.",
            f"rows after {revoked} are not taken",
            members={"revoked_after": revoked, "registration": _signed(registry, device)},
        )  # fmt: skip

    def _verify(self, device: str, allowed: AllowedDevice, rows: Sequence[EdgeRow]) -> None:
        """Refuse rows of which the last one is not signed by the device's key for its number.

        The key of the API alone must not move a device's progress: the device could not upload its
        own rows any more.

        Raises:
            Problem: It is not signed.
        """
        last = rows[-1]
        key = allowed.key_of(last.sequence)
        if key is not None and is_signed(last, device, key):
            return
        self._tell(SIGNATURE, len(rows))
        raise Problem(
            403, "edge-signature", "The device's key has not signed the last row.",
            f"row {last.sequence} is not signed by the key that is registered for it",
        )  # fmt: skip

    def _tell(self, result: str, rows: int, seconds: float | None = None) -> None:
        producers = 0 if self._open is None else self._open.publisher.producers
        self._listener(EdgeUploaded(result, rows, seconds, producers))


def _refused(error: UploadRefused) -> Problem:
    """Return the problem of rows that do not follow what is published."""
    sequence = error.progress.sequence
    detail, told = f"rows up to {sequence} are published", {"expected": sequence + 1}
    if error.kind == "gap":
        return Problem(409, "edge-gap", "Rows are missing in front of these.", detail, members=told)
    if error.kind == "fork":
        return Problem(
            409, "edge-fork", "Other rows of this device are published.", detail, members=told
        )
    if error.kind == "order":
        return Problem(400, "edge-order", "The rows do not follow each other.", members=told)
    return Problem(413, "edge-too-large", "A record is larger than its topic takes.", members=told)


def _signed(registry: EdgeRegistry, device: str) -> dict[str, Any] | None:
    """Return the registration as the operator signed it, so that the device can verify it."""
    known = registry.known(DEVICE, device)
    if known is None:
        return None
    return {
        **asdict(known.record), "signature": base64.b64encode(known.record.signature).decode()
    }  # fmt: skip


def _json(answer: msgspec.Struct) -> Response:
    return Response(200, _ENCODER.encode(answer))


def routes(service: EdgeService, settings: Settings) -> list[Route]:
    """Return the routes of a service."""
    seconds = _SECONDS + _ANSWER_SECONDS
    return [
        Route(
            "POST", EVENTS_PATH, "edge", service.upload, settings.serving.edge.body_bytes_max,
            seconds,
        ),
        Route(
            "GET", PROGRESS_PATH, "edge", service.progress, seconds_max=seconds,
            content_types=frozenset(),
        ),
    ]  # fmt: skip
