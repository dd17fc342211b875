"""The labelled transactions for training: reads them, orders them, folds them into features.

Transactions that the stream would reject are left out and counted. If a row is older than an
earlier one by more than the plan's lateness, the file is refused, as in a batch: the stream would
see other histories than this order gives.

With a mapping in the plan, the rows are read by it, as batch jobs and the scorer do. The labels are
the file's columns ``is_fraud`` and, if there, ``label_time``, or those that a job names. A row may
have no label. In files with our own columns, ``outcome`` says what was decided about it: a blocked
row without a label is unknown, and the policy of the plan applies to every other one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import Outcome, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.core.normalising.normalise import BaseAmounts
from stream_scorer.errors import SettingsError
from stream_scorer.simulator import SCHEMA
from stream_scorer.tables.columns import Column, as_read, fit
from stream_scorer.tables.files import InputFile, columns_of, local_file, read_pieces, reading
from stream_scorer.tables.mapped import MappedReader, misfit_of
from stream_scorer.tables.order import refuse_disorder
from stream_scorer.tables.transactions import read_transactions
from stream_scorer.training.fold import fold
from stream_scorer.training.labelled import OUTCOME, LabelledData, risk_states, settled

Int64 = NDArray[np.int64]
_LABEL_TIME = pa.field("label_time", pa.timestamp("ms", "UTC"))
_LABELS = (pa.field("is_fraud", pa.bool_()), _LABEL_TIME)
_OUTCOME = pa.field(OUTCOME, pa.string())
_OWN_LABELS = tuple(field.name for field in _LABELS)


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """The transactions of a file, in its order; n rows.

    Attributes:
        table: With ``is_fraud``, null without a label; with ``label_time``, null for a label that
            was known immediately; and with ``outcome`` if the file has it.
        number: int64[n], their row numbers in the file, from 0.
        rejected: How many further rows cannot be converted to the plan's currencies, by reason.
    """

    table: pa.Table
    number: Int64
    rejected: dict[str, int]


def read_labelled(path: Path, plan: Plan, labels: EventMapping | None = None) -> LabelledRows:
    """Read transactions with ``is_fraud``, by the plan's mapping if it has one.

    The column ``label_time`` is optional; a label without a time counts as known immediately. So is
    ``outcome`` in a file with our own columns.

    Args:
        path: The file.
        plan: Has the mapping.
        labels: Where ``is_fraud``, ``label_time`` or both are, if under other names; see
            :func:`~stream_scorer.core.mapping.mapping.training_labels`.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, and column
            or path.
    """
    mapping = plan.mapping
    if mapping is not None and mapping.fields:
        return _mapped(path, plan, labels)
    if labels is not None:
        rows = _own(path, plan, [*_OWN_LABELS, "fraud_scenario"])
        return _with_labels(local_file(path), rows, plan, labels)
    return _own(path, plan, ["fraud_scenario"])


def _own(path: Path, plan: Plan, others: Sequence[str]) -> LabelledRows:
    """Read a file with our own columns, except for some."""
    mapping = plan.mapping
    every = [*(_LABELS[0] if each.name == "is_fraud" else each for each in SCHEMA), _LABEL_TIME]
    labelled = pa.schema([each for each in (*every, _OUTCOME) if each.name not in others])
    defaults = dict.fromkeys(field.name for field in labelled if field.nullable)
    defaults.pop("is_fraud", None)
    batches = read_transactions(path, labelled, {**defaults, "channel": "UNKNOWN"})
    table = _with_outcomes(path, pa.Table.from_batches(batches, labelled))
    number = np.arange(len(table))
    if mapping is None or not mapping.rates:
        return LabelledRows(table, number, {})
    base = BaseAmounts(mapping, plan.currencies, plan.amount_minor_max)
    made = [base.apply(batch) for batch in table.to_batches()]
    if not made:
        return LabelledRows(table, number, {})
    starts = np.cumsum([0, *(batch.num_rows for batch in table.to_batches())]).tolist()
    kept = [first + good for first, (_, good, _) in zip(starts, made, strict=False)]
    rejected = Counter(reason.value for _, _, refused in made for _, reason, _ in refused)
    return LabelledRows(
        pa.Table.from_batches([records for records, _, _ in made]), np.concatenate(kept),
        dict(rejected),
    )  # fmt: skip


def _with_outcomes(path: Path, table: pa.Table) -> pa.Table:
    """Return a table without the column of outcomes if it is empty; labels are nullable if one is.

    Raises:
        SettingsError: An outcome is none of ours; names the row.
    """
    at = table.schema.get_field_index(_LABELS[0].name)
    if at >= 0 and not table[at].null_count:
        table = table.set_column(at, _LABELS[0].with_nullable(False), table[at])
    outcome = table[_OUTCOME.name]
    if outcome.null_count == len(outcome):
        return table.drop_columns(_OUTCOME.name)
    ours = pa.array([each.name for each in Outcome])
    wrong = pc.and_(outcome.is_valid(), pc.invert(pc.is_in(outcome, ours)))
    row = pc.index(wrong, True).as_py()
    if row >= 0:
        raise SettingsError(
            f"{path}: row {row + 1}: column 'outcome': {json.dumps(outcome[row].as_py())} is not "
            f"one of {', '.join(ours.to_pylist())}",
            "correct the value",
        )
    return table


def _mapped(path: Path, plan: Plan, labels: EventMapping | None) -> LabelledRows:
    """Read a file by the plan's mapping."""
    for name in _OWN_LABELS:
        if name in plan.extras:
            raise SettingsError(
                f"plan: events: extra.{name}: is the name of a label's column in training data",
                "name the extra field otherwise",
            )
    reader, file = MappedReader(plan), local_file(path)
    batches, numbers, rejected = [], [np.empty(0, np.int64)], Counter[str]()
    for piece in reader.pieces(file):
        for row, fault in sorted(piece.faults.items()):
            # The stream also rejects rows with these two faults; others cannot be read.
            if fault.reason not in {RejectReason.CURRENCY, RejectReason.AMOUNT_TOO_LARGE}:
                raise misfit_of(file, piece.first + row, fault)
            rejected[fault.reason.value] += 1
        batches.append(piece.records)
        numbers.append(piece.first + piece.good)
    number = np.concatenate(numbers)
    table = pa.Table.from_batches(batches, reader.schema)
    return _with_labels(file, LabelledRows(table, number, dict(rejected)), plan, labels)


def _with_labels(
    file: InputFile, rows: LabelledRows, plan: Plan, labels: EventMapping | None
) -> LabelledRows:
    """Return the rows of a file with their labels."""
    found = {} if labels is None else _labels_by(file, rows.number, plan, labels)
    others = [field for field in _LABELS if field.name not in found]
    found |= _labels_of(file, rows.number, others)
    table = rows.table
    for field in _LABELS:
        column = found[field.name].cast(field.type)
        nullable = field == _LABEL_TIME or column.null_count > 0
        table = table.append_column(field.with_nullable(nullable), column)
    return replace(rows, table=table)


def _labels_by(
    file: InputFile, number: Int64, plan: Plan, labels: EventMapping
) -> dict[str, pa.Array]:
    """Return the columns that a mapping reads of some rows of a file, ascending."""
    reader = MappedReader(plan, labels)
    batches: list[pa.RecordBatch] = []
    for piece in reader.pieces(file):
        inside = number[(number >= piece.first) & (number < piece.first + piece.rows)] - piece.first
        wrong = inside[np.isin(inside, list(piece.faults))]
        if len(wrong):
            row = int(wrong[0])
            raise misfit_of(file, piece.first + row, piece.faults[row])
        batches.append(piece.records.take(pa.array(np.searchsorted(piece.good, inside))))
    table = pa.Table.from_batches(batches, reader.schema).combine_chunks()
    return {name: _one(table[name]) for name in table.column_names}


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)


def _labels_of(file: InputFile, number: Int64, fields: Sequence[pa.Field]) -> dict[str, pa.Array]:
    """Return ``is_fraud``, ``label_time`` or both of some rows of a file, ascending."""
    if not fields:
        return {}
    names = [field.name for field in fields]
    present = columns_of(file, names)
    if present is not None and "is_fraud" in names and "is_fraud" not in present:
        raise SettingsError(
            f"{file.name}: column 'is_fraud' is missing",
            "it has no default; add it, or name another: [labels]",
        )
    if present is not None and not present:
        return {field.name: pa.nulls(len(number), field.type) for field in fields}
    found: list[list[pa.Array]] = [[pa.nulls(0, field.type)] for field in fields]
    for piece in read_pieces(file, names, 0) if len(number) else ():
        inside = number[(number >= piece.first) & (number < piece.first + piece.rows)]
        rows = pa.array(inside - piece.first)
        for field, columns in zip(fields, found, strict=True):
            raw = piece.columns.get(field.name)
            if raw is None:
                columns.append(pa.nulls(len(rows), field.type))
                continue
            with reading(file):
                column, bad = fit(_as_flags(raw) if field == _LABELS[0] else raw, field.type)
            wrong = np.isin(inside - piece.first, bad)
            column = column.take(rows)
            if wrong.any():
                at = int(inside[np.argmax(wrong)])
                shown = json.dumps(as_read(raw, at - piece.first))
                raise SettingsError(
                    f"{file.name}: row {at + 1}: column {field.name!r}: {shown} is not of type "
                    f"{field.type}",
                    "correct the value",
                )
            columns.append(column)
    return {name: pa.concat_arrays(columns) for name, columns in zip(names, found, strict=True)}


def _as_flags(raw: Column) -> Column:
    """Return labels that are 0 or 1 as texts, which are parsed as false and true."""
    if isinstance(raw, list):
        return [str(value) if type(value) is int else value for value in raw]
    return raw.cast(pa.string()) if pa.types.is_integer(raw.type) else raw


def take(
    path: Path, features: FeatureSet, plan: Plan, *, sort: bool, most_rejected: float,
    labels: EventMapping | None = None, unlabelled: bool = False,
) -> LabelledData:  # fmt: skip
    """Read a file and fold it through the stream's rings.

    Args:
        path: Labelled transactions.
        features: The features to compute.
        plan: Validation limits, lateness, the terminals' delay and slack.
        sort: Whether to put the rows in the order of their times first.
        most_rejected: Share of the rows that may be left out, 0 to 1.
        labels: As in :func:`read_labelled`.
        unlabelled: Whether rows may have no label.

    Raises:
        SettingsError: The file cannot be read, is empty, has a row without a label, has too many
            rejected rows, or is out of order; names the row or the reasons.
    """
    found = read_labelled(path, plan, labels)
    table, count = found.table, len(found.table) + sum(found.rejected.values())
    if not count:
        raise SettingsError(f"data {path}: holds no transactions", "name a file that holds some")
    if not unlabelled and (row := pc.index(table["is_fraud"].is_null(), True).as_py()) >= 0:
        raise SettingsError(
            f"{path}: row {int(found.number[row]) + 1}: column 'is_fraud' is empty", "give a value"
        )
    if sort:
        table = _sorted(table)
    time = _times(table)
    folded = fold(table, features, plan, risk_states(table, time, plan))
    rejected = dict(Counter(found.rejected) + Counter(folded.rejected))
    _refuse_rejected(path, count, rejected, most_rejected)
    time = time[folded.rows]
    # Sorted rows are always in order, so this names no sorted row.
    number = found.number[folded.rows]
    refuse_disorder(time, plan, lambda row: f"data {path}: row {int(number[row]) + 1}", "the data")
    kept = table.take(folded.rows)
    return LabelledData(
        kept, time, folded.features, count, rejected, settled(kept, time, plan),
        outcomes=OUTCOME in table.column_names,
    )  # fmt: skip


def _times(table: pa.Table) -> Int64:
    time: Int64 = table["event_time"].cast(pa.int64()).to_numpy()
    return time


def _sorted(table: pa.Table) -> pa.Table:
    """Return the rows by event time; rows of the same time keep their order, as in a batch."""
    time = _times(table)
    if (np.diff(time) >= 0).all():
        return table
    return table.take(np.argsort(time, kind="stable"))


def _refuse_rejected(path: Path, rows: int, rejected: dict[str, int], most: float) -> None:
    count = sum(rejected.values())
    if count < rows and count <= most * rows:
        return
    told = ", ".join(f"{reason} {found:,}" for reason, found in rejected.items())
    raise SettingsError(
        f"data {path}: {count:,} of {rows:,} transactions are rejected: {told}",
        f"fix them, or allow more than a share of {most:g} with --most-rejected"
        if count < rows
        else "fix them",
    )
