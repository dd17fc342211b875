"""The JSON documents of an MLflow server, judged field by field.

A server, and everyone who may write to it, can put any text into any field. So each text that is
kept has a maximum length and no control characters, and a document has a maximum size before it is
parsed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.mlflow_registry.server import Server
from stream_scorer.security.canonical_json import parse
from stream_scorer.terminal_text import printable

DOCUMENT_BYTES_MOST: Final = 16 * 1024 * 1024
"""Maximum bytes of a JSON document; a run has up to a megabyte for each of its data sets."""
TEXT_LONGEST: Final = 200
"""Maximum characters of a text that is kept."""


def read_document(
    server: Server, endpoint: str, parameters: Mapping[str, str]
) -> dict[str, Any] | None:
    """Return a JSON object of the server; None if the server does not have what is asked for.

    Raises:
        ModelError: It is too large, or is not such an object.
        StreamScorerError: As :meth:`Server.get`.
    """
    data = server.get(endpoint, parameters, DOCUMENT_BYTES_MOST)
    if data is None:
        return None
    try:
        return parse(data)
    except ValueError as error:
        raise malformed(server, f"{endpoint}: {shortened(str(error))}") from None


def table_in(document: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return a table inside a document; empty if it is not there or is not a table."""
    found: Any = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def tables_in(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the tables in a list of a document; what is not a table is left out."""
    found = document.get(key)
    each = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return [table for table in each if isinstance(table, dict)]


def text_in(document: Mapping[str, Any], key: str) -> str:
    """Return a text of a document, safe for terminals and cut; empty if it is not there."""
    found = document.get(key)
    return shortened(found) if isinstance(found, str) else ""


def shortened(text: str) -> str:
    r"""Return a text without control characters, and with at most :data:`TEXT_LONGEST` characters.

    >>> shortened("paid \x1b[2J")
    'paid \\x1b[2J'
    """
    safe = printable(text[:TEXT_LONGEST])
    if len(text) <= TEXT_LONGEST and len(safe) <= TEXT_LONGEST:
        return safe
    return safe[: TEXT_LONGEST - 3] + "..."


def malformed(server: Server, what: str) -> ModelError:
    """Return the error for an answer that is not one of MLflow's."""
    return ModelError(
        f"MLflow server {server.shown}: sent a malformed answer: {what}",
        "is MLFLOW_TRACKING_URI an MLflow server?",
    )
