"""Problems: the answers that are errors (RFC 9457, ``application/problem+json``)."""

from typing import Any

PROBLEM_JSON = "application/problem+json"
BUSY_TITLE = "The server is busy."
"""Title of each problem of the kind ``overloaded``."""


class Problem(Exception):  # noqa: N818 the term of RFC 9457
    """An answer that is an error; it shows what the caller did or can do, never the inside.

    Args:
        status: HTTP status, 400 to 599.
        kind: Short name in lower case with hyphens, such as ``too-large``; docs/API.md lists all.
            The member ``type`` is ``urn:stream-scorer:problem:KIND``.
        title: The same sentence for each problem of this kind.
        detail: What was wrong with this request; contains no secret, no path of the server and no
            text of an exception. Control characters are escaped by the server.
        headers: Further headers, in lower case, such as ``retry-after``.
        members: Further members of the JSON object.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        title: str,
        detail: str = "",
        *,
        headers: tuple[tuple[str, str], ...] = (),
        members: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {kind}: {detail or title}")
        self.status = status
        self.kind = kind
        self.title = title
        self.detail = detail
        self.headers = headers
        self.members = members or {}
