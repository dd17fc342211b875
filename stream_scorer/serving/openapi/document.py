"""The OpenAPI 3.1 document of routes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version as release_of
from typing import Any, Final

import msgspec

from stream_scorer.serving.openapi.inference_operations import ERROR
from stream_scorer.serving.openapi.operation import (
    ApiOperation,
    Described,
    DocumentedAnswer,
    JsonSchema,
    schema_ref,
)
from stream_scorer.serving.openapi.problem_kinds import BARE, KINDS, ProblemKind, kinds_of
from stream_scorer.serving.web.head_fields import REQUEST_ID
from stream_scorer.serving.web.messages import JSON, Response, Route
from stream_scorer.serving.web.problems import PROBLEM_JSON

PATH: Final = "/openapi.json"
_ABOUT: Final = (
    "Decisions about card transactions, and scores of feature vectors. A path answers other "
    "methods than these with 405, and HEAD like GET without the body. See docs/API.md."
)
_SCHEMES: Final = {
    "bearer": {
        "type": "http", "scheme": "bearer",
        "description": "an API key (`ssk_...`), or a token (JWT) of the configured issuer; the "
        "scopes are those of the client",
    },
    "certificate": {
        "type": "mutualTLS",
        "description": "a client's certificate, verified by the proxy in front of the server",
    },
}  # fmt: skip
_HEADERS: Final[Mapping[str, Any]] = {
    REQUEST_ID: {"description": "The request's id.", "schema": {"type": "string"}},
    "retry-after": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "www-authenticate": {"description": "The scheme.", "schema": {"type": "string"}},
    "location": {"description": "Where to fetch it.", "schema": {"type": "string"}},
    "inference-header-content-length": {
        "description": "Bytes of the JSON object, if binary data follows it.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
_OWN: Final = ApiOperation(
    f"GET {PATH}", "openapi", "Return this document",
    {200: DocumentedAnswer("This document.", {JSON: {"type": "object"}})}, "server",
)  # fmt: skip
_OWN_TAG: Final = "The server itself."
_VARIABLE: Final = re.compile(r"\{(\w+)\}")


def openapi_document(routes: Iterable[Route], parts: Iterable[Described]) -> dict[str, Any]:
    """Return the document of all routes.

    Args:
        routes: The routes, that of the document among them.
        parts: What the routes do.

    Raises:
        ValueError: A route is not described, or there is no route for a description.
    """
    found = list(parts)
    operations = {each.route: each for part in found for each in part.operations}
    operations[_OWN.route] = _OWN
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = operations.pop(f"{route.method} {route.pattern}", None)
        if operation is None:
            raise ValueError(f"the route {route.method} {route.pattern} is not described")
        paths.setdefault(route.pattern, {})[route.method.lower()] = _operation(route, operation)
    if operations:
        raise ValueError(f"there is no route: {sorted(operations)}")
    schemas = {name: schema for part in found for name, schema in part.schemas.items()}
    tags = {name: text for part in found for name, text in part.tags.items()}
    tags[_OWN.tag] = _OWN_TAG
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "stream-scorer", "version": release_of("stream-scorer"),
            "description": _ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _problem_schema(KINDS)},
            "securitySchemes": _SCHEMES,
        },
    }  # fmt: skip


def document_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON text, for people."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def document_response(document: Mapping[str, Any]) -> Response:
    """Return the answer with a document."""
    return Response(200, msgspec.json.encode(document))


def _operation(route: Route, operation: ApiOperation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name, "summary": operation.summary, "tags": [operation.tag],
        "security": _security(route),
    }  # fmt: skip
    if operation.description:
        made["description"] = operation.description
    if parameters := _parameters(route, operation):
        made["parameters"] = parameters
    if operation.body:
        made["requestBody"] = {"required": True, "content": _content(operation.body)}
    made["responses"] = _responses(route, operation)
    return made


def _security(route: Route) -> list[dict[str, list[str]]]:
    """Return who may ask: one of these is enough."""
    if route.scope is None:
        return []
    scopes = [each for each in (route.scope, route.other_scope) if each is not None]
    return [{scheme: [scope]} for scope in scopes for scheme in _SCHEMES]


def _parameters(route: Route, operation: ApiOperation) -> list[dict[str, Any]]:
    names = _VARIABLE.findall(route.pattern)
    found = [_parameter(name, "path", operation.parameters[name]) for name in names]
    found += [_parameter(name, "query", schema) for name, schema in operation.query.items()]
    return found + [
        _parameter(name, "header", schema) for name, schema in operation.headers.items()
    ]


def _parameter(name: str, where: str, schema: JsonSchema) -> dict[str, Any]:
    plain = dict(schema)
    text = plain.pop("description", "")
    made = {"name": name, "in": where, "required": where == "path", "schema": plain}
    return {**made, "description": text} if text else made


def _content(content: Mapping[str, JsonSchema]) -> dict[str, Any]:
    return {kind: {"schema": schema} for kind, schema in content.items()}


def _responses(route: Route, operation: ApiOperation) -> dict[str, Any]:
    kinds: dict[int, list[ProblemKind]] = {}
    for kind in kinds_of(route, operation.problems):
        kinds.setdefault(kind.status, []).append(kind)
    statuses = {*operation.answers, *kinds, *operation.refusals, *(status for status, _ in BARE)}
    return {
        str(status): _response(route, operation, status, kinds.get(status, []))
        for status in sorted(statuses)
    }


def _response(
    route: Route, operation: ApiOperation, status: int, kinds: Sequence[ProblemKind]
) -> dict[str, Any]:
    """Return all that an answer with a status can be."""
    texts: list[str] = []
    content: dict[str, list[JsonSchema]] = {}
    # What the HTTP library refuses has no header of ours either.
    headers = set[str]()
    answer = operation.answers.get(status)
    if answer is not None:
        texts.append(answer.description)
        for kind, schema in answer.content.items():
            content.setdefault(kind, []).append(schema)
        headers |= {REQUEST_ID, *answer.headers}
    refusals = [operation.refusals[status]] if status in operation.refusals else []
    texts += [*refusals, *(f"`{kind.name}`: {kind.cause}" for kind in kinds)]
    plain = [kind for kind in kinds if route.problem is None or kind.early]
    if refusals or len(plain) < len(kinds):
        content.setdefault(JSON, []).append(schema_ref(ERROR))
    if plain:
        content.setdefault(PROBLEM_JSON, []).append(
            {"allOf": [schema_ref("Problem"), _problem_schema(plain, narrow=True)]}
        )
    if kinds or refusals:
        headers |= {REQUEST_ID, *_headers_of(status)}
    texts += [text for bare, text in BARE if bare == status]
    made: dict[str, Any] = {"description": " ".join(texts)}
    if headers:
        made["headers"] = {name: _HEADERS[name] for name in sorted(headers)}
    if content:
        made["content"] = _content({
            kind: found[0] if len(found) == 1 else {"anyOf": found}
            for kind, found in content.items()
        })  # fmt: skip
    return made


def _headers_of(status: int) -> tuple[str, ...]:
    if status == 401:  # noqa: PLR2004 unauthenticated
        return ("www-authenticate",)
    return ("retry-after",) if status in {429, 503} else ()


def _problem_schema(kinds: Sequence[ProblemKind], *, narrow: bool = False) -> dict[str, Any]:
    """Return the schema of a problem document (RFC 9457).

    Args:
        kinds: The kinds that it can be.
        narrow: Whether only ``type`` and ``status`` are given.
    """
    kind: dict[str, Any] = {"enum": [each.urn for each in kinds]}
    status: dict[str, Any] = {"enum": sorted({each.status for each in kinds})}
    if narrow:
        return {"properties": {"type": kind, "status": status}}
    text = {"type": "string"}
    return {
        "type": "object", "description": "A problem (RFC 9457); handle it by its `type`.",
        "properties": {
            "type": kind, "title": text, "status": status,
            "detail": {**text, "description": "For people."},
            "request_id": {**text, "description": "Names the request in the server's log."},
            "bytes_max": {"type": "integer", "description": "With `too-large`."},
            "reason": {**text, "description": "With `rejected`: the reject reason."},
            "path": {**text, "description": "With `rejected`: the place in the record."},
        },
        "required": ["type", "title", "status", "request_id"],
    }  # fmt: skip
