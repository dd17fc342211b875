"""The folder of ``export --target device``: what is in it, and whether it is what was signed.

release/              one bundle and its plan, as a store of models has them
schemas/              the schemas of records, with ``registry.json``
state.sealed          optional: histories of customers, sealed to the device
terminals.bin         optional: the history of terminals
export.json           which release this is, the names of group and topics, and the SHA-256 of each
                      other file
signature.json        optional: the operator's signature of ``export.json``
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from stream_scorer.errors import EdgeError
from stream_scorer.security.canonical_json import parse
from stream_scorer.security.keys import TrustedKey
from stream_scorer.settings import Kafka

TARGET: Final = "device"
RELEASE, SCHEMAS, STATE, TERMINALS = "release", "schemas", "state.sealed", "terminals.bin"
EXPORT, SIGNATURE = "export.json", "signature.json"
KAFKA: Final = "kafka"
"""Member of ``export.json``: the names that both ways of a device's rows must have."""
_STATEMENT: Final = b"stream-scorer export signature 1\n"
_FILES_MOST: Final = 1_000
_FILE_BYTES_MOST: Final = 512 * 1024 * 1024
_AGAIN: Final = "export it again, and copy it completely"


def statement(export: bytes) -> bytes:
    """Return the bytes that a signature of an export signs."""
    return _STATEMENT + export


def upload_names(kafka: Kafka) -> dict[str, str]:
    """Return the settings by which API and device keep a device's rows from being there twice."""
    topics = kafka.topics
    return {
        "group": kafka.group, "topics.transactions": topics.transactions,
        "topics.edge_progress": topics.edge_progress,
    }  # fmt: skip


def verified_export(folder: Path, trusted: Mapping[str, TrustedKey]) -> dict[str, Any]:
    """Return ``export.json`` of a folder whose files are those that it names.

    Args:
        folder: The export.
        trusted: The operators' keys by key id; empty: a signature is not needed.

    Raises:
        EdgeError: It is not an export for a device, is not signed by one of the keys, or a file is
            missing, altered or not named.
    """
    data = _read(folder / EXPORT)
    try:
        document = parse(data)
    except ValueError as error:
        raise EdgeError(f"{folder / EXPORT}: {error}", _AGAIN) from None
    kinds = {"target": str, "device": str, "files": dict}
    whole = all(isinstance(document.get(name), kind) for name, kind in kinds.items())
    if not whole or document["target"] != TARGET:
        raise EdgeError(f"{folder}: is not an export for a device", "export it: --target device")
    if trusted:
        _verify(folder, data, trusted)
    found = dict(_hashes(folder))
    named = document["files"]
    wrong = sorted(name for name in named if found.get(name) != named[name])
    more = sorted(found.keys() - named.keys())
    if wrong or more:
        raise EdgeError(f"{folder}: {(wrong or more)[0]!a} is not what was exported", _AGAIN)
    return document


def _verify(folder: Path, export: bytes, trusted: Mapping[str, TrustedKey]) -> None:
    fix = "export it with --key of an operator in edge.trusted_keys"
    try:
        document = parse(_read(folder / SIGNATURE))
        key = trusted.get(str(document.get("key_id")))
        raw = base64.b64decode(str(document.get("signature")), validate=True)
    except (ValueError, binascii.Error):
        raise EdgeError(f"{folder / SIGNATURE}: is not a signature", fix) from None
    if key is None:
        raise EdgeError(f"{folder}: is signed by an unknown key", fix)
    try:
        key.key.verify(raw, statement(export))
    except InvalidSignature:
        raise EdgeError(f"{folder}: is not what {key.name} signed", _AGAIN) from None


def _hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of each file, but those of the export itself."""
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            inner = path.relative_to(folder).as_posix()
            if inner in {EXPORT, SIGNATURE}:
                continue
            count += 1
            if count > _FILES_MOST:
                raise EdgeError(f"{folder}: has more than {_FILES_MOST} files", _AGAIN)
            yield inner, hashlib.sha256(_read(path)).hexdigest()


def _read(path: Path) -> bytes:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise EdgeError(f"{path}: is not a regular file", _AGAIN)
        if status.st_size > _FILE_BYTES_MOST:
            raise EdgeError(f"{path}: is larger than {_FILE_BYTES_MOST} bytes", _AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise EdgeError(f"{path}: cannot be read ({error.strerror})", _AGAIN) from error
