"""A batch job's progress: a work directory next to its output, and the ledger in it.

``OUT.unfinished/`` contains the growing output, the state as of the last part, and ``ledger.json``,
which names the valid parts of both. The ledger is replaced atomically after everything that it
names is synced to disk. So a job that ends at any point continues after its last part.
"""

import fcntl
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stream_scorer.core.rings.rings import NEVER
from stream_scorer.durable_files import SHARED, replace_file
from stream_scorer.errors import SettingsError, StateError

FORMAT = 6
_LEDGER = "ledger.json"
_CHECKSUM_BYTES = 4
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Done:
    """The finished part of the input.

    Attributes:
        file: Number of the input file to continue in.
        row: Its row to continue from.
        rows: Input rows that are done.
        newest: Newest accepted event time, ms.
        watermark: The rings' watermark, ms.
        outcomes: Decisions by outcome.
        rejected: Rejected rows by reason.
        degraded: Decisions without everything that the features need.
        failed_rows: Rows for which the model failed.
        accepted: Rows that were not rejected, decided or history.
        skipped: Rows that ``[record] where`` of the plan's mapping does not choose.
        history: Accepted rows before ``--since``.
        history_rejected: Rejected rows before it; they are reported only here.
        labels: Counts of labels, by name; empty without labels.
    """

    file: int = 0
    row: int = 0
    rows: int = 0
    newest: int = int(NEVER)
    watermark: int = int(NEVER)
    outcomes: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    degraded: int = 0
    failed_rows: int = 0
    accepted: int = 0
    skipped: int = 0
    history: int = 0
    history_rejected: int = 0
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a job has done.

    Attributes:
        job: The job's identity: input, model, options. Another job's work is not continued.
        decided_at: The job's time, ms since the epoch.
        done: The finished part of the input.
        rejects_length: Bytes of the valid rejects.
        parts: Bytes of the decisions of each finished part.
        state: Name of the file with rings and terminals; empty before the first part.
        sorted_runs: Names of the sorted runs once all are written.
        complete: Whether every row is done and the output complete.
    """

    job: Mapping[str, Any]
    decided_at: int
    done: Done = Done()
    rejects_length: int = 0
    parts: tuple[int, ...] = ()
    state: str = ""
    sorted_runs: tuple[str, ...] | None = None
    complete: bool = False


class WorkDirectory:
    """The directory in which a job's output grows.

    Args:
        out: The output's final path.

    Attributes:
        path: The directory.
        decisions: The file or folder that is moved to ``out`` at the end.
        parts: Folder of the part files that are merged into ``decisions``.
        rejects: The file of rejected rows.
        runs: Folder of the sorted input.
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + ".unfinished")
        self.decisions = self.path / "decisions"
        self.parts = self.path / "parts"
        self.rejects = self.path / "rejects"
        self.runs = self.path / "runs"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the directory and lock it against other jobs.

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
        """Return the ledger; None if no part is done.

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
        try:
            runs = table.pop("sorted_runs")
            return Ledger(
                done=Done(**table.pop("done")), parts=tuple(table.pop("parts")),
                sorted_runs=None if runs is None else tuple(runs), **table,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise self._refusal(f"the ledger is damaged: {error}") from error

    def write(self, ledger: Ledger) -> None:
        """Replace the ledger; all that it names must be on disk."""
        text = json.dumps({"format": FORMAT, **asdict(ledger)})
        self.put(_LEDGER, text.encode())
        for old in self.path.glob("state-*"):
            if old.name != ledger.state:
                old.unlink()

    def write_state(self, number: int, payloads: list[bytes]) -> str:
        """Write the state as of the end of a part and return the file's name.

        Args:
            number: Of the part.
            payloads: The terminals' table, then the rings' buckets.
        """
        name = f"state-{number}"
        body = b"".join(_LENGTH.pack(len(payload)) + payload for payload in payloads)
        self.put(name, body + zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little"))
        return name

    def read_state(self, name: str) -> list[bytes]:
        """Return the payloads that ``write_state`` wrote.

        Raises:
            StateError: It is damaged.
        """
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise self.damaged(name, str(error)) from error
        body = data[:-_CHECKSUM_BYTES]
        if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != data[-_CHECKSUM_BYTES:]:
            raise self.damaged(name, "its checksum does not match")
        payloads, at = [], 0
        while at < len(body):
            (length,) = _LENGTH.unpack_from(body, at)
            at += _LENGTH.size + length
            payloads.append(body[at - length : at])
        return payloads

    def damaged(self, name: str, what: str) -> StateError:
        """Build the error for an unusable file of the directory."""
        return self._refusal(f"{name} is damaged: {what}")

    def put(self, name: str, data: bytes) -> None:
        """Write a file atomically and sync it to disk."""
        replace_file(self.path / name, data, SHARED)

    def _refusal(self, what: str) -> StateError:
        return StateError(f"{self.path}: {what}", "delete the directory to start again")

    def remove(self) -> None:
        """Remove the directory with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
