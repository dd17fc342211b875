"""The files of an audit log: the current one, and the earlier ones in order.

``audit.log`` is the current file. When it is full it is renamed to ``audit.log.N``, where N is the
number of its last line in twelve digits. The next file's first line is chained to it.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_MODE = 0o640


def files_of(path: Path) -> list[Path]:
    """Return the existing files of a log, oldest first."""
    older = re.compile(re.escape(path.name) + r"\.[0-9]{12}")
    found = [each for each in path.parent.glob(f"{path.name}.*") if older.fullmatch(each.name)]
    return [*sorted(found), *([path] if path.exists() else [])]


def full_name(path: Path, last: int) -> Path:
    """Return the name of a full file.

    Args:
        path: The current file.
        last: Number of its last line.
    """
    return path.with_name(f"{path.name}.{last:012}")


@contextmanager
def locked(path: Path, *, alone: bool) -> Iterator[None]:
    """Lock a log for writing or reading; waits while another process has the lock.

    The lock is a separate file, because the log's own files are renamed.

    Args:
        path: The current file.
        alone: Whether the lock excludes readers. A reader that finds no lock file, and may not make
            one, continues without.

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
