"""The input of a batch job as columns of one schema, in chunks of one size.

In addition to the transaction schema's columns, a row has its place (``_file``, ``_row``). If it
does not fit the schema, it also has the reason (``_fault``) and its content (``_raw``, JSON). A bad
row becomes one reject and does not end the job, just as a malformed record becomes one dead letter
of the stream. Extra fields cannot have these names.

With a mapping, rows are read by it (``tables.mapped``), and a row that ``where`` does not choose
has the fault :data:`SKIPPED`.

A column ``outcome`` says what was decided about transactions; see ``batch.outcomes``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.batch.outcomes import OUTCOME, blocked_of, have_outcomes
from stream_scorer.codec.reading.resolve import arrow_schema
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.normalising.normalise import BASE_FIELD, BaseAmounts
from stream_scorer.errors import SettingsError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from stream_scorer.tables.columns import Column, as_read, fit, fits, is_text
from stream_scorer.tables.files import InputFile, columns_of, read_pieces, reading
from stream_scorer.tables.mapped import MappedPiece, MappedReader
from stream_scorer.tables.pieces import Piece

_PLACE = (
    pa.field("_file", pa.int32(), nullable=False), pa.field("_row", pa.int64(), nullable=False),
    pa.field("_fault", pa.string()), pa.field("_raw", pa.string()),
)  # fmt: skip
SKIPPED = "skipped"
"""Used instead of a fault: ``[record] where`` does not choose the row."""
BLOCKED = "_blocked"
"""Column of a row: whether the column ``outcome`` says that it was blocked."""
_IDS = frozenset({"transaction_id", "customer_id", "terminal_id"})


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the input: the number of its file and its number in it, both from 0."""

    file: int
    row: int


class BatchInput:
    """Reads files as rows of the transaction schema.

    Args:
        files: In the order in which they are read.
        plan: Its mapping, if it has one, and the maximum length of a text.

    Attributes:
        files: As given.
        names: Columns of the transaction schema, the extras, and the amount in the base currency if
            the plan has rates.
        schema: Schema of the yielded rows: ``names``, then ``_file``, ``_row``, ``_fault``,
            ``_raw``.
        read: Approximate bytes of the input that are read; for a progress bar.
        outcomes: Whether rows have :data:`BLOCKED`.
    """

    def __init__(self, files: Sequence[InputFile], plan: Plan) -> None:
        text = reader_schema("transaction.v1")
        definition = parse_definition(text, "transaction.v1")
        transactions = arrow_schema(definition)
        self.files = files
        mapping = plan.mapping
        self._mapped = MappedReader(plan) if mapping and mapping.fields else None
        self._base = None
        if self._mapped is not None:
            transactions = self._mapped.schema
        self._own: list[str] = list(transactions.names)
        if self._mapped is None and mapping and mapping.rates:
            self._base = BaseAmounts(mapping, plan.currencies, plan.amount_minor_max)
            transactions = transactions.append(BASE_FIELD)
        self.names: list[str] = list(transactions.names)
        self.schema: pa.Schema = pa.schema([*transactions, *_PLACE])
        self.read = 0
        self.outcomes = False
        self._defaults: dict[str, Any] = {
            entry["name"]: entry["default"]
            for entry in definition.root["fields"]
            if "default" in entry
        }
        self._longest = plan.string_bytes_max

    def refuse_lacking(self) -> None:
        """Check every file before the first is read.

        Raises:
            SettingsError: One cannot be read, or a column is missing; names it.
        """
        for file in self.files:
            if self._mapped is not None:
                self._mapped.check(file)
                continue
            present = columns_of(file, self._own)
            if present is not None:
                self._refuse_lacking(file, present)

    def _refuse_lacking(self, file: InputFile, present: Sequence[str]) -> None:
        for name in self._own:
            if name not in self._defaults and name not in present:
                raise SettingsError(
                    f"{file.name}: column {name!r} is missing", "it has no default; add it"
                )

    def read_outcomes(self) -> None:
        """Read the column ``outcome``, if the files have it; call it before the first row is read.

        Raises:
            SettingsError: As for :func:`~stream_scorer.batch.outcomes.have_outcomes`.
        """
        self.outcomes = have_outcomes(self.files, mapped=self._mapped is not None)
        if self.outcomes:
            self.schema = self.schema.append(pa.field(BLOCKED, pa.bool_(), nullable=False))

    def rows(self, start: Place = Place(0, 0)) -> Iterator[pa.RecordBatch]:
        """Yield the rows from a place on, in the order of the files.

        Raises:
            SettingsError: A file is damaged, or a column has another type; names both.
            UnavailableError: A store does not answer.
        """
        before = sum(file.size for file in self.files[: start.file])
        for number in range(start.file, len(self.files)):
            file = self.files[number]
            first = start.row if number == start.file else 0
            for read, batch in self._of_file(number, file, first):
                if batch.num_rows:
                    yield batch
                self.read = before + read
            before += file.size
            self.read = before

    def _of_file(
        self, number: int, file: InputFile, first: int
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield a file's rows, with the bytes read for them."""
        if self._mapped is not None:
            for mapped in self._mapped.pieces(file, first):
                yield mapped.read, self._normal(number, mapped)
            return
        names = [*dict.fromkeys([*self._own, *([OUTCOME] if self.outcomes else [])])]
        for piece in read_pieces(file, names, first):
            rows = self._fitted(number, file, piece)
            if self.outcomes:
                rows = rows.append_column(self.schema.field(BLOCKED), blocked_of(file, piece))
            yield piece.read, rows

    def _normal(self, number: int, piece: MappedPiece) -> pa.RecordBatch:
        """Return all rows of a piece; bad rows have fillers and a fault."""
        made = list(piece.records.columns)
        faults: dict[int, tuple[str, str]] = {}
        if len(piece.good) < piece.rows:
            place = np.full(piece.rows, -1)
            place[piece.good] = np.arange(len(piece.good))
            taken = pa.array(place, mask=place < 0)
            made = [
                _filled(column.take(taken), field)
                for column, field in zip(made, piece.records.schema, strict=True)
            ]
            at = piece.records.schema.get_field_index("event_time")
            made[at] = _with_times(made[at], piece.times)
            gone = np.setdiff1d(np.flatnonzero(place < 0), list(piece.faults)).tolist()
            faults = dict.fromkeys(gone, (SKIPPED, "null")) | {
                row: (f"{fault.reason}: {fault.detail}", json.dumps(fault.shown))
                for row, fault in piece.faults.items()
            }
        return self._placed(number, piece.first, piece.rows, made, faults)

    def _fitted(self, number: int, file: InputFile, piece: Piece) -> pa.RecordBatch:
        faults = {
            row: (f"{RejectReason.MALFORMED}: {what}", json.dumps(text))
            for row, (what, text) in piece.faults.items()
        }
        found: dict[int, str] = {}
        with reading(file):
            made = [self._column(file, piece, name, found) for name in self._own]
        for row, what in found.items():
            faults.setdefault(row, (what, _raw(piece.columns, row)))
        if self._base is not None:
            made.append(self._converted(piece, made, faults))
        return self._placed(number, piece.first, piece.rows, made, faults)

    def _converted(
        self, piece: Piece, made: list[pa.Array], faults: dict[int, tuple[str, str]]
    ) -> pa.Array:
        """Return the amounts in the base currency; rows without one get an entry in ``faults``."""
        assert self._base is not None  # noqa: S101 the caller asks
        sound = np.setdiff1d(np.arange(piece.rows), list(faults))
        records = pa.RecordBatch.from_arrays(made, names=self._own).take(pa.array(sound))
        converted, good, refused = self._base.apply(records)
        amounts = np.zeros(piece.rows, np.int64)
        amounts[sound[good]] = converted.column(BASE_FIELD.name).to_numpy()
        for number, reason, detail in refused:
            row = int(sound[number])
            faults[row] = (f"{reason}: {detail}", _raw(piece.columns, row))
        return pa.array(amounts)

    def _placed(
        self, number: int, first: int, rows: int, made: list[pa.Array],
        faults: Mapping[int, tuple[str, str]],
    ) -> pa.RecordBatch:  # fmt: skip
        place = [
            pa.array(np.full(rows, number, np.int32)),
            pa.array(np.arange(first, first + rows)),
        ]
        if faults:
            told = [faults.get(row, (None, None)) for row in range(rows)]
            texts = [pa.array([each[at] for each in told], pa.string()) for at in (0, 1)]
        else:
            texts = [pa.nulls(rows, pa.string())] * 2
        columns = [*made, *place, *texts]
        names = self.schema.names[: len(columns)]
        return pa.RecordBatch.from_arrays(
            columns, schema=pa.schema([self.schema.field(name) for name in names])
        )

    def _column(self, file: InputFile, piece: Piece, name: str, found: dict[int, str]) -> pa.Array:
        """Return a column with the schema's type; misfits get an entry in ``found``."""
        target = self.schema.field(name)
        raw = piece.columns.get(name)
        if raw is None:
            raw = pa.nulls(piece.rows, target.type)
        if isinstance(raw, pa.Array):
            _refuse_type(file, name, raw, target.type)
        column, bad = fit(raw, target.type)
        for row in bad:
            found.setdefault(row, f"{RejectReason.MALFORMED}: {name} is not a {_told(target.type)}")
        if not target.nullable and column.null_count:
            default = self._defaults.get(name)
            if default is None and name not in _IDS:
                for row in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                    found.setdefault(row, f"{RejectReason.MALFORMED}: {name} is missing")
            # A missing id is an empty one, which the core rejects. Other rows with a filler are
            # rejected, so that the filler is never read.
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
    # Also a single one: copying detaches a slice from its larger buffer.
    return pa.concat_batches(held)


def _filled(column: pa.Array, field: pa.Field) -> pa.Array:
    """Return a column without nulls if the field is not nullable; the fillers are never read."""
    if field.nullable:
        return column
    return column.fill_null(pa.scalar("" if is_text(column.type) else 0).cast(column.type))


def _with_times(column: pa.Array, times: Mapping[int, int]) -> pa.Array:
    """Return event times with some rows' times replaced, ms."""
    if not times:
        return column
    changed = column.cast(pa.int64()).to_numpy().copy()
    changed[list(times)] = list(times.values())
    return pa.array(changed).cast(column.type)


def _refuse_type(file: InputFile, name: str, column: pa.Array, target: pa.DataType) -> None:
    """Refuse a column of which no value can fit."""
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
