"""Events of the API: its requests, and decisions in the call."""

from collections.abc import Iterable
from dataclasses import dataclass

from stream_scorer.telemetry.event import Counter, Effect, Event, Gauge, Histogram, History, Line

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


_SECTION = "The API refuses transactions, or answers provisionally"


@dataclass(frozen=True, slots=True)
class GatewayObserved(Event):
    """The state of a gateway, each second.

    Attributes:
        in_flight: Transactions that wait for their decision.
        limit: How many may.
        window: Decisions in the window.
        window_bytes: Memory that they use.
    """

    in_flight: int
    limit: int
    window: int
    window_bytes: int

    IN_FLIGHT = Gauge("api_in_flight", "Transactions of the API that wait for their decision.")
    LIMIT = Gauge("api_in_flight_limit", "Most transactions of the API that may wait.")
    WINDOW = Gauge("api_window_decisions", "Decisions that a repeated transaction gets again.")
    WINDOW_BYTES = Gauge("api_window_bytes", "Memory of these decisions.")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.IN_FLIGHT, self.in_flight
        yield self.LIMIT, self.limit
        yield self.WINDOW, self.window
        yield self.WINDOW_BYTES, self.window_bytes


@dataclass(frozen=True, slots=True)
class AdmissionRefused(Event):
    """Requests were refused with 503.

    Attributes:
        cause: ``limit``, ``lag`` or ``unavailable``.
        requests: How many.
    """

    cause: str
    requests: int

    REFUSED = Counter(
        "api_refused",
        "Requests refused with 503: limit, enough transactions are in flight; lag, the scorers' "
        "backlog takes too long; unavailable, no broker or no scorer.",
        "cause",
        begin=("limit", "lag", "unavailable"),
    )
    LINE = Line("api_refused", _SECTION, per=("cause",))

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.REFUSED, self.requests, self.cause
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ProvisionalAnswered(Event):
    """Transactions were answered with a provisional outcome, because no decision came in time."""

    transactions: int

    PROVISIONAL = Counter("api_provisional", "Transactions answered with a provisional outcome.")
    LINE = Line("api_provisional", _SECTION)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.PROVISIONAL, self.transactions
        yield self.LINE


@dataclass(frozen=True, slots=True)
class ProvisionalSettled(Event):
    """A transaction with a provisional outcome was decided.

    Attributes:
        provisional: The outcome that the client got.
        decision: The decision.
    """

    provisional: str
    decision: str

    DIFFERED = Counter(
        "api_provisional_differed", "Decisions that differ from the provisional outcome."
    )

    def effects(self, history: History) -> Iterable[Effect]:
        if self.provisional != self.decision:
            yield self.DIFFERED, 1


@dataclass(frozen=True, slots=True)
class WindowRebuilt(Event):
    """A gateway has read the decisions of its window at its start.

    Attributes:
        decisions: How many it keeps.
        seconds: How long it took.
    """

    decisions: int
    seconds: float

    SECONDS = Gauge("api_window_rebuild_seconds", "How long the last start read the window.")

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SECONDS, self.seconds


@dataclass(frozen=True, slots=True)
class WindowShortened(Event):
    """Decisions left the window early, because it may not use more memory."""

    decisions: int

    SHORTENED = Counter(
        "api_window_shortened", "Decisions that left the window early, because it was full."
    )
    LINE = Line("api_window_shortened", _SECTION)

    def effects(self, history: History) -> Iterable[Effect]:
        yield self.SHORTENED, self.decisions
        yield self.LINE
