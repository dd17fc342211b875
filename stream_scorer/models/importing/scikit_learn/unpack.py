"""From the bytes of a skops file to a fitted model, if it consists of known types only."""

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

TRUSTED_TYPES = frozenset(
    {
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types in models of the known kinds, in addition to skops's own list, for every supported version
of scikit-learn. skops's list contains what the installed version makes public."""

_MODULES = {"_loss": "sklearn._loss._loss"}
"""Modules by the names under which files of scikit-learn 1.6 and 1.7 have them."""

_ZIP = b"PK\x03\x04"
SCHEMA = "schema.json"
_UNPACKED_BYTES_MOST = 1024 * 1024 * 1024
_SCHEMA_BYTES_MOST = 64 * 1024 * 1024
_MEMBERS_MOST = 65_536
_OBJECTS_MOST = 500_000
"""Maximum number of objects in a file's schema; skops takes some kilobytes to read each one."""
_ENTRY = b"PK\x01\x02"
"""The beginning of each member's entry in the archive's directory."""


def unpack(data: bytes, name: str, types: frozenset[str] = frozenset()) -> object:
    """Return the model in a skops file, after checking what the file consists of.

    Args:
        data: The file.
        name: What the file is called in messages.
        types: The types that it may contain in addition to :data:`TRUSTED_TYPES`.

    Raises:
        ModelError: It is not a skops file, or contains something that our models do not have.
    """
    trusted = types | TRUSTED_TYPES
    try:
        if not data.startswith(_ZIP):
            raise zipfile.BadZipFile  # noqa: TRY301 one handler for all faults
        # Before the directory is read, which takes half a kilobyte for each entry.
        if data.count(_ENTRY) > _MEMBERS_MOST:
            raise ModelError(
                f"{name} holds more than {_MEMBERS_MOST} members", "train a smaller model"
            )
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{name} is not a skops file; pickle and joblib files are refused",
            "save the model with `stream-scorer train`",
        ) from None
    seen: set[str] = set()
    for member in members:
        if member.filename in seen:
            raise ModelError(
                f"{name} holds {member.filename!r} twice",
                "save the model with `stream-scorer train`",
            )
        seen.add(member.filename)
        plain = "/" not in member.filename and Path(member.filename).suffix == ".npy"
        if member.filename != SCHEMA and not plain:
            raise ModelError(
                f"{name} holds {member.filename!r}, which no skops model of ours does",
                "save the model with `stream-scorer train`",
            )
    if sum(member.file_size for member in members) > _UNPACKED_BYTES_MOST:
        raise ModelError(f"{name} unpacks to over 1 GiB", "train a smaller model")
    _guarded(name, lambda: _refuse_lengths(data))
    _guarded(name, lambda: _refuse_growth(data))
    data = _guarded(name, lambda: _with_full_modules(data))
    unknown = set(_guarded(name, lambda: skops.io.get_untrusted_types(data=data))) - trusted
    if unknown:
        raise ModelError(
            f"{name} holds types that are not trusted: {', '.join(sorted(unknown))}",
            "after review, add them to the setting models.trusted_types",
        )
    return _guarded(name, lambda: skops.io.loads(data, trusted=sorted(trusted)))


def _with_full_modules(data: bytes) -> bytes:
    """Return the file with the names that today's scikit-learn gives its modules."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = archive.read(SCHEMA)
        # Nearly all files have none, and a start should not parse the schema once more.
        if not any(json.dumps(name).encode() in schema for name in _MODULES):
            return data
        text = json.dumps(json.loads(schema, object_hook=_with_full_module))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as renamed:
            for name in archive.namelist():
                renamed.writestr(name, text if name == SCHEMA else archive.read(name))
        return out.getvalue()


def _with_full_module(each: dict[str, Any]) -> dict[str, Any]:
    module = each.get("__module__")
    if isinstance(module, str) and module in _MODULES:
        each["__module__"] = _MODULES[module]
    return each


def _refuse_lengths(data: bytes) -> None:
    """Refuse arrays whose shape does not fit their bytes: memory is allocated by the shape.

    Raises:
        ValueError: The message names the member.
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
    """Refuse a schema that refers to more objects or arrays than it contains.

    If an object has the id of an earlier one, skops uses the earlier one, and walks through it
    again. In files of skops every mention of an object is complete. So if all mentions of an id
    have the same number of objects, the walk is no longer than the text, and no object contains
    itself. A member is read again for each object that names it, unless the object is an earlier
    one.

    Raises:
        ValueError: The message names what is too large.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        bytes_of = {member.filename: member.file_size for member in archive.infolist()}
        schema = json.loads(archive.read(SCHEMA))
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


def _guarded(name: str, read: Callable[[], Any]) -> Any:
    """Convert any error of skops for a malformed file to a ModelError of one line."""
    try:
        return read()
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{name} cannot be loaded ({type(error).__name__}: {cause})",
            "save the model with `stream-scorer train`",
        ) from error
