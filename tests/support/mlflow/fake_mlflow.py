"""An MLflow server in memory, and the answers of one with a single registered model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stream_scorer.errors import ModelError

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"

Answer = Callable[[str, Mapping[str, str]], bytes | None]


@dataclass(slots=True)
class FakeServer:
    """Answers with a function, within the limits of a real one.

    Attributes:
        answer: From endpoint and parameters to a body, or None.
        asked: The endpoints, in order.
    """

    answer: Answer
    asked: list[str] = field(default_factory=list)
    shown: str = "https://mlflow.example"
    host: str = "mlflow.example"

    def get(self, endpoint: str, parameters: Mapping[str, str], most: int) -> bytes | None:
        self.asked.append(endpoint)
        body = self.answer(endpoint, parameters)
        if body is not None and len(body) > most:
            raise ModelError(
                f"MLflow server {self.shown}: the answer is larger than {most:,} bytes"
            )
        return body


@dataclass(slots=True)
class Registry:
    """The answers of a server with version 3 of the model ``fraud``, which is its champion.

    Attributes:
        version: What the server has of the version.
        run: What it has of the run; None: the run was deleted.
        folder: The address of the version's files.
        files: The files, by their path in the folder.
    """

    version: dict[str, Any] = field(
        default_factory=lambda: {"name": "fraud", "version": "3", "run_id": "r7", "status": "READY"}
    )
    run: dict[str, Any] | None = field(
        default_factory=lambda: {
            "info": {"run_id": "r7", "user_id": "eve"},
            "data": {
                "tags": [
                    {"key": "mlflow.source.git.commit", "value": "0a1b2c3d"},
                    {"key": "mlflow.user", "value": "ada"},
                ]
            },
            "inputs": {"dataset_inputs": [{"dataset": {"name": "march", "digest": "d41d8c"}}]},
        }
    )
    folder: Any = "mlflow-artifacts:/1/models/m-5/artifacts"
    files: dict[str, bytes] = field(default_factory=dict)

    def server(self) -> FakeServer:
        return FakeServer(self)

    def __call__(self, endpoint: str, parameters: Mapping[str, str]) -> bytes | None:
        if endpoint.startswith(FILES):
            return self.files.get(endpoint.removeprefix(f"{FILES}/1/models/m-5/artifacts/"))
        found: Any = None
        match endpoint.removeprefix(API):
            case "/registered-models/alias":
                if dict(parameters) == {"name": "fraud", "alias": "champion"}:
                    found = {"model_version": self.version}
            case "/model-versions/get":
                if dict(parameters) == {"name": "fraud", "version": "3"}:
                    found = {"model_version": self.version}
            case "/model-versions/get-download-uri":
                assert dict(parameters) == {
                    "name": "fraud",
                    "version": str(self.version["version"]),
                }
                found = {"artifact_uri": self.folder}
            case "/runs/get":
                found = None if self.run is None else {"run": self.run}
            case other:
                raise AssertionError(other)
        return None if found is None else json.dumps(found).encode()


def mlmodel(flavor: str = "lightgbm", **table: str) -> bytes:
    """Return an ``MLmodel`` with one flavor, as MLflow writes it."""
    rows = "".join(f"    {key}: {value}\n" for key, value in table.items())
    return (
        "artifact_path: mlflow-artifacts:/1/models/m-5/artifacts\n"
        f"flavors:\n  {flavor}:\n{rows}"
        "  python_function:\n    loader_module: os\n    python_version: 3.11.7\n"
        "mlflow_version: 3.17.2\nmodel_size_bytes: 3000\nutc_time_created: '2026-11-27 10:00:00'\n"
    ).encode()
