"""The answers of access control that are errors, and how each is counted."""

from typing import Final

from stream_scorer.serving.web.messages import Scope
from stream_scorer.serving.web.problems import Problem

_CHALLENGE: Final = 'Bearer realm="stream-scorer"'
_TITLES: Final = {
    401: ("unauthenticated", "The request has no valid credentials."),
    403: ("forbidden", "The client may not do this."),
    429: ("too-many-requests", "The client has reached a limit."),
    503: ("access-unavailable", "The client cannot be authenticated now."),
}


def unauthenticated(detail: str, *, presented: bool = True) -> Problem:
    """Return the problem of a caller that is not authenticated: 401.

    Args:
        detail: What is wrong; does not show whether a client or a key exists.
        presented: Whether there was a credential.
    """
    error = ', error="invalid_token"' if presented else ""
    return _problem(401, detail, ("www-authenticate", _CHALLENGE + error))


def forbidden(detail: str) -> Problem:
    """Return the problem of a caller that is refused whoever it is: 403."""
    return _problem(403, detail)


def out_of_scope(scope: Scope) -> Problem:
    """Return the problem of a caller without a scope: 403, as RFC 6750 has it."""
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    return _problem(403, f"this needs the scope {scope}", ("www-authenticate", challenge))


def too_many(detail: str, seconds: float, *headers: tuple[str, str]) -> Problem:
    """Return the problem of a caller past a limit: 429.

    Args:
        detail: Which limit.
        seconds: When the next request will be within it.
        headers: Further ones.
    """
    return _problem(429, detail, ("retry-after", whole_seconds(seconds)), *headers)


def unavailable(detail: str, seconds: float) -> Problem:
    """Return the problem of a caller that can be authenticated later: 503."""
    return _problem(503, detail, ("retry-after", whole_seconds(seconds)))


def whole_seconds(seconds: float) -> str:
    """Return seconds as a header has them: rounded up, at least 1.

    >>> whole_seconds(0.2), whole_seconds(2.0)
    ('1', '2')
    """
    return str(max(-int(-seconds // 1), 1))


def _problem(status: int, detail: str, *headers: tuple[str, str]) -> Problem:
    kind, title = _TITLES[status]
    return Problem(status, kind, title, detail, headers=headers)
