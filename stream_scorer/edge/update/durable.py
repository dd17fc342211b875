"""Files that survive a power cut: synced before they get their name, and the name after."""

import os
from pathlib import Path

from stream_scorer.security.audit_files import sync_folder

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that there is the old one or the new one, complete, at any time.

    Args:
        path: The file.
        data: All of its bytes.
        mode: Its permissions.

    Raises:
        OSError: It cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path)


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
    sync_folder(link)


def rename(old: Path, new: Path) -> None:
    """Rename a folder whose content is synced.

    Raises:
        OSError: It cannot be renamed.
    """
    old.rename(new)
    sync_folder(new)
    if old.parent != new.parent:
        sync_folder(old)


def sync_tree(folder: Path) -> None:
    """Sync all files and folders below a folder, and its own entries.

    Raises:
        OSError: One of them cannot be read.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if not path.is_symlink():
                _sync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        _sync(Path(place), _FOLDER)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    finally:
        os.close(number)
