"""Spans of requests by OpenTelemetry, sent to an OTLP endpoint by a thread of its own.

A span has the method, the pattern of the route and the status; a stage has its name. Nothing of
a request's path, query, header fields, body or client is in a span.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from stream_scorer.errors import SettingsError
from stream_scorer.serving.web.request_trace import UNTRACED, BeginTrace, RequestTrace
from stream_scorer.settings import Settings
from stream_scorer.telemetry import Listener, SpansDropped

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_BATCH_SPANS: Final = 512
_EVERY_MS: Final = 1_000
_NANO: Final = 1_000_000_000


@contextmanager
def open_tracing(settings: Settings, listener: Listener) -> Iterator[BeginTrace]:
    """Yield what begins traces; leaving sends what waits, within ``timeout_seconds``.

    Args:
        settings: ``serving.tracing.endpoint`` is set.
        listener: Notified of spans that were lost, also on other threads.

    Raises:
        SettingsError: The extra ``otel`` is not installed, or the file of CA certificates is
            missing.
    """
    own = settings.serving.tracing
    if own.ca is not None and not own.ca.is_file():
        raise SettingsError(f"serving.tracing.ca {own.ca}: no such file", "name a PEM file")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 an extra
            OTLPSpanExporter,
        )
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"serving.tracing: the Python package {error.name} is missing",
            "install stream-scorer with its extra `otel`",
        ) from error
    # It would write to standard error about each attempt; losses are counted here.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        endpoint=own.endpoint,
        certificate_file=None if own.ca is None else str(own.ca),
        timeout=own.timeout_seconds,
    )
    tracer = SpanExport(exporter, listener, settings.kafka.instance, own.ratio, own.queue_spans)
    try:
        yield tracer.begin
    finally:
        tracer.close(own.timeout_seconds)


class _CountedQueue:
    """How many spans wait to be sent; used by several threads."""

    def __init__(self, most: int, listener: Listener) -> None:
        self._most = most
        self._listener = listener
        self._waiting = 0
        self._lock = threading.Lock()

    def take(self, spans: int) -> bool:
        """Return whether there is room for spans, and take it."""
        with self._lock:
            if self._waiting + spans <= self._most:
                self._waiting += spans
                return True
        self.lost("queue", spans)
        return False

    def sent(self, spans: int) -> None:
        """Free room."""
        with self._lock:
            self._waiting -= spans

    def lost(self, cause: str, spans: int) -> None:
        """Report spans that were lost."""
        self._listener(SpansDropped(cause, spans))


class SpanExport:
    """Makes spans, and has a thread send them.

    Args:
        exporter: Sends spans; it may block.
        listener: Notified of spans that were lost.
        instance: Name of the process.
        ratio: Share of the requests without a ``traceparent`` that are traced.
        queue_spans: Most spans that wait to be sent.
    """

    def __init__(
        self, exporter: Any, listener: Listener, instance: str, ratio: float, queue_spans: int
    ) -> None:
        from opentelemetry import trace  # noqa: PLC0415 an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 see above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 see above
        from opentelemetry.sdk.trace.export import (  # noqa: PLC0415 see above
            BatchSpanProcessor,
            SpanExporter,
            SpanExportResult,
        )
        from opentelemetry.sdk.trace.sampling import (  # noqa: PLC0415 see above
            ParentBased,
            TraceIdRatioBased,
        )
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 see above
            TraceContextTextMapPropagator,
        )

        queue = self._queue = _CountedQueue(queue_spans, listener)

        class Counted(SpanExporter):
            """Counts what was sent, and what was not."""

            def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
                result = SpanExportResult.FAILURE
                try:
                    result = exporter.export(spans)
                finally:
                    queue.sent(len(spans))
                    if result is not SpanExportResult.SUCCESS:
                        queue.lost("send", len(spans))
                return result

            def shutdown(self) -> None:
                exporter.shutdown()

        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource({"service.name": "stream-scorer", "service.instance.id": instance}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                Counted(),
                # Never full: the spans that wait are counted here.
                max_queue_size=queue_spans + _BATCH_SPANS,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_BATCH_SPANS,
            )
        )
        self._tracer = self._provider.get_tracer("stream_scorer.serving")

    def begin(
        self, method: str, pattern: str, traceparent: str, tracestate: str, arrived: float
    ) -> RequestTrace:
        """Begin the trace of a request; see :data:`BeginTrace`."""
        carrier = {"traceparent": traceparent, "tracestate": tracestate} if traceparent else {}
        context = self._propagator.extract(carrier)
        wall = time.time_ns() - round((time.perf_counter() - arrived) * _NANO)
        span = self._tracer.start_span(
            f"{method} {pattern}", context, self._api.SpanKind.SERVER,
            {"http.request.method": method, "http.route": pattern},
            start_time=wall,
        )  # fmt: skip
        if not span.is_recording():
            return UNTRACED
        return _SpanTrace(span, self, wall, arrived)

    def context_of(self, span: Any) -> Any:
        """Return the context in which spans are children of a span."""
        return self._api.set_span_in_context(span)

    def header_of(self, span: Any) -> tuple[str, str]:
        """Return the ``traceparent`` and ``tracestate`` of a span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self.context_of(span))
        return carrier["traceparent"], carrier.get("tracestate", "")

    def emit(self, spans: Sequence[Callable[[], None]]) -> None:
        """Make and end spans, if there is room for all of them."""
        if self._queue.take(len(spans)):
            for each in spans:
                each()

    def child(self, context: Any, name: str, began: int, ended: int) -> None:
        """Make a span that has ended; times are in ns since the epoch."""
        self._tracer.start_span(name, context, start_time=began).end(end_time=ended)

    def close(self, seconds: float) -> None:
        """Send what waits, within a time limit."""
        # Its own limit does not end a request that is on its way.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(seconds)


class _SpanTrace(RequestTrace):
    """The trace of a request that is recorded.

    Args:
        span: The request's.
        export: Makes the spans of the stages.
        wall: When the request arrived, ns since the epoch.
        arrived: The same, ``perf_counter`` seconds.
    """

    recording = True

    def __init__(self, span: Any, export: SpanExport, wall: int, arrived: float) -> None:
        self._span = span
        self._export = export
        self._wall = wall
        self._arrived = arrived
        self._stages: list[tuple[str, int, int]] = []
        self.traceparent, self.tracestate = export.header_of(span)

    def stage(self, name: str, began: float, ended: float) -> None:
        self._stages.append((name, self._at(began), self._at(ended)))

    def end(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        context, ended = self._export.context_of(self._span), self._at(time.perf_counter())
        children = [partial(self._export.child, context, *stage) for stage in self._stages]
        self._export.emit([*children, partial(self._span.end, ended)])

    def _at(self, moment: float) -> int:
        return self._wall + round((moment - self._arrived) * _NANO)
