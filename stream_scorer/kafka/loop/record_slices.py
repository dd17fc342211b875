"""Polled records cut, joined and put into another order, by whole columns."""

from collections.abc import Sequence

import numpy as np

from stream_scorer.ports import BytesColumn, Headers, Int64, RawRecords


def numbered(raw: RawRecords, partition: int) -> RawRecords:
    """Return records under another partition number."""
    number = np.full(len(raw), partition, np.int32)
    return RawRecords(raw.values, raw.keys, raw.headers, number, raw.offset, raw.timestamp)


def _column(pieces: Sequence[BytesColumn]) -> BytesColumn:
    sizes = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    data = np.concatenate([p.data[p.offsets[0] : p.offsets[-1]] for p in pieces])
    null = None
    if any(piece.null is not None for piece in pieces):
        null = np.concatenate(
            [np.zeros(len(p), np.bool_) if p.null is None else p.null for p in pieces]
        )
    return BytesColumn(data, bounds, null)


def _headers(pieces: Sequence[RawRecords]) -> list[Headers] | None:
    if all(piece.headers is None for piece in pieces):
        return None
    return [each for piece in pieces for each in (piece.headers or [None] * len(piece))]


def joined(pieces: Sequence[RawRecords]) -> RawRecords:
    """Return records of one or more pieces, in order."""
    if len(pieces) == 1:
        return pieces[0]
    return RawRecords(
        _column([piece.values for piece in pieces]),
        _column([piece.keys for piece in pieces]),
        _headers(pieces),
        np.concatenate([piece.partition for piece in pieces]),
        np.concatenate([piece.offset for piece in pieces]),
        np.concatenate([piece.timestamp for piece in pieces]),
    )


def taken(raw: RawRecords, rows: Int64) -> RawRecords:
    """Return some records, in the given order."""
    headers = None if raw.headers is None else [raw.headers[row] for row in rows.tolist()]
    return RawRecords(
        raw.values.take(rows), raw.keys.take(rows), headers,
        raw.partition[rows], raw.offset[rows], raw.timestamp[rows],
    )  # fmt: skip


def part_of(raw: RawRecords, first: int, behind: int) -> RawRecords:
    """Return the records from ``first`` up to ``behind`` without copying their bytes."""
    span = slice(first, behind)

    def cut(column: BytesColumn) -> BytesColumn:
        null = None if column.null is None else column.null[span]
        return BytesColumn(column.data, column.offsets[first : behind + 1], null)

    return RawRecords(
        cut(raw.values), cut(raw.keys), None if raw.headers is None else raw.headers[span],
        raw.partition[span], raw.offset[span], raw.timestamp[span],
    )  # fmt: skip
