"""The output of a batch job: decisions as Parquet or Avro, rejects as JSON lines.

The output grows part by part and can be cut back to the end of any part, so a resumed job repeats
nothing. Decisions are a folder of Parquet files, one Parquet file or one Avro file.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.batch import DecisionBatch
from stream_scorer.errors import SettingsError
from stream_scorer.registry.sources import reader_schema

PARQUET, AVRO, FOLDER = ".parquet", ".avro", ""
ENDINGS = (PARQUET, AVRO, FOLDER)
"""Endings of an output's name. A name without an ending is a folder of Parquet files."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions and the places of their transactions.

    Attributes:
        decisions: n decisions; an event's offset is its row in its file, from 0.
        file: int32[n], number of the file.
    """

    decisions: DecisionBatch
    file: NDArray[np.int32]


class PartWriter(Protocol):
    """Writes decisions, part by part."""

    def resume(self, parts: Sequence[int]) -> None:
        """Keep the finished parts and delete everything after them.

        Args:
            parts: The results of ``end`` for them; none when the job starts.

        Raises:
            ValueError: A finished part is missing or has another length.
        """
        ...

    def write(self, decided: Decided) -> None:
        """Add decisions to the part."""
        ...

    def end(self) -> int:
        """End the part, sync it to disk and return its length in bytes."""
        ...

    def finish(self, told: Callable[[int, int], None]) -> None:
        """Complete the output from all parts and sync it to disk; may be repeated after a crash.

        Args:
            told: Called from time to time with (decisions merged, decisions in total).
        """
        ...

    def close(self) -> None:
        """Close the files; the unfinished part is lost."""
        ...


@dataclass(frozen=True, slots=True)
class Form:
    """What every row of the output shares.

    Attributes:
        names: The input files' names.
        features: Names of the feature columns to add; none without ``--features``.
        decided_at: ms since the epoch.
    """

    names: Sequence[str]
    features: Sequence[str]
    decided_at: int


def decision_fields() -> list[str]:
    """Return the names of the decision schema's fields."""
    return [entry["name"] for entry in json.loads(reader_schema("decision.v2"))["fields"]]


def refuse_feature_names(names: Sequence[str]) -> None:
    """Refuse features that cannot be columns next to the decision's.

    Raises:
        SettingsError: One has the name of a decision field, or a name that Avro does not allow.
    """
    taken = set(decision_fields())
    for name in names:
        if name in taken or not (name.isidentifier() and name.isascii()):
            raise SettingsError(
                f"--features: the feature {name!r} cannot be a column of the output",
                "leave --features out: the field `features` holds its values too",
            )


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not decided.

    Attributes:
        place: Number of its file, and its number in it, both from 0.
        reason: A reject reason of the stream.
        detail: What is wrong.
        record: The row as strict JSON; as it was read, if it does not fit the schema.
    """

    place: tuple[int, int]
    reason: str
    detail: str
    record: object


class Rejects:
    """Rejected rows as JSON lines.

    Args:
        path: The file; it need not exist.
        names: The input files' names.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        path.touch()
        self._file = path.open("r+b")
        self._names = names

    def resume(self, length: int) -> None:
        """Continue after ``length`` bytes."""
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, rejects: Iterable[Reject]) -> None:
        """Add rows."""
        for reject in rejects:
            file, row = reject.place
            line = {
                "source_topic": self._names[file], "source_offset": row,
                "reason": reject.reason, "detail": reject.detail, "record": reject.record,
            }  # fmt: skip
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")

    def end(self) -> int:
        """Flush the file and return its length."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # rows that the disk does not take are in no ledger
            self._file.close()
