"""Stores of bundles: ``NAME/VERSION/`` in a folder, or behind a URL (see ``remote``).

Plans next to the versions are read here, too. Nothing is verified or parsed.
"""

import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stream_scorer.core.events.plan import PARTS
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.bundle import MANIFEST
from stream_scorer.models.bundles.plan_signature import BYTES_MOST, SUFFIX
from stream_scorer.models.bundles.read_files import Folder, LocalFolder

PLAN = "plan.toml"
PLAN_BYTES_MOST = 1024 * 1024
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Stored:
    """The name and version of a bundle in a store."""

    name: str
    version: str

    @property
    def label(self) -> str:
        """The bundle's name in messages: NAME:VERSION."""
        return f"{self.name}:{self.version}"

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """The key by which bundles are sorted: name, then version as numbers."""
        return self.name, tuple(int(part) for part in self.version.split("."))


class BundleStore(Protocol):
    """Bundles by name and version."""

    @property
    def shown(self) -> str:
        """Where it is, for messages; without credentials."""
        ...

    def bundles(self) -> list[Stored]:
        """Return the bundles in the store, by name and ascending version.

        Raises:
            ModelError: The store does not exist.
            UnavailableError: It does not answer.
        """
        ...

    def folder(self, stored: Stored) -> Folder:
        """Return a bundle's folder; nothing is read yet."""
        ...

    def plan(self, name: str) -> str:
        """Return the text of ``plan.toml`` next to a model's versions.

        Raises:
            PlanMissingError: It does not exist.
            SettingsError: It cannot be read.
            UnavailableError: The store does not answer.
        """
        ...

    def plan_parts(self, name: str) -> dict[str, str]:
        """Return the texts of the plan's further files by name; missing files are left out.

        Raises:
            SettingsError: A file cannot be read, or is not text.
            UnavailableError: The store does not answer.
        """
        ...

    def plan_signature(self, name: str) -> bytes | None:
        """Return the signature file next to ``plan.toml``; None if there is none.

        Raises:
            UnavailableError: The store does not answer.
        """
        ...


class PlanMissingError(SettingsError):
    """There is no plan file at a path; a file that cannot be read is a plain SettingsError."""


class FolderStore:
    """A store in a folder on this machine.

    Args:
        directory: Contains ``NAME/VERSION/``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.directory)

    def bundles(self) -> list[Stored]:
        """Return the bundles in the store, by name and ascending version."""
        if not self.directory.is_dir():
            raise ModelError(f"model store {self.shown}: no such directory", "set models.directory")
        return stored_under(
            (manifest.parent.parent.name, manifest.parent.name)
            for manifest in self.directory.glob(f"*/*/{MANIFEST}")
        )

    def folder(self, stored: Stored) -> LocalFolder:
        """Return a bundle's folder."""
        return LocalFolder(self.directory / stored.name / stored.version, stored.label)

    def plan(self, name: str) -> str:
        """Return the text of ``plan.toml`` next to a model's versions."""
        return read_plan_text(self.directory / name / PLAN, stored=True)

    def plan_parts(self, name: str) -> dict[str, str]:
        """Return the texts of the plan's further files by name."""
        return read_plan_parts(self.directory / name)

    def plan_signature(self, name: str) -> bytes | None:
        """Return the signature file next to ``plan.toml``; None if there is none."""
        return read_signature(self.directory / name / PLAN)


def read_plan_text(path: Path, *, stored: bool = False) -> str:
    """Return the text of one file of a plan.

    Args:
        path: The file.
        stored: Whether it is in a folder to which others may write; it must then be a regular file.
            Otherwise it may be a pipe, as in ``--plan <(...)``.

    Raises:
        PlanMissingError: It does not exist.
        SettingsError: It cannot be read, is larger than 1 MiB, or is not text.
    """
    try:
        return small_text(path, stored=stored)
    except OSError as error:
        # A link without a target is a file that cannot be read.
        kind = SettingsError if os.path.lexists(path) else PlanMissingError
        raise kind(f"plan {path}: {error.strerror}", "name a file: --plan") from error
    except ValueError as error:
        raise SettingsError(f"plan {path}: {error}", "correct the file") from error


def small_text(path: Path, *, stored: bool = False) -> str:
    """Return the text of a file that users write by hand, with Unix line ends.

    Args:
        path: The file.
        stored: Whether it must be a regular file; see :func:`read_plan_text`.

    Raises:
        OSError: It cannot be read.
        ValueError: It is larger than 1 MiB, or is not text.
    """
    data = _stored_bytes(path, PLAN_BYTES_MOST + 1) if stored else _bytes(path)
    if len(data) > PLAN_BYTES_MOST:
        raise ValueError("is larger than 1 MiB")
    return data.decode().replace("\r\n", "\n")


def read_plan_parts(folder: Path) -> dict[str, str]:
    """Return the texts of the further files of a plan that is a folder, by name.

    Raises:
        SettingsError: A file cannot be read, or is not text.
    """
    return {
        name: read_plan_text(folder / name, stored=True)
        for name in PARTS
        if os.path.lexists(folder / name)
    }


def read_signature(plan: Path) -> bytes | None:
    """Return the signature file next to a plan file; None if it cannot be read."""
    try:
        return _stored_bytes(plan.with_name(plan.name + SUFFIX), BYTES_MOST)
    except OSError:
        return None


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PLAN_BYTES_MOST + 1)


def _stored_bytes(path: Path, most: int) -> bytes:
    """Return the first bytes of a regular file; a pipe without a writer would block the process.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file")
        return opened.read(most)


def stored_under(places: Iterable[tuple[str, str]]) -> list[Stored]:
    """Return the bundles among (folder, folder in it), by the form of the version, in order."""
    found = [Stored(name, version) for name, version in places if _VERSION.fullmatch(version)]
    return sorted(found, key=lambda stored: stored.order)
