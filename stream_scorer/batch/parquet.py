"""Decisions as Parquet files, one for each part: a folder of them, or merged into one file."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_scorer.batch.output import Decided, Form
from stream_scorer.batch.threads import ahead
from stream_scorer.codec.writing.encode import without_nulls
from stream_scorer.core.decision.reasons import explanation_items
from stream_scorer.core.events.batch import NO_OUTCOME, DecisionBatch, Flag, Outcome
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.durable_files import SHARED, replacing, sync_file, sync_folder

_TIME = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())
_EXPLANATION = pa.struct(
    [
        pa.field("feature", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("contribution", pa.float64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
    ]
)
_NULLABLE = frozenset({"terminal_watermark", "model_outcome", "calibrated_score"})
_LEVEL = 1
_SUCCESS = "_SUCCESS"
"""Empty file of a complete folder: the convention of Hadoop and Spark."""


class ParquetFolder:
    """Decisions as a folder of Parquet files with the decision schema's columns.

    Args:
        folder: The folder; it need not exist.
        form: What rows share.
    """

    def __init__(self, folder: Path, form: Form) -> None:
        self._form = form
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._parts = 0
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None
        self.schema = pa.schema(
            [
                pa.field(name, kind, nullable=name in _NULLABLE)
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
                    ("amount_minor", pa.int64()), ("currency", _WORD), ("channel", _WORD),
                    ("model_outcome", _WORD), ("calibrated_score", pa.float64()),
                    ("policy_revision", pa.int64()), ("explanations", pa.list_(_EXPLANATION)),
                )
            ]
            + [pa.field(name, pa.float64(), nullable=False) for name in form.features]
        )  # fmt: skip

    def _path(self, part: int) -> Path:
        return self._folder / f"part-{part:05d}.parquet"

    def _opened(self, file: BinaryIO) -> pq.ParquetWriter:
        plain = {"transaction_id", "score", "features", *self._form.features}
        return pq.ParquetWriter(
            file, self.schema, compression="zstd", compression_level=_LEVEL,
            # A dictionary of values that hardly repeat is useless.
            use_dictionary=[name for name in self.schema.names if name not in plain],
            write_statistics=["event_time", "score", "source_offset"],
            # Without it words are read as words, not as dictionaries.
            store_schema=False,
        )  # fmt: skip

    def resume(self, parts: Sequence[int]) -> None:
        """Keep the finished parts and delete everything after them; see ``PartWriter.resume``."""
        kept = [self._path(number) for number in range(len(parts))]
        for path, length in zip(kept, parts, strict=True):
            if not path.exists() or path.stat().st_size != length:
                raise ValueError(f"{path.name} is missing or does not have {length} bytes")
        for path in set(self._folder.iterdir()) - set(kept):
            path.unlink()
        self._parts = len(parts)

    def write(self, decided: Decided) -> None:
        """Add decisions as a row group."""
        if len(decided.decisions):
            table = pa.Table.from_batches([self._columns(decided)])
            self._begun().write_table(table)

    def _begun(self) -> pq.ParquetWriter:
        if self._writer is None:
            self._file = self._path(self._parts).open("wb")
            self._writer = self._opened(self._file)
        return self._writer

    def end(self) -> int:
        """End the part, sync it to disk and return its length in bytes."""
        # A part without rows also has a file: an output without any file would have no schema.
        self._begun().close()
        self._writer = None
        self._close_file()
        path = self._path(self._parts)
        sync_file(path)
        sync_folder(self._folder)
        self._parts += 1
        return path.stat().st_size

    def finish(self, told: Callable[[int, int], None]) -> None:  # noqa: ARG002 nothing to merge
        """Mark the folder as complete."""
        with replacing(self._folder / _SUCCESS, SHARED):
            pass

    def close(self) -> None:
        """Close the file and delete the unfinished part."""
        if self._writer is None:
            return
        with suppress(OSError):  # disk full: the part is lost in any case
            self._writer.close()
        with suppress(OSError):  # as above
            self._close_file()
        # It has a footer now and would look complete.
        self._path(self._parts).unlink(missing_ok=True)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _columns(self, decided: Decided) -> pa.RecordBatch:
        decisions, form = decided.decisions, self._form
        events, rows = decisions.events, len(decisions)
        time = pa.array(events.int64("event_time")).cast(_TIME)
        columns = [
            *(without_nulls(events.records.column(name)) for name in self.schema.names[:3]),
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
            _same(decisions.engine, pa.int32(), rows),
            _bytes(decisions.features),
            _watermarks(decisions),
            _words(decided.file, form.names),
            pa.array(events.partition),
            pa.array(events.offset),
            pa.array(events.int64("amount_minor")),
            events.records.column("currency").dictionary_encode(),
            events.records.column("channel").dictionary_encode(),
            _words(
                decisions.own_outcome,
                [outcome.name for outcome in Outcome],
                decisions.own_outcome == NO_OUTCOME,
            ),
            pa.nulls(rows, pa.float64()),
            _same(decisions.revision_of_policy, pa.int64(), rows),
            _explanations(decisions),
            *(
                pa.array(np.ascontiguousarray(decisions.features[:, at]))
                for at in range(len(form.features))
            ),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


class MergedParquet(ParquetFolder):
    """Decisions as one Parquet file, merged from the part files in a last pass.

    Args:
        folder: Folder of the part files; it need not exist.
        merged: The file to make of them.
        form: What rows share.
    """

    def __init__(self, folder: Path, merged: Path, form: Form) -> None:
        super().__init__(folder, form)
        self._merged = merged

    def finish(self, told: Callable[[int, int], None]) -> None:
        """Copy the row groups of all parts into one file, which appears atomically."""
        paths = [self._path(number) for number in range(self._parts)]
        if len(paths) == 1:
            # Copying bytes takes a few hundredths of the time of decoding rows.
            with paths[0].open("rb") as part, replacing(self._merged, SHARED) as file:
                shutil.copyfileobj(part, file)
            return
        total = sum(pq.read_metadata(path).num_rows for path in paths)
        merged = 0
        with (
            replacing(self._merged, SHARED) as file,
            closing(ahead(self._row_groups(paths))) as groups,
            self._opened(file) as writer,
        ):
            for group in groups:
                writer.write_table(group)
                merged += group.num_rows
                told(merged, total)

    def _row_groups(self, paths: Sequence[Path]) -> Iterator[pa.Table]:
        """Yield the row groups of files, one at a time."""
        words = [field.name for field in self.schema if field.type == _WORD]
        for path in paths:
            # No pre-buffering, so that only one row group is in memory.
            with pq.ParquetFile(path, read_dictionary=words, pre_buffer=False) as file:
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number, use_threads=False)


def _watermarks(decisions: DecisionBatch) -> pa.Array:
    times = decisions.terminal_watermark
    if times is None:
        return pa.nulls(len(decisions), _TIME)
    return pa.array(times, mask=times == NEVER).cast(_TIME)


def _same(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def _words(
    index: NDArray[Any], words: Sequence[str], null: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Return a word for each row, by its index in ``words``; null where ``null`` is true."""
    return pa.DictionaryArray.from_arrays(
        pa.array(index.astype(np.int32), mask=null), pa.array(words)
    )


def _explanations(decisions: DecisionBatch) -> pa.Array:
    if decisions.explanations is None:
        return pa.repeat(pa.scalar([], pa.list_(_EXPLANATION)), len(decisions))
    items = explanation_items(decisions.explanations, decisions.features)
    texts = [""] * len(items.feature) if items.text is None else items.text
    columns = [
        pa.array(items.names, pa.string()).take(pa.array(items.feature)),
        pa.array(items.value),
        pa.array(items.contribution),
        pa.array(texts, pa.string()),
    ]
    structs = pa.StructArray.from_arrays(columns, fields=list(_EXPLANATION))
    return pa.ListArray.from_arrays(
        pa.array(items.ends.astype(np.int32)), structs, type=pa.list_(_EXPLANATION)
    )


def _lists(values: Mapping[int, Sequence[str]], rows: int) -> pa.Array:
    """Return lists of words; empty except for the given rows."""
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
