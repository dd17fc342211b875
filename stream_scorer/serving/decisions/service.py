"""The service behind ``/v1/decisions``: a gateway with its connections to Kafka, and its routes."""

import asyncio
from typing import Final, Self

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.processes.blocking_calls import open_unless_cancelled
from stream_scorer.processes.mailbox import Mailbox
from stream_scorer.serving.decisions.answers import PATH
from stream_scorer.serving.decisions.asked import Charge
from stream_scorer.serving.decisions.gateway import Gateway
from stream_scorer.serving.decisions.records import RecordForm
from stream_scorer.serving.decisions.wiring import GatewayConnections, connected
from stream_scorer.serving.settings.decisions import DecisionsApi
from stream_scorer.serving.web.messages import Request, Response, Route
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener

_STARTING: Final = "the window is being read"
_FAILED: Final = (
    "a topic is no longer read, records are no longer sent, or scorers or plans not watched"
)
_OBSERVE_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 5.0
"""More than ``timeout_ms`` for parsing, judging and writing."""


class DecisionService:
    """Decides transactions in the call; use it as ``async with``, on one event loop.

    Entering reads the decisions of the window, which can take a minute; leaving waits for records
    that are on their way to the broker.

    Args:
        settings: ``kafka.group`` is the scorers' group.
        deployment: Which plan judges; as of the scorers.
        listener: Notified of what metrics and logs show; called on several threads.
        charge: See :class:`~stream_scorer.serving.decisions.gateway_parts.GatewayParts`.
    """

    def __init__(
        self,
        settings: Settings,
        deployment: Deployment,
        listener: Listener,
        charge: Charge = lambda _caller, _requests: None,
    ) -> None:
        self._settings = settings
        self._deployment = deployment
        self._listener = listener
        self._charge = charge
        self._open: GatewayConnections | None = None
        self._observing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        mailbox = Mailbox(asyncio.get_running_loop())
        self._open = await open_unless_cancelled(
            lambda: connected(
                self._settings, self._deployment, self._listener, mailbox, self._charge
            ),
            lambda opened: opened.stack.close(),
        )
        self._observing = asyncio.create_task(self._observe())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._observing is not None:
            self._observing.cancel()
        opened, self._open = self._open, None
        if opened is not None:
            await asyncio.to_thread(opened.stack.close)

    def reasons(self) -> tuple[str, ...]:
        """Return why it is not ready; empty if it is. Thread-safe.

        Overload is never a reason: all gateways would leave the load balancer together.
        """
        opened = self._open
        if opened is None:
            return (_STARTING,)
        if self.failure is not None:
            return (_FAILED,)
        down = opened.down()
        return (down,) if down else ()

    def ready(self) -> bool:
        """Return whether decisions can be made."""
        return not self.reasons()

    @property
    def failure(self) -> BaseException | None:
        """What a part of the service cannot recover from: the process must end. None: nothing."""
        return None if self._open is None else self._open.failure

    @property
    def limits(self) -> DecisionsApi:
        """Limits on bodies and time."""
        return self._settings.serving.decisions

    @property
    def gateway(self) -> Gateway:
        """What answers requests.

        Raises:
            RuntimeError: The service is not entered.
        """
        if self._open is None:
            raise RuntimeError("the service is not entered")
        return self._open.gateway

    @property
    def record_form(self) -> RecordForm:
        """What the records of requests must be.

        Raises:
            RuntimeError: The service is not entered.
        """
        if self._open is None:
            raise RuntimeError("the service is not entered")
        return self._open.form

    async def ask(self, request: Request) -> Response:
        """Answer ``POST /v1/decisions``; see :meth:`Gateway.ask`."""
        return await self.gateway.ask(request)

    async def fetch(self, request: Request) -> Response:
        """Answer ``GET /v1/decisions/{id}``; see :meth:`Gateway.fetch`."""
        return await self.gateway.fetch(request)

    async def _observe(self) -> None:
        while True:
            await asyncio.sleep(_OBSERVE_SECONDS)
            self.gateway.observe()


def routes(service: DecisionService) -> list[Route]:
    """Return the routes of a service."""
    own = service.limits
    seconds = own.timeout_ms / 1_000 + _ANSWER_SECONDS
    return [
        Route("POST", PATH, "score", service.ask, own.body_bytes_max, seconds),
        Route(
            "GET", f"{PATH}/{{id}}", "score", service.fetch, seconds_max=_ANSWER_SECONDS,
            content_types=frozenset(), other_scope="read",
        ),
    ]  # fmt: skip
