"""What the server is made of: the parts that bring its routes, and who may use them."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_scorer.serving.web.gate import Gate
from stream_scorer.serving.web.messages import Route

if TYPE_CHECKING:
    import grpc.aio

AddServicer = Callable[["grpc.aio.Server"], None]
"""Adds a gRPC service to a server, such as the generated ``add_…Servicer_to_server``."""


def no_conditions() -> Sequence[str]:
    """Return nothing: the part is ready whenever it has started."""
    return ()


@asynccontextmanager
async def kept_open(resource: AbstractContextManager[object]) -> AsyncIterator[None]:
    """Have a context of a part close what has already been opened, or is opened at once."""
    with resource:
        yield


@dataclass(frozen=True, slots=True)
class ServedPart:
    """One part of the API.

    Attributes:
        routes: What it answers by HTTP.
        contexts: What it needs; entered in this order before the server listens, and left in the
            reverse order once no request is in flight.
        servicers: What it answers by gRPC.
        reasons: Why it cannot work now; called by the probes, from any thread. What it raises ends
            the process: the part cannot work again.
        degraded: What works only in part; called like ``reasons``.
    """

    routes: tuple[Route, ...] = ()
    contexts: tuple[AbstractAsyncContextManager[object], ...] = ()
    servicers: tuple[AddServicer, ...] = ()
    reasons: Callable[[], Sequence[str]] = no_conditions
    degraded: Callable[[], Sequence[str]] = no_conditions


@dataclass(frozen=True, slots=True)
class Composition:
    """All of a server.

    Attributes:
        gate: Who may ask.
        parts: What is answered.
        interceptors: Of gRPC; the first one is outermost, and is where callers are authenticated.
    """

    gate: Gate
    parts: Sequence[ServedPart]
    interceptors: "tuple[grpc.aio.ServerInterceptor, ...]" = field(default=())

    def routes(self) -> list[Route]:
        """Return the routes of all parts."""
        return [route for part in self.parts for route in part.routes]

    def reasons(self) -> list[str]:
        """Return why a part cannot work now."""
        return [reason for part in self.parts for reason in part.reasons()]

    def degraded(self) -> list[str]:
        """Return what works only in part."""
        return [each for part in self.parts for each in part.degraded()]
