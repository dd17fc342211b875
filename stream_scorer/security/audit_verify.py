"""Verifies that an audit log is unchanged: every byte, every line, in order, up to its end."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from stream_scorer.security.audit_files import files_of, locked
from stream_scorer.security.audit_lines import (
    BEGINNING,
    BYTES_MOST,
    TORN,
    AuditLine,
    BadLineError,
    read,
    signed_by,
)

_TOLD = 20


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys whose signatures count.

    Attributes:
        keys: By key id, the key and its name in the settings.
        required: Whether every line must be signed.
    """

    keys: Mapping[str, tuple[str, Ed25519PublicKey]] = field(default_factory=dict)
    required: bool = False


@dataclass(frozen=True, slots=True)
class AuditFault:
    """A fault and its place."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.what}"


@dataclass(slots=True)
class AuditVerification:
    """The result of a verification.

    Attributes:
        files: Files that were read.
        lines: Complete lines in them.
        newest: Number of the last one; 0 when there is none.
        newest_hash: Its hash. If it is noted elsewhere, a removed end can be detected with it.
        signed: Lines with a verified signature, by the key's name.
        unknown: Lines signed with a key that the settings do not know.
        unsigned: Lines without a signature.
        torn: Places where a crash left bytes that the next line records.
        open_end: Bytes after the last line that no line records yet; the next one will.
        behind: Number of lines after the expected one; None if none was expected.
        faults: The first faults; empty if there are none.
        more: How many further faults were found.
    """

    files: int = 0
    lines: int = 0
    newest: int = 0
    newest_hash: str = BEGINNING
    signed: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    unsigned: int = 0
    torn: list[str] = field(default_factory=list)
    open_end: int = 0
    behind: int | None = None
    faults: list[AuditFault] = field(default_factory=list)
    more: int = 0

    def note(self, file: Path, line: int, what: str) -> None:
        """Note a fault."""
        if len(self.faults) < _TOLD:
            self.faults.append(AuditFault(file.name, line, what))
        else:
            self.more += 1


def verify(
    path: Path,
    signers: Signers | None = None,
    expect: str | None = None,
    after: str | None = None,
) -> AuditVerification:
    """Read a log and check each line against the one before.

    Args:
        path: The current file; earlier ones are found next to it.
        signers: The keys whose signatures count.
        expect: Hash of a line that was noted elsewhere and must exist.
        after: Hash of the last archived line, which the first one here follows; None if the log
            must begin with line 1.

    Raises:
        OSError: A file cannot be read.
    """
    with locked(path, alone=False):
        return _Reading(signers or Signers(), expect, after).through(files_of(path))


class _Reading:
    """Reads a log's files."""

    def __init__(self, signers: Signers, expect: str | None, after: str | None) -> None:
        self._signers = signers
        self._expect = expect
        self._previous = after
        self._found = AuditVerification()
        self._gap = b""
        self._begun = False
        self._skipped = 0
        self._met: int | None = None

    def through(self, files: Sequence[Path]) -> AuditVerification:
        found = self._found
        place, number = Path(), 0
        for path in files:
            found.files += 1
            place, number = path, 0
            for number, piece in enumerate(_pieces(path), 1):
                self._take(path, number, piece)
            if self._gap and path != files[-1]:
                self._fault_gap(path, number)
        if self._gap:
            self._end_gap(place, number)
        if self._expect is not None:
            if self._met is None:
                found.note(
                    place, number, f"no line has the hash {self._expect}: the log's end was cut "
                    "off, or the log is another"
                )  # fmt: skip
            else:
                found.behind = found.newest - self._met
        return found

    def _take(self, path: Path, number: int, piece: bytes) -> None:
        try:
            line = read(piece.removesuffix(b"\n"))
        except BadLineError as error:
            if error.torn:
                # The next line shows whether a crash left it.
                self._gap += piece
            else:
                self._found.note(path, number, str(error))
                self._skip(1)
            return
        if self._gap:
            self._judge_gap(path, number, line)
        self._follow(path, number, line)

    def _judge_gap(self, path: Path, number: int, line: AuditLine) -> None:
        told = line.deed.details
        digest = hashlib.sha256(self._gap).hexdigest()
        if line.deed.action == TORN and told == {"bytes": len(self._gap), "sha256": digest}:
            self._found.torn.append(f"{path.name} line {number - 1}")
        else:
            self._skip(self._gap.count(b"\n"))
            self._fault_gap(path, number - 1)
        self._gap = b""

    def _fault_gap(self, path: Path, number: int) -> None:
        self._found.note(
            path, number, f"{len(self._gap)} bytes are not a line, and no later line records them"
        )
        self._gap = b""

    def _end_gap(self, path: Path, number: int) -> None:
        """Judge bytes at the end: after a crash no line follows, and they begin like one."""
        if b"\n" in self._gap or not self._gap.startswith(b"{"):
            self._fault_gap(path, number)
        else:
            self._found.open_end = len(self._gap)

    def _skip(self, lines: int) -> None:
        """Skip damaged bytes, with which the chain and up to ``lines`` line numbers are lost."""
        self._previous = None
        self._begun = True
        self._skipped += lines

    def _follow(self, path: Path, number: int, line: AuditLine) -> None:
        found = self._found
        expected, skipped = found.newest + 1, self._skipped
        previous = self._previous
        if not self._begun:
            if previous is None:
                previous = BEGINNING
            else:
                expected = line.number
        self._begun, self._skipped = True, 0
        if expected < line.number <= expected + skipped:
            expected = line.number
        if line.number > expected:
            found.note(path, number, _missing(expected, line.number))
        elif line.number < expected:
            found.note(path, number, f"is line {line.number} where line {expected} should be")
            return
        elif previous is not None and line.previous != previous:
            found.note(path, number, f"line {line.number} does not follow the line before it")
        found.lines += 1
        found.newest, found.newest_hash, self._previous = line.number, line.hash, line.hash
        if line.hash == self._expect:
            self._met = line.number
        self._judge_signature(path, number, line)

    def _judge_signature(self, path: Path, number: int, line: AuditLine) -> None:
        found = self._found
        if not line.key_id:
            found.unsigned += 1
            if self._signers.required:
                found.note(path, number, f"line {line.number} is not signed")
            return
        known = self._signers.keys.get(line.key_id)
        if known is None:
            found.unknown += 1
            if self._signers.required:
                found.note(
                    path, number, f"line {line.number} is signed by an unknown key, {line.key_id}"
                )
            return
        name, key = known
        if signed_by(line, key):
            found.signed[name] = found.signed.get(name, 0) + 1
        else:
            found.note(
                path, number, f"line {line.number} has no valid signature by {name}, which it names"
            )


def lines_of(path: Path) -> Iterator[AuditLine]:
    """Yield the complete lines of a log, oldest first, without verification of their chain.

    Raises:
        OSError: A file cannot be read.
    """
    for file in files_of(path):
        for piece in _pieces(file):
            try:
                yield read(piece.removesuffix(b"\n"))
            except BadLineError:
                continue


def _pieces(path: Path) -> Iterator[bytes]:
    """Yield a file's lines with their ends; a line that is too long in pieces."""
    with path.open("rb") as file:
        while piece := file.readline(BYTES_MOST + 1):
            yield piece


def _missing(expected: int, number: int) -> str:
    if number - expected == 1:
        return f"line {expected} is missing before line {number}"
    return f"lines {expected} to {number - 1} are missing before line {number}"
