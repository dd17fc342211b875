"""The process of ``stream-scorer serve``: it starts its parts, listens, and ends without a loss."""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from stream_scorer.errors import UnavailableError
from stream_scorer.hardening.settings_check import refuse_unsafe
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.journal import ProcessJournal, process_began
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.observability.process_metrics import add_process_metrics
from stream_scorer.observability.render import Renderer
from stream_scorer.processes.run_process import beating, journaled
from stream_scorer.processes.signals import stopped_by_signals
from stream_scorer.serving.server.application import Application
from stream_scorer.serving.server.compose import Composition
from stream_scorer.serving.server.descriptors import DescriptorWatch, allow_descriptors
from stream_scorer.serving.server.grpc_server import GrpcServer
from stream_scorer.serving.server.http_server import HttpServer
from stream_scorer.serving.server.interpreter import prefer_the_loop
from stream_scorer.serving.server.open_requests import OpenRequests
from stream_scorer.serving.server.serving_health import ServingHealth
from stream_scorer.serving.server.tracing import open_tracing
from stream_scorer.serving.web.request_trace import BeginTrace, untraced
from stream_scorer.settings import Settings
from stream_scorer.telemetry import ACCESS_EVENTS, EVENTS, Event, Listener, RequestsCut

_CLOSING_SECONDS = 10.0
"""How long the parts may take to end once no request is in flight."""
_GUARD_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
"""How long the last answers may take to be sent, at least."""

Composed = Callable[[Settings, Listener], Composition]
"""Makes what the server is made of; it is called in the event loop."""


def run_server(
    settings: Settings, compose: Composed, announce: Callable[[str], None] = lambda _: None
) -> None:
    """Serve the API until a signal ends it.

    On SIGTERM or SIGINT the server accepts no further connections, closes idle ones and finishes
    the requests in flight within ``serving.drain_seconds``. A second signal ends the process.

    Args:
        settings: The settings.
        compose: Makes the parts.
        announce: Called with a line for each address once clients can connect.

    Raises:
        StreamScorerError: What keeps it from running; see the tree in ``errors``.
    """
    refuse_unsafe(settings)
    allow_descriptors(settings.serving.connections_max)
    asyncio.run(_Process(settings, compose, announce).run())


class _Process:
    def __init__(
        self, settings: Settings, compose: Composed, announce: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._announce = announce
        self._compose = compose
        self._registry = CollectorRegistry()
        self._renderer = Renderer(
            self._registry,
            process_logger("server", settings.kafka.instance),
            kinds=(*EVENTS, *ACCESS_EVENTS),
        )
        self._journal = ProcessJournal(settings.logging.journal, "server", settings.kafka.instance)
        add_process_metrics(self._registry, settings)
        serving = settings.serving
        self._requests = OpenRequests(serving.requests_max, serving.bodies_bytes_max)
        self._trace: BeginTrace = untraced
        self._stopped = asyncio.Event()
        self._health: ServingHealth | None = None
        self._starting: asyncio.Task[None] | None = None

    def _listener(self, event: Event) -> None:
        self._renderer(event)
        self._journal(event)
        if self._health is not None:
            self._health(event)

    def _ask_to_stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Handle the first signal; the next one has its default effect."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        self._stopped.set()
        if self._starting is not None:
            self._starting.cancel()

    async def run(self) -> None:
        """Serve until a signal."""
        settings, loop = self._settings, asyncio.get_running_loop()
        composition = self._compose(settings, self._listener)
        health = self._health = ServingHealth(composition)
        most_seconds = settings.serving.drain_seconds + _CLOSING_SECONDS
        async with AsyncExitStack() as stack:
            stack.push(journaled(self._journal))
            kafka = settings.kafka
            self._listener(process_began("server", kafka.group, kafka.instance, settings))
            stack.enter_context(
                stopped_by_signals(lambda: self._ask_to_stop(loop), self._listener, most_seconds)
            )
            ready_gauge(self._registry).set_function(lambda: float(not health.reasons()))
            stack.enter_context(Endpoint(settings.http, self._registry, health))
            if settings.serving.tracing.endpoint:
                self._trace = stack.enter_context(open_tracing(settings, self._listener))
            watch = loop.create_task(self._requests.watch(health.heartbeat))
            stack.callback(watch.cancel)
            # Before the parts start, which can take minutes: an address or a certificate that
            # cannot be used is found now.
            http = HttpServer(settings.serving, self._application(composition))
            stack.push_async_callback(http.stop, 0.0)
            if await self._start(composition, stack, health):
                await self._serve(http, composition, stack, health)

    def _application(self, composition: Composition) -> Application:
        serving = self._settings.serving
        return Application(
            composition.routes(),
            composition.gate,
            self._requests,
            self._listener,
            body_seconds=serving.body_seconds,
            access_log=serving.access_log,
            trace=self._trace,
        )

    async def _start(
        self, composition: Composition, stack: AsyncExitStack, health: ServingHealth
    ) -> bool:
        """Start the parts; return whether they started before a signal."""
        self._starting = asyncio.current_task()
        try:
            with beating(health.heartbeat):
                for part in composition.parts:
                    for context in part.contexts:
                        await stack.enter_async_context(context)
        except asyncio.CancelledError:
            if not self._stopped.is_set() or self._starting is None:
                raise
            self._starting.uncancel()
        finally:
            self._starting = None
        return not self._stopped.is_set()

    async def _serve(
        self,
        http: HttpServer,
        composition: Composition,
        stack: AsyncExitStack,
        health: ServingHealth,
    ) -> None:
        """Listen until a signal, then drain."""
        serving, loop = self._settings.serving, asyncio.get_running_loop()
        grpc: GrpcServer | None = None
        if serving.grpc_port is not None:
            servicers = [each for part in composition.parts for each in part.servicers]
            grpc = GrpcServer(serving, servicers, composition.interceptors)
            stack.push_async_callback(grpc.stop, 0.0)
            await grpc.start()
        await http.start()
        prefer_the_loop()
        health.listening()
        self._announce(f"serving at {http.address}")
        if grpc is not None:
            self._announce(f"serving gRPC at {grpc.address}")
        guard = loop.create_task(_guard(composition))
        waits = [guard, loop.create_task(self._stopped.wait()), loop.create_task(http.wait())]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        await self._drain(http, grpc)
        if guard in done:
            guard.result()
        if not self._stopped.is_set():
            raise UnavailableError("the HTTP server ended", "start the process again")

    async def _drain(self, http: HttpServer, grpc: GrpcServer | None) -> None:
        seconds = self._settings.serving.drain_seconds
        until = time.monotonic() + seconds
        http.close()
        calls = asyncio.ensure_future(_nothing() if grpc is None else grpc.stop(seconds))
        cut = await self._requests.drain(seconds)
        await calls
        await http.stop(max(_FLUSH_SECONDS, until - time.monotonic()))
        if cut:
            self._listener(RequestsCut(cut, seconds))


async def _guard(composition: Composition) -> None:
    """Raise what a part raises that cannot work again, or that no client can connect again."""
    descriptors = DescriptorWatch()
    while True:
        await asyncio.sleep(_GUARD_SECONDS)
        composition.reasons()
        descriptors.check()


async def _nothing() -> None:
    pass
