"""Files that survive a power cut: synced before they get their name, and the name after."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

PRIVATE: Final = 0o600
"""Permissions of a file for its owner alone."""
SHARED: Final = 0o666
"""Permissions of a file for all whom the process's mask does not exclude."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that does not exist yet, and sync it; its name is not synced.

    Args:
        path: The file.
        data: All of its bytes.
        mode: Its permissions, without those of the process's mask.

    Raises:
        OSError: It exists, or cannot be written.
    """
    with _written(path, mode) as file:
        file.write(data)


@contextmanager
def _written(path: Path, mode: int) -> Iterator[BinaryIO]:
    with os.fdopen(os.open(path, _NEW, mode), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of another one when the block succeeds.

    At any time there is the old file or the new one, complete. Only one process at a time may do it
    with a file.

    Args:
        path: The file that is replaced, or does not exist yet.
        mode: Permissions of the new one, without those of the process's mask.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    # Left by a process that was killed.
    new.unlink(missing_ok=True)
    with _written(new, mode) as file:
        yield file
    new.replace(path)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Write a file so that there is the old one or the new one, complete, at any time.

    Args:
        path: The file.
        data: All of its bytes.
        mode: Its permissions, without those of the process's mask.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path, mode) as file:
        file.write(data)


def replace_link(link: Path, target: str) -> None:
    """Point a symbolic link to a target, in one step.

    Args:
        link: The link, which may not exist yet.
        target: The text of the link.

    Raises:
        OSError: It cannot be written.
    """
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
    sync_folder(link.parent)


def rename(old: Path, new: Path) -> None:
    """Rename a folder whose content is synced.

    Raises:
        OSError: It cannot be renamed.
    """
    old.rename(new)
    sync_folder(new.parent)
    if old.parent != new.parent:
        sync_folder(old.parent)


def sync_tree(folder: Path) -> None:
    """Sync all files and folders below a folder, and its own entries.

    Raises:
        OSError: One of them cannot be read.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                sync_file(path)
        sync_folder(Path(place))


def sync_file(path: Path) -> None:
    """Sync the content of a file; its name is not synced.

    Raises:
        OSError: It cannot be read, or is a symbolic link.
    """
    _sync(path, _FILE)


def sync_folder(folder: Path) -> None:
    """Sync the entries of a folder, so that the names in it survive a power cut.

    Raises:
        OSError: It cannot be read.
    """
    _sync(folder, _FOLDER)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)
