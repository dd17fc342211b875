"""From the bytes of a skops file to a fitted model, if it consists of nothing but what we know."""

import io
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import MODEL
from stream_scorer.models.bundles.trust import Trust

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
_SCHEMA = "schema.json"
_UNPACKED_BYTES_MOST = 1024 * 1024 * 1024
_SCHEMA_BYTES_MOST = 64 * 1024 * 1024
_MEMBERS_MOST = 65_536
_OBJECTS_MOST = 500_000
"""Of a file's schema; each takes skops some kilobytes while it is read."""
_ENTRY = b"PK\x01\x02"
"""What each member's entry in the archive's directory begins with."""


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
        # Before the directory is read, which takes half a kilobyte an entry.
        if data.count(_ENTRY) > _MEMBERS_MOST:
            raise ModelError(
                f"{label}: {MODEL} holds more than {_MEMBERS_MOST} members", "train a smaller model"
            )
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{label}: {MODEL} is not a skops file; pickle and joblib files are refused",
            "save the model with `stream-scorer train`",
        ) from None
    seen: set[str] = set()
    for member in members:
        if member.filename in seen:
            raise ModelError(
                f"{label}: {MODEL} holds {member.filename!r} twice",
                "save the model with `stream-scorer train`",
            )
        seen.add(member.filename)
        plain = "/" not in member.filename and Path(member.filename).suffix == ".npy"
        if member.filename != _SCHEMA and not plain:
            raise ModelError(
                f"{label}: {MODEL} holds {member.filename!r}, which no skops model of ours does",
                "save the model with `stream-scorer train`",
            )
    if sum(member.file_size for member in members) > _UNPACKED_BYTES_MOST:
        raise ModelError(f"{label}: {MODEL} unpacks to over 1 GiB", "train a smaller model")
    _guarded(label, lambda: _refuse_lengths(data))
    _guarded(label, lambda: _refuse_growth(data))
    unknown = set(_guarded(label, lambda: skops.io.get_untrusted_types(data=data))) - trusted
    if unknown:
        raise ModelError(
            f"{label}: {MODEL} holds types that are not trusted: {', '.join(sorted(unknown))}",
            "after review, add them to the setting models.trusted_types",
        )
    return _guarded(label, lambda: skops.io.loads(data, trusted=sorted(trusted)))


def _refuse_lengths(data: bytes) -> None:
    """Refuse arrays whose shape is not that of their bytes: they are allocated by their shape.

    Raises:
        ValueError: Names the member.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                if member.file_size > _SCHEMA_BYTES_MOST:
                    raise ValueError(f"{member.filename} has {member.file_size} bytes")
                continue
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }.get(version)
                if read is None:
                    raise ValueError(f"{member.filename} is of version {version}")
                shape, _, kind = read(file)
                size = kind.itemsize * math.prod(shape)
                if kind.hasobject or min(shape, default=0) < 0:
                    raise ValueError(f"{member.filename} has the type {kind} and shape {shape}")
                if file.tell() + size != member.file_size:
                    raise ValueError(f"{member.filename} does not have the length of its shape")


def _refuse_growth(data: bytes) -> None:
    """Refuse a schema that names more than it holds.

    skops takes an object that has the id of an earlier one for that one, and walks through it once
    more. What it writes has all of an object wherever it is mentioned. So where all mentions of an
    id have as many objects, what is walked through is no more than the text, and nothing is part
    of itself. A member is read again for each object that names it and is not an earlier one.

    Raises:
        ValueError: Says what grows.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        bytes_of = {member.filename: member.file_size for member in archive.infolist()}
        schema = json.loads(archive.read(_SCHEMA))
    order = [schema]
    for each in order:
        below = each.values() if isinstance(each, dict) else each
        order += [other for other in below if isinstance(other, dict | list)]
    objects: dict[int, int] = {}
    mentioned: dict[Any, int] = {}
    read: dict[Any, int] = {}
    for each in reversed(order):
        below = each.values() if isinstance(each, dict) else each
        size = sum(objects[id(other)] for other in below if isinstance(other, dict | list))
        objects[id(each)] = size = size + isinstance(each, dict)
        if not isinstance(each, dict):
            continue
        number = each.get("__id__")
        if number and mentioned.setdefault(number, size) != size:
            raise ValueError(f"the object {number} is mentioned in part")
        file = each.get("file")
        if isinstance(file, str):
            read[number or id(each), file] = bytes_of.get(file, 0)
    if objects[id(schema)] > _OBJECTS_MOST:
        raise ValueError(f"it holds more than {_OBJECTS_MOST} objects")
    if sum(read.values()) > _UNPACKED_BYTES_MOST:
        raise ValueError("its objects name over 1 GiB of arrays")


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
