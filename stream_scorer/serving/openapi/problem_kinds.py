"""The problems of the API, and which routes can have them; docs/API.md has the same ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from stream_scorer.serving.web.messages import Route

URN: Final = "urn:stream-scorer:problem:"
Whose = Literal["every", "authenticated", "variable", "other method", "decisions"]
"""Routes that can have a problem: all; those that need a scope; those whose path has a variable
part; none, but another method at its path; those that name it."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of problem.

    Attributes:
        status: Its status.
        name: As ``Problem.kind``.
        cause: A sentence.
        whose: Routes that can have it.
        early: Whether it can be found before the route is: then it is RFC 9457 on all routes.
    """

    status: int
    name: str
    cause: str
    whose: Whose
    early: bool = False

    @property
    def urn(self) -> str:
        """The member ``type`` of its document."""
        return URN + self.name


KINDS: Final = (
    ProblemKind(400, "bad-path", "The path is not acceptable.", "every", early=True),
    ProblemKind(400, "bad-header", "A header field is not acceptable.", "every", early=True),
    ProblemKind(400, "incomplete-body", "The body ended before its announced end.", "every"),
    ProblemKind(400, "invalid-json", "The body is not JSON within the limits.", "decisions"),
    ProblemKind(400, "edge-invalid", "The body is not an upload.", "decisions"),
    ProblemKind(400, "edge-order", "The rows do not follow each other.", "decisions"),
    ProblemKind(401, "unauthenticated", "There are no valid credentials.", "authenticated"),
    ProblemKind(403, "forbidden", "The client may not do this.", "authenticated"),
    ProblemKind(403, "edge-device", "A device uploads its own rows only.", "decisions"),
    ProblemKind(403, "edge-unknown", "The device is not registered.", "decisions"),
    ProblemKind(403, "edge-revoked", "The device is revoked.", "decisions"),
    ProblemKind(
        403, "edge-signature", "The device's key has not signed the last row.", "decisions"
    ),
    ProblemKind(404, "not-found", "There is nothing at this path.", "variable", early=True),
    ProblemKind(404, "decision-not-found", "There is no such decision.", "decisions"),
    ProblemKind(
        405, "method-not-allowed", "The path has other methods.", "other method", early=True
    ),
    ProblemKind(408, "slow-body", "The body did not arrive in time.", "every"),
    ProblemKind(409, "another-body", "The id was used for another body.", "decisions"),
    ProblemKind(409, "already-decided", "The transaction was decided earlier.", "decisions"),
    ProblemKind(409, "edge-gap", "Rows are missing in front of these.", "decisions"),
    ProblemKind(409, "edge-fork", "Other rows of this device are published.", "decisions"),
    ProblemKind(413, "edge-too-large", "A record is larger than its topic takes.", "decisions"),
    ProblemKind(413, "too-large", "The body is too large.", "every"),
    ProblemKind(415, "unsupported-media-type", "The body has another type.", "every"),
    ProblemKind(415, "unsupported-encoding", "The body is compressed.", "every"),
    ProblemKind(422, "rejected", "The record is not a valid transaction.", "decisions"),
    ProblemKind(429, "too-many-requests", "The client has reached a limit.", "authenticated"),
    ProblemKind(500, "internal", "The server failed.", "every"),
    ProblemKind(503, "overloaded", "More requests than can be answered.", "every"),
    ProblemKind(503, "stopping", "The server stops.", "every"),
    ProblemKind(503, "timeout", "The request took too long.", "every"),
    ProblemKind(
        503, "access-unavailable", "The client cannot be authenticated now.", "authenticated"
    ),
    ProblemKind(503, "unavailable", "No decision can be made now.", "decisions"),
    ProblemKind(503, "edge-unavailable", "Rows cannot be published now.", "decisions"),
)
BARE: Final = ((400, "The head is not HTTP."), (431, "The head is too long."))
"""Answers without a body, by the HTTP library: status, and cause."""


def kinds_of(route: Route, own: Iterable[str] = ()) -> list[ProblemKind]:
    """Return the problems that a route can have, by status.

    Args:
        route: The route.
        own: Names of those that its handler raises.
    """
    named = frozenset(own)
    known = {kind.name for kind in KINDS}
    if not named <= known:
        raise ValueError(f"problems without a kind: {sorted(named - known)}")
    has: dict[str, bool] = {
        "every": True,
        "authenticated": route.scope is not None,
        "variable": "{" in route.pattern,
    }
    return [kind for kind in KINDS if kind.name in named or has.get(kind.whose, False)]
