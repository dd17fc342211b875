"""Resolves a reference to a registered version, and reads what the server knows of its origin."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.importing.mlflow_registry.documents import (
    malformed,
    read_document,
    shortened,
    table_in,
    tables_in,
    text_in,
)
from stream_scorer.models.importing.mlflow_registry.reference import ModelReference
from stream_scorer.models.importing.mlflow_registry.server import Server

DATA_SETS_MOST: Final = 32
"""Maximum number of a run's data sets that are kept."""
_API: Final = "/api/2.0/mlflow"
_READY: Final = ("", "READY")
_COMMIT: Final = "mlflow.source.git.commit"
_USER: Final = "mlflow.user"


@dataclass(frozen=True, slots=True)
class RegisteredOrigin:
    """Where a registered version comes from, by what the server states; nothing of it is proven.

    Texts have no control characters, and those of the server at most 200 characters. They are empty
    if the server does not have them.

    Attributes:
        server: The server's address, without user and password.
        asked: The reference, e.g. ``models:/fraud@champion``.
        parent_version: NAME/VERSION of the registered version.
        run_id: The run that logged it.
        git_commit: The commit of the run's code.
        author: The user of the run.
        data_sets: Names and digests of the run's data sets, in the server's order.
    """

    server: str
    asked: str
    parent_version: str
    run_id: str = ""
    git_commit: str = ""
    author: str = ""
    data_sets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model.

    Attributes:
        origin: Where it comes from.
        folder: The address of its files, as the server states it; not judged yet.
    """

    origin: RegisteredOrigin
    folder: str


def resolve(server: Server, reference: ModelReference) -> ModelVersion:
    """Find the version that a reference names.

    Raises:
        SettingsError: The server has no such model, version or alias.
        ModelError: The version is not ready, or an answer of the server is malformed.
        StreamScorerError: As :meth:`Server.get`.
    """
    version = _version(server, reference)
    number = _number(server, version, reference)
    named = {"name": reference.name, "version": number}
    where = read_document(server, f"{_API}/model-versions/get-download-uri", named) or {}
    folder = where.get("artifact_uri")
    if not isinstance(folder, str):
        raise malformed(server, "a version without artifact_uri")
    return ModelVersion(_origin(server, reference, version, number), folder)


def _version(server: Server, reference: ModelReference) -> dict[str, Any]:
    """Return what the server has of the version."""
    if reference.alias is not None:
        path, chosen = f"{_API}/registered-models/alias", {"alias": reference.alias}
    else:
        path, chosen = f"{_API}/model-versions/get", {"version": reference.version or ""}
    found = read_document(server, path, {"name": reference.name, **chosen})
    if found is None:
        raise SettingsError(
            f"model mlflow:{reference}: the MLflow server {server.shown} does not have it",
            "check the name, and the version or alias",
        )
    return table_in(found, "model_version")


def _number(server: Server, version: Mapping[str, Any], reference: ModelReference) -> str:
    """Return the version's number, after comparing the answer with the reference."""
    number = version.get("version")
    if isinstance(number, int):
        number = str(number)
    wanted = reference.version is None or reference.version == number
    if version.get("name") != reference.name or not wanted or not _is_number(number):
        raise malformed(server, "another model than the one that was asked for")
    if (status := text_in(version, "status")) not in _READY:
        raise ModelError(
            f"model mlflow:{reference}: version {number} has the status {status}",
            "wait until it is READY",
        )
    return str(number)


def _is_number(number: object) -> bool:
    return isinstance(number, str) and number.isascii() and number.isdigit() and len(number) <= 10  # noqa: PLR2004 as in a reference


def _origin(
    server: Server, reference: ModelReference, version: Mapping[str, Any], number: str
) -> RegisteredOrigin:
    """Return the origin; a run that was deleted leaves its fields empty."""
    run_id = text_in(version, "run_id")
    found = read_document(server, f"{_API}/runs/get", {"run_id": run_id}) if run_id else None
    run = table_in(found or {}, "run")
    tags = {
        text_in(tag, "key"): text_in(tag, "value")
        for tag in tables_in(table_in(run, "data"), "tags")
    }
    sets = [
        table_in(each, "dataset")
        for each in tables_in(table_in(run, "inputs"), "dataset_inputs")[:DATA_SETS_MOST]
    ]
    author = tags.get(_USER) or text_in(table_in(run, "info"), "user_id")
    return RegisteredOrigin(
        server=shortened(server.shown),
        asked=str(reference),
        parent_version=f"{reference.name}/{number}",
        run_id=run_id,
        git_commit=tags.get(_COMMIT, ""),
        author=author or text_in(version, "user_id"),
        data_sets=tuple((text_in(each, "name"), text_in(each, "digest")) for each in sets),
    )
