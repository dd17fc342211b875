"""Files of a remote store, cached by their sha256 in a folder for this user alone.

A file is stored after its hash was compared, and returned only if the hash is still right. So a
copy always has the requested content, even if others write to the folder. Any file may be deleted
at any time.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from stream_scorer.errors import SettingsError

_FOREIGN_EYES = stat.S_IRWXG | stat.S_IRWXO


class FileCache:
    """A folder of files by hash.

    Args:
        directory: Created with mode 0700 if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def prepare(self) -> None:
        """Create the folder if it does not exist, and check who may access it.

        Raises:
            SettingsError: It cannot be created, belongs to another user, or others may access it.
        """
        what = f"setting models.cache: {self._directory}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._directory.stat()
        except OSError as error:
            raise SettingsError(
                f"{what}: {error.strerror}", "name a folder of this user"
            ) from error
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & _FOREIGN_EYES:
            raise SettingsError(
                f"{what}: is not this user's alone", "chmod 700 it, or name another folder"
            )

    def get(self, digest: str, most: int) -> bytes | None:
        """Return a file with this hash and at most ``most`` bytes; None if there is none."""
        try:
            with (self._directory / digest).open("rb") as file:
                data = file.read(most + 1)
        except OSError:
            return None
        if len(data) > most:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def put(self, digest: str, data: bytes) -> None:
        """Store a file if its hash is right; a full disk only costs another download."""
        if hashlib.sha256(data).hexdigest() != digest:
            return
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(prefix=".coming-", dir=self._directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).replace(self._directory / digest)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
