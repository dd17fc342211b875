"""Paths of an MLflow server's files: inside a model's folder only."""

from typing import Final
from urllib.parse import urlsplit

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.mlflow_registry.documents import shortened
from stream_scorer.models.importing.mlflow_registry.server import Server

PATH_LONGEST: Final = 1_000
"""Maximum characters of a path."""
_SCHEME: Final = "mlflow-artifacts"


def inner_path(text: str) -> str | None:
    """Return a relative path that cannot leave its folder; None for any other text.

    >>> inner_path("data/model.xgb"), inner_path("data/../../secret")
    ('data/model.xgb', None)
    """
    parts = text.split("/")
    plain = len(text) <= PATH_LONGEST and text.isprintable() and not set(text) & set('\\%?#:"')
    return text if plain and all(part not in {"", ".", ".."} for part in parts) else None


def folder_of(uri: str, server: Server, shown: str) -> str:
    """Return the path of a model's folder below the server's artifact root.

    The server may name any place, such as a file of this machine or another host. Only files that
    the server itself sends are read.

    Args:
        uri: As the server names the folder, e.g. ``mlflow-artifacts:/1/models/m-7/artifacts``.
        server: The server.
        shown: The model, for messages.

    Raises:
        ModelError: The files are elsewhere, or the path is malformed.
    """
    try:
        parts = urlsplit(uri) if len(uri) <= PATH_LONGEST and uri.isprintable() else None
    except ValueError:
        parts = None
    if parts is not None and parts.scheme == _SCHEME and parts.netloc in {"", server.host}:
        path = inner_path(parts.path.strip("/"))
        if path is not None and not parts.query and not parts.fragment:
            return path
    raise ModelError(
        f"model {shown}: its files are not at the server itself: {shortened(uri)}",
        "start mlflow server with --serve-artifacts, or download the file and import it",
    )
