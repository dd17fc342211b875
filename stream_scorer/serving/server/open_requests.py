"""The requests in flight: how many there are, how long each may take, when the last has ended."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from stream_scorer.serving.web.messages import Response
from stream_scorer.serving.web.problems import BUSY_TITLE, Problem
from stream_scorer.serving.web.request_trace import UNTRACED, RequestTrace

_EVERY_SECONDS: Final = 0.05
"""How exact the limits are. One timer for all requests costs less than one for each."""


@dataclass(slots=True, eq=False)
class OpenRequest:
    """A request in flight, and what is known of it so far.

    Attributes:
        request_id: The client's, or made here.
        route: Method and pattern of its route, for metrics; ``none`` without one.
        client: Name of the authenticated client; empty without one.
        shape: The form of problems of its route; None: RFC 9457.
        close: Whether the connection is closed after the answer.
        deadline: When it is given up, by ``time.perf_counter()``, seconds.
        reading: Whether its body is still being read.
        body_bytes: Memory that its body takes or may take.
        overdue: Whether it was given up; then its task was cancelled once.
        task: Answers it.
        trace: Its trace.
    """

    request_id: str
    route: str = "none"
    client: str = ""
    shape: Callable[[Problem], Response] | None = None
    close: bool = False
    deadline: float = 0.0
    reading: bool = True
    body_bytes: int = 0
    overdue: bool = False
    task: "asyncio.Task[Any] | None" = None
    trace: RequestTrace = UNTRACED

    def give_up(self) -> None:
        """Cancel it; its task answers with :meth:`overdue_problem`."""
        self.overdue = True
        if self.task is not None:
            self.task.cancel()

    def overdue_problem(self) -> Problem:
        """Return the problem of a request that was given up, and take its cancellation back."""
        if self.task is not None:
            self.task.uncancel()
        if self.reading:
            self.close = True
            return Problem(408, "slow-body", "The body did not arrive in time.")
        return Problem(
            503, "timeout", "The request took too long.", headers=(("retry-after", "1"),)
        )


class OpenRequests:
    """Counts requests, gives up those whose time is over, and refuses more than a number.

    Args:
        requests_most: Requests at the same time.
        bytes_most: Bytes of all their bodies.
    """

    def __init__(self, requests_most: int, bytes_most: int) -> None:
        self._requests_most = requests_most
        self._bytes_most = bytes_most
        self._open: set[OpenRequest] = set()
        self._bytes = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.draining = False

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, request: OpenRequest, deadline: float) -> None:
        """Add the current task's request, for which :meth:`end` is called at its end.

        Args:
            request: The request.
            deadline: Until when its body must have arrived, by ``time.perf_counter()``.

        Raises:
            Problem: 503: there are too many, or the server stops.
        """
        if self.draining:
            request.close = True
            raise Problem(
                503, "stopping", "The server stops; send the request again.",
                headers=(("retry-after", "1"),),
            )  # fmt: skip
        if len(self._open) >= self._requests_most:
            _refuse_busy()
        request.task = asyncio.current_task()
        request.deadline = deadline
        self._open.add(request)

    def reserve(self, request: OpenRequest, body_bytes: int) -> None:
        """Note the memory of a body.

        Raises:
            Problem: 503: all bodies together have too many bytes.
        """
        if self._bytes + body_bytes > self._bytes_most:
            _refuse_busy()
        self._bytes += body_bytes
        request.body_bytes += body_bytes

    def end(self, request: OpenRequest) -> None:
        """Forget a request."""
        self._open.discard(request)
        self._bytes -= request.body_bytes
        if not self._open and self.draining:
            self._empty.set()

    async def watch(self, heartbeat: Callable[[], object]) -> NoReturn:
        """Give up requests whose time is over, for ever.

        Args:
            heartbeat: Called every 50 ms: the event loop makes progress.
        """
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            heartbeat()
            now = time.perf_counter()
            for request in self._open:
                if request.deadline < now and not request.overdue:
                    request.give_up()

    async def drain(self, seconds: float) -> int:
        """Refuse further requests and wait for those in flight.

        Args:
            seconds: Limit; those that are in flight then are given up.

        Returns:
            How many were given up.
        """
        self.draining = True
        if not self._open:
            return 0
        self._empty.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            left = [each for each in self._open if not each.overdue]
            for request in left:
                request.give_up()
            return len(left)
        return 0


def _refuse_busy() -> NoReturn:
    raise Problem(
        503, "overloaded", BUSY_TITLE,
        headers=(("retry-after", "1"),),
    )  # fmt: skip
