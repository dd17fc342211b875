"""Where bundles live: ``NAME/VERSION/`` in a folder, or behind a URL (see ``remote.py``)."""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream_scorer.core.events.plan import PARTS
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import MANIFEST
from stream_scorer.models.bundles.folder import Folder, LocalFolder
from stream_scorer.models.bundles.plan_signature import BYTES_MOST, SUFFIX

PLAN = "plan.toml"
PLAN_BYTES_MOST = 1024 * 1024
_REFERENCE = re.compile(r"([a-z][a-z0-9_-]{0,63})(?::([0-9]+\.[0-9]+\.[0-9]+))?")
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Stored:
    """One bundle in the store."""

    name: str
    version: str

    @property
    def label(self) -> str:
        """The bundle's name in messages."""
        return f"{self.name}:{self.version}"

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """What bundles are sorted by: name, then version as numbers."""
        return self.name, tuple(int(part) for part in self.version.split("."))


class BundleStore(Protocol):
    """Bundles by name and version."""

    @property
    def shown(self) -> str:
        """Where it is, for messages; without credentials."""
        ...

    def bundles(self) -> list[Stored]:
        """Return what is there, by name and ascending version.

        Raises:
            ModelError: The store does not exist.
            UnavailableError: It does not answer.
        """
        ...

    def folder(self, stored: Stored) -> Folder:
        """Return where a bundle's files are; nothing is read yet."""
        ...

    def plan(self, name: str) -> str:
        """Return the text of ``plan.toml`` beside a model's versions.

        Raises:
            PlanMissingError: It is not there.
            SettingsError: It cannot be read.
            UnavailableError: The store does not answer.
        """
        ...

    def plan_parts(self, name: str) -> dict[str, str]:
        """Return the texts of the plan's further files by name; those that are not there are not.

        Raises:
            SettingsError: One is no text.
            UnavailableError: The store does not answer.
        """
        ...

    def plan_signature(self, name: str) -> bytes | None:
        """Return the signature file next to ``plan.toml``; None where there is none.

        Raises:
            UnavailableError: The store does not answer.
        """
        ...


class PlanMissingError(SettingsError):
    """There is no plan file at a path; other than a file that cannot be read."""


class FolderStore:
    """A store in a folder of this machine.

    Args:
        directory: Holds ``NAME/VERSION/``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.directory)

    def bundles(self) -> list[Stored]:
        """Return what is there, by name and ascending version."""
        if not self.directory.is_dir():
            raise ModelError(f"model store {self.shown}: no such directory", "set models.directory")
        return stored_under(
            (manifest.parent.parent.name, manifest.parent.name)
            for manifest in self.directory.glob(f"*/*/{MANIFEST}")
        )

    def folder(self, stored: Stored) -> LocalFolder:
        """Return where a bundle's files are."""
        return LocalFolder(self.directory / stored.name / stored.version, stored.label)

    def plan(self, name: str) -> str:
        """Return the text of ``plan.toml`` beside a model's versions."""
        return read_plan_text(self.directory / name / PLAN, stored=True)

    def plan_parts(self, name: str) -> dict[str, str]:
        """Return the texts of the plan's further files by name."""
        return read_plan_parts(self.directory / name)

    def plan_signature(self, name: str) -> bytes | None:
        """Return the signature file next to ``plan.toml``."""
        return read_signature(self.directory / name / PLAN)


def read_plan_text(path: Path, *, stored: bool = False) -> str:
    """Return the text of one file of a plan.

    Args:
        path: Of the file.
        stored: Whether it is in a folder, where others may write: it must be a regular file. A
            pipe that a user names as ``--plan <(...)`` is read.

    Raises:
        PlanMissingError: It is not there.
        SettingsError: It cannot be read, is larger than 1 MiB, or is no text.
    """
    try:
        return small_text(path, stored=stored)
    except OSError as error:
        # A link to nothing is a file that cannot be read.
        kind = SettingsError if os.path.lexists(path) else PlanMissingError
        raise kind(f"plan {path}: {error.strerror}", "name a file: --plan") from error
    except ValueError as error:
        raise SettingsError(f"plan {path}: {error}", "correct the file") from error


def small_text(path: Path, *, stored: bool = False) -> str:
    """Return the text of a file that users write by hand, with Unix line ends.

    Args:
        path: Of the file.
        stored: Whether it must be a regular file; see :func:`read_plan_text`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than 1 MiB, or is no text.
    """
    data = _stored_bytes(path, PLAN_BYTES_MOST + 1) if stored else _bytes(path)
    if len(data) > PLAN_BYTES_MOST:
        raise ValueError("is larger than 1 MiB")
    return data.decode().replace("\r\n", "\n")


def read_plan_parts(folder: Path) -> dict[str, str]:
    """Return the texts of the further files of a plan that is a folder, by name.

    Raises:
        SettingsError: One cannot be read, or is no text.
    """
    return {
        name: read_plan_text(folder / name, stored=True)
        for name in PARTS
        if os.path.lexists(folder / name)
    }


def read_signature(plan: Path) -> bytes | None:
    """Return the signature file next to a plan file; None where there is none."""
    try:
        return _stored_bytes(plan.with_name(plan.name + SUFFIX), BYTES_MOST)
    except OSError:
        return None


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PLAN_BYTES_MOST + 1)


def _stored_bytes(path: Path, most: int) -> bytes:
    """Return the first bytes of a regular file; a pipe without a writer would hold the process up.

    Raises:
        OSError: It cannot be read, or is something else.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        return opened.read(most)


def stored_under(places: Iterable[tuple[str, str]]) -> list[Stored]:
    """Return those of (folder, folder in it) that are named as bundles are, in order."""
    found = [Stored(name, version) for name, version in places if _VERSION.fullmatch(version)]
    return sorted(found, key=lambda stored: stored.order)


def find(store: BundleStore, reference: str) -> Folder:
    """Return where a bundle lies.

    Args:
        store: Of bundles.
        reference: ``NAME:VERSION``, or ``NAME`` for the highest version.

    Raises:
        ModelError: Not a reference, or no such bundle.
        UnavailableError: The store does not answer.
    """
    return store.folder(choose(store, reference))


def finder(store: BundleStore) -> Callable[[str], Folder]:
    """List the bundles of a store once, and return what finds one of them; see :func:`find`.

    Args:
        store: Of bundles.

    Raises:
        ModelError: The store does not exist.
        UnavailableError: The store does not answer.
    """
    stored = store.bundles()
    return lambda reference: store.folder(_chosen(*_parsed(reference), stored, store.shown))


def choose(store: BundleStore, reference: str) -> Stored:
    """Return which bundle a reference means; see :func:`find`."""
    name, version = _parsed(reference)
    return _chosen(name, version, store.bundles(), store.shown)


def _parsed(reference: str) -> tuple[str, str | None]:
    """Return name and version of a reference."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ModelError(f"model {reference!r}: not a reference", "write NAME or NAME:1.2.3")
    return match[1], match[2]


def _chosen(name: str, version: str | None, stored: Sequence[Stored], place: str) -> Stored:
    versions = [bundle for bundle in stored if bundle.name == name]
    chosen = [bundle for bundle in versions if version in (None, bundle.version)]
    if not chosen:
        known = ", ".join(bundle.label for bundle in versions or stored) or "none"
        reference = name if version is None else f"{name}:{version}"
        raise ModelError(f"model {reference}: not in {place}", f"there are: {known}")
    return chosen[-1]
