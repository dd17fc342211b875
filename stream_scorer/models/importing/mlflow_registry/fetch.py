"""Downloads the one file of a registered model that its own library wrote."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.mlflow_registry.flavors import (
    MLMODEL,
    MLMODEL_BYTES_MOST,
    find_native_file,
)
from stream_scorer.models.importing.mlflow_registry.paths import folder_of
from stream_scorer.models.importing.mlflow_registry.reference import PREFIX, ModelReference
from stream_scorer.models.importing.mlflow_registry.registered import RegisteredOrigin, resolve
from stream_scorer.models.importing.mlflow_registry.server import Server

_FILES: Final = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """A model file that an MLflow server sent.

    Attributes:
        data: The file.
        path: Its path in the folder of the model.
        library: The library that wrote it, as ``MLmodel`` states.
        origin: Where the version comes from.
    """

    data: bytes
    path: str
    library: str
    origin: RegisteredOrigin


def fetch(server: Server, reference: ModelReference, bytes_most: int) -> FetchedModel:
    """Return the model file of a registered version.

    Only ``MLmodel`` and that file are downloaded. Nothing in them is run.

    Args:
        server: The server.
        reference: The version.
        bytes_most: Maximum bytes of the model file.

    Raises:
        SettingsError: There is no such model, version or alias.
        ModelError: Its flavor is not supported, its files are not at the server, a file is too
            large or is missing, or an answer is malformed.
        StreamScorerError: As :meth:`Server.get`.
    """
    version = resolve(server, reference)
    shown = f"{PREFIX}{reference}"
    folder = folder_of(version.folder, server, shown)
    mlmodel = _file(server, f"{folder}/{MLMODEL}", MLMODEL_BYTES_MOST, shown)
    native = find_native_file(mlmodel, shown)
    data = _file(server, f"{folder}/{native.path}", bytes_most, shown)
    return FetchedModel(data, native.path, native.library, version.origin)


def _file(server: Server, path: str, most: int, shown: str) -> bytes:
    data = server.get(f"{_FILES}/{quote(path)}", {}, most)
    if data is None:
        raise ModelError(f"model {shown}: its file {path} is not at the server", "log it again")
    return data
