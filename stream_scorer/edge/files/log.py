"""The device's log: one file, only appended to; the only truth about what the device decided.

    header      magic, lengths, device, key id, content hash of the bundle, SHA-256 of the plan,
                16 random bytes; in clear
    frames      uint32 length, little-endian; 12 bytes nonce, encrypted bytes, 16 bytes tag
                encrypted: kind (uint8), sequence number (uint64), body

A frame is bound to the header, to its number and to the tag of the frame before it. So no frame can
be changed, moved, removed from the middle, or taken from another file. What was appended together
is one frame, and it is on the disk before the next one is written. So a power cut damages the last
frame only, and the frames before it are what was acknowledged. Damage in front of an intact frame
has another cause, and the file is refused. Damage up to the end of the file that is not a part of
one frame has another cause, too: it is cut off, and kept in a file next to the log.
"""

import contextlib
import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from stream_scorer.closing import Closing
from stream_scorer.durable_files import PRIVATE, replace_file, sync_folder, write_new
from stream_scorer.edge.files.cipher import KEY_ID_BYTES, TAG_BYTES, Cipher
from stream_scorer.edge.files.damage import judged_tail
from stream_scorer.edge.files.disk import NEW, disk_errors, write_at
from stream_scorer.edge.files.frames import (
    FRAME_BYTES_LEAST,
    FRAME_BYTES_MOST,
    HEAD,
    LENGTH,
    MAGIC,
    DeviceFrame,
    FrameKind,
    LogIdentity,
)
from stream_scorer.errors import EdgeError

_NUMBER: Final = struct.Struct("<Q")
_HASH_BYTES: Final = 32
_FIXED: Final = KEY_ID_BYTES + 2 * _HASH_BYTES + 16

Hook = Callable[[str], None]


class DeviceLog(Closing):
    """An open log.

    Args:
        path: The file; it exists.
        cipher: The device's.
        device: The device.
        hook: Called with the name of each step; a test ends the process in it.

    Attributes:
        path: The file.
        identity: As of the file's header.
        size: Bytes up to the end of the last intact frame.
        damaged: Bytes after it that no power cut can have left, as :meth:`frames` found; they must
            be cut off before anything is written.

    Raises:
        EdgeError: It is not this device's log, or is encrypted with another key.
    """

    def __init__(
        self, path: Path, cipher: Cipher, device: str, hook: Hook = lambda _: None
    ) -> None:
        self.path = path
        self._cipher = cipher
        self._hook = hook
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self.identity, header = self._read_header(device)
        except BaseException:
            os.close(self._file)
            raise
        self._bound = hashlib.sha256(header).digest()
        self._number, self._tag = 0, bytes(TAG_BYTES)
        self.size = len(header)
        self._begin = self.size
        self.damaged = 0

    def _read_header(self, device: str) -> tuple[LogIdentity, bytes]:
        with disk_errors(self.path):
            head = os.pread(self._file, len(MAGIC) + 1 + 255 + _FIXED, 0)
        length = head[len(MAGIC)] if len(head) > len(MAGIC) else 0
        end = len(MAGIC) + 1 + length
        if not head.startswith(MAGIC) or len(head) < end + _FIXED:
            raise EdgeError(f"{self.path}: is not a device's log", "see docs/EDGE.md, Recovery")
        name = head[len(MAGIC) + 1 : end].decode("utf-8", "replace")
        if name != device:
            raise EdgeError(
                f"{self.path}: is the log of device {name!a}, not of {device}",
                "each device has its own edge.directory",
            )
        if head[end : end + KEY_ID_BYTES] != self._cipher.key_id:
            raise EdgeError(
                f"{self.path}: is encrypted with another key", "name its edge.state_key_file"
            )
        at = end + KEY_ID_BYTES
        plan = at + _HASH_BYTES
        identity = LogIdentity(name, head[at:plan], head[plan : plan + _HASH_BYTES])
        return identity, head[: end + _FIXED]

    def frames(self) -> Iterator[DeviceFrame]:
        """Yield the intact frames, and cut off what a power cut has left of the last one.

        Must be read to its end before anything is appended.

        Raises:
            EdgeError: The file is damaged in front of an intact frame; it is not changed.
        """
        self._number, self._tag, self.size = 0, bytes(TAG_BYTES), self._begin
        self.damaged = reached = 0
        complete = False
        while (sealed := self._frame_at(self.size)) is not None:
            plain = self._opened(sealed, self._number, self._tag)
            if plain is None:
                break
            self.size += LENGTH.size + len(sealed)
            self._number += 1
            self._tag = sealed[-TAG_BYTES:]
            frame = _frame(plain, self.path)
            reached, complete = frame.sequence, complete or frame.kind == FrameKind.READY
            yield frame
        # A log gets its name when its snapshot is complete, so no power cut tears that.
        if self._is_torn(reached) and complete:
            with disk_errors(self.path):
                os.ftruncate(self._file, self.size)
                os.fsync(self._file)

    def _is_torn(self, reached: int) -> bool:
        """Whether a power cut during the last write has left what is after the intact frames.

        Args:
            reached: Number of the last row of the intact frames.

        Raises:
            EdgeError: Another intact frame is there.
        """
        with disk_errors(self.path):
            left = os.fstat(self._file).st_size - self.size
            if not left:
                return False
            if left > FRAME_BYTES_MOST + LENGTH.size:
                raise self._refused(left, "more than one frame")
            tail = os.pread(self._file, left, self.size)
        judged = judged_tail(tail, self._number, self._opened)
        if judged.last is not None:
            last = _frame(judged.last, self.path).sequence
            rows = f", with rows {reached + 1} to at least {last}" if last > reached else ""
            raise self._refused(left, "intact data", rows)
        if not judged.torn:
            self.damaged = left
        return judged.torn

    def _refused(self, size: int, what: str, rows: str = "") -> EdgeError:
        return EdgeError(
            f"{self.path}: is damaged at byte {self.size}, in front of {what}: {size} bytes "
            f"follow{rows}",
            "see docs/EDGE.md, Recovery",
        )

    def cut_damaged(self) -> Path:
        """Cut off the damaged bytes after the last intact frame, and keep them in another file.

        Returns:
            That file.

        Raises:
            OSError: It cannot be written; this log is as it was before.
        """
        tail = os.pread(self._file, self.damaged, self.size)
        # Its name follows from its content, so a start that is repeated writes no second one.
        name = f"{self.path.name}.cut-{hashlib.sha256(tail).hexdigest()[:8]}"
        kept = self.path.with_name(name)
        replace_file(kept, tail, PRIVATE)
        os.ftruncate(self._file, self.size)
        os.fsync(self._file)
        self.damaged = 0
        return kept

    def _frame_at(self, at: int) -> bytes | None:
        """Return an encrypted frame; None if there is no complete one."""
        with disk_errors(self.path):
            head = os.pread(self._file, LENGTH.size, at)
            if len(head) < LENGTH.size:
                return None
            (length,) = LENGTH.unpack(head)
            if not FRAME_BYTES_LEAST <= length <= FRAME_BYTES_MOST:
                return None
            sealed = os.pread(self._file, length, at + LENGTH.size)
        return sealed if len(sealed) == length else None

    def _opened(self, sealed: bytes, number: int, tag: bytes) -> bytes | None:
        return self._cipher.opened(sealed, self._bound + _NUMBER.pack(number) + tag)

    def append(self, frame: DeviceFrame) -> None:
        """Append a frame; it is on the disk when this returns.

        Raises:
            OSError: It cannot be written; the file is as it was before.
        """
        data = self._sealed(frame)
        try:
            self._hook("before append")
            write_at(self._file, data, self.size)
            self._hook("appended")
            os.fdatasync(self._file)
        except OSError:
            # If this fails, too, the next start does it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.size)
            raise
        self._appended(data)
        self._hook("synced")

    def extend(self, frames: Iterable[DeviceFrame]) -> None:
        """Append frames that need not be on the disk before :meth:`sync`.

        Raises:
            OSError: One cannot be written; the file must no longer be used.
        """
        for frame in frames:
            data = self._sealed(frame)
            write_at(self._file, data, self.size)
            self._appended(data)

    def sync(self) -> None:
        """Return when all of the file is on the disk."""
        os.fsync(self._file)

    def _appended(self, data: bytes) -> None:
        self._tag = data[-TAG_BYTES:]
        self._number += 1
        self.size += len(data)

    def _sealed(self, frame: DeviceFrame) -> bytes:
        plain = HEAD.pack(frame.kind, frame.sequence) + frame.body
        sealed = self._cipher.seal(plain, self._bound + _NUMBER.pack(self._number) + self._tag)
        if len(sealed) > FRAME_BYTES_MOST:
            raise ValueError(f"a frame of {len(sealed)} bytes")
        return LENGTH.pack(len(sealed)) + sealed

    def replaced(self, identity: LogIdentity, frames: Iterable[DeviceFrame]) -> "DeviceLog":
        """Return a log in place of this one, with other content; this one is closed.

        Raises:
            EdgeError: As for :func:`create_log`.
            OSError: It cannot be written; this log stays as it is.
        """
        made = create_log(self.path, self._cipher, identity, frames, self._hook)
        self.close()
        return made

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def create_log(
    path: Path, cipher: Cipher, identity: LogIdentity, frames: Iterable[DeviceFrame],
    hook: Hook = lambda _: None,
) -> DeviceLog:  # fmt: skip
    """Write a log and return it, ready to append; it takes its place in one step.

    Args:
        path: The file; one that is there is replaced.
        cipher: The device's.
        identity: Whose it is.
        frames: Its first frames.
        hook: As for :class:`DeviceLog`.

    Raises:
        EdgeError: Whether it has taken its place is not known: the process has to end.
        OSError: It cannot be written; the file that was there is unchanged.
    """
    new = path.with_name(path.name + NEW)
    log: DeviceLog | None = None
    try:
        new.unlink(missing_ok=True)
        write_new(new, identity.header(cipher.key_id), PRIVATE)
        log = DeviceLog(new, cipher, identity.device, hook)
        log.extend(frames)
        hook("new written")
        log.sync()
        hook("new synced")
        new.rename(path)
    except BaseException:
        if log is not None:
            log.close()
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    log.path = path
    try:
        hook("renamed")
        sync_folder(path.parent)
    except OSError as error:
        log.close()
        raise EdgeError(
            f"{path}: the disk does not keep its name ({error.strerror})", "check the disk"
        ) from error
    return log


def discard_unfinished(path: Path) -> None:
    """Delete what a power cut has left of a log that was being written."""
    path.with_name(path.name + NEW).unlink(missing_ok=True)


def _frame(plain: bytes, path: Path) -> DeviceFrame:
    kind, sequence = HEAD.unpack_from(plain)
    try:
        return DeviceFrame(FrameKind(kind), sequence, plain[HEAD.size :])
    except ValueError:
        raise EdgeError(
            f"{path}: has frames of an unknown kind, {kind}", "run a newer release"
        ) from None
