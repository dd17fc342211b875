"""The OpenAPI document: valid, complete, and true of what the server answers."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import numpy as np
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.answers import pending
from stream_scorer.serving.decisions.published import to_json
from stream_scorer.serving.inference.rest_routes import routes as inference_routes
from stream_scorer.serving.openapi.document import openapi_document
from stream_scorer.serving.openapi.inference_operations import inference_operations
from stream_scorer.serving.openapi.operation import Described
from stream_scorer.serving.openapi.problem_kinds import KINDS
from stream_scorer.serving.openapi.service import OpenApiService
from stream_scorer.serving.server.parts import Asked
from stream_scorer.serving.web.problem_body import problem_response
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Settings
from tests.support.serving.inference_calls import features_input, random_model, serving

EVERY = {400, 408, 413, 415, 431, 500, 503}
SCOPED = EVERY | {401, 403, 429}
STATUSES = {
    "POST /v1/decisions": SCOPED | {200, 202, 207, 409, 422},
    "GET /v1/decisions/{id}": SCOPED | {200, 202, 404},
    "GET /v2": SCOPED | {200},
    "GET /v2/health/live": EVERY | {200},
    "GET /v2/health/ready": EVERY | {200},
    "GET /v2/models/{name}": SCOPED | {200, 404},
    "GET /v2/models/{name}/ready": SCOPED | {200, 404},
    "POST /v2/models/{name}/infer": SCOPED | {200, 404},
    "GET /v2/models/{name}/versions/{version}": SCOPED | {200, 404},
    "GET /v2/models/{name}/versions/{version}/ready": SCOPED | {200, 404},
    "POST /v2/models/{name}/versions/{version}/infer": SCOPED | {200, 404},
    "GET /openapi.json": SCOPED | {200},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    asked = Asked(Deployment("fraud:1.1.0"), ("fraud:1.1.0",))
    found: dict[str, Any] = json.loads(json.dumps(asked.document(Settings())))
    return found


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def schemas_in(value: Any) -> Iterator[Any]:
    """Yield the JSON schemas in a part of the document."""
    if isinstance(value, dict):
        if "schema" in value:
            yield value["schema"]
        for each in value.values():
            yield from schemas_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from schemas_in(each)


def refs_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from refs_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from refs_in(each)


def check(document: Mapping[str, Any], schema: Any, value: Any) -> None:
    """Check a value against a schema of the document."""
    complete = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(complete).validate(value)


def answer_schema(document: Mapping[str, Any], route: str, status: int, kind: str) -> Any:
    method, _, path = route.partition(" ")
    response = document["paths"][path][method.lower()]["responses"][str(status)]
    return response["content"][kind]["schema"]


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    OPENAPI_31_VALIDATOR.validate(document)
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    schemas = [*schemas_in(document["paths"]), *document["components"]["schemas"].values()]
    assert len(schemas) > 100
    for schema in schemas:
        jsonschema.Draft202012Validator.check_schema(schema)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    # Each is used, too.
    assert set(refs_in(document)) == known


def test_each_route_has_its_statuses(document: dict[str, Any]) -> None:
    found = {
        name: {int(status) for status in operation["responses"]}
        for name, operation in operations(document)
    }
    assert found == STATUSES


def test_each_kind_of_problem_is_there(document: dict[str, Any]) -> None:
    post = document["paths"]["/v1/decisions"]["post"]["responses"]
    fetch = document["paths"]["/v1/decisions/{id}"]["get"]["responses"]
    urns = {kind.urn for kind in KINDS}
    general = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert set(general) == urns
    found = {
        urn
        for response in (*post.values(), *fetch.values())
        for content in response.get("content", {}).values()
        for each in content["schema"].get("allOf", [])[1:]
        for urn in each["properties"]["type"]["enum"]
    }
    # No route answers with the kind of other methods; those of devices are of other routes.
    other = {urn for urn in urns if urn.startswith("urn:stream-scorer:problem:edge-")}
    assert urns - found - other == {"urn:stream-scorer:problem:method-not-allowed"}
    assert not found & other


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_problem_is_as_documented(document: dict[str, Any], kind: Any) -> None:
    problem = Problem(kind.status, kind.name, "T.", "d", members={"reason": "X", "path": "a.b"})
    body = json.loads(problem_response(problem, "r").body)
    check(document, document["components"]["schemas"]["Problem"], body)
    for route, statuses in STATUSES.items():
        if "/v1/" in route and kind.status in statuses:
            schema = answer_schema(document, route, kind.status, "application/problem+json")
            urns = schema["allOf"][1]["properties"]["type"]["enum"]
            if kind.urn in urns:
                check(document, schema, body)
            with pytest.raises(jsonschema.ValidationError):
                check(document, schema, {**body, "type": "urn:stream-scorer:problem:teapot"})


def test_who_may_ask_is_there(document: dict[str, Any]) -> None:
    found = {name: operation["security"] for name, operation in operations(document)}
    both = [
        {scheme: [scope]} for scope in ("score", "read") for scheme in ("bearer", "certificate")
    ]
    assert found["POST /v1/decisions"] == both[:2]
    assert found["GET /v1/decisions/{id}"] == found["GET /openapi.json"] == both
    assert found["GET /v2/health/live"] == []
    assert all(found[name] for name in found if "health" not in name)


def test_a_route_without_a_description_is_refused() -> None:
    with serving([random_model(1)]) as rest:
        described = inference_operations(["fraud"])
        all_routes = [*inference_routes(rest.service), *OpenApiService(dict).routes()]
        assert openapi_document(all_routes, [described])["paths"]
        fewer = Described(described.operations[1:], described.schemas, described.tags)
        with pytest.raises(ValueError, match="GET /v2 is not described"):
            openapi_document(all_routes, [fewer])
        with pytest.raises(ValueError, match=r"there is no route.*'GET /v2'"):
            openapi_document(all_routes[1:], [described])


def test_answers_of_the_protocol_are_as_documented(document: dict[str, Any]) -> None:
    rows = np.arange(14.0).reshape(2, 7)
    body = {"inputs": [features_input(rows)], "id": "7", "outputs": [{"name": "reasons"}]}
    check(document, document["components"]["schemas"]["JsonInferRequest"], body)
    with serving([random_model(1)]) as rest:
        for route, path in [
            ("GET /v2", "/v2"), ("GET /v2/health/live", "/v2/health/live"),
            ("GET /v2/health/ready", "/v2/health/ready"),
            ("GET /v2/models/{name}", "/v2/models/fraud"),
            ("GET /v2/models/{name}/ready", "/v2/models/fraud/ready"),
        ]:  # fmt: skip
            found = json.loads(rest("GET", path).body)
            check(document, answer_schema(document, route, 200, "application/json"), found)
        infer = "POST /v2/models/{name}/infer"
        bodies: list[dict[str, Any]] = [body, {"inputs": [features_input(rows)]}, {"inputs": []}]
        for asked in bodies:
            answer = rest.infer(asked)
            schema = answer_schema(document, infer, answer.status, "application/json")
            check(document, schema, json.loads(answer.body))
        missing = rest("GET", "/v2/models/other")
        schema = answer_schema(document, "GET /v2/models/{name}", 404, "application/json")
        check(document, schema, json.loads(missing.body))


def test_a_pending_answer_is_as_documented(document: dict[str, Any]) -> None:
    found = json.loads(to_json(pending(bytes(16), "REVIEW", (2, 3817)).members))
    schema = answer_schema(document, "POST /v1/decisions", 202, "application/json")
    check(document, schema, found)
