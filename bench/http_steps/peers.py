"""The peers: the same model in MLServer's scikit-learn runtime, and in FastAPI.

Each has a hash-locked environment of its own below ``.venv-peers/``, with the versions of
scikit-learn and numpy that wrote the model. The first run installs them.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.http_steps.contenders import FASTAPI, MLSERVER, NAME, MeasuredServer, Servers
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.serving.protobuf import open_inference_grpc_pb2 as messages
from stream_scorer.settings import MODELS_DIRECTORY
from tests.matrix.environments import made
from tests.oip.peers import servers as oip

Float64 = NDArray[np.float64]

_HERE = Path(__file__).parent
_VERSION = "1.1.1"
_PROBABILITY = "predict_proba"


def write_model(folder: Path) -> Path:
    """Write the bundle's model as the peers read it; return the file."""
    import joblib  # noqa: PLC0415 scikit-learn loads slowly

    from stream_scorer.models.importing.scikit_learn.unpack import unpack  # noqa: PLC0415 see above

    data = (MODELS_DIRECTORY / NAME / _VERSION / "original.skops").read_bytes()
    file = folder / "model.joblib"
    joblib.dump(unpack(data, "original.skops"), file)
    return file


def thresholds() -> tuple[float, float]:
    """Return where REVIEW and BLOCK begin in the bundle."""
    manifest = json.loads((MODELS_DIRECTORY / NAME / _VERSION / "manifest.json").read_text())
    found = manifest["thresholds"]
    return float(found["review"]), float(found["block"])


def sample_row() -> Float64:
    """Return float64[1, m]: the golden row with the median score; nearly all are approved."""
    golden = json.loads((MODELS_DIRECTORY / NAME / _VERSION / "golden.json").read_text())
    order = np.argsort(golden["scores"], kind="stable")
    row = golden["features"][int(order[len(order) // 2])]
    return np.array([row], np.float64)


def rest_body(row: Float64, *outputs: str) -> bytes:
    """Return a request for one row by REST.

    Args:
        row: float64[1, m].
        outputs: The requested outputs; none: the model's own.
    """
    tensor = {
        "name": "features", "shape": list(row.shape), "datatype": "FP64",
        "data": row.ravel().tolist(),
    }  # fmt: skip
    asked: dict[str, Any] = {"outputs": [{"name": each} for each in outputs]} if outputs else {}
    return json.dumps({"inputs": [tensor], **asked}, separators=(",", ":")).encode()


def grpc_message(row: Float64, *outputs: str) -> messages.ModelInferRequest:
    """Return the same request as a message of gRPC."""
    request = messages.ModelInferRequest(model_name=NAME)
    tensor = request.inputs.add(name="features", datatype="FP64", shape=list(row.shape))
    tensor.contents.fp64_contents.extend(row.ravel().tolist())
    for each in outputs:
        request.outputs.add(name=each)
    return request


def mlserver(servers: Servers, folder: Path) -> MeasuredServer:
    """Start MLServer 1.7.1 in one process.

    Args:
        servers: Starts it.
        folder: For its model and its settings.
    """
    python = oip.MLSERVER.python()
    own = folder / MLSERVER
    own.mkdir(exist_ok=True)
    write_model(own)
    rest, grpc, metrics = free_ports(3)
    settings = {
        "host": "127.0.0.1", "http_port": rest, "grpc_port": grpc, "metrics_port": metrics,
        "metrics_endpoint": None, "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    model = {
        "name": NAME,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": _VERSION},
    }
    (own / "settings.json").write_text(json.dumps(settings))
    (own / "model-settings.json").write_text(json.dumps(model))
    command = [str(python.parent / "mlserver"), "start", str(own)]
    return servers.peer(
        MLSERVER, command, rest, f"/v2/models/{NAME}/ready", f"/v2/models/{NAME}/infer",
        f"127.0.0.1:{grpc}",
    )  # fmt: skip


def fastapi(servers: Servers, folder: Path) -> MeasuredServer:
    """Start FastAPI with uvicorn, in one process with its fastest event loop and parser."""
    lock = (_HERE / "fastapi.lock").read_text()
    python = made(FASTAPI, lock, "--require-hashes", below=oip.ENVIRONMENTS)
    (port,) = free_ports(1)
    review, block = thresholds()
    command = [
        str(python), "-m", "uvicorn", "fastapi_app:app", "--app-dir", str(_HERE),
        "--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    return servers.peer(
        FASTAPI, command, port, "/ready", f"/v2/models/{NAME}/infer",
        environment={
            "MODEL_FILE": str(write_model(folder)), "REVIEW_FROM": repr(review),
            "BLOCK_FROM": repr(block), "PYTHONDONTWRITEBYTECODE": "1",
        },
    )  # fmt: skip


def outputs_of(name: str) -> tuple[str, ...]:
    """Return the outputs that a contender is asked for, so that it returns the probability."""
    return (_PROBABILITY,) if name == MLSERVER else ()


def score_output(name: str) -> str:
    """Return the output of a contender that has the score."""
    return _PROBABILITY if name == MLSERVER else "score"


def expected_score() -> float:
    """Return the score of :func:`sample_row` by the golden file, computed by scikit-learn."""
    golden = json.loads((MODELS_DIRECTORY / NAME / _VERSION / "golden.json").read_text())
    ordered = sorted(golden["scores"])
    return float(ordered[len(ordered) // 2])
