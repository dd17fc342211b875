"""Reads files of users' own rows as transactions, by the plan's mapping.

Files are read as raw leaves (``arrow_leaves``, ``record_leaves``). ``core.normalising`` converts
them to transactions, as in the stream, so that both are bit-identical.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from stream_scorer.codec.reading.mapped import refusals_of
from stream_scorer.codec.reading.mapped_paths import Found
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.leaves import LeafPart, Leaves
from stream_scorer.core.normalising.normalise import Normaliser
from stream_scorer.errors import SettingsError
from stream_scorer.tables.arrow_leaves import (
    cells_of,
    find_columns,
    leaf_of_cells,
    leaf_of_column,
)
from stream_scorer.tables.avro import avro_definition
from stream_scorer.tables.columns import as_read, rows_not_utf8
from stream_scorer.tables.files import InputFile, columns_of, opened, read_pieces, reading
from stream_scorer.tables.leaf_pieces import LeafPiece, RowFault
from stream_scorer.tables.pieces import Piece
from stream_scorer.tables.record_leaves import avro_leaves, find_fields, json_leaves

Int64 = NDArray[np.int64]

_CSV: Final = ".csv"
_PARQUET: Final = ".parquet"
_AVRO: Final = ".avro"


@dataclass(frozen=True, slots=True)
class MappedPiece:
    """n consecutive rows of a file, after the mapping.

    Attributes:
        first: Number of the first row in its file, from 0.
        rows: n.
        records: k accepted rows, in the columns of :attr:`MappedReader.schema`.
        good: int64[k], their row numbers in the piece, ascending.
        faults: The rejected rows. All other rows are skipped by ``where``.
        leaves: For each path of the mapping its values in all rows.
        times: Event times of rejected rows, ms, where they can be read.
        read: Bytes of the file up to the piece's end, approximately.
    """

    first: int
    rows: int
    records: pa.RecordBatch
    good: Int64
    faults: dict[int, RowFault]
    leaves: Leaves
    times: dict[int, int]
    read: int


class MappedReader:
    """Reads files by one mapping.

    Args:
        plan: Gives currencies and limits.
        mapping: With rules for all columns; None: the plan's mapping of transactions.

    Attributes:
        schema: The columns that the mapping has rules for. Those of transactions are the
            transaction schema's, the extras, and the amount in the base currency if the mapping has
            rates.
    """

    def __init__(self, plan: Plan, mapping: EventMapping | None = None) -> None:
        mapping = mapping or plan.mapping
        assert mapping is not None and mapping.fields  # noqa: S101, PT018 the caller checks
        self._mapping = mapping
        self._plan = plan
        normaliser = partial(Normaliser, currencies=plan.currencies, most=plan.amount_minor_max)
        self._normaliser = normaliser(mapping)
        # The event time of a row that is rejected for another value shows the day of the row.
        times = tuple(rule for rule in mapping.fields if rule.column == "event_time")
        self._timing = (
            normaliser(EventMapping("", (), times, (), mapping.key, {})) if times else None
        )
        self.schema = self._normaliser.schema

    def check(self, file: InputFile) -> None:
        """Check a file's columns.

        Raises:
            SettingsError: It cannot be read, or none of its rows can become a transaction; names
                the path.
        """
        with reading(file):
            self._places(file)

    def pieces(self, file: InputFile, first: int = 0) -> Iterator[MappedPiece]:
        """Yield a file's rows from row ``first`` on.

        Raises:
            SettingsError: It cannot be read, is damaged, or none of its rows fits; names it.
            UnavailableError: The store does not answer.
        """
        with reading(file):
            places = self._places(file)
            for piece in self._leaves(file, places, first):
                skip = first - piece.first
                if skip < piece.rows:
                    yield self._normal(piece.after(skip) if skip > 0 else piece)

    def _places(self, file: InputFile) -> dict[Path, Found]:
        """Return what a file has at each path; empty if each row has its own fields."""
        paths = self._mapping.paths
        if file.ending == _CSV:
            names = columns_of(file, list(map(dotted, paths)))
            places = cells_of(names or (), paths)
        elif file.ending == _PARQUET:
            columns_of(file, [path[0] for path in paths])
            with opened(file) as stream:
                schema = pq.read_schema(stream)
            places = find_columns(schema, paths)
        elif file.ending == _AVRO:
            with opened(file) as stream:
                places = find_fields(avro_definition(stream), paths)
        else:
            return {}
        refusals = refusals_of(self._mapping, places)
        if refusals:
            raise SettingsError(
                f"{file.name}: {refusals[0]}", "correct events.toml of the plan, or the file"
            )
        return places

    def _leaves(
        self, file: InputFile, places: dict[Path, Found], first: int
    ) -> Iterator[LeafPiece]:
        paths, plan = self._mapping.paths, self._plan
        if file.ending in {_CSV, _PARQUET}:
            there = [path for path in paths if not places[path].missing]
            csv = file.ending == _CSV
            names = dict.fromkeys(dotted(path) if csv else path[0] for path in there)
            for piece in read_pieces(file, list(names), first):
                yield self._of_columns(piece, there, csv=csv)
        elif file.ending == _AVRO:
            with opened(file) as stream:
                definition = avro_definition(stream)
            with opened(file) as stream:
                for found in avro_leaves(stream, definition, paths):
                    yield self._within_limits(found)
        else:
            with opened(file) as stream:
                yield from json_leaves(stream, paths, plan.record_bytes_max, plan.string_bytes_max)

    def _of_columns(self, piece: Piece, there: Sequence[Path], *, csv: bool) -> LeafPiece:
        faults = {
            row: RowFault(RejectReason.MALFORMED, what, text)
            for row, (what, text) in piece.faults.items()
        }
        columns: Any = piece.columns
        leaves: dict[Path, Sequence[LeafPart]] = dict.fromkeys(self._mapping.paths, ())
        for path in there:
            parts = leaf_of_cells(columns, path) if csv else leaf_of_column(columns, path)
            leaves[path] = [_utf8(part, path, faults) for part in parts]
        found = LeafPiece(piece.first, piece.rows, leaves, faults, piece.read)
        return self._within_limits(found)

    def _within_limits(self, piece: LeafPiece) -> LeafPiece:
        """Add faults for the rows that have a string of more bytes than the plan allows."""
        most = self._plan.string_bytes_max
        for path, parts in piece.leaves.items():
            for part in parts:
                if part.wire.kind not in {"text", "cell"}:
                    continue
                long = pc.greater(pc.binary_length(part.values), most).fill_null(False)
                if not pc.any(long).as_py():
                    continue
                rows = np.flatnonzero(long.to_numpy(zero_copy_only=False))
                for row in (rows if part.rows is None else part.rows[rows]).tolist():
                    why = f"{dotted(path)}: longer than string_bytes_max"
                    shown = piece.shown(row)
                    piece.faults.setdefault(row, RowFault(RejectReason.TOO_LARGE, why, shown))
        return piece

    def _normal(self, piece: LeafPiece) -> MappedPiece:
        readable = np.ones(piece.rows, np.bool_)
        readable[list(piece.faults)] = False
        rows = np.flatnonzero(readable)
        leaves = piece.leaves
        if piece.faults:
            leaves = piece.taken(np.where(readable, np.cumsum(readable) - 1, -1))
        normal = self._normaliser.apply(leaves, len(rows))
        faults = dict(piece.faults)
        for number, reason, detail in normal.refused:
            row = int(rows[number])
            faults[row] = RowFault(reason, detail, piece.shown(row))
        return MappedPiece(
            piece.first, piece.rows, normal.records, rows[normal.rows], faults, piece.leaves,
            self._times(piece, sorted(faults)), piece.read,
        )  # fmt: skip

    def _times(self, piece: LeafPiece, rows: Sequence[int]) -> dict[int, int]:
        """Return the event times of some rows, ms, where they can be read."""
        if not rows or self._timing is None:
            return {}
        place = np.full(piece.rows, -1)
        place[rows] = np.arange(len(rows))
        found = self._timing.apply(piece.taken(place), len(rows))
        times = found.records.column(0).cast(pa.int64()).to_pylist()
        return {rows[row]: time for row, time in zip(found.rows.tolist(), times, strict=True)}


def _utf8(part: LeafPart, path: Path, faults: dict[int, RowFault]) -> LeafPart:
    """Replace texts that are not UTF-8 by null, with faults; Parquet files may have such."""
    if part.wire.kind != "text":
        return part
    foreign = rows_not_utf8(part.values)
    if not foreign:
        return part
    for row in foreign:
        faults.setdefault(row, RowFault.not_utf8(path, as_read(part.values, row)))
    mask = np.zeros(len(part.values), np.bool_)
    mask[foreign] = True
    kept = part.values.take(pa.array(np.arange(len(mask)), mask=mask))
    return replace(part, values=kept)


def read_mapped(file: InputFile, reader: MappedReader) -> Iterator[MappedPiece]:
    """Yield the rows of a file, in its order.

    Raises:
        SettingsError: It cannot be read, or a row does not fit; names file, row and path.
    """
    for piece in reader.pieces(file):
        if piece.faults:
            row, fault = min(piece.faults.items())
            raise misfit_of(file, piece.first + row, fault)
        yield piece


def misfit_of(file: InputFile, row: int, fault: RowFault, what: str = "") -> SettingsError:
    """Return the error for a row, numbered from 0, that does not fit.

    Args:
        file: The file.
        row: Its number.
        fault: What is wrong with it.
        what: Text before the file's name.
    """
    return SettingsError(f"{what}{file.name}: row {row + 1}: {fault.detail}", "correct the row")
