"""The audit log: who did what and when, in lines that are chained by their hashes.

A line is written under an exclusive lock and is on disk when ``record`` returns. An incomplete line
left by a crash is never removed: the next line contains its length in bytes and its sha256.
"""

import hashlib
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.durable_files import sync_folder
from stream_scorer.errors import AuditError, UnavailableError
from stream_scorer.security.audit_files import files_of, full_name, locked
from stream_scorer.security.audit_lines import (
    BEGINNING,
    BYTES_MOST,
    TORN,
    AuditLine,
    BadLineError,
    Deed,
    read,
    write,
)

_MODE = 0o640
_TAIL_BYTES = 4 * BYTES_MOST


@dataclass(frozen=True, slots=True)
class _End:
    """Where a log ends.

    Attributes:
        number: Of its last line; 0 when there is none.
        hash: Of that line.
        torn: The bytes after it that do not form a line.
        unended: Whether the end of the last line, or of ``torn``, is missing.
    """

    number: int = 0
    hash: str = BEGINNING
    torn: bytes = b""
    unended: bool = False


class AuditLog:
    """Writes one host's audit log; several processes may write at the same time.

    Args:
        path: The file; its folder must exist.
        key: Signs each line.
        rotate_bytes: A larger file is full, and a new one is begun.
        now: The clock.
    """

    def __init__(
        self,
        path: Path,
        key: Ed25519PrivateKey | None = None,
        rotate_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.path = path
        self._key = key
        self._rotate_bytes = rotate_bytes
        self._now = now

    def record(
        self,
        action: str,
        subject: str,
        details: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> AuditLine:
        """Write a line; it is on the disk on return.

        Args:
            action: What was done, as ``model.sign``.
            subject: To what, as ``fraud:1.1.1``.
            details: Further values that JSON can represent.
            actor: The person who did it, as ``key:ID``; None for the user of this process.

        Raises:
            AuditError: The log's last line was changed.
            UnavailableError: The log cannot be written.
            ValueError: The line would be larger than 64 KiB, or is not unambiguous JSON.
        """
        deed = Deed(actor or user(), action, subject, details or {})
        try:
            with locked(self.path, alone=True):
                return self._append(deed)
        except OSError as error:
            raise UnavailableError(
                f"audit log {self.path}: {error.strerror or error}",
                "make room, or let this user write there: nothing is done without a record",
            ) from error

    def _append(self, deed: Deed) -> AuditLine:
        end = self._end()
        lines: list[AuditLine] = []
        if end.torn:
            gap = end.torn + b"\n" * end.unended
            told = {"bytes": len(gap), "sha256": hashlib.sha256(gap).hexdigest()}
            lines.append(self._next(Deed(user(), TORN, self.path.name, told), end))
            end = replace(end, number=lines[-1].number, hash=lines[-1].hash)
        lines.append(self._next(deed, end))
        data = b"\n" * end.unended + b"".join(line.data + b"\n" for line in lines)
        size = self.path.stat().st_size if self.path.exists() else 0
        if size and not end.torn and not end.unended and size + len(data) > self._rotate_bytes:
            self.path.rename(full_name(self.path, end.number))
            sync_folder(self.path.parent)
        self._write(data)
        return lines[-1]

    def _next(self, deed: Deed, end: _End) -> AuditLine:
        return write(deed, end.number + 1, end.hash, self._now(), self._key)

    def _write(self, data: bytes) -> None:
        fresh = not self.path.exists()
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            size = os.fstat(file).st_size
            try:
                left = memoryview(data)
                while left:
                    left = left[os.write(file, left) :]
                os.fsync(file)
            except OSError:
                # The write was not acknowledged, and must not look like the result of a crash.
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        if fresh:
            sync_folder(self.path.parent)

    def _end(self) -> _End:
        """Return where the log ends: in its newest file that contains a line."""
        now = _End()
        for path in reversed(files_of(self.path)):
            end = _end_of(path)
            if path == self.path:
                now = end
            if end.number:
                return replace(now, number=end.number, hash=end.hash)
        return now


def _end_of(path: Path) -> _End:
    """Return a file's last line and the bytes after it.

    Raises:
        AuditError: Its last line is complete but was changed, or there is none within reach.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL_BYTES, 0))
        data = file.read()
    pieces = [piece + b"\n" for piece in data.split(b"\n")]
    pieces[-1:] = [pieces[-1][:-1]] if pieces[-1] != b"\n" else []
    if size > len(data):
        # The first piece may be the end of a line.
        pieces = pieces[1:]
    torn, unended = b"", bool(data) and not data.endswith(b"\n")
    for piece in reversed(pieces):
        try:
            line = read(piece.removesuffix(b"\n"))
        except BadLineError as error:
            if not error.torn:
                raise _damaged(path, str(error)) from None
            torn = piece + torn
        else:
            return _End(line.number, line.hash, torn, unended)
    if size > len(data):
        raise _damaged(path, f"is none of the last {len(data)} bytes")
    return _End(torn=torn, unended=unended)


def _damaged(path: Path, why: str) -> AuditError:
    return AuditError(
        f"audit log {path}: its last line {why}",
        "keep the files for a report, see what is wrong with `stream-scorer audit verify`, and "
        "begin another: audit.path",
    )


def user() -> str:
    """Return this process's user as an actor, ``user:NAME``; from the system, not a variable."""
    number = os.getuid()
    try:
        return f"user:{pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"user:{number}"
