"""A release: the files of one bundle and its plan, which devices take together.

A folder of a release is a store of models with one version::

    NAME/plan.toml            the plan, its parts and its signature
    NAME/VERSION/...          the bundle

``release.json`` names every file with its length and SHA-256; its own SHA-256 is the release's
digest. ``channels/CHANNEL.json`` names the release that the devices of a channel take.
"""

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from stream_scorer.edge.update.limits import FILE_BYTES_MOST, FILES_MOST
from stream_scorer.errors import SettingsError
from stream_scorer.security.canonical_json import canonical, parse

DOCUMENT: Final = "release.json"
_FORMAT: Final = 1
_SHOWN_DIGITS: Final = 16
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DEPTH: Final = 3
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LABEL: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}:[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")
CHANNEL: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """A file of a release.

    Attributes:
        length: Its bytes.
        sha256: In hex.
    """

    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """A bundle with its plan.

    Attributes:
        label: NAME:VERSION of the bundle.
        files: Its files, by path.
    """

    label: str
    files: Mapping[str, ReleaseFile]

    @property
    def digest(self) -> str:
        """SHA-256 of ``release.json``, in hex: two releases with one digest are the same."""
        return hashlib.sha256(self.to_json()).hexdigest()

    @property
    def name(self) -> str:
        """Name of its folder in a repository: NAME-VERSION-DIGEST."""
        return f"{self.label.replace(':', '-')}-{self.digest[:_SHOWN_DIGITS]}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.length for each in self.files.values())

    @property
    def bundle(self) -> PurePosixPath:
        """Path of the bundle's folder."""
        return PurePosixPath(*self.label.split(":"))

    def to_json(self) -> bytes:
        """Return the content of ``release.json``."""
        files = {path: [each.length, each.sha256] for path, each in self.files.items()}
        return canonical({"format": _FORMAT, "label": self.label, "files": files})

    @classmethod
    def from_json(cls, data: bytes) -> "Release":
        """Read ``release.json``.

        Raises:
            ValueError: It is not one, or not in its canonical form; the message says why.
        """
        document = _document(data, {"format", "label", "files"})
        label, files = document["label"], document["files"]
        if not isinstance(label, str) or _LABEL.fullmatch(label) is None:
            raise ValueError("the label is not NAME:VERSION")
        if not isinstance(files, dict) or not 0 < len(files) <= FILES_MOST:
            raise ValueError(f"has no files, or more than {FILES_MOST}")
        read = {path: _file(path, entry) for path, entry in files.items()}
        _refuse_shape(label, read)
        made = cls(label, read)
        if made.to_json() != data:
            raise ValueError("is not in its canonical form")
        return made


def read_release(folder: Path) -> Release:
    """Return the release in a folder, after reading all of its files.

    Args:
        folder: The folder.

    Raises:
        SettingsError: It is not the folder of a release; the message says why.
    """
    try:
        files = dict(sorted(_files(folder)))
        label = _label(files)
        _refuse_shape(label, files)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"release {folder}: {told}", "give the folder of one bundle and its plan"
        ) from error
    return Release(label, files)


def differences(folder: Path, release: Release) -> str:
    """Return how the files of a folder differ from a release; empty if they do not."""
    try:
        found = dict(_files(folder))
    except (OSError, ValueError) as error:
        return str(error)
    wrong = sorted(path for path, each in release.files.items() if found.get(path) != each)
    more = sorted(found.keys() - release.files.keys())
    return f"{(wrong or more)[0]} is not the release's" if wrong or more else ""


def channel_document(channel: str, release: Release) -> bytes:
    """Return the content of ``channels/CHANNEL.json``."""
    named = {"release": release.name, "digest": release.digest}
    return canonical({"format": _FORMAT, "channel": channel, **named})


def read_channel(data: bytes, channel: str) -> tuple[str, str]:
    """Return name and digest of the release that a channel names.

    Raises:
        ValueError: It is not the document of this channel; the message says why.
    """
    document = _document(data, {"format", "channel", "release", "digest"})
    name, digest = document["release"], document["digest"]
    if document["channel"] != channel:
        raise ValueError("is of another channel")
    if not isinstance(name, str) or _PART.fullmatch(name) is None:
        raise ValueError("the release's name is not a name")
    if not isinstance(digest, str) or _DIGEST.fullmatch(digest) is None:
        raise ValueError("the release's digest is not one")
    return name, digest


def _document(data: bytes, keys: set[str]) -> dict[str, Any]:
    document = parse(data)
    if set(document) != keys or document["format"] != _FORMAT:
        raise ValueError(f"is not of format {_FORMAT}")
    return document


def _file(path: str, entry: object) -> ReleaseFile:
    match entry:
        case [int(length), str(sha256)] if not isinstance(length, bool):
            fits = 0 <= length <= FILE_BYTES_MOST and _DIGEST.fullmatch(sha256)
            if fits:
                return ReleaseFile(length, sha256)
    raise ValueError(f"{path!a}: length and SHA-256 are not within limits")


def _label(files: Collection[str]) -> str:
    bundles = sorted({path.rpartition("/")[0] for path in files if path.count("/") == _DEPTH - 1})
    if len(bundles) != 1:
        raise ValueError(f"has {len(bundles)} bundles NAME/VERSION, not one")
    label = bundles[0].replace("/", ":")
    if _LABEL.fullmatch(label) is None:
        raise ValueError(f"{bundles[0]!a} is not NAME/VERSION")
    return label


def _refuse_shape(label: str, files: Mapping[str, ReleaseFile]) -> None:
    """Refuse files that are neither the bundle's nor its plan's."""
    name, version = label.split(":")
    for path in files:
        parts = path.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise ValueError(f"{path!a} is not a path of letters, digits, '.', '_' and '-'")
        of_bundle = len(parts) == _DEPTH and parts[:2] == [name, version]
        of_plan = len(parts) == _DEPTH - 1 and parts[0] == name
        if not of_bundle and not of_plan:
            raise ValueError(f"{path} belongs neither to the bundle nor to its plan")


def _files(folder: Path) -> Iterator[tuple[str, ReleaseFile]]:
    """Yield the path of each file with its length and hash.

    Raises:
        OSError: One cannot be read.
        ValueError: Something is not a regular file or a folder, or there are too many.
    """
    count = 0
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in (*folders, *names):
            path = Path(place, name)
            inner = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if name in folders and stat.S_ISDIR(mode):
                continue
            count += 1
            if not stat.S_ISREG(mode):
                raise ValueError(f"{inner!a} is not a regular file")
            if count > FILES_MOST:
                raise ValueError(f"has more than {FILES_MOST} files")
            yield inner, _hashed(path, inner)


def _hashed(path: Path, inner: str) -> ReleaseFile:
    if path.stat().st_size > FILE_BYTES_MOST:
        raise ValueError(f"{inner!a} is larger than {FILE_BYTES_MOST} bytes")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ReleaseFile(file.tell(), digest)


def _raise(error: OSError) -> None:
    raise error
