"""The answers of the REST binding: JSON objects, binary data, and errors as the protocol says."""

from functools import lru_cache
from typing import Any, Final

import msgspec

from stream_scorer.core.events.batch import Outcome
from stream_scorer.serving.inference.binary_data import HEADER, binary_texts
from stream_scorer.serving.inference.feature_tensors import FEATURES
from stream_scorer.serving.inference.json_requests import RestRequest
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


class _JsonOutput(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class _JsonAnswer(msgspec.Struct):
    model_name: str
    model_version: str
    outputs: list[_JsonOutput]
    id: str | msgspec.UnsetType = msgspec.UNSET


# NaN becomes null.
_ENCODER: Final = msgspec.json.Encoder()
_PLAIN: Final = [(name, False) for name in OUTPUTS]


def inference_response(model: ServedModel, request: RestRequest, results: RowResults) -> Response:
    """Return the answer to an inference request: JSON, with binary data where it was requested."""
    if request.outputs == _PLAIN and len(results.score) == 1:
        return Response(200, _one_row(model, request.id, results))
    outputs, binary = [], []
    for name, as_binary in request.outputs:
        output = _JsonOutput(name, results.shape(name), data_type_of(name))
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
    text = _ENCODER.encode(_JsonAnswer(model.name, model.version, outputs, request.id))
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
    score = _JsonOutput(SCORE, [1], data_type_of(SCORE), data=[None])
    texts = [
        _ENCODER.encode(
            _JsonAnswer(
                name, version,
                [score, _JsonOutput(OUTCOME, [1], data_type_of(OUTCOME), data=[outcome.name])],
            )
        ).rpartition(b"[null]")
        for outcome in sorted(Outcome)
    ]  # fmt: skip
    return texts[0][0], tuple(end for _, _, end in texts)


def server_metadata(service: InferenceService) -> bytes:
    """Return the metadata of the server."""
    return _ENCODER.encode(
        {"name": SERVER_NAME, "version": service.release, "extensions": EXTENSIONS}
    )


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
        {
            "name": model.name,
            "versions": service.versions(model.name),
            "platform": PLATFORM,
            "inputs": [
                {"name": FEATURES, "datatype": "FP64", "shape": [-1, len(model.inputs.names)]}
            ],
            "outputs": [
                {"name": name, "datatype": data_type_of(name), "shape": [-1]} for name in OUTPUTS
            ],
            "properties": model_properties(model),
        }
    )


def json_response(status: int, members: dict[str, Any]) -> Response:
    """Return a JSON object as an answer."""
    return Response(status, _ENCODER.encode(members))


def refusal_response(refused: InferenceRefused) -> Response:
    """Return a refusal in the protocol's form: an object with the member ``error``."""
    busy = refused.kind is RefusalKind.BUSY
    headers = (("retry-after", str(RETRY_SECONDS)),) if busy else ()
    body = _ENCODER.encode({"error": refused.message})
    return Response(_STATUS[refused.kind], body, headers=headers)


def problem_response(problem: Problem) -> Response:
    """Return a problem of the server, such as a wrong key, in the protocol's form."""
    body = _ENCODER.encode({"error": problem.detail or problem.title})
    return Response(problem.status, body, headers=problem.headers)
