"""Decisions as one Parquet file that grows part by part; see ``parquet_footer``."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_scorer.batch.output import Decided, Form
from stream_scorer.batch.parquet_footer import cut_footer, join_footers
from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.features.compile import ENGINE
from stream_scorer.core.rings.rings import NEVER

_TIME = pa.timestamp("ms", "UTC")
_WORD = pa.dictionary(pa.int32(), pa.string())
_LEVEL = 1


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
        self._kept = 0
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
        self._kept = self._file.seek(length)

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
        self._kept = self._file.tell()
        return self._kept, footer

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
                # Without the footer that it wrote, by which half a file would look whole.
                self._file.truncate(self._kept)
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
