"""From the bytes of a skops file to a fitted model, if it consists of nothing but what we know."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skops.io

from stream_scorer.errors import ModelError
from stream_scorer.models.bundle import MODEL
from stream_scorer.models.trust import Trust

TRUSTED_TYPES = frozenset(
    {
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types beyond skops's own list that models of the known kinds consist of, under any scikit-learn
that we take; skops's list follows what the installed one makes public."""

_ZIP = b"PK\x03\x04"
_MEMBERS = frozenset({".json", ".npy"})
_UNPACKED_BYTES_MOST = 1024 * 1024 * 1024


def unpack(data: bytes, bundle: str, trust: Trust) -> object:
    """Return the model inside a skops file, after looking at what the file consists of.

    Args:
        data: The file, verified.
        bundle: NAME:VERSION, for messages.
        trust: Which types it may hold beside :data:`TRUSTED_TYPES`.

    Raises:
        ModelError: No skops file, or one that holds what no model of ours does.
    """
    label = f"bundle {bundle}"
    trusted = trust.types | TRUSTED_TYPES
    try:
        if not data.startswith(_ZIP):
            raise zipfile.BadZipFile  # noqa: TRY301 one way out
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{label}: {MODEL} is no skops file; pickle and joblib files are refused",
            "save the model with `stream-scorer train`",
        ) from None
    names = [member.filename for member in members]
    for member in members:
        if names.count(member.filename) > 1:
            raise ModelError(
                f"{label}: {MODEL} holds {member.filename!r} twice",
                "save the model with `stream-scorer train`",
            )
        if Path(member.filename).suffix not in _MEMBERS or "/" in member.filename:
            raise ModelError(
                f"{label}: {MODEL} holds {member.filename!r}, which no skops model of ours does",
                "save the model with `stream-scorer train`",
            )
    if sum(member.file_size for member in members) > _UNPACKED_BYTES_MOST:
        raise ModelError(f"{label}: {MODEL} unpacks to over 1 GiB", "train a smaller model")
    unknown = set(_guarded(label, lambda: skops.io.get_untrusted_types(data=data))) - trusted
    if unknown:
        raise ModelError(
            f"{label}: {MODEL} holds types that are not trusted: {', '.join(sorted(unknown))}",
            "after review, add them to the setting models.trusted_types",
        )
    return _guarded(label, lambda: skops.io.loads(data, trusted=sorted(trusted)))


def _guarded(label: str, read: Callable[[], Any]) -> Any:
    """Turn whatever skops raises on a malformed file into one line of ours."""
    try:
        return read()
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{label}: {MODEL} cannot be loaded ({type(error).__name__}: {cause})",
            "save the model with `stream-scorer train`",
        ) from error
