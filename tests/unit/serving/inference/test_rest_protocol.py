"""The REST binding, by the lines of the Open Inference Protocol, inference_rest.md.

The quoted lines are from kserve/open-inference-protocol at d49cc23, specification/protocol.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stream_scorer.serving.web.problems import Problem
from tests.support.serving.inference_calls import (
    NAMES,
    RestCalls,
    features_input,
    output,
    random_model,
    refused,
    serving,
)

ROW = np.arange(7.0).reshape(1, 7)
ROWS = np.arange(21.0).reshape(3, 7)


@pytest.fixture(scope="module")
def rest() -> Iterator[RestCalls]:
    with serving([random_model(1, "1.10.0"), random_model(2, "1.9.0")]) as calls:
        yield calls


def test_live_and_ready(rest: RestCalls) -> None:
    # "The “server live” API indicates if the inference server is able to receive and respond to
    # metadata and inference requests."
    live = rest("GET", "/v2/health/live")
    assert (live.status, json.loads(live.body)) == (200, {"live": True})
    # The specification names the member of $ready_server_response "live"; clients read "ready".
    ready = rest("GET", "/v2/health/ready")
    assert (ready.status, json.loads(ready.body)) == (200, {"live": True, "ready": True})


def test_a_server_that_stops_is_live_and_not_ready() -> None:
    with serving([random_model(1)]) as rest:
        rest.service.admission.open = False
        assert rest("GET", "/v2/health/live").status == 200
        assert rest("GET", "/v2/health/ready").status == 503
        model = rest("GET", "/v2/models/fraud/ready")
        assert (model.status, json.loads(model.body)["ready"]) == (503, False)
        answer = rest.infer({"inputs": [features_input(ROW)]})
        assert (answer.status, answer.headers) == (503, (("retry-after", "1"),))


def test_server_metadata(rest: RestCalls) -> None:
    # Metadata: '"extensions" : [ $string, ... ]'.
    # "Because this extension is supported, Triton reports “binary_tensor_data” in the extensions
    # field of its Server Metadata."
    found = json.loads(rest("GET", "/v2").body)
    assert found == {
        "name": "stream-scorer",
        "version": rest.service.release,
        "extensions": ["binary_tensor_data"],
    }


@pytest.mark.parametrize("path", ["/v2/models/fraud", "/v2/models/fraud/versions/1.9.0"])
def test_model_metadata(rest: RestCalls, path: str) -> None:
    found = json.loads(rest("GET", path).body)
    # Versions are "The model versions that may be explicitly requested via the appropriate
    # endpoint."
    assert (found["name"], found["versions"]) == ("fraud", ["1.9.0", "1.10.0"])
    # 'Platform names use the format “<project>_<format>”.'
    assert found["platform"] == "stream-scorer_bundle"
    # Of shapes: "The shape of the tensor. Variable-size dimensions are specified as -1."
    assert found["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 7]}]
    assert found["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [-1]},
        {"name": "outcome", "datatype": "BYTES", "shape": [-1]},
    ]
    assert found["properties"]["features"] == ",".join(NAMES)


@pytest.mark.parametrize(
    "path", ["/v2/models/fraud/ready", "/v2/models/fraud/versions/1.9.0/ready"]
)
def test_model_ready(rest: RestCalls, path: str) -> None:
    # Model ready: '{ "name" : $string, "ready": $bool }'.
    found = rest("GET", path)
    assert (found.status, json.loads(found.body)) == (200, {"name": "fraud", "ready": True})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/other"),
        ("GET", "/v2/models/fraud/versions/9.9.9"),
        ("GET", "/v2/models/fraud/versions/9.9.9/ready"),
        ("POST", "/v2/models/%0aother/infer"),
        ("POST", "/v2/models/fraud/versions/..%2f1.9.0/infer"),
    ],
)
def test_an_unknown_model_is_a_404(rest: RestCalls, method: str, path: str) -> None:
    # "The HTTP body must contain the *$inference_error_response* object."
    answer = rest(method, path, b"{}")
    assert answer.status == 404
    (message,) = json.loads(answer.body).values()
    assert message.startswith("unknown")
    assert "\n" not in message


def test_an_answer_has_the_id_model_and_version(rest: RestCalls) -> None:
    # '"id" : An identifier for this request. Optional, but if specified this identifier must be
    # returned in the response.'
    for name in ("42", "", 'é"\\\n', "x" * 10_000):
        answer = json.loads(rest.infer({"id": name, "inputs": [features_input(ROW)]}).body)
        assert answer["id"] == name
    answer = json.loads(rest.infer({"inputs": [features_input(ROW)]}).body)
    assert list(answer) == ["model_name", "model_version", "outputs"]
    # "If a version is not provided the server may choose a version based on its own policies".
    assert (answer["model_name"], answer["model_version"]) == ("fraud", "1.10.0")
    path = "/v2/models/fraud/versions/1.9.0/infer"
    asked = json.dumps({"inputs": [features_input(ROW)]}).encode()
    assert json.loads(rest("POST", path, asked).body)["model_version"] == "1.9.0"


def test_all_outputs_unless_some_are_requested(rest: RestCalls) -> None:
    # '"outputs" : The output tensors requested for this inference. [...] Optional, if not specified
    # all outputs produced by the model will be returned using default *$request_output* settings.'
    for wanted, expected in [
        (None, ["score", "outcome"]),
        ([], ["score", "outcome"]),
        (["outcome"], ["outcome"]),
        (["reasons", "score"], ["reasons", "score"]),
    ]:
        request = {"inputs": [features_input(ROWS)]}
        if wanted is not None:
            request["outputs"] = [{"name": name} for name in wanted]
        outputs = json.loads(rest.infer(request).body)["outputs"]
        assert [each["name"] for each in outputs] == expected
        shapes = {"score": [3], "outcome": [3], "reasons": [3, 3]}
        assert [each["shape"] for each in outputs] == [shapes[name] for name in expected]
        for each in outputs:
            assert len(each["data"]) == np.prod(each["shape"])


def test_flat_and_nested_data_are_the_same(rest: RestCalls) -> None:
    # "Tensor elements may be presented in their nature multi-dimensional representation, or as a
    # flattened one-dimensional representation."
    nested = {**features_input(ROWS), "data": ROWS.tolist()}
    flat = rest.infer({"inputs": [features_input(ROWS)]})
    assert rest.infer({"inputs": [nested]}).body == flat.body


def test_one_input_for_each_feature_is_the_same(rest: RestCalls) -> None:
    inputs = [
        {"name": name, "shape": [3, 1][: 1 + column % 2], "datatype": "FP64",
         "data": ROWS[:, column].tolist()}
        for column, name in enumerate(NAMES)
    ]  # fmt: skip
    matrix = rest.infer({"inputs": [features_input(ROWS)]})
    assert rest.infer({"inputs": inputs[::-1]}).body == matrix.body


def test_unknown_parameters_and_members_are_ignored(rest: RestCalls) -> None:
    # "A server can implement server-specific parameters to provide non-standard capabilities."
    plain = rest.infer({"inputs": [features_input(ROW)]})
    request: dict[str, Any] = {
        "model_name": "fraud",
        "parameters": {"priority": 1, "timeout": 2.5, "content_type": "np", "x": True},
        "inputs": [{**features_input(ROW), "parameters": {"content_type": "np"}}],
        "outputs": [{"name": "score", "parameters": {"x": "y"}}, {"name": "outcome"}],
    }
    assert rest.infer(request).body == plain.body


@pytest.mark.parametrize("name", ["classification", "sequence_id", "shared_memory_region"])
def test_a_parameter_that_would_change_the_answer_is_refused(rest: RestCalls, name: str) -> None:
    plain = features_input(ROW)
    requests: list[dict[str, Any]] = [
        {"parameters": {name: 1}, "inputs": [plain]},
        {"inputs": [{**plain, "parameters": {name: 1}}]},
        {"inputs": [plain], "outputs": [{"name": "score", "parameters": {name: 1}}]},
    ]
    for request in requests:
        assert name in refused(rest.infer(request))


def test_a_null_is_a_missing_value(rest: RestCalls) -> None:
    rows = ROWS.copy()
    rows[1, 2] = np.nan
    model = rest.service.find("fraud", None)
    expected = [None if np.isnan(s) else s for s in model.compute(rows).score.tolist()]
    assert output(rest.infer({"inputs": [features_input(rows)]}), "score") == expected


def test_raw_rows_are_answered_in_binary(rest: RestCalls) -> None:
    # "To send a raw binary request, the Inference-Header-Content-Length header must be provided
    # with value 0"; "all the model output will be requested to be returned in binary tensor form".
    path = "/v2/models/fraud/infer"
    answer = rest("POST", path, ROWS.tobytes(), inference_header_content_length="0")
    length = int(dict(answer.headers)["inference-header-content-length"])
    expected = rest.service.find("fraud", None).compute(ROWS).score
    assert answer.body[length : length + 24] == expected.tobytes()
    told = json.loads(answer.body[:length])
    assert "id" not in told
    assert all("data" not in each for each in told["outputs"])


@pytest.mark.parametrize("data", [b"", ROW.tobytes()[:-1], ROW.tobytes() + b"\0" * 8])
def test_raw_bytes_that_are_not_rows_are_refused(rest: RestCalls, data: bytes) -> None:
    path = "/v2/models/fraud/infer"
    message = refused(rest("POST", path, data, inference_header_content_length="0"))
    assert "rows" in message


def test_a_problem_of_the_server_has_the_form_of_the_protocol(rest: RestCalls) -> None:
    for route in rest._routes:
        assert route.problem is not None
        problem = Problem(429, "limited", "Too many", "wait", headers=(("retry-after", "3"),))
        answer = route.problem(problem)
        assert (answer.status, json.loads(answer.body)) == (429, {"error": "wait"})
        assert answer.headers == (("retry-after", "3"),)


def test_only_the_health_of_the_server_is_open(rest: RestCalls) -> None:
    found = {route.pattern for route in rest._routes if route.scope is None}
    assert found == {"/v2/health/live", "/v2/health/ready"}
    assert {route.scope for route in rest._routes} == {None, "score"}
