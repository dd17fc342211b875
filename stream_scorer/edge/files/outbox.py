"""The device's outbox: the rows that are not known to be published, in an SQLite file.

It follows from the log: rows that are missing are added again at a start, so a commit that a power
cut has taken back does no harm. In return it has the rows that a torn log has lost. A row is
encrypted, and bound to the device and its number.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from stream_scorer.closing import Closing
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.files.cipher import Cipher
from stream_scorer.edge.files.events import DecidedEvent
from stream_scorer.errors import EdgeError, UnavailableError
from stream_scorer.sqlite_errors import sqlite_errors

_BOUND: Final = b"stream-scorer edge outbox 1"
_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS rows (sequence INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS deleted (one INTEGER PRIMARY KEY, sequence INTEGER, chain BLOB)",
)
_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",
    "auto_vacuum = FULL",  # a file that is drained gives its room to the log; before the journal
    "journal_mode = WAL",
    "synchronous = FULL",
)
_RESERVE: Final = ".reserve"
_RESERVE_BYTES: Final = 256 * 1024
"""Freed when the disk is full, so that published rows can still be deleted."""


class OutboxFullError(Exception):
    """The disk has no room for more rows of the outbox."""


class Outbox(Closing):
    """The open outbox; thread-safe.

    Args:
        path: The file; it is created if it does not exist.
        cipher: The device's.
        device: The device.

    Attributes:
        deleted: Up to which row, included, rows were deleted, and the chain after it.
        newest: Number of the newest row that is or was in it.

    Raises:
        EdgeError: A row cannot be decrypted.
        StateError: The file is damaged, or another process has it.
        UnavailableError: It cannot be opened or written.
    """

    def __init__(self, path: Path, cipher: Cipher, device: str) -> None:
        self._path = path
        self._cipher = cipher
        self._bound = _BOUND + device.encode() + b"\0"
        self._lock = threading.RLock()
        self._reserve = path.with_name(path.name + _RESERVE)
        with self._errors():
            self._base = sqlite3.connect(
                path, timeout=1.0, isolation_level=None, check_same_thread=False
            )
        try:
            self._open()
        except BaseException:
            self._base.close()
            raise

    def _open(self) -> None:
        with self._errors():
            path = self._path
            path.chmod(0o600)
            for name in _PRAGMAS:
                self._base.execute(f"PRAGMA {name}")
            self._base.execute("BEGIN EXCLUSIVE")
            for table in _TABLES:
                self._base.execute(table)
            self._base.execute("COMMIT")
            found = self._base.execute("SELECT sequence, chain FROM deleted").fetchone()
            self.deleted = EdgeProgress() if found is None else EdgeProgress(found[0], found[1])
            rows, size, last = self._base.execute(
                "SELECT count(*), coalesce(sum(length(data)), 0), max(sequence) FROM rows"
            ).fetchone()
        self._rows, self._bytes = rows, size
        self.newest = max(self.deleted.sequence, last or 0)
        self._keep_reserve()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        lost = "rows that were not uploaded and are not in the log are lost"
        with self._lock, sqlite_errors(self._path, "edge.directory", lost):
            yield

    def size(self) -> tuple[int, int]:
        """Return the number of rows, and their bytes."""
        return self._rows, self._bytes

    def add(self, events: Sequence[tuple[int, bytes]]) -> None:
        """Add packed events by their numbers; those that are or were there are left out.

        Raises:
            OutboxFullError: The disk is full; nothing was added.
            UnavailableError: They cannot be written; nothing was added.
        """
        with self._lock:
            self._add(events)

    def _add(self, events: Sequence[tuple[int, bytes]]) -> None:
        news = [
            (number, self._cipher.seal(data, self._bound + b"%d" % number))
            for number, data in events
            if number > self.newest
        ]
        if not news:
            return
        with self._writing():
            self._base.executemany("INSERT INTO rows VALUES (?, ?)", news)
        self.newest = news[-1][0]
        self._rows += len(news)
        self._bytes += sum(len(data) for _, data in news)

    def first(self, most: int, after: int = 0) -> list[DecidedEvent]:
        """Return the first rows whose numbers are higher than ``after``, in order.

        Raises:
            EdgeError: A row was changed, or is encrypted with another key.
        """
        with self._errors():
            rows = self._base.execute(
                "SELECT sequence, data FROM rows WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, most),
            ).fetchall()
        found = []
        for sequence, data in rows:
            plain = self._cipher.opened(data, self._bound + b"%d" % sequence)
            if plain is None:
                raise EdgeError(
                    f"{self._path}: row {sequence} was changed, or is encrypted with another key",
                    "name its edge.state_key_file",
                )
            found.append(DecidedEvent.unpacked(plain))
        return found

    def delete_through(self, progress: EdgeProgress) -> None:
        """Delete the rows up to a published one, included.

        Raises:
            OutboxFullError: The disk is full; nothing was deleted.
            UnavailableError: The file cannot be written; nothing was deleted.
        """
        with self._lock:
            self._delete_through(progress)

    def _delete_through(self, progress: EdgeProgress) -> None:
        if progress.sequence <= self.deleted.sequence:
            return
        with self._errors():
            rows, size = self._base.execute(
                "SELECT count(*), coalesce(sum(length(data)), 0) FROM rows WHERE sequence <= ?",
                (progress.sequence,),
            ).fetchone()
        try:
            self._delete(progress)
        except OutboxFullError:
            self._reserve.unlink(missing_ok=True)
            self._delete(progress)
        self.deleted = progress
        self.newest = max(self.newest, progress.sequence)
        self._rows -= rows
        self._bytes -= size
        self._keep_reserve()

    def _delete(self, progress: EdgeProgress) -> None:
        with self._writing():
            self._base.execute("DELETE FROM rows WHERE sequence <= ?", (progress.sequence,))
            told = (progress.sequence, progress.chain)
            self._base.execute("INSERT OR REPLACE INTO deleted VALUES (1, ?, ?)", told)
        with suppress(UnavailableError), self._errors():  # only the room comes later
            self._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make one transaction of what is done in the block."""
        with self._errors():
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield
                self._base.execute("COMMIT")
            except BaseException as error:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                    raise OutboxFullError(str(error)) from error
                raise

    def _keep_reserve(self) -> None:
        """Keep some room of the disk, if there is as much."""
        try:
            if not self._reserve.exists():
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with os.fdopen(os.open(self._reserve, flags, 0o600), "wb") as file:
                    file.write(bytes(_RESERVE_BYTES))
        except OSError:
            with suppress(OSError):
                self._reserve.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; wait for who uses it.

        SQLite frees the connection, and a thread that reads from it then would end the process.
        """
        with self._lock:
            self._base.close()
