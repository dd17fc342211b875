"""A device's files: opened together, checked against each other, and repaired from each other.

After a power cut, each file is a prefix of what was written. The log is what counts. Rows that only
the outbox has are appended to the log again; rows that only the log has are added to the outbox
again. A log that ends before a row that was published is refused: its rings are not the device's.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stream_scorer.closing import Closing
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.files.cipher import Cipher
from stream_scorer.edge.files.frames import LogIdentity
from stream_scorer.edge.files.log import DeviceLog, Hook
from stream_scorer.edge.files.outbox import Outbox
from stream_scorer.errors import EdgeError

LOG, OUTBOX, LOCK = "state.log", "outbox.sqlite", "lock"
TAIL_EVENTS_MOST: Final = 20_000
TAIL_BYTES_MOST: Final = 4 * 1024 * 1024
"""A log is written again as a snapshot when its tail has more."""


@dataclass(frozen=True, slots=True)
class DeviceFiles:
    """Where a device's files are, and how they are read.

    Attributes:
        folder: The folder.
        cipher: Encrypts them.
        device: The device.
        log_bytes_most: Bytes of the log above which nothing is decided.
        hook: Called with the name of each step of a write; a test ends the process in it.
    """

    folder: Path
    cipher: Cipher
    device: str
    log_bytes_most: int = 64 * 1024 * 1024
    hook: Hook = lambda _: None

    @property
    def log(self) -> Path:
        """The log."""
        return self.folder / LOG

    @property
    def outbox(self) -> Path:
        """The outbox."""
        return self.folder / OUTBOX


class FolderLock(Closing):
    """Keeps a second process out of a device's folder until closed.

    Raises:
        EdgeError: Another process has it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EdgeError(
                f"edge.directory {folder}: {error.strerror}", "name a folder of this user"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise EdgeError(
                f"edge.directory {folder}: another process has it",
                "each device has its own folder, and one process",
            ) from error

    def close(self) -> None:
        """Let another process in."""
        os.close(self._file)


class DeviceState(Closing):
    """The open files of a device, and the history that follows from them.

    Args:
        files: Where they are.
        log: The log.
        outbox: The outbox.
        history: As of the end of the log.
        identity: Of the release that decides.
        missing: Rows of the log that the outbox does not have yet, packed, by number.
    """

    def __init__(
        self, files: DeviceFiles, log: DeviceLog, outbox: Outbox, history: DeviceHistory,
        identity: LogIdentity, missing: list[tuple[int, bytes]],
    ) -> None:  # fmt: skip
        self._files = files
        self.log = log
        self.outbox = outbox
        self.history = history
        self._identity = identity
        self.missing = missing
        self._begin()

    @property
    def device(self) -> str:
        """The device."""
        return self._files.device

    def _begin(self) -> None:
        self._snapshot = self.log.size, self.history.sequence
        self._retry = 0

    @property
    def log_full(self) -> bool:
        """Whether the log has as many bytes as it may have."""
        return self.log.size >= self._files.log_bytes_most

    def add_to_outbox(self) -> None:
        """Add the rows that the outbox does not have yet.

        Raises:
            OutboxFullError: The disk is full.
        """
        if self.missing:
            self.outbox.add(self.missing)
            self.missing.clear()

    @property
    def wants_compaction(self) -> bool:
        """Whether the log should be written again as a snapshot."""
        size, sequence = self._snapshot
        tail = self.history.sequence - sequence, self.log.size - size
        due = tail[0] >= TAIL_EVENTS_MOST or tail[1] >= TAIL_BYTES_MOST
        return due and self.history.sequence >= self._retry

    def compact(self) -> None:
        """Write the log again as a snapshot, if the outbox has all of its rows.

        If the disk is full, the log stays as it is, and it is tried again later.

        Raises:
            EdgeError: Whether the new log is in its place is not known.
        """
        if self.missing or self.outbox.newest < self.history.sequence:
            return
        try:
            self.log = self.log.replaced(self._identity, self.history.snapshot())
        except OSError:
            self._retry = self.history.sequence + TAIL_EVENTS_MOST // 10
            return
        self.history.rewritten()
        self._begin()

    def close(self) -> None:
        """Close the files."""
        self.log.close()
        self.outbox.close()
