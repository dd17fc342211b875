"""Whether an answer is one that the OpenAPI document has."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from tests.support.openapi.raw_requests import RawAnswer

Seen = set[tuple[str, int]]


def documented(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def documented_statuses(document: Mapping[str, Any]) -> Seen:
    """Return each operation with each of its statuses."""
    return {
        (f"{method} {path}", int(status))
        for method, path, operation in documented(document)
        for status in operation["responses"]
    }


def check_answer(document: Mapping[str, Any], route: str, answer: RawAnswer) -> None:
    """Check status, headers, type and content of an answer against the document.

    Args:
        document: The document.
        route: Method and path, as the document has it.
        answer: The answer.
    """
    method, _, path = route.partition(" ")
    responses = document["paths"][path][method.lower()]["responses"]
    assert str(answer.status) in responses, f"{route}: {answer.status} is not documented"
    response = responses[str(answer.status)]
    if "x-request-id" not in answer.fields:
        # By the HTTP library, without a body.
        assert answer.status in {400, 431}
        assert answer.body == b""
        return
    kind = answer.fields["content-type"]
    assert kind in response["content"], f"{route}: {answer.status} with {kind}"
    needed = {202: "location", 401: "www-authenticate", 429: "retry-after"}.get(answer.status)
    assert needed is None or needed in answer.fields, f"{route}: {answer.status} without {needed}"
    if kind.endswith("json"):
        schema = response["content"][kind]["schema"]
        complete = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(complete).validate(json.loads(answer.body))
