"""``GET /openapi.json``: the document, made once the other parts have started."""

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self

from stream_scorer.serving.openapi.document import PATH, document_response
from stream_scorer.serving.web.messages import Request, Response, Route


class OpenApiService(AbstractAsyncContextManager["OpenApiService"]):
    """Answers with the document; use it as ``async with``, after the parts that it describes.

    Args:
        make: Makes the document.
    """

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._response: Response | None = None

    async def __aenter__(self) -> Self:
        self._response = document_response(self._make())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._response = None

    async def answer(self, request: Request) -> Response:  # noqa: ARG002 it needs nothing
        """Return the document.

        Raises:
            RuntimeError: The service is not entered.
        """
        if self._response is None:
            raise RuntimeError("the service is not entered")
        return self._response

    def routes(self) -> Iterable[Route]:
        """Return its route: for each client that may ask for decisions or read them."""
        yield Route(
            "GET", PATH, "score", self.answer, content_types=frozenset(), other_scope="read"
        )
