"""What a batch job writes: decisions as one Parquet or Avro file, rejects as JSON lines.

Each file grows part by part and can be cut back to where a part ended, so a resumed job repeats
nothing. A Parquet file gets its footer, without which nobody takes it for one, at the very end.
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_scorer.apps.parquet_footer import cut_footer, join_footers
from stream_scorer.codec.encode import Choice, DecisionEncoder
from stream_scorer.codec.schemas import reader_schema
from stream_scorer.core.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.features import ENGINE
from stream_scorer.core.windows import NEVER
from stream_scorer.errors import SettingsError

ENDINGS = (".parquet", ".avro")
_TIME = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())
_SYNC_BYTES = 16
_BLOCK_ROWS = 4_000
_LEVEL = 1


@dataclass(frozen=True, slots=True)
class Decided:
    """Decisions and where their transactions stand.

    Attributes:
        decisions: n decisions; an event's offset is its row in its file, from 0.
        file: int32[n], number of the file.
    """

    decisions: DecisionBatch
    file: NDArray[np.int32]


class Writer(Protocol):
    """Writes decisions to one file, part by part."""

    def resume(self, length: int) -> None:
        """Begin behind what is kept: ``length`` bytes of the file, 0 for none."""
        ...

    def write(self, decided: Decided) -> None:
        """Add decisions to the part."""
        ...

    def end(self) -> tuple[int, bytes]:
        """End the part; return the file's length, and what ``finish`` needs of the part."""
        ...

    def finish(self, parts: Sequence[tuple[int, bytes]]) -> None:
        """End the file.

        Args:
            parts: Of each part where it begins, and what ``end`` returned for it.
        """
        ...

    def close(self) -> None:
        """Let the file go, whatever was written to it."""
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
    return [entry["name"] for entry in json.loads(reader_schema("decision.v1"))["fields"]]


def refuse_feature_names(names: Sequence[str]) -> None:
    """Refuse features that cannot be columns beside the decision's.

    Raises:
        SettingsError: One is called as a field of the decision, or as Avro calls nothing.
    """
    taken = set(decision_fields())
    for name in names:
        if name in taken or not (name.isidentifier() and name.isascii()):
            raise SettingsError(
                f"--features: the feature {name!r} cannot be a column of the output",
                "leave --features out: the field `features` holds its values too",
            )


class ParquetDecisions:
    """Decisions as a Parquet file with the decision schema's columns.

    Args:
        path: The file; it need not exist.
        form: What rows share.
    """

    def __init__(self, path: Path, form: Form) -> None:
        self._form = form
        self._path = path
        path.touch()
        self._file = path.open("r+b")
        self._writer: pq.ParquetWriter | None = None
        self.schema = pa.schema(
            [
                pa.field(name, kind, nullable=name == "terminal_watermark")
                for name, kind in (
                    ("transaction_id", pa.string()), ("customer_id", pa.string()),
                    ("terminal_id", pa.string()), ("event_time", _TIME), ("decided_at", _TIME),
                    ("score", pa.float64()), ("decision", _WORD),
                    ("reasons", pa.list_(pa.string())), ("flags", pa.list_(pa.string())),
                    ("model", _WORD), ("model_version", _WORD), ("arm", _WORD),
                    ("plan_revision", pa.int64()), ("propensity", pa.float64()),
                    ("engine", pa.int32()), ("features", pa.binary()),
                    ("terminal_watermark", _TIME), ("source_topic", _WORD),
                    ("source_partition", pa.int32()), ("source_offset", pa.int64()),
                )
            ]
            + [pa.field(name, pa.float64(), nullable=False) for name in form.features]
        )  # fmt: skip

    def _opened(self) -> pq.ParquetWriter:
        plain = {"transaction_id", "score", "features", *self._form.features}
        return pq.ParquetWriter(
            self._file, self.schema, compression="zstd", compression_level=_LEVEL,
            # Values that hardly repeat would only fill a dictionary for nothing.
            use_dictionary=[name for name in self.schema.names if name not in plain],
            write_statistics=["event_time", "score", "source_offset"],
            # Without it the words are read back as words, not as dictionaries.
            store_schema=False,
        )  # fmt: skip

    def resume(self, length: int) -> None:
        """Begin behind what is kept."""
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, decided: Decided) -> None:
        """Add decisions as a row group."""
        if len(decided.decisions):
            self._writer = self._writer or self._opened()
            self._writer.write_table(pa.Table.from_batches([self._columns(decided)]))

    def end(self) -> tuple[int, bytes]:
        """End the part."""
        # A part without rows has a footer, too: the file of no parts would have no schema.
        (self._writer or self._opened()).close()
        self._writer = None
        self._file.flush()
        footer = cut_footer(self._file)
        return self._file.tell(), footer

    def finish(self, parts: Sequence[tuple[int, bytes]]) -> None:
        """Write the footer of all parts."""
        self._file.seek(0, io.SEEK_END)
        self._file.write(join_footers(parts))
        self._file.flush()

    def close(self) -> None:
        """Let the file go."""
        with suppress(OSError):  # what the disk does not take is in no ledger
            if self._writer is not None:
                self._writer.close()
        with suppress(OSError):  # as above
            self._file.close()

    def _columns(self, decided: Decided) -> pa.RecordBatch:
        decisions, form = decided.decisions, self._form
        events, rows = decisions.events, len(decisions)
        time = pa.array(events.int64("event_time")).cast(_TIME)
        columns = [
            *(events.records.column(name) for name in self.schema.names[:3]),
            time,
            _same(form.decided_at, _TIME, rows),
            pa.array(decisions.score),
            _words(decisions.outcome, [outcome.name for outcome in Outcome]),
            _lists(decisions.reasons, rows),
            _lists(_flags(decisions.flags), rows),
            _words(np.zeros(rows, np.int32), [decisions.model]),
            _words(np.zeros(rows, np.int32), [decisions.version]),
            _words(np.zeros(rows, np.int32), [decisions.arm]),
            _same(decisions.plan_revision, pa.int64(), rows),
            _same(decisions.propensity, pa.float64(), rows),
            _same(ENGINE, pa.int32(), rows),
            _bytes(decisions.features),
            _watermarks(decisions),
            _words(decided.file, form.names),
            pa.array(events.partition),
            pa.array(events.offset),
            *(
                pa.array(np.ascontiguousarray(decisions.features[:, at]))
                for at in range(len(form.features))
            ),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def _watermarks(decisions: DecisionBatch) -> pa.Array:
    times = decisions.terminal_watermark
    if times is None:
        return pa.nulls(len(decisions), _TIME)
    return pa.array(times, mask=times == NEVER).cast(_TIME)


def _same(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def _words(index: NDArray[Any], words: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), pa.array(words))


def _lists(values: Mapping[int, Sequence[str]], rows: int) -> pa.Array:
    """Return lists of words, empty but for the rows that are given."""
    counts = np.zeros(rows, np.int32)
    words: list[str] = []
    for row in sorted(values):
        counts[row] = len(values[row])
        words += values[row]
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(words, pa.string()))


def _flags(flags: NDArray[np.uint8]) -> dict[int, list[str]]:
    return {
        row: [str(flag.name).lower() for flag in Flag if flag.value & int(flags[row])]
        for row in np.flatnonzero(flags).tolist()
    }


def _bytes(features: NDArray[np.float64]) -> pa.Array:
    """Return each row's values as little-endian float64."""
    rows, width = features.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(8 * width)
    data = np.ascontiguousarray(features, "<f8")
    return pa.Array.from_buffers(
        pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


class AvroDecisions:
    """Decisions as an Avro container file of the decision schema.

    Args:
        path: The file; it need not exist.
        form: What rows share.
    """

    def __init__(self, path: Path, form: Form) -> None:
        schema = json.loads(reader_schema("decision.v1"))
        schema["fields"] += [
            {"name": name, "type": "double", "doc": "A feature of the model."}
            for name in form.features
        ]
        text = json.dumps(schema)
        self._form = form
        self._schema = schema
        # The same job gives the same bytes, so the marker is no random one.
        self._sync = hashlib.sha256(
            json.dumps([text, list(form.names), form.decided_at]).encode()
        ).digest()[:_SYNC_BYTES]
        self._encoder = DecisionEncoder(None, text, "", ENGINE)
        path.touch()
        self._file = path.open("r+b")

    def resume(self, length: int) -> None:
        """Begin behind what is kept."""
        self._file.truncate(length)
        self._file.seek(length)
        if not length:
            header = io.BytesIO()
            fastavro.writer(header, self._schema, [], codec="deflate", sync_marker=self._sync)
            self._file.write(header.getvalue())

    def write(self, decided: Decided) -> None:
        """Add decisions as blocks."""
        decisions = decided.decisions
        if not len(decisions):
            return
        features = {
            name: np.ascontiguousarray(decisions.features[:, at])
            for at, name in enumerate(self._form.features)
        }
        encoded = self._encoder.encode(
            decisions, self._form.decided_at,
            {"source_topic": Choice(decided.file, self._form.names), **features},
        )  # fmt: skip
        for first in range(0, len(encoded), _BLOCK_ROWS):
            last = min(first + _BLOCK_ROWS, len(encoded))
            bounds = encoded.offsets[[first, last]]
            packed = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
            data = packed.compress(encoded.data[bounds[0] : bounds[1]].tobytes()) + packed.flush()
            self._file.write(_long(last - first) + _long(len(data)) + data + self._sync)

    def end(self) -> tuple[int, bytes]:
        """End the part."""
        self._file.flush()
        return self._file.tell(), b""

    def finish(self, parts: Sequence[tuple[int, bytes]]) -> None:
        """Do nothing: the file is whole after every block."""

    def close(self) -> None:
        """Let the file go."""
        with suppress(OSError):  # what the disk does not take is in no ledger
            self._file.close()


def _long(number: int) -> bytes:
    """Return a positive number as Avro's long."""
    number <<= 1
    out = bytearray()
    while number > 127:  # noqa: PLR2004 seven bits a byte
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def open_writer(path: Path, ending: str, form: Form) -> Writer:
    """Return the writer of a kind of file, by one of :data:`ENDINGS`."""
    return ParquetDecisions(path, form) if ending == ".parquet" else AvroDecisions(path, form)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not decided.

    Attributes:
        place: Number of its file, and its own number there, both from 0.
        reason: A reject reason of the stream.
        detail: What is wrong.
        record: The row as it was read.
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
        """Begin behind ``length`` bytes."""
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
            self._file.write(json.dumps(line, default=str).encode() + b"\n")

    def end(self) -> int:
        """Return the file's length, all of it handed to the system."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Let the file go."""
        with suppress(OSError):  # what the disk does not take is in no ledger
            self._file.close()
