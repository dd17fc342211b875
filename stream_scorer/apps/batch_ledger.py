"""How far a batch job is: a work directory beside its output, and the ledger in it.

``OUT.unfinished/`` holds the growing output, the rings as of the last part, and ``ledger.json``,
which names what of them counts. The ledger is replaced in one piece after everything that it names
is on the disk, so a job that ends anywhere goes on from its last part.
"""

import fcntl
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stream_scorer.core.windows import BUCKETS, NEVER, CustomerRings
from stream_scorer.errors import SettingsError, StateError

FORMAT = 1
_LEDGER = "ledger.json"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the output.

    Attributes:
        start: Where it begins in the file of decisions.
        tail: What ends the file needs of it, in hexadecimal.
    """

    start: int
    tail: str


@dataclass(slots=True)
class Ledger:
    """What a job has behind it.

    Attributes:
        job: What the job is: input, model, options. Another job's work is not taken up.
        decided_at: The job's time, ms since the epoch.
        file: Number of the input file to go on in.
        row: Its row to go on from.
        rows: Input rows that are done.
        newest: Newest accepted event time, ms.
        watermark: The rings' watermark, ms.
        length: Bytes of the decisions that count.
        rejects_length: Bytes of the rejects that count.
        parts: The parts of the output.
        outcomes: Decisions by outcome.
        rejected: Rejected rows by reason.
        failed_rows: Rows for which the model failed.
        rings: Name of the file with the rings; empty before the first part.
        sorted_runs: Names of the sorted runs once all are written.
        complete: Whether every row is done and the output whole.
    """

    job: Mapping[str, Any]
    decided_at: int
    file: int = 0
    row: int = 0
    rows: int = 0
    newest: int = int(NEVER)
    watermark: int = int(NEVER)
    length: int = 0
    rejects_length: int = 0
    parts: list[Part] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    failed_rows: int = 0
    rings: str = ""
    sorted_runs: list[str] | None = None
    complete: bool = False

    @property
    def decisions(self) -> int:
        """How many rows are decided."""
        return sum(self.outcomes.values())


class WorkDirectory:
    """The directory in which a job's output grows.

    Args:
        out: The output's final path.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + ".unfinished")
        self.decisions = self.path / "decisions"
        self.rejects = self.path / "rejects"
        self.runs = self.path / "runs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and keep other jobs out of it.

        Raises:
            SettingsError: It cannot be made, or another job is in it.
        """
        try:
            self.path.mkdir(exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SettingsError(
                f"output {self.path}: {error.strerror}", "name a place that can be written"
            ) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsError(
                    f"output {self.path}: another job is writing it", "wait for it to end"
                ) from None
            yield
        finally:
            os.close(lock)

    def read(self) -> Ledger | None:
        """Return the ledger; None where no part is done.

        Raises:
            StateError: It is damaged, or of another version.
        """
        try:
            table = json.loads((self.path / _LEDGER).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self._refusal(f"the ledger is damaged: {error}") from error
        if not isinstance(table, dict) or table.pop("format", None) != FORMAT:
            raise self._refusal("the ledger is of another version")
        parts = [Part(**part) for part in table.pop("parts")]
        return Ledger(parts=parts, **table)

    def write(self, ledger: Ledger) -> None:
        """Replace the ledger, all that it names being on the disk."""
        text = json.dumps({"format": FORMAT, **asdict(ledger)})
        self._put(_LEDGER, text.encode())
        for old in self.path.glob("rings-*"):
            if old.name != ledger.rings:
                old.unlink()

    def write_rings(self, number: int, payloads: list[bytes]) -> str:
        """Write the rings as of the end of a part and return the file's name."""
        name = f"rings-{number}"
        self._put(name, b"".join(_LENGTH.pack(len(payload)) + payload for payload in payloads))
        return name

    def read_rings(self, name: str, rings: CustomerRings) -> None:
        """Load what ``write_rings`` wrote.

        Raises:
            StateError: It is damaged.
        """
        try:
            data = (self.path / name).read_bytes()
            at = 0
            while at < len(data):
                (length,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size + length
                if at > len(data):
                    raise ValueError("it is cut off")
                rings.load(data[at - length : at])
        except (OSError, ValueError, struct.error) as error:
            raise self._refusal(f"{name} is damaged: {error}") from error

    def _put(self, name: str, data: bytes) -> None:
        path = self.path / f"{name}.unfinished"
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path.replace(self.path / name)
        sync(self.path)

    def _refusal(self, what: str) -> StateError:
        return StateError(f"{self.path}: {what}", "delete the directory to begin anew")

    def remove(self) -> None:
        """Remove the directory with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def dumped(rings: CustomerRings) -> list[bytes]:
    """Return the rings' buckets; empty ones are left out."""
    payloads = (rings.dump(bucket) for bucket in range(BUCKETS))
    return [payload for payload in payloads if payload]


def sync(path: Path) -> None:
    """Bring a file, or the entries of a directory, to the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
