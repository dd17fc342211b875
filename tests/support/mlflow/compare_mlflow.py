"""Registers a model of each flavor at a real MLflow server, fetches each, and records the answers.

It needs the packages ``mlflow`` (all of it, for the server), ``lightgbm``, ``xgboost`` and
``scikit-learn`` in its environment::

    python -m tests.support.mlflow.compare_mlflow FILE

The server keeps its data in SQLite, in a temporary folder. FILE is JSON: the answers by reference,
endpoint and parameters, with each byte of a body as a character of Latin-1. A test replays those
about LightGBM from ``tests/unit/models/importing/mlflow_registry/answers.json``.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import mlflow.lightgbm
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import xgboost
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.models.importing.formats.known import BYTES_MOST, source_of
from stream_scorer.models.importing.imported import ImportOptions, ModelSource
from stream_scorer.models.importing.mlflow_registry.fetch import fetch
from stream_scorer.models.importing.mlflow_registry.reference import read_reference
from stream_scorer.models.importing.mlflow_registry.server import MlflowServer
from tests.support.mlflow.fake_mlflow import FILES

_START_SECONDS = 1_500.0
_LOOK_SECONDS = 2.0


def _rows() -> tuple[Any, Any]:
    rows = np.random.default_rng(1).normal(size=(200, 3))
    return rows, (rows[:, 0] + rows[:, 1] > 0.5).astype(int)


def _log_lightgbm(name: str) -> None:
    rows, fraud = _rows()
    options = {"objective": "binary", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    model = lightgbm.train(options, lightgbm.Dataset(rows, fraud), 2)
    mlflow.lightgbm.log_model(
        model, name="model", registered_model_name=name, pip_requirements=["lightgbm"]
    )


def _log_xgboost(name: str) -> None:
    rows, fraud = _rows()
    options = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
    model = xgboost.train(options, xgboost.DMatrix(rows, fraud), 2)
    mlflow.xgboost.log_model(
        model, name="model", registered_model_name=name, pip_requirements=["xgboost"]
    )


def _log_sklearn(name: str) -> None:
    rows, fraud = _rows()
    model = DecisionTreeClassifier(max_depth=2).fit(rows, fraud)
    mlflow.sklearn.log_model(
        model, name="model", registered_model_name=name, pip_requirements=["scikit-learn"],
        serialization_format="skops", skops_trusted_types=["sklearn.tree._tree.Tree"],
    )  # fmt: skip


FLAVORS: dict[str, Callable[[str], None]] = {
    "lightgbm": _log_lightgbm, "xgboost": _log_xgboost, "sklearn": _log_sklearn,
}  # fmt: skip


class _Recorder:
    """A server whose answers are kept."""

    def __init__(self, server: MlflowServer) -> None:
        self._server = server
        self.shown, self.host = server.shown, server.host
        self.answers: list[dict[str, Any]] = []

    def get(self, endpoint: str, parameters: Mapping[str, str], most: int) -> bytes | None:
        body = self._server.get(endpoint, parameters, most)
        text = None if body is None else body.decode("latin-1")
        self.answers.append({"endpoint": endpoint, "parameters": dict(parameters), "body": text})
        return body


def _register(address: str) -> None:
    mlflow.set_tracking_uri(address)
    tags = {
        "mlflow.source.git.commit": "0a1b2c3d", "mlflow.source.git.branch": "main",
        "mlflow.source.name": "train.py", "mlflow.user": "ada",
    }  # fmt: skip
    place = "https://data.example/march.parquet"
    for flavor, log in FLAVORS.items():
        with mlflow.start_run(tags=tags, run_name=flavor):
            data = mlflow.data.from_numpy(_rows()[0], place, name="march")  # type: ignore[attr-defined]  # mlflow-skinny has no numpy
            mlflow.log_input(data, context="training")
            log(f"fraud-{flavor}")
        client = mlflow.MlflowClient()
        client.set_registered_model_alias(f"fraud-{flavor}", "champion", "1")


def record(address: str) -> dict[str, list[dict[str, Any]]]:
    """Fetch each model and one that does not exist, and return the server's answers."""
    found = {}
    for flavor in FLAVORS:
        recorder = _Recorder(MlflowServer(address))
        reference = read_reference(f"mlflow:models:/fraud-{flavor}@champion")
        fetched = fetch(recorder, reference, BYTES_MOST)
        source = source_of(fetched.data, fetched.path, ImportOptions())
        assert isinstance(source, ModelSource)
        assert source.imported.library == fetched.library
        print(f"{flavor}: {fetched.path}, {len(fetched.data)} bytes, {fetched.origin}")
        found[str(reference)] = recorder.answers
    for other in ("fraud-lightgbm@rival", "fraud-lightgbm/9", "nothing@champion"):
        recorder = _Recorder(MlflowServer(address))
        try:
            fetch(recorder, read_reference(f"mlflow:models:/{other}"), BYTES_MOST)
        except Exception as error:  # noqa: BLE001 it is what is shown
            print(f"{other}: {error}")
        found[f"models:/{other}"] = recorder.answers
    missing = MlflowServer(address).get(f"{FILES}/0/models/m-0/artifacts/MLmodel", {}, 1_000)
    print(f"a file that is not there: {missing!r}")
    return found


def main() -> None:
    """Start a server, register, fetch, and write the file."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(  # noqa: S603 our own command
            [
                sys.executable, "-m", "mlflow", "server",
                "--host", "127.0.0.1", "--port", str(port),
                "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                "--artifacts-destination", f"{folder}/files",
            ]
        )  # fmt: skip
        try:
            until = time.monotonic() + _START_SECONDS
            while True:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=60).close()  # noqa: S310 ours
                    break
                except OSError:
                    if time.monotonic() > until or server.poll() is not None:
                        raise
                    time.sleep(_LOOK_SECONDS)
            _register(address)
            Path(sys.argv[1]).write_text(json.dumps(record(address), indent=1) + "\n")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
