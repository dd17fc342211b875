"""The folder of a bundle, and how its files are read: completely, bounded, never through a link."""

import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from stream_scorer.errors import ModelError

_MIB = 1024 * 1024


class Folder(Protocol):
    """The files of one bundle."""

    @property
    def shown(self) -> str:
        """Where it is, for messages; without credentials."""
        ...

    @property
    def expected(self) -> str | None:
        """``NAME:VERSION`` of the bundle that the store keeps here; None if that is not known."""
        ...

    def names(self) -> frozenset[str]:
        """Return the names of everything in the folder.

        Raises:
            ModelError: It is not a folder, or cannot be read.
            UnavailableError: The store does not answer.
        """
        ...

    def read(self, name: str, most: int, digest: str | None = None) -> bytes:
        """Return one file's bytes.

        Args:
            name: The file's name in the folder.
            most: Maximum bytes; a larger file is refused.
            digest: The expected sha256. A cached copy with this hash may be returned; the caller
                still has to compare it.

        Raises:
            ModelError: The file is missing, not a regular file, or too large.
            UnavailableError: The store does not answer.
        """
        ...


class LocalFolder:
    """A folder on this machine.

    Args:
        path: ``NAME/VERSION``; it must not be a link itself.
        expected: As for :class:`Folder`.
    """

    def __init__(self, path: Path, expected: str | None = None) -> None:
        self.path = path
        self._expected = expected

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def expected(self) -> str | None:
        """As for :class:`Folder`."""
        return self._expected

    def names(self) -> frozenset[str]:
        """Return the names of everything in the folder, including links and folders."""
        folder = self._opened()
        try:
            return frozenset(os.listdir(folder))  # noqa: PTH208 of an open descriptor, not a path
        finally:
            os.close(folder)

    def read(self, name: str, most: int, digest: str | None = None) -> bytes:
        """Return the bytes of a regular file."""
        del digest  # there is no copy
        folder = self._opened(name)
        try:
            # Other kinds of files must not block the process, as a pipe without a writer would.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(name, flags, dir_fd=folder)
        except OSError as error:
            raise self._unreadable(name, error) from error
        finally:
            os.close(folder)
        status = os.fstat(file)
        # Python opens no descriptor of a folder as a file.
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise refused_kind(self.shown, name)
        with os.fdopen(file, "rb") as opened:
            if status.st_size > most:
                raise refused_size(self.shown, name, most)
            try:
                data = opened.read(most + 1)
            except OSError as error:
                raise self._unreadable(name, error) from error
        if len(data) > most:
            raise refused_size(self.shown, name, most)
        return data

    def _opened(self, name: str = "") -> int:
        """Return a descriptor of the folder, so that it cannot be replaced while it is read."""
        try:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if self.path.is_symlink():
                raise ModelError(
                    f"bundle {self.shown}: is a link", "copy the folder itself"
                ) from None
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: OSError) -> ModelError:
        what = f"bundle {self.shown}:{' ' + name if name else ''}"
        if error.errno == errno.ELOOP:
            return ModelError(f"{what} is a link, not a regular file", "copy the file itself")
        return ModelError(
            f"{what} cannot be read ({error.strerror})",
            "name a folder NAME/VERSION that `stream-scorer train` wrote and this user may read",
        )


def refused_kind(shown: str, name: str) -> ModelError:
    """Return the error for a folder, a pipe or a device in place of a file."""
    return ModelError(f"bundle {shown}: {name} is not a regular file", "copy the file itself")


def refused_size(shown: str, name: str, most: int) -> ModelError:
    """Return the error for a file of more than ``most`` bytes."""
    size = f"{most // _MIB} MiB" if most >= _MIB else f"{most // 1024} KiB"
    return ModelError(f"bundle {shown}: {name} is larger than {size}", "train a smaller one")
