"""From the bytes of a skops file to a fitted model, if it consists of known types only."""

import io
import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import skops.io

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.scikit_learn.guard import first_line
from stream_scorer.models.importing.scikit_learn.schema import (
    ARRAY_BYTES_MOST,
    ARRAYS_MOST,
    CHARACTERS_MOST,
    SCHEMA,
    refuse_growth,
    refuse_size,
    with_full_modules,
)
from stream_scorer.models.importing.scikit_learn.unsupported import shown

TRUSTED_TYPES = frozenset(
    {
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
"""Types in models of the known kinds, in addition to skops's own list, for every supported version
of scikit-learn. skops's list contains what the installed version makes public."""

_ZIP = b"PK\x03\x04"
_MEMBERS_MOST: Final = ARRAYS_MOST + 1
_ENTRY = b"PK\x01\x02"
"""The beginning of each member's entry in the archive's directory."""
_HEADER_LONGEST: Final = 1_024
"""Maximum characters of an array's header. numpy parses it as Python; a tree's nodes take 300."""
_HEADERS_MOST: Final = 4_000_000
"""Maximum bytes of all headers; 1,000 trees take up to 832,000."""
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The others allocate a dictionary of a size that the file states."""


@dataclass(frozen=True, slots=True)
class SkopsRules:
    """What a file may contain, and what to do about one that is refused.

    The default is that of bundles of format 1 without further types.

    Attributes:
        types: The types that it may contain in addition to :data:`TRUSTED_TYPES`.
        fix: What to do about a file that is malformed.
        unknown: Returns the refusal of a file from its parsed schema and its other types; None to
            name the setting that trusts them, which only bundles of format 1 read.
    """

    types: frozenset[str] = frozenset()
    fix: str = "save the model with `stream-scorer train`"
    unknown: Callable[[Any, set[str]], ModelError] | None = None


BUNDLE: Final = SkopsRules()


def unpack(data: bytes, name: str, rules: SkopsRules = BUNDLE) -> object:
    """Return the model in a skops file, after checking what the file consists of.

    Args:
        data: The file.
        name: What the file is called in messages.
        rules: What it may contain.

    Raises:
        ModelError: It is not a skops file, or contains something that our models do not have.
    """
    _refuse_members(_members(data, name, rules), name, rules)
    data = _guarded(name, rules, lambda: _checked(data))
    trusted = rules.types | TRUSTED_TYPES
    found = _guarded(name, rules, lambda: skops.io.get_untrusted_types(data=data))
    unknown = set(found) - trusted
    if unknown and rules.unknown is None:
        raise ModelError(
            f"{name} holds types that are not trusted: {shown(unknown)}",
            "after review, add them to the setting models.trusted_types",
        )
    if unknown and rules.unknown is not None:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            raise rules.unknown(json.loads(archive.read(SCHEMA)), unknown)
    return _guarded(name, rules, lambda: skops.io.loads(data, trusted=sorted(trusted)))


def _members(data: bytes, name: str, rules: SkopsRules) -> list[zipfile.ZipInfo]:
    try:
        if not data.startswith(_ZIP):
            raise zipfile.BadZipFile  # noqa: TRY301 one handler for all faults
        # Before the directory is read, which takes half a kilobyte for each entry.
        if data.count(_ENTRY) > _MEMBERS_MOST:
            raise ModelError(
                f"{name} holds more than {_MEMBERS_MOST} members", "train a smaller model"
            )
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.infolist()
    except zipfile.BadZipFile:
        raise ModelError(
            f"{name} is not a skops file; pickle and joblib files are refused", rules.fix
        ) from None


def _refuse_members(members: list[zipfile.ZipInfo], name: str, rules: SkopsRules) -> None:
    seen: set[str] = set()
    for member in members:
        if member.filename in seen:
            raise ModelError(f"{name} holds {member.filename!r} twice", rules.fix)
        seen.add(member.filename)
        plain = "/" not in member.filename and Path(member.filename).suffix == ".npy"
        if member.filename != SCHEMA and not plain:
            raise ModelError(
                f"{name} holds {member.filename!r}, which no skops model of ours does", rules.fix
            )
        if member.compress_type not in _COMPRESSIONS:
            raise ModelError(
                f"{name} is compressed by method {member.compress_type}",
                "save the model again with compression=zipfile.ZIP_DEFLATED",
            )
    if sum(member.file_size for member in members) > ARRAY_BYTES_MOST + CHARACTERS_MOST:
        raise ModelError(f"{name} unpacks to over 576 MiB", "train a smaller model")


def _checked(data: bytes) -> bytes:
    """Return the file with the names that today's scikit-learn gives its modules.

    Raises:
        ValueError: The file takes more memory than a model may.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _refuse_lengths(archive)
        text = archive.read(SCHEMA)
        refuse_size(text)
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        refuse_growth(json.loads(text), sizes)
        full = with_full_modules(text)
        if full is text:
            return data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as renamed:
            for name in archive.namelist():
                renamed.writestr(name, full if name == SCHEMA else archive.read(name))
        return out.getvalue()


def _refuse_lengths(archive: zipfile.ZipFile) -> None:
    """Refuse arrays whose shape does not fit their bytes: memory is allocated by the shape.

    Raises:
        ValueError: The message names the member.
    """
    headers = 0
    for member in archive.infolist():
        if not member.filename.endswith(".npy"):
            if member.file_size > CHARACTERS_MOST:
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
            shape, _, kind = read(file, max_header_size=_HEADER_LONGEST)
            headers += file.tell()
            if headers > _HEADERS_MOST:
                raise ValueError("the headers of its arrays are too long")
            size = kind.itemsize * math.prod(shape)
            if kind.hasobject or min(shape, default=0) < 0:
                raise ValueError(f"{member.filename} has the type {kind} and shape {shape}")
            if file.tell() + size != member.file_size:
                raise ValueError(f"{member.filename} does not have the length of its shape")


def _guarded(name: str, rules: SkopsRules, read: Callable[[], Any]) -> Any:
    """Convert any error of skops for a malformed file to a ModelError of one line."""
    try:
        return read()
    except Exception as error:
        raise ModelError(f"{name} cannot be loaded ({first_line(error)})", rules.fix) from error
