"""The answers of the REST binding: JSON objects, binary data, and errors as the protocol says."""

from functools import lru_cache
from typing import Any, Final

import msgspec

from stream_scorer.core.events.batch import Outcome
from stream_scorer.serving.inference.binary_data import HEADER, binary_texts
from stream_scorer.serving.inference.feature_tensors import FEATURES
from stream_scorer.serving.inference.json_requests import PLAIN_OUTPUTS, RestRequest
from stream_scorer.serving.inference.refusals import InferenceRefused, RefusalKind
from stream_scorer.serving.inference.results import (
    OUTCOME,
    OUTPUTS,
    REASONS,
    SCORE,
    RowResults,
    data_type_of,
)
from stream_scorer.serving.inference.served_model import ServedModel
from stream_scorer.serving.inference.service import (
    EXTENSIONS,
    PLATFORM,
    RETRY_SECONDS,
    SERVER_NAME,
    InferenceService,
)
from stream_scorer.serving.web.messages import Response
from stream_scorer.serving.web.problems import Problem

OCTETS: Final = "application/octet-stream"
_STATUS: Final = {
    RefusalKind.INVALID: 400,
    RefusalKind.UNKNOWN_MODEL: 404,
    RefusalKind.BUSY: 503,
}


class JsonInferOutput(msgspec.Struct):
    """A tensor of an answer."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class JsonInferAnswer(msgspec.Struct):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    outputs: list[JsonInferOutput]
    id: str | msgspec.UnsetType = msgspec.UNSET


class JsonServerMetadata(msgspec.Struct):
    """The metadata of the server."""

    name: str
    version: str
    extensions: tuple[str, ...]


class JsonTensorMetadata(msgspec.Struct):
    """The metadata of an input or an output; -1 in its shape stands for any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class JsonModelMetadata(msgspec.Struct):
    """The metadata of a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[JsonTensorMetadata]
    outputs: list[JsonTensorMetadata]
    properties: dict[str, str]


class JsonInferError(msgspec.Struct):
    """A refusal, as the protocol has it."""

    error: str


# NaN becomes null.
_ENCODER: Final = msgspec.json.Encoder()


def inference_response(model: ServedModel, request: RestRequest, results: RowResults) -> Response:
    """Return the answer to an inference request: JSON, with binary data where it was requested."""
    if request.outputs == PLAIN_OUTPUTS and len(results.score) == 1:
        return Response(200, _one_row(model, request.id, results))
    outputs, binary = [], []
    for name, as_binary in request.outputs:
        output = JsonInferOutput(name, results.shape(name), data_type_of(name))
        if as_binary:
            data = (
                results.score.astype("<f8", copy=False).tobytes()
                if name == SCORE
                else binary_texts(results.texts(name))
            )
            output.parameters = {"binary_data_size": len(data)}
            binary.append(data)
        elif name == SCORE:
            output.data = results.score.tolist()
        else:
            output.data = results.outcome_names() if name == OUTCOME else results.reason_texts()
        outputs.append(output)
    text = _ENCODER.encode(JsonInferAnswer(model.name, model.version, outputs, request.id))
    if not binary:
        return Response(200, text)
    return Response(200, b"".join([text, *binary]), OCTETS, ((HEADER, str(len(text))),))


def _one_row(model: ServedModel, sent: str | msgspec.UnsetType, results: RowResults) -> bytes:
    """Return the JSON of the most frequent answer: one row, and no output was named."""
    before, after = _frame_of(model.name, model.version)
    end = after[results.outcome.item()]
    if sent is not msgspec.UNSET:
        end = b'%b,"id":%b}' % (end[:-1], _ENCODER.encode(sent))
    return b"%b[%b]%b" % (before, _ENCODER.encode(results.score.item()), end)


@lru_cache(maxsize=256)
def _frame_of(name: str, version: str) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the JSON before the score of one row, and that after it by the outcome's value."""
    score = JsonInferOutput(SCORE, [1], data_type_of(SCORE), data=[None])
    texts = [
        _ENCODER.encode(
            JsonInferAnswer(
                name, version,
                [score, JsonInferOutput(OUTCOME, [1], data_type_of(OUTCOME), data=[outcome.name])],
            )
        ).rpartition(b"[null]")
        for outcome in sorted(Outcome)
    ]  # fmt: skip
    return texts[0][0], tuple(end for _, _, end in texts)


def server_metadata(service: InferenceService) -> bytes:
    """Return the metadata of the server."""
    return _ENCODER.encode(JsonServerMetadata(SERVER_NAME, service.release, EXTENSIONS))


def model_properties(model: ServedModel) -> dict[str, str]:
    """Return what a client may want to know of a model, and the protocol has no field for."""
    return {
        "features": ",".join(model.inputs.names),
        "outputs_on_request": REASONS,
        "review_from": repr(model.thresholds.review),
        "block_from": repr(model.thresholds.block),
    }


def model_metadata(service: InferenceService, model: ServedModel) -> bytes:
    """Return the metadata of a model."""
    return _ENCODER.encode(
        JsonModelMetadata(
            model.name,
            service.versions(model.name),
            PLATFORM,
            [JsonTensorMetadata(FEATURES, "FP64", [-1, len(model.inputs.names)])],
            [JsonTensorMetadata(name, data_type_of(name), [-1]) for name in OUTPUTS],
            model_properties(model),
        )
    )


def json_response(status: int, members: dict[str, Any]) -> Response:
    """Return a JSON object as an answer."""
    return Response(status, _ENCODER.encode(members))


def refusal_response(refused: InferenceRefused) -> Response:
    """Return a refusal in the protocol's form: an object with the member ``error``."""
    busy = refused.kind is RefusalKind.BUSY
    headers = (("retry-after", str(RETRY_SECONDS)),) if busy else ()
    body = _ENCODER.encode(JsonInferError(refused.message))
    return Response(_STATUS[refused.kind], body, headers=headers)


def problem_response(problem: Problem) -> Response:
    """Return a problem of the server, such as a wrong key, in the protocol's form."""
    body = _ENCODER.encode(JsonInferError(problem.detail or problem.title))
    return Response(problem.status, body, headers=problem.headers)
