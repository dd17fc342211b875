"""The file of the API's clients: private, bounded, replaced in one step, followed as it changes.

A command that changes it holds an exclusive lock on ``FILE.lock``, because the file itself is
replaced.
"""

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stream_scorer.durable_files import replace_file
from stream_scorer.errors import SettingsError, UnavailableError
from stream_scorer.security.clients import (
    ApiClient,
    ClientTable,
    clients_document,
    read_clients,
)

FILE_BYTES_MOST: Final = 8 * 1024 * 1024
_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

Replace = Callable[[Callable[[], None]], None]
Stamp = tuple[int, int, int]
"""Of a file: inode, time of its last change in nanoseconds, also of its rights, and size."""


def load_clients(path: Path) -> tuple[ClientTable, Stamp]:
    """Read the file.

    Args:
        path: The file, or a symbolic link to it, as secrets are mounted.

    Returns:
        The clients, and the stamp of what was read.

    Raises:
        SettingsError: It is not there, not a private file of this user or root, too large, or not
            of the form of a clients file.
    """
    what = f"clients file {path}"
    try:
        # Not blocked by a FIFO in its place.
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(number, "rb") as file:
            found = os.fstat(number)
            _refuse_foreign(found, path, what)
            data = file.read(FILE_BYTES_MOST + 1)
    except OSError as error:
        raise SettingsError(
            f"{what}: {error.strerror or error}", "make one: stream-scorer clients add"
        ) from error
    if len(data) > FILE_BYTES_MOST:
        raise SettingsError(f"{what}: is larger than 8 MiB", "remove clients")
    return read_clients(data, what), _stamp(found)


def _refuse_foreign(found: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{what}: is not a regular file", "name a file")
    if found.st_uid not in {0, os.geteuid()}:
        raise SettingsError(f"{what}: belongs to another user", "change its owner: chown")
    if stat.S_IMODE(found.st_mode) & _OTHERS:
        raise SettingsError(
            f"{what}: others than its owner may access it", f"take their rights: chmod 600 {path}"
        )


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_ino, found.st_ctime_ns, found.st_size


class ClientsFollower:
    """The clients of a file that may change.

    A changed file that is refused has no effect: the clients stay as they were. The caller of
    :meth:`refresh` reports that.

    Args:
        path: The file.

    Raises:
        SettingsError: As :func:`load_clients`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.table, self._seen = load_clients(path)

    def refresh(self) -> bool:
        """Read the file again if it has changed since it was last read.

        Returns:
            Whether there are other clients now.

        Raises:
            SettingsError: As :func:`load_clients`; each time, until the file is valid again.
        """
        try:
            unchanged = _stamp(self._path.stat()) == self._seen
        except OSError:
            unchanged = False
        if unchanged:
            return False
        self.table, self._seen = load_clients(self._path)
        return True


@contextmanager
def changing(path: Path) -> Iterator[tuple[dict[str, ApiClient], Replace]]:
    """Change the file; no other command can change it meanwhile.

    Args:
        path: The file; it need not exist, but its folder must.

    Yields:
        The clients by name, to be changed, and a function that replaces the file by them. It calls
        its argument when the new file is known to be valid, before it writes it.

    Raises:
        SettingsError: The file is refused, or is a symbolic link.
        UnavailableError: It cannot be locked or written.
    """
    what = f"clients file {path}"
    if path.is_symlink():
        raise SettingsError(f"{what}: is a symbolic link", "name the file that it leads to")
    try:
        lock = os.open(
            path.with_name(path.name + ".lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            _MODE,
        )
    except OSError as error:
        raise UnavailableError(
            f"{what}: {error.strerror}", "make its folder, and let this user write there"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clients = load_clients(path)[0].clients if path.exists() else {}
        yield clients, lambda record: _replace(path, clients, what, record)
    finally:
        os.close(lock)


def _replace(
    path: Path, clients: Mapping[str, ApiClient], what: str, record: Callable[[], None]
) -> None:
    text = json.dumps(clients_document(clients), indent=1) + "\n"
    data = text.encode("ascii")
    # What a gateway would refuse must not be written.
    read_clients(data, what)
    if len(data) > FILE_BYTES_MOST:
        raise SettingsError(f"{what}: would be larger than 8 MiB", "remove clients")
    record()
    try:
        replace_file(path, data, _MODE)
    except OSError as error:
        raise UnavailableError(
            f"{what}: {error.strerror or error}", "make room, or let this user write there"
        ) from error
