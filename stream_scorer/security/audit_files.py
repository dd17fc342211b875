"""The files of an audit log: the one that is written, and those before it, in order.

``audit.log`` is written. When it is full it becomes ``audit.log.N``, N being the number of its last
line, in twelve digits; the next file's first line is chained to it.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_MODE = 0o640


def files_of(path: Path) -> list[Path]:
    """Return the files of a log that are there, oldest first."""
    older = re.compile(re.escape(path.name) + r"\.[0-9]{12}")
    found = [each for each in path.parent.glob(f"{path.name}.*") if older.fullmatch(each.name)]
    return [*sorted(found), *([path] if path.exists() else [])]


def full_name(path: Path, last: int) -> Path:
    """Return what a full file is called.

    Args:
        path: Of the file that is written.
        last: Number of its last line.
    """
    return path.with_name(f"{path.name}.{last:012}")


@contextmanager
def locked(path: Path, *, alone: bool) -> Iterator[None]:
    """Hold a log while it is written or read; waits for who holds it.

    The lock is a file of its own, as the log's own files are renamed.

    Args:
        path: Of the file that is written.
        alone: Whether nobody may read meanwhile. A reader that finds no lock, and may make none,
            goes without.

    Raises:
        OSError: The lock cannot be made.
    """
    name = path.with_name(path.name + ".lock")
    flags = os.O_RDWR | os.O_CREAT if alone else os.O_RDONLY
    try:
        file = os.open(name, flags | os.O_CLOEXEC, _LOCK_MODE)
    except OSError:
        if alone:
            raise
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)


def sync_folder(path: Path) -> None:
    """Make names in a file's folder outlast a power cut."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
