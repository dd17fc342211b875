"""Where the time of a request goes, for a trace: what parts report, and what they need for it."""

from collections.abc import Callable
from typing import Final


class RequestTrace:
    """The trace of one request. This one records nothing; the server has one that exports spans.

    Attributes:
        traceparent: The context that records of this request continue; empty: the client's own.
        tracestate: Belongs to ``traceparent``.
    """

    traceparent: str = ""
    tracestate: str = ""
    recording: bool = False

    def stage(self, name: str, began: float, ended: float) -> None:
        """Note a stage of the request.

        Args:
            name: Such as ``judge``.
            began: By ``time.perf_counter()``, seconds.
            ended: By the same clock.
        """

    def end(self, status: int) -> None:
        """Note that the request is answered.

        Args:
            status: HTTP status of the answer.
        """


UNTRACED: Final = RequestTrace()
"""The trace of requests that are not traced."""

BeginTrace = Callable[[str, str, str, str, float], RequestTrace]
"""Begins the trace of a request: of method, pattern of the route, ``traceparent``, ``tracestate``
and the time of its arrival."""


def untraced(
    method: str, pattern: str, traceparent: str, tracestate: str, arrived: float
) -> RequestTrace:
    """Trace nothing."""
    del method, pattern, traceparent, tracestate, arrived
    return UNTRACED
