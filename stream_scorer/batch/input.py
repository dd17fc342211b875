"""The input of a batch job as columns of one schema, in chunks of one size.

Beside the transaction schema's columns a row carries where it stands (``file``, ``row``) and, when
it does not fit the schema, why (``fault``) and how it reads (``raw``, JSON): a bad row is one
reject, never the end of the job, just as a malformed record is one dead letter of the stream.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.codec.reading.resolve import arrow_schema
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from stream_scorer.tables.columns import Column, as_read, fit, fits, is_text
from stream_scorer.tables.files import InputFile, columns_of, read_pieces, reading
from stream_scorer.tables.pieces import Piece

_PLACE = (
    pa.field("file", pa.int32(), nullable=False), pa.field("row", pa.int64(), nullable=False),
    pa.field("fault", pa.string()), pa.field("raw", pa.string()),
)  # fmt: skip
_IDS = frozenset({"transaction_id", "customer_id", "terminal_id"})


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the input: the number of its file and its own number there, both from 0."""

    file: int
    row: int


class BatchInput:
    """Reads files as rows of the transaction schema.

    Args:
        files: In the order in which they are read.
        plan: How long a text may be.

    Attributes:
        files: As given.
        names: Columns of the transaction schema.
        schema: Of what is yielded: those, then ``file``, ``row``, ``fault`` and ``raw``.
        read: Bytes of the input that are read, about; for a progress bar.
    """

    def __init__(self, files: Sequence[InputFile], plan: Plan) -> None:
        text = reader_schema("transaction.v1")
        definition = parse_definition(text, "transaction.v1")
        transactions = arrow_schema(definition)
        self.files = files
        self.names: list[str] = list(transactions.names)
        self.schema: pa.Schema = pa.schema([*transactions, *_PLACE])
        self.read = 0
        self._defaults: dict[str, Any] = {
            entry["name"]: entry["default"]
            for entry in definition.root["fields"]
            if "default" in entry
        }
        self._longest = plan.string_bytes_max

    def refuse_lacking(self) -> None:
        """Look at every file before the first is read.

        Raises:
            SettingsError: One cannot be read, or lacks a column; names it.
        """
        for file in self.files:
            present = columns_of(file, self.names)
            if present is not None:
                self._refuse_lacking(file, present)

    def _refuse_lacking(self, file: InputFile, present: Sequence[str]) -> None:
        for name in self.names:
            if name not in self._defaults and name not in present:
                raise SettingsError(
                    f"{file.name}: column {name!r} is missing", "it has no default; add it"
                )

    def rows(self, start: Place = Place(0, 0)) -> Iterator[pa.RecordBatch]:
        """Yield the rows from a place on, in the order of the files.

        Raises:
            SettingsError: A file is damaged, or a column is of another type; names both.
            UnavailableError: A store does not answer.
        """
        before = sum(file.size for file in self.files[: start.file])
        for number in range(start.file, len(self.files)):
            file = self.files[number]
            for piece in read_pieces(file, self.names, start.row if number == start.file else 0):
                if piece.rows:
                    yield self._fitted(number, file, piece)
                self.read = before + piece.read
            before += file.size
            self.read = before

    def _fitted(self, number: int, file: InputFile, piece: Piece) -> pa.RecordBatch:
        faults = {
            row: (f"{RejectReason.MALFORMED}: {what}", json.dumps(text))
            for row, (what, text) in piece.faults.items()
        }
        found: dict[int, str] = {}
        with reading(file):
            made = [self._column(file, piece, name, found) for name in self.names]
        for row, what in found.items():
            faults.setdefault(row, (what, _raw(piece.columns, row)))
        place = [
            pa.array(np.full(piece.rows, number, np.int32)),
            pa.array(np.arange(piece.first, piece.first + piece.rows)),
        ]
        if faults:
            told = [faults.get(row, (None, None)) for row in range(piece.rows)]
            texts = [pa.array([each[at] for each in told], pa.string()) for at in (0, 1)]
        else:
            texts = [pa.nulls(piece.rows, pa.string())] * 2
        return pa.RecordBatch.from_arrays([*made, *place, *texts], schema=self.schema)

    def _column(self, file: InputFile, piece: Piece, name: str, found: dict[int, str]) -> pa.Array:
        """Return a column with the schema's type; what does not fit is told in ``found``."""
        target = self.schema.field(name)
        raw = piece.columns.get(name)
        if raw is None:
            raw = pa.nulls(piece.rows, target.type)
        if isinstance(raw, pa.Array):
            _refuse_type(file, name, raw, target.type)
        column, bad = fit(raw, target.type)
        for row in bad:
            found.setdefault(row, f"{RejectReason.MALFORMED}: {name} is no {_told(target.type)}")
        if not target.nullable and column.null_count:
            default = self._defaults.get(name)
            if default is None and name not in _IDS:
                for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                    found.setdefault(row, f"{RejectReason.MALFORMED}: {name} is missing")
            # An id that is missing is an empty one, and the core says so. Other rows with a
            # filler are rejected: nobody reads it.
            filler: Any = default if default is not None else "" if is_text(column.type) else 0
            column = column.fill_null(pa.scalar(filler, pa.int64() if filler == 0 else None).cast(
                target.type
            ))  # fmt: skip
        if is_text(target.type):
            long = pc.greater(pc.binary_length(column), self._longest).fill_null(False)
            if pc.any(long).as_py():
                for row in np.flatnonzero(long.to_numpy(zero_copy_only=False)).tolist():
                    what = f"{name} is longer than {self._longest} bytes"
                    found.setdefault(row, f"{RejectReason.TOO_LARGE}: {what}")
        return column


def rechunk(rows: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """Yield the same rows in batches of ``size``; the last may be smaller."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in rows:
        at = 0
        while count + batch.num_rows - at >= size:
            taken = size - count
            held.append(batch.slice(at, taken))
            at += taken
            yield _joined(held)
            held, count = [], 0
        if at < batch.num_rows:
            held.append(batch.slice(at))
            count += batch.num_rows - at
    if held:
        yield _joined(held)


def _joined(held: list[pa.RecordBatch]) -> pa.RecordBatch:
    # Also a single one: what starts in the middle of a buffer is copied out of it.
    return pa.concat_batches(held)


def _refuse_type(file: InputFile, name: str, column: pa.Array, target: pa.DataType) -> None:
    """Refuse a column none of whose values can fit."""
    if not fits(column, target):
        raise SettingsError(
            f"{file.name}: column {name!r} is {column.type}, not {_told(target)}",
            "write it with the right type",
        )


def _told(target: pa.DataType) -> str:
    if pa.types.is_timestamp(target):
        return "time"
    return "text" if is_text(target) else "whole number" if target == pa.int64() else str(target)


def _raw(columns: Mapping[str, Column], row: int) -> str:
    return json.dumps({name: as_read(column, row) for name, column in columns.items()})
