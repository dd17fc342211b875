"""The releases of a device: ``current`` is a complete one at any time, however a process ends.

::

    DIRECTORY/current    -> releases/DIGEST   what the device decides with
    DIRECTORY/previous   -> releases/DIGEST   what it had before
    DIRECTORY/releases/DIGEST/                complete, synced, never changed
    DIRECTORY/incoming/                       what a running update has fetched so far
    DIRECTORY/denied                          the digest that this device went back from

A release gets its name in ``releases`` by one rename, after all of it is synced; ``current`` is a
link that one rename replaces.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stream_scorer.durable_files import PRIVATE, rename, replace_file, replace_link, sync_tree
from stream_scorer.edge.update.release import read_release
from stream_scorer.errors import EdgeError, SettingsError

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LINK: Final = re.compile(r"releases/([0-9a-f]{64})")
_ROOM: Final = 1024 * 1024
Step = Callable[[str], None]
"""Is called with the name of each step of a change; a test ends the process there."""


def no_step(_: str) -> None:
    """Do nothing between two steps."""


class ReleasesFolder:
    """The folder of a device's releases.

    Args:
        directory: ``edge.directory``.
        step: Is called before and after each step of a change.
    """

    def __init__(self, directory: Path, step: Step = no_step) -> None:
        self.directory = directory
        self._releases = directory / "releases"
        self._step = step

    @property
    def incoming(self) -> Path:
        """The folder into which a release is fetched."""
        return self.directory / "incoming"

    def current(self) -> Path | None:
        """Return the folder of the release that the device decides with; None if there is none."""
        return self._linked("current")

    def previous(self) -> Path | None:
        """Return the folder of the release before; None if there is none."""
        return self._linked("previous")

    def _linked(self, name: str) -> Path | None:
        try:
            found = _LINK.fullmatch(os.readlink(self.directory / name))  # noqa: PTH115 its text, as it is
        except OSError:
            return None
        folder = self._releases / found[1] if found else None
        return folder if folder is not None and folder.is_dir() else None

    def folder(self, digest: str) -> Path:
        """Return the folder of a release, which may not exist."""
        return self._releases / digest

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the releases; do not wait for one that does.

        Raises:
            EdgeError: Another process changes them.
            OSError: The folder cannot be written.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        file = os.open(self.directory / "update.lock", flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise EdgeError(
                f"{self.directory}: another process updates this device", "wait until it is done"
            ) from None
        try:
            yield
        finally:
            os.close(file)

    def make_room(self, size: int) -> Path:
        """Return an empty folder for the files of a release.

        Raises:
            EdgeError: The disk has no room for them.
            OSError: The folder cannot be written.
        """
        shutil.rmtree(self.incoming, ignore_errors=True)
        free = shutil.disk_usage(self.directory).free
        if free < size + _ROOM:
            raise EdgeError(
                f"{self.directory}: the release has {size:,} bytes, the disk has {free:,}",
                "free space",
            )
        self.incoming.mkdir(mode=0o700)
        return self.incoming

    def keep(self, digest: str) -> Path:
        """Give the fetched release its name; only a complete release has one.

        A complete release of this name stays as it is, because it may be in use. A damaged one is
        replaced.

        Raises:
            OSError: The folder cannot be written.
        """
        self._step("fetched")
        sync_tree(self.incoming)
        self._step("synced")
        self._releases.mkdir(mode=0o700, exist_ok=True)
        folder = self.folder(digest)
        if _is_complete(folder, digest):
            shutil.rmtree(self.incoming)
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        rename(self.incoming, folder)
        self._step("named")
        return folder

    def switch(self, digest: str) -> Path:
        """Make a release the current one, and the current one the previous one.

        Raises:
            OSError: The folder cannot be written.
        """
        current = self.current()
        if current is not None and current.name != digest:
            self._step("before previous")
            replace_link(self.directory / "previous", f"releases/{current.name}")
        self._step("before current")
        replace_link(self.directory / "current", f"releases/{digest}")
        self._step("switched")
        self._prune()
        self._step("pruned")
        return self.folder(digest)

    def _prune(self) -> None:
        """Remove releases that neither link names."""
        named = {path.name for path in (self.current(), self.previous()) if path}
        for folder in self._releases.iterdir():
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)

    def deny(self, digest: str) -> None:
        """Keep a release from being taken again; replaces the one that was denied before.

        Raises:
            OSError: The folder cannot be written.
        """
        replace_file(self.directory / "denied", digest.encode(), PRIVATE)

    def allow(self) -> None:
        """Let the denied release be taken again.

        Raises:
            OSError: The folder cannot be written.
        """
        (self.directory / "denied").unlink(missing_ok=True)

    def denied(self) -> str:
        """Return the digest of the denied release; empty if there is none."""
        try:
            text = (self.directory / "denied").read_text(errors="replace")
        except OSError:
            return ""
        return text if _DIGEST.fullmatch(text) else ""


def _is_complete(folder: Path, digest: str) -> bool:
    try:
        return read_release(folder).digest == digest
    except SettingsError:
        return False
