"""The REST binding of the Open Inference Protocol: its routes."""

import asyncio
from typing import Final

from stream_scorer.serving.inference.binary_data import HEADER
from stream_scorer.serving.inference.json_requests import read_request
from stream_scorer.serving.inference.refusals import InferenceRefused, invalid
from stream_scorer.serving.inference.rest_answers import (
    OCTETS,
    inference_response,
    json_response,
    model_metadata,
    problem_response,
    refusal_response,
    server_metadata,
)
from stream_scorer.serving.inference.service import InferenceService
from stream_scorer.serving.web.messages import JSON, Handler, Request, Response, Route, Scope

_MODEL: Final = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
CONTENT_TYPES: Final = frozenset({"", JSON, OCTETS})
"""Of an inference request. Public clients send none with binary data."""


def routes(service: InferenceService) -> list[Route]:
    """Return the routes of the REST binding.

    The health routes need no authentication. All others need the scope ``score``.

    Args:
        service: Answers them; it is ready when its ``async with`` has begun.
    """
    binding = _RestBinding(service)
    found = [
        _route("GET", "/v2", "score", binding.server_metadata),
        _route("GET", "/v2/health/live", None, binding.live),
        _route("GET", "/v2/health/ready", None, binding.ready),
    ]
    for model in _MODEL:
        found += [
            _route("GET", model, "score", binding.model_metadata),
            _route("GET", f"{model}/ready", "score", binding.model_ready),
            Route(
                "POST", f"{model}/infer", "score", binding.infer,
                body_bytes_max=service.settings.body_bytes_max, content_types=CONTENT_TYPES,
                problem=problem_response,
            ),
        ]  # fmt: skip
    return found


def _route(method: str, pattern: str, scope: Scope | None, handler: Handler) -> Route:
    return Route(
        method, pattern, scope, handler, content_types=frozenset(), problem=problem_response
    )


class _RestBinding:
    """Handlers of the routes."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service

    async def live(self, request: Request) -> Response:  # noqa: ARG002 it needs nothing
        return json_response(200, {"live": True})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002 it needs nothing
        ready = self._service.ready
        return json_response(200 if ready else 503, {"live": True, "ready": ready})

    async def server_metadata(self, request: Request) -> Response:  # noqa: ARG002 it needs nothing
        return Response(200, server_metadata(self._service))

    async def model_metadata(self, request: Request) -> Response:
        try:
            model = self._service.find(
                request.parameters["name"], request.parameters.get("version")
            )
        except InferenceRefused as refused:
            return refusal_response(refused)
        return Response(200, model_metadata(self._service, model))

    async def model_ready(self, request: Request) -> Response:
        try:
            model = self._service.find(
                request.parameters["name"], request.parameters.get("version")
            )
        except InferenceRefused as refused:
            return refusal_response(refused)
        ready = self._service.ready
        return json_response(200 if ready else 503, {"name": model.name, "ready": ready})

    async def infer(self, request: Request) -> Response:
        service = self._service
        try:
            with service.admission:
                # All requests that have arrived are counted before the first one is computed. That
                # takes another round of the event loop, and only more requests than the limit
                # could be too many.
                if not 0 < request.in_flight <= service.settings.concurrent:
                    await asyncio.sleep(0)
                headers = request.headers
                if headers.get("content-encoding", "identity") != "identity":
                    raise invalid("a compressed body is not supported")
                model = service.find(request.parameters["name"], request.parameters.get("version"))
                asked = read_request(request.body, headers.get(HEADER), model.inputs)
                results = await service.infer(model, asked.rows, explain=asked.explain)
                return inference_response(model, asked, results)
        except InferenceRefused as refused:
            return refusal_response(refused)
