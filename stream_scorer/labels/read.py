"""Reads a file of labels; a row that is not a label is counted, and the others are kept."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.validation import LATEST_MS
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, NO_LABEL, UNKNOWN
from stream_scorer.errors import SettingsError
from stream_scorer.labels.columns import COLUMNS, STATES, LabelNames
from stream_scorer.tables.columns import ERRORS, Column, as_read, fit
from stream_scorer.tables.files import InputFile, columns_of, local_file, read_pieces, reading
from stream_scorer.tables.pieces import Piece

Bool = NDArray[np.bool_]
UInt8 = NDArray[np.uint8]

EXAMPLES: Final = 20
"""Maximum number of ids that a report names of each kind."""
_TEXT_BYTES_MOST: Final = 1_024
_TEXTS: Final = ("transaction_id", "source", "label_id", "reason_code", "retracts")
SCHEMA: Final = pa.schema(
    [
        ("transaction_id", pa.string()), ("state", pa.uint8()), ("label_time", pa.int64()),
        ("source", pa.string()), ("label_id", pa.string()), ("reason_code", pa.string()),
        ("retracts", pa.string()), ("drawn", pa.float64()),
    ]
)  # fmt: skip
"""Columns of the rows that are labels. ``label_time`` (ms) and ``drawn`` may be null; a text that
is not given is empty. The state of a retraction is ``UNKNOWN``."""


@dataclass(frozen=True, slots=True)
class LabelRows:
    """The labels of a file.

    Attributes:
        table: m rows with the columns of :data:`SCHEMA`, in the file's order.
        rows: Number of rows of the file.
        invalid: Those that are not labels.
        examples: The first of these, each as ``ROW: why``.
    """

    table: pa.Table
    rows: int
    invalid: int
    examples: tuple[str, ...]


def read_label_rows(path: Path, names: LabelNames, source: str | None) -> LabelRows:
    """Read a file of labels.

    Args:
        path: Parquet, CSV, Avro or JSON lines, by the ending of its name.
        names: The names of its columns and states.
        source: Source of rows that name none; None: none.

    Raises:
        SettingsError: It cannot be read, or has no column for the id or for what is stated.
    """
    file = local_file(path)
    theirs = {names.of(ours): ours for ours in COLUMNS}
    present = columns_of(file, list(theirs))
    if present is not None:
        _refuse_missing(file, names, {theirs[name] for name in present})
    tables, examples = [SCHEMA.empty_table()], list[str]()
    rows = invalid = 0
    for piece in read_pieces(file, list(theirs), 0):
        table, faults = _piece(file, piece, theirs, names.states, source)
        tables.append(table)
        rows, invalid = rows + piece.rows, invalid + len(faults)
        room = EXAMPLES - len(examples)
        examples += [
            f"{piece.first + row + 1}: {why}" for row, why in sorted(faults.items())[:room]
        ]
    return LabelRows(pa.concat_tables(tables), rows, invalid, tuple(examples))


def _refuse_missing(file: InputFile, names: LabelNames, present: set[str]) -> None:
    for needed in (("transaction_id",), ("state", "is_fraud", "retracts")):
        if present.isdisjoint(needed):
            shown = " or ".join(repr(names.of(each)) for each in needed)
            raise SettingsError(
                f"{file.name}: column {shown} is missing",
                "add it, or name another: --columns FILE",
            )


def _piece(
    file: InputFile,
    piece: Piece,
    theirs: Mapping[str, str],
    states: Mapping[str, int],
    source: str | None,
) -> tuple[pa.Table, dict[int, str]]:
    """Return the labels of a piece, and the rows that are none, with why."""
    faults = {row: told for row, (told, _) in piece.faults.items()}
    columns: dict[str, pa.Array] = {}
    for name, ours in theirs.items():
        raw, kind = piece.columns.get(name), COLUMNS[ours]
        if raw is None:
            columns[ours] = pa.nulls(piece.rows, kind)
            continue
        if ours == "drawn":
            raw = _as_texts(raw)
        with reading(file):
            columns[ours], bad = fit(raw, kind)
        for row in bad:
            shown = str(as_read(raw, row))[:64]
            faults.setdefault(row, f"column {name!r}: {shown!r} is not of type {kind}")
    for name in _TEXTS:
        columns[name] = pc.fill_null(columns[name], "")
    if source is not None:
        none = pc.equal(columns["source"], "")
        columns["source"] = pc.if_else(none, source, columns["source"])
    state, label_time, drawn = _state(columns, states), _label_time(columns), _drawn(columns)
    for why, wrong in _checks(columns, state, label_time, drawn):
        for row in np.flatnonzero(wrong).tolist():
            faults.setdefault(row, why)
    kept = np.ones(piece.rows, np.bool_)
    kept[list(faults)] = False
    arrays = [
        columns["transaction_id"], pa.array(state), label_time, columns["source"],
        columns["label_id"], columns["reason_code"], columns["retracts"], drawn,
    ]  # fmt: skip
    return pa.Table.from_arrays(arrays, schema=SCHEMA).filter(pa.array(kept)), faults


def _as_texts(raw: Column) -> Column:
    """Return numbers as texts; what is neither number nor text does not fit, as in any column."""
    if isinstance(raw, list):
        return [str(value) if isinstance(value, int | float) else value for value in raw]
    try:
        return raw.cast(pa.string())
    except ERRORS:
        return raw


def _state(columns: Mapping[str, pa.Array], states: Mapping[str, int]) -> UInt8:
    """Return uint8[n], states; NO_LABEL where none can be read."""
    known = {**STATES, **states}
    texts = columns["state"]
    # Our own names in any case of letters; theirs as they are.
    at = pc.index_in(texts, pa.array(list(known)))
    at = pc.coalesce(at, pc.index_in(pc.utf8_upper(texts), pa.array(list(STATES))))
    codes = np.array([*known.values(), NO_LABEL], np.uint8)
    state = codes[np.asarray(at.fill_null(len(known)))]
    flag = columns["is_fraud"]
    by_flag = np.where(np.asarray(flag.fill_null(False)), np.uint8(FRAUD), np.uint8(GENUINE))
    silent = np.asarray(pc.or_kleene(texts.is_null(), pc.equal(texts, "").fill_null(True)))
    flagged = np.asarray(flag.is_valid())
    retracting = np.asarray(pc.not_equal(columns["retracts"], ""))
    state = np.where(silent & flagged, by_flag, state)
    # A flag and a state that contradict each other state nothing.
    state = np.where(~silent & flagged & ((state == FRAUD) != (by_flag == FRAUD)), NO_LABEL, state)
    return np.where(retracting & silent & ~flagged, np.uint8(UNKNOWN), state).astype(np.uint8)


def _label_time(columns: Mapping[str, pa.Array]) -> pa.Array:
    return columns["label_time"].cast(pa.int64())


def _drawn(columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return float64[n]; NaN where the text is not a number, null where there is none."""
    texts = columns["drawn"]
    found = np.full(len(texts), np.nan)
    none = np.ones(len(texts), np.bool_)
    for row, text in enumerate(texts.to_pylist() if texts.null_count < len(texts) else ()):
        if text is None or not text.strip():
            continue
        none[row] = False
        try:
            found[row] = float(text)
        except ValueError:
            continue
    return pa.array(found, mask=none)


def _checks(
    columns: Mapping[str, pa.Array], state: UInt8, label_time: pa.Array, drawn: pa.Array
) -> Iterator[tuple[str, Bool]]:
    yield "has no transaction id", np.asarray(pc.equal(columns["transaction_id"], ""))
    for name in _TEXTS:
        yield (
            f"{name} has more than {_TEXT_BYTES_MOST} bytes",
            np.asarray(pc.greater(pc.binary_length(columns[name]), _TEXT_BYTES_MOST)),
        )
    yield f"states none of {', '.join(STATES)}", state == NO_LABEL
    time = np.asarray(label_time.fill_null(0))
    yield "its label time is impossible", (time < 0) | (time > LATEST_MS)
    share = np.asarray(drawn.fill_null(1.0))
    yield "drawn is not a probability in (0, 1]", ~((share > 0) & (share <= 1))


def with_ids(table: pa.Table, customer: pa.ChunkedArray) -> pa.Table:
    """Return labels of which each has an id: its own, or one that follows from its contents.

    Args:
        table: m rows with the columns of :data:`SCHEMA`.
        customer: m texts, the customers of the transactions.
    """
    given = table["label_id"]
    rows = np.flatnonzero(np.asarray(pc.equal(given, "")))
    if not len(rows):
        return table
    some = table.take(pa.array(rows))
    parts = [
        some["source"], some["transaction_id"], customer.take(pa.array(rows)),
        some["state"].cast(pa.string()), some["reason_code"], some["retracts"],
        pc.fill_null(some["label_time"].cast(pa.string()), ""),
    ]  # fmt: skip
    texts = pc.binary_join_element_wise(*parts, "\0").to_pylist()
    made = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
    ids = np.array(given.to_pylist(), object)
    ids[rows] = made
    at = SCHEMA.get_field_index("label_id")
    return table.set_column(at, SCHEMA.field(at), pa.array(ids.tolist(), pa.string()))
