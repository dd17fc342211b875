"""``/v2``: its operations, from the types that read and write its JSON."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from stream_scorer.serving.inference.binary_data import HEADER
from stream_scorer.serving.inference.data_types import DATA_TYPES
from stream_scorer.serving.inference.feature_tensors import FEATURES
from stream_scorer.serving.inference.json_requests import JsonInferRequest
from stream_scorer.serving.inference.rest_answers import (
    OCTETS,
    JsonInferAnswer,
    JsonInferError,
    JsonModelMetadata,
    JsonServerMetadata,
)
from stream_scorer.serving.inference.results import KNOWN_OUTPUTS
from stream_scorer.serving.openapi.operation import (
    ApiOperation,
    Described,
    DocumentedAnswer,
    schema_ref,
)
from stream_scorer.serving.web.messages import JSON

ERROR: Final = JsonInferError.__name__
"""Name of the schema of refusals."""
_TAG: Final = "inference"
_BINARY: Final = {"type": "string", "format": "binary"}
_VERSIONS: Final = (("", ""), ("/versions/{version}", "Version"))
_NOT_FOUND: Final = {404: "The model, or its version, is not loaded."}


def inference_operations(models: Sequence[str]) -> Described:
    """Return the operations of ``/v2``.

    Args:
        models: ``NAME`` or ``NAME:VERSION`` of the models that answer; they are the examples.
    """
    live = _object(live={"type": "boolean"})
    ready = _object(live={"type": "boolean"}, ready={"type": "boolean"})
    found = [
        ApiOperation(
            "GET /v2", "serverMetadata", "Describe the server",
            {200: _json("Name, version and extensions.", schema_ref("JsonServerMetadata"))}, _TAG,
        ),
        ApiOperation(
            "GET /v2/health/live", "serverLive", "Return whether the server answers",
            {200: _json("It does.", live)}, _TAG,
        ),
        ApiOperation(
            "GET /v2/health/ready", "serverReady", "Return whether all models answer",
            {200: _json("They do.", ready), 503: _json("They do not.", ready)}, _TAG,
        ),
    ]  # fmt: skip
    for path, name in _VERSIONS:
        found += _model(f"/v2/models/{{name}}{path}", name, models)
    return Described(tuple(found), _schemas(), {_TAG: "Open Inference Protocol 2: scores of "
        "feature vectors, without state."})  # fmt: skip


def _json(description: str, schema: Any) -> DocumentedAnswer:
    return DocumentedAnswer(description, {JSON: schema})


def _model(path: str, suffix: str, models: Sequence[str]) -> list[ApiOperation]:
    """Return the operations of a model, with or without its version."""
    pairs = [each.partition(":")[::2] for each in models]
    parameters: dict[str, Any] = {"name": _text([name for name, _ in pairs])}
    if suffix:
        parameters["version"] = _text([version for _, version in pairs if version])
    ready = _object(name={"type": "string"}, ready={"type": "boolean"})
    return [
        ApiOperation(
            f"GET {path}", f"model{suffix}Metadata", "Describe a model",
            {200: _json("Its inputs and outputs.", schema_ref("JsonModelMetadata"))}, _TAG,
            parameters=parameters, refusals=_NOT_FOUND,
        ),
        ApiOperation(
            f"GET {path}/ready", f"model{suffix}Ready", "Return whether a model answers",
            {200: _json("It does.", ready), 503: _json("It does not.", ready)}, _TAG,
            parameters=parameters, refusals=_NOT_FOUND,
        ),
        ApiOperation(
            f"POST {path}/infer", f"model{suffix}Infer", "Score feature vectors",
            {
                200: DocumentedAnswer(
                    "The requested outputs; binary data follows the JSON object.",
                    {JSON: schema_ref("JsonInferAnswer"), OCTETS: _BINARY}, (HEADER,),
                )
            },
            _TAG, "Without `outputs`, the answer has `score` and `outcome`.", parameters,
            headers={
                HEADER: {
                    "type": "string", "pattern": "^[0-9]{1,12}$",
                    "description": "bytes of the JSON object, if binary data follows it",
                }
            },
            body={JSON: schema_ref("JsonInferRequest"), OCTETS: _BINARY},
            refusals={
                400: "The body contradicts the protocol or the model.", **_NOT_FOUND,
                503: "Too many requests at the same time.",
            },
        ),
    ]  # fmt: skip


def _text(examples: Sequence[str]) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": "string", "minLength": 1}
    return {**plain, "examples": sorted(set(examples))} if examples else plain


def _object(**members: Any) -> dict[str, Any]:
    return {"type": "object", "properties": members, "required": list(members)}


def _schemas() -> dict[str, Any]:
    """Return the schemas of the types, completed by what their readers check."""
    types = (
        JsonInferRequest, JsonInferAnswer, JsonServerMetadata, JsonModelMetadata, JsonInferError,
    )  # fmt: skip
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    tensor = found["JsonInferInput"]["properties"]
    tensor["name"]["description"] = f"`{FEATURES}`, or the name of a feature"
    tensor["datatype"]["enum"] = sorted(DATA_TYPES)
    tensor["shape"] |= {"minItems": 1, "maxItems": 2}
    tensor["shape"]["items"]["minimum"] = 1
    value = {"type": ["number", "boolean", "null"]}
    row = {"type": "array", "items": value}
    tensor["data"] = {
        "anyOf": [row, {"type": "array", "items": row}],
        "description": "flat, or as rows; missing with binary data",
    }
    tensor["parameters"]["properties"] = {"binary_data_size": {"type": "integer", "minimum": 0}}
    found["JsonInferRequest"]["properties"]["inputs"]["minItems"] = 1
    asked = found["JsonInferRequestedOutput"]["properties"]
    asked["name"]["enum"] = list(KNOWN_OUTPUTS)
    asked["parameters"]["properties"] = {"binary_data": {"type": "boolean"}}
    request = found["JsonInferRequest"]["properties"]
    request["parameters"]["properties"] = {"binary_data_output": {"type": "boolean"}}
    return found
