"""A problem as the bytes of an answer (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

import msgspec

from stream_scorer.serving.web.messages import Response
from stream_scorer.serving.web.problems import PROBLEM_JSON, Problem
from stream_scorer.terminal_text import printable

_TYPE: Final = "urn:stream-scorer:problem:"
_encode: Final = msgspec.json.Encoder().encode


def problem_response(problem: Problem, request_id: str) -> Response:
    """Return the answer for a problem.

    Characters of its texts that are not printable are escaped, so that they do nothing in a
    terminal or a log.

    Args:
        problem: What is wrong.
        request_id: Of the request; the member ``request_id``.
    """
    document: dict[str, Any] = {
        "type": f"{_TYPE}{problem.kind}",
        "title": printable(problem.title),
        "status": problem.status,
    }
    if problem.detail:
        document["detail"] = printable(problem.detail)
    for name, value in problem.members.items():
        document.setdefault(name, printable(value) if isinstance(value, str) else value)
    document["request_id"] = request_id
    return Response(problem.status, _encode(document), PROBLEM_JSON, problem.headers)


def internal_problem() -> Problem:
    """Return the problem of an error in the server; it shows nothing of it."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal",
        "The server failed; its log has the cause under this request id.",
    )
