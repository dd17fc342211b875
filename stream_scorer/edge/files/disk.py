"""Writes to the device's disk, and what a disk refuses as our errors."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stream_scorer.errors import EdgeError

NEW: Final = ".new"
"""Ends the name of a file that is being written."""


def write_at(file: int, data: bytes, at: int) -> None:
    """Write all of the data at a place of an open file.

    Raises:
        OSError: It cannot be written.
    """
    left = memoryview(data)
    while left:
        written = os.pwrite(file, left, at)
        at += written
        left = left[written:]


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise what the disk refuses in the block as an error with the file's name.

    Raises:
        EdgeError: The file cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise EdgeError(
            f"{path}: cannot be read ({error.strerror})", "check the disk and the file's rights"
        ) from error
