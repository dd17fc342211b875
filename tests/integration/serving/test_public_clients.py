"""``stream-scorer serve`` for models: the protocol's public clients, unchanged, and its suite."""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from numpy.typing import NDArray
from tritonclient import _plugin
from tritonclient.utils import InferenceServerException

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.settings import Kafka
from tests.oip.described import described
from tests.oip.peers import servers as peers
from tests.oip.peers.servers import KSERVE
from tests.oip.suite import all_cases, failure
from tests.support.models.noise_bundles import AMOUNT, STORED, write
from tests.support.served.served_api import ServedApi

Float64 = NDArray[np.float64]
ROWS: Float64 = np.random.default_rng(3).normal(size=(50, 2)) * 2
ROWS[7, 1] = np.nan
CLIENTS: dict[str, Any] = {"http": by_http, "grpc": by_grpc}


@dataclass(frozen=True, slots=True)
class ServedStore:
    """A process that serves the version 1.2.0 of ``fraud``."""

    api: ServedApi
    model: Model

    def address(self, kind: str) -> str:
        return self.api.address({"http": "serving at", "grpc": "serving gRPC at"}[kind])


class SentKey(_plugin.InferenceServerClientPlugin):
    """Has a client send an API key with each request."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: Any) -> None:
        request.headers["authorization"] = f"Bearer {self._key}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedStore]:
    store = tmp_path_factory.mktemp("store")
    write(store, "1.2.0", (AMOUNT, STORED))
    bundle = load_bundle(store / "fraud" / "1.2.0")
    model = bundle.model(declared_plan(bundle.manifest.features))
    variables = {"STREAM_SCORER_MODELS__DIRECTORY": str(store)}
    folder = tmp_path_factory.mktemp("api")
    with ServedApi(Kafka(), folder, "--model", "fraud", variables=variables) as api:
        api.wait_served()
        yield ServedStore(api, model)
        assert api.stop(30) == 0, api.said


@pytest.fixture(params=["http", "grpc"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@contextmanager
def connected(served: ServedStore, kind: str) -> Iterator[Any]:
    with CLIENTS[kind].InferenceServerClient(served.address(kind)) as made:
        made.register_plugin(SentKey(served.api.keys["shop"]))
        yield made


@pytest.fixture
def client(served: ServedStore, kind: str) -> Iterator[Any]:
    with connected(served, kind) as made:
        yield made


def outcomes(rows: Float64, model: Model) -> list[bytes]:
    scores = model.predictor.scores(rows)
    steps = (scores >= model.thresholds.review).astype(int) + (scores >= model.thresholds.block)
    return [Outcome(int(step)).name.encode() for step in steps]


def test_health_and_metadata(client: Any, kind: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fraud")
    assert client.is_model_ready("fraud", "1.2.0")
    as_json = {"as_json": True} if kind == "grpc" else {}
    assert client.get_server_metadata(**as_json)["name"] == "stream-scorer"
    model = client.get_model_metadata("fraud", **as_json)
    assert model["versions"] == ["1.2.0"]
    assert [int(each) for each in model["inputs"][0]["shape"]] == [-1, 2]
    assert [each["name"] for each in model["outputs"]] == ["score", "outcome"]


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_a_matrix_has_the_bits_of_the_core(
    client: Any, kind: str, served: ServedStore, datatype: str
) -> None:
    rows = ROWS if datatype == "FP64" else ROWS.astype(np.float32)
    wide = rows.astype(np.float64)
    expected = served.model.predictor.scores(wide)
    matrix = CLIENTS[kind].InferInput("features", list(rows.shape), datatype)
    matrix.set_data_from_numpy(rows)
    answer = client.infer("fraud", [matrix], request_id="42")
    assert answer.as_numpy("score").tobytes() == expected.tobytes()
    assert answer.as_numpy("outcome").tolist() == outcomes(wide, served.model)
    told = answer.get_response()
    assert (told["id"] if kind == "http" else told.id) == "42"


def test_one_input_for_each_feature(client: Any, kind: str, served: ServedStore) -> None:
    inputs = []
    for column, name in enumerate(served.model.features.names):
        inputs.append(CLIENTS[kind].InferInput(name, [50], "FP64"))
        inputs[-1].set_data_from_numpy(np.ascontiguousarray(ROWS[:, column]))
    wanted = [CLIENTS[kind].InferRequestedOutput(name) for name in ("reasons", "score")]
    answer = client.infer("fraud", inputs, model_version="1.2.0", outputs=wanted)
    expected = served.model.predictor.scores(ROWS)
    assert answer.as_numpy("score").tobytes() == expected.tobytes()
    reasons = answer.as_numpy("reasons")
    assert reasons.shape == (50, 3)
    approved = np.array(outcomes(ROWS, served.model)) == b"APPROVE"
    assert (reasons[approved] == b"").all()
    assert {each.decode() for each in reasons.ravel()} <= {"", *served.model.features.names}
    assert answer.as_numpy("outcome") is None


def test_json_tensors_of_the_http_client(served: ServedStore) -> None:
    rows = ROWS[:5]
    with connected(served, "http") as client:
        matrix = by_http.InferInput("features", [5, 2], "FP64")
        matrix.set_data_from_numpy(rows, binary_data=False)
        wanted = [
            by_http.InferRequestedOutput("score", binary_data=False),
            by_http.InferRequestedOutput("outcome", binary_data=True),
        ]
        answer = client.infer("fraud", [matrix], outputs=wanted)
        assert answer.as_numpy("score").tolist() == served.model.predictor.scores(rows).tolist()
        assert answer.as_numpy("outcome").tolist() == outcomes(rows, served.model)


def test_errors_reach_the_client(client: Any, kind: str) -> None:
    matrix = CLIENTS[kind].InferInput("features", [1, 3], "FP64")
    matrix.set_data_from_numpy(np.zeros((1, 3)))
    invalid = {"http": "400", "grpc": "StatusCode.INVALID_ARGUMENT"}[kind]
    missing = {"http": "404", "grpc": "StatusCode.NOT_FOUND"}[kind]
    for model, status, message in [
        ("fraud", invalid, "input features: its shape is [rows, 2]"),
        ("other", missing, "unknown model 'other'"),
    ]:
        with pytest.raises(InferenceServerException) as refused:
            client.infer(model, [matrix])
        assert refused.value.status() == status
        assert refused.value.message() == message
    with pytest.raises(InferenceServerException, match="sequence_end is not supported"):
        client.infer("fraud", [matrix], sequence_id=7, sequence_start=True)


def test_a_client_and_our_messages_can_be_in_one_process() -> None:
    # Both define messages of the same names.
    sent = by_grpc.service_pb2.ModelInferRequest(model_name="fraud", id="42").SerializeToString()
    assert messages.ModelInferRequest.FromString(sent).id == "42"


def test_a_call_without_a_key_is_refused(served: ServedStore, kind: str) -> None:
    refused = {"http": "401", "grpc": "StatusCode.UNAUTHENTICATED"}[kind]
    with CLIENTS[kind].InferenceServerClient(served.address(kind)) as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException) as raised:
            client.get_server_metadata()
        assert raised.value.status() == refused
        client.register_plugin(SentKey(served.api.keys["auditor"]))
        with pytest.raises(InferenceServerException) as raised:
            client.get_server_metadata()
        assert (
            raised.value.status() == {"http": "403", "grpc": "StatusCode.PERMISSION_DENIED"}[kind]
        )


def test_rows_without_json(served: ServedStore) -> None:
    """A raw binary request, as curl sends it: a row is its features' bytes and nothing else."""
    connection = http.client.HTTPConnection(served.address("http"), timeout=60)
    headers = {
        **served.api.authorization(),
        "content-type": "application/octet-stream",
        "inference-header-content-length": "0",
    }
    connection.request("POST", "/v2/models/fraud/infer", ROWS.tobytes(), headers)
    answer = connection.getresponse()
    length = int(answer.headers["inference-header-content-length"])
    body = answer.read()
    connection.close()
    assert body[length : length + 400] == served.model.predictor.scores(ROWS).tobytes()


# The first run installs the SDK.
@pytest.mark.timeout(1200)
@pytest.mark.thorough
def test_the_clients_of_kserves_sdk(served: ServedStore) -> None:
    rows = ROWS[:5]
    asked = {
        "http": served.address("http"), "grpc": served.address("grpc"), "model": "fraud",
        "key": served.api.keys["shop"], "rows": rows.tolist(),
    }  # fmt: skip
    ran = subprocess.run(  # noqa: S603 our own program
        [KSERVE.python(), peers.HERE / "kserve_client.py"],
        input=json.dumps(asked), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    expected = served.model.predictor.scores(rows).tolist()
    for name in ("rest_binary", "rest_json", "grpc"):
        assert told[name] == expected, name
    assert told["rest_ready"] == told["grpc_ready"] == [True, True, True]


def test_every_case_of_the_suite_passes(served: ServedStore) -> None:
    target = described(
        f"http://{served.address('http')}", served.address("grpc"), "fraud",
        headers=served.api.authorization(),
    )  # fmt: skip
    assert [failed for case in all_cases() if (failed := failure(case, target))] == []
