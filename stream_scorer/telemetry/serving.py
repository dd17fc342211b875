"""Events of the API: its requests, and those that failed in the server."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Histogram, History, Line

_SECTION = "The API fails, refuses, or is slow"


@dataclass(frozen=True, slots=True)
class RequestServed(Event):
    """A request of the API was answered.

    Attributes:
        route: Method and pattern of its route; ``none`` without one.
        status: HTTP status of the answer.
        seconds: From the end of its head to the answer.
        request_id: Of the request.
        client: Name of the authenticated client; empty without one.
        logged: Whether each request has a log line (``serving.access_log``).
    """

    route: str
    status: int
    seconds: float
    request_id: str
    client: str
    logged: bool

    REQUESTS = Counter("requests", "Requests of the API, by route and status.", "route", "status")
    SECONDS = Histogram(
        "request_seconds",
        "Time from a request's head to its answer.",
        "route",
        bounds=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
    )
    LINE = Line(
        "request_served",
        _SECTION,
        "info",
        fields=("request_id", "client", "route", "status", "ms"),
        limited=False,
    )

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REQUESTS, 1, self.route, self.status
        yield self.SECONDS, self.seconds, self.route
        if self.logged:
            yield self.LINE.given(ms=round(self.seconds * 1_000, 3))


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request was answered with 500 because of an error in the server.

    Attributes:
        route: Method and pattern of its route.
        request_id: Of the request.
        error: Type of the exception.
        trace: Its stack trace.
    """

    route: str
    request_id: str
    error: str
    trace: str

    LINE = Line("request_failed", _SECTION, "error", per=("route", "error"))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE


@dataclass(frozen=True, slots=True)
class SpansDropped(Event):
    """Spans of traces were lost.

    Attributes:
        cause: ``queue``: too many waited to be sent; ``send``: the endpoint did not take them.
        spans: How many.
    """

    cause: str
    spans: int

    DROPPED = Counter("spans_dropped", "Spans of traces that were lost, by cause.", "cause")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.DROPPED, self.spans, self.cause


@dataclass(frozen=True, slots=True)
class RequestsCut(Event):
    """Requests were still in flight when the time to finish them was over.

    Attributes:
        requests: How many.
        seconds: ``serving.drain_seconds``.
    """

    requests: int
    seconds: float

    LINE = Line("requests_cut", _SECTION, "error", limited=False)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.LINE
