"""Reads Parquet, CSV, JSON lines and Avro container files as pieces of raw columns.

A row that cannot be read is a fault of its piece if the rows after it can be read: a line that is
not JSON, a CSV row with too many or too few values.
"""

import codecs
import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream_scorer.tables.avro import avro_names, avro_pieces
from stream_scorer.tables.columns import Column, as_read, texts_of_csv
from stream_scorer.tables.pieces import PIECE_ROWS, DamagedError, Piece, line_pieces

_CSV_BLOCK_BYTES = 4 << 20
_HEADER_ROWS = 1
RAGGED_ROWS = 100_000
"""Maximum number of ragged CSV rows in succession or in one block; of more, the file is damaged."""
RAGGED_CHARACTERS = 16 << 20
"""Maximum number of characters of such rows, together."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a kind of file is read.

    Attributes:
        names: Returns a file's columns; None if each row has its own.
        pieces: Yields a file's rows: (stream, columns to read, first row that is needed, bytes of
            the file). A piece may begin before that row.
    """

    names: Callable[[Any], list[str] | None]
    pieces: Callable[[Any, list[str], int, int], Iterator[Piece]]


def _parquet_names(stream: BinaryIO) -> list[str]:
    return list(pq.read_schema(stream).names)


def _parquet(stream: BinaryIO, names: list[str], first: int, size: int) -> Iterator[Piece]:
    # No pre-buffering: it would hold complete column chunks in memory.
    with pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20) as file:
        groups = file.metadata.num_row_groups
        at = group = 0
        while group < groups and at + file.metadata.row_group(group).num_rows <= first:
            at += file.metadata.row_group(group).num_rows
            group += 1
        if group == groups:
            return
        total = max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(PIECE_ROWS, range(group, groups), names, use_threads=False):
            rows = batch.num_rows
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield Piece(at, columns, rows, read=size * (at + rows) // total)
            at += rows


def _csv_names(stream: BinaryIO) -> list[str]:
    # Only the header: a text reader would read ahead.
    line = stream.readline().decode("utf-8-sig")
    names: list[str] = next(csv.reader([line]), [])
    return names


_FOREIGN = "\ufdd0"
"""Prefix of a byte that is not UTF-8, in hex. Unicode never assigns it to a character, so a text
that has it already is rejected like one with such a byte."""
_ESCAPED = re.compile(f"{_FOREIGN}(?=[89a-f][0-9a-f])")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    foreign = error.object[error.start : error.end]
    return "".join(f"{_FOREIGN}{byte:02x}" for byte in foreign), error.end


codecs.register_error("stream-scorer-escape", _escape)


class _Utf8:
    """A stream of bytes in which invalid UTF-8 is escaped, so that it costs only its row.

    Arrow refuses a complete CSV file for one text that is not UTF-8. ``check_utf8=False`` accepts
    such texts as values. But pyarrow decodes a ragged row strictly before it calls the handler of
    invalid rows, so one such row would still end the file.

    Args:
        stream: Read from its current position on.

    Attributes:
        escaped: Whether anything was escaped, or had the prefix already.
    """

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.escaped = False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("stream-scorer-escape")
        self._ready = b""
        self._ended = False
        self._stopped = False

    def stop(self) -> None:
        """Return nothing from now on."""
        self._stopped = True

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end: Arrow takes what it gets for a block."""
        if self._stopped:
            return b""
        while len(self._ready) < size and not self._ended:
            data = self._stream.read(size - len(self._ready))
            self._ended = not data
            if data.isascii() and not self._decoder.getstate()[0]:
                self._ready = self._ready + data if self._ready else data
                continue
            text = self._decoder.decode(data, final=self._ended)
            self.escaped = self.escaped or _FOREIGN in text
            self._ready += text.encode()
        taken, self._ready = self._ready[:size], self._ready[size:]
        return taken


class _Ragged:
    """Rows with too many or too few values, in order, until a piece takes them.

    Arrow returns nothing for blocks without a valid row, so the rows kept here are limited.

    Args:
        stop: Ends the file for Arrow; called when the limit is exceeded.

    Attributes:
        over: Why the limit is exceeded; empty if it is not.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.over = ""
        self._stop = stop
        self._rows: deque[tuple[int, str, str]] = deque()
        self._characters = 0

    def leave_out(self, row: pa_csv.InvalidRow) -> str:
        """Keep a row, or note that there are too many. Return what Arrow does: it skips the row."""
        if self.over:
            return "skip"
        number = row.number - 1 - _HEADER_ROWS
        self._characters += len(row.text)
        what = f"{row.actual_columns} values for {row.expected_columns} columns"
        if len(self._rows) == RAGGED_ROWS or self._characters > RAGGED_CHARACTERS:
            limit = (
                f"{RAGGED_ROWS:,} rows" if len(self._rows) == RAGGED_ROWS
                else f"{RAGGED_CHARACTERS:,} characters of rows"
            )  # fmt: skip
            self.over = (
                f"more than {limit} in succession, or within 4 MB, have too many or too few "
                f"values; row {number + 1} is the first one over the limit: {what}"
            )
            self._stop()
            return "skip"
        self._rows.append((number, what, row.text))
        return "skip"

    def __bool__(self) -> bool:
        return bool(self._rows)

    def up_to(self, last: int) -> Iterator[tuple[int, str, str]]:
        """Yield and remove rows: number in the file, what is wrong, text.

        Args:
            last: Number of the last row; each row that is yielded adds one.
        """
        while self._rows and self._rows[0][0] <= last:
            number, what, text = self._rows.popleft()
            self._characters -= len(text)
            last += 1
            yield number, what, text


@contextmanager
def _to_its_end(reader: Any, stream: _Utf8) -> Iterator[Any]:
    """Close a reader when no thread of Arrow's reads its stream any more.

    Arrow reads ahead in threads of its own. One that was still reading when the process ended
    would end it with a signal.
    """
    with reader:
        try:
            yield reader
        finally:
            stream.stop()
            with suppress(pa.ArrowInvalid):
                for _ in reader:
                    pass


def _csv(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    # With one thread, Arrow reports the number of a ragged row: from 1, with the header, in order.
    options = pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES)
    sound = _Utf8(stream)
    ragged = _Ragged(sound.stop)
    parse = pa_csv.ParseOptions(invalid_row_handler=ragged.leave_out)
    if not names:
        return
    at = 0
    with _to_its_end(pa_csv.open_csv(sound, options, parse, texts_of_csv(names)), sound) as reader:
        for batch in reader:
            if ragged.over:
                break
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            piece = _with_ragged(at, columns, batch.num_rows, ragged)
            if sound.escaped:
                _tell_foreign(piece)
            piece.read = stream.tell()
            yield piece
            at += piece.rows
    if ragged.over:
        raise DamagedError(ragged.over)
    if ragged:
        piece = _with_ragged(at, {name: pa.nulls(0, pa.string()) for name in names}, 0, ragged)
        yield piece


def _with_ragged(first: int, columns: dict[str, pa.Array], rows: int, ragged: _Ragged) -> Piece:
    """Return a piece with the rows that Arrow left out; those after it stay in ``ragged``."""
    faults: dict[int, tuple[str, object]] = {
        number - first: (what, _shown(text)) for number, what, text in ragged.up_to(first + rows)
    }
    if faults:
        place = np.full(rows + len(faults), -1)
        place[np.setdiff1d(np.arange(len(place)), list(faults))] = np.arange(rows)
        taken = pa.array(place, mask=place < 0)
        columns = {name: column.take(taken) for name, column in columns.items()}
    return Piece(first, dict(columns), rows + len(faults), faults)


def _tell_foreign(piece: Piece) -> None:
    """Add faults for the rows that have escaped bytes, or the prefix of such."""
    for name, column in piece.columns.items():
        for row in np.flatnonzero(pc.match_substring(column, _FOREIGN).fill_null(False)):
            if int(row) in piece.faults:
                continue
            values = {each: as_read(texts, int(row)) for each, texts in piece.columns.items()}
            shown = {each: text and _shown(text) for each, text in values.items()}
            piece.faults[int(row)] = f"{name} is not UTF-8, or has U+FDD0", shown


def _shown(text: str) -> str:
    return _ESCAPED.sub(r"\\x", text)


def _json_lines(stream: BinaryIO, names: list[str], _: int, __: int) -> Iterator[Piece]:
    at = 0
    for lines in line_pieces(stream):
        faults: dict[int, tuple[str, object]] = {}
        records = [_record(line, row, faults) for row, line in enumerate(lines)]
        columns: dict[str, Column] = {
            name: [record.get(name) for record in records] for name in names
        }
        yield Piece(at, columns, len(lines), faults, stream.tell())
        at += len(lines)


def _record(line: bytes, row: int, faults: dict[int, tuple[str, object]]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        faults[row] = (f"not JSON: {error}", line.decode(errors="replace").rstrip("\n"))
        return {}
    if not isinstance(record, dict):
        faults[row] = ("not a JSON object", line.decode(errors="replace").rstrip("\n"))
        return {}
    return record


_LINES = Format(lambda _: None, _json_lines)
FORMATS = {
    ".parquet": Format(_parquet_names, _parquet), ".csv": Format(_csv_names, _csv),
    ".avro": Format(avro_names, avro_pieces),
    ".jsonl": _LINES, ".ndjson": _LINES, ".json": _LINES,
}  # fmt: skip
"""By the ending of a file's name."""
