"""Errors of the SQLite files in which processes keep their state."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_scorer.errors import StateError, UnavailableError


@contextmanager
def sqlite_errors(path: Path | None, setting: str, lost: str) -> Iterator[None]:
    """Convert SQLite's errors to ours.

    Args:
        path: The file; None: it is in memory.
        setting: Which names it.
        lost: What follows if a damaged file is removed.

    Raises:
        StateError: The file is damaged, or another process has it.
        UnavailableError: It cannot be opened or written.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StateError(
                f"{path}: another process has the file",
                f"give each instance its own file: {setting}",
            ) from error
        raise UnavailableError(
            f"{path}: {error}", "check the folder, the right to write, and the disk"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StateError(f"{path}: {error}", f"remove the file: {lost}") from error
