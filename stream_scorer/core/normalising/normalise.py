"""Convert raw leaves to the columns of our transactions; a fault only rejects its own record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.mapping.mapping import BASE_AMOUNT, EventMapping, FieldRule
from stream_scorer.core.mapping.rates import (
    CONVERTED,
    NO_CURRENCY,
    NO_RATE,
    OVERFLOW,
    Rates,
    base_minor,
    rates_of,
)
from stream_scorer.core.mapping.record_filter import chosen
from stream_scorer.core.normalising import conversions
from stream_scorer.core.normalising.conversions import NULL, SOUND, Fault
from stream_scorer.core.normalising.decimal_kernels import UNKNOWN
from stream_scorer.core.normalising.leaves import COMPARED, LeafPart, Leaves, misfit

Int64 = NDArray[np.int64]

_COLUMNS: Final = {
    "string": pa.string(), "boolean": pa.bool_(), "double": pa.float64(), "long": pa.int64(),
    "timestamp": pa.timestamp("ms"), "amount": pa.int64(),
}  # fmt: skip
BASE_FIELD: Final = pa.field(BASE_AMOUNT, pa.int64(), nullable=False)
_RATE_FAULTS: Final = {
    NO_CURRENCY: (RejectReason.CURRENCY, "currency", "the rates do not list this currency"),
    NO_RATE: (
        RejectReason.CURRENCY, "event_time", "the event is before the first rate of its currency",
    ),
    OVERFLOW: (
        RejectReason.AMOUNT_TOO_LARGE, "amount_minor", "more than 64 bits in the base currency",
    ),
}  # fmt: skip
"""Reason, column whose path begins the text, and text of each fault."""

Refusal = tuple[int, RejectReason, str]
"""Row, reason, and a text without field values for the reader of the dead letter."""


@dataclass(frozen=True, slots=True)
class Normalised:
    """The result for n rows of raw leaves.

    Attributes:
        records: The valid rows, in the columns of :attr:`Normaliser.schema`.
        rows: int64, their row numbers among the n, ascending.
        refused: The rejected rows, ascending. All other rows are skipped by ``where``.
    """

    records: pa.RecordBatch
    rows: Int64
    refused: list[Refusal]


class Normaliser:
    """Makes transactions, or labels, from raw leaves by one mapping.

    Args:
        mapping: With a rule for each column.
        currencies: The plan's currencies, exponents by code.
        most: The plan's ``amount_minor_max``, which is also the limit in the base currency.

    Attributes:
        schema: The resulting columns: those of the mapping's rules, and the amount in the base
            currency if the mapping has rates.

    Raises:
        ValueError: The mapping's rates do not fit the currencies.
    """

    def __init__(self, mapping: EventMapping, currencies: Mapping[str, int], most: int) -> None:
        self._mapping = mapping
        self._codes = pa.array(list(currencies), pa.string())
        self._exponents = np.array([*currencies.values(), UNKNOWN], np.int64)
        columns = [
            pa.field(rule.column, _COLUMNS[rule.kind], nullable=rule.nullable)
            for rule in mapping.rules
        ]
        self._base = BaseAmounts(mapping, currencies, most) if mapping.rates else None
        if self._base is not None:
            columns.append(BASE_FIELD)
        self.schema: pa.Schema = pa.schema(columns)

    def apply(self, leaves: Leaves, count: int) -> Normalised:
        """Return the transactions of ``count`` rows.

        Args:
            leaves: For each path of the mapping its values.
            count: n.
        """
        rows = np.arange(count)
        if self._mapping.where:
            leaves, rows = self._chosen(leaves, rows)
        columns, faults = self._columns(leaves, len(rows))
        if not faults.any:
            records = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            return Normalised(records, rows, [])
        good = np.flatnonzero(faults.code == 0)
        taken = pa.array(good)
        records = pa.RecordBatch.from_arrays(
            [column.take(taken) for column in columns], schema=self.schema
        )
        return Normalised(records, rows[good], faults.refused(rows))

    def _columns(self, leaves: Leaves, count: int) -> tuple[list[pa.Array], "_Faults"]:
        """Return all columns; at a row with a fault the value has no meaning."""
        faults = _Faults(count)
        done: dict[str, pa.Array] = {}
        # The exponent of an amount depends on its currency, which therefore comes first.
        ordered = sorted(self._mapping.rules, key=lambda rule: rule.kind == "amount")
        exponents = np.empty(0, np.int64)
        for rule in ordered:
            if rule.kind == "amount":
                exponents = self._exponents_of(rule, done["currency"], count)
            done[rule.column] = self._column(rule, leaves, count, exponents, faults)
        columns = [done[rule.column] for rule in self._mapping.rules]
        if self._base is not None:
            columns.append(self._base.column(done, faults))
        return columns, faults

    def _column(
        self, rule: FieldRule, leaves: Leaves, count: int, exponents: Int64, faults: "_Faults"
    ) -> pa.Array:
        kind = _COLUMNS[rule.kind]
        if rule.path is None:
            return pa.repeat(pa.scalar(rule.constant, kind), count)
        parts = leaves[rule.path]
        if len(parts) == 1 and parts[0].rows is None:
            column, codes = _converted(rule, parts[0], exponents)
        else:
            column, codes = _joined(rule, parts, count, exponents)
        if column.null_count:
            null = pc.is_null(column).to_numpy(zero_copy_only=False)
            null &= codes == SOUND
            if rule.default is not None:
                column = pc.fill_null(column, pa.scalar(rule.default, kind))
            elif not rule.nullable:
                codes = np.where(null, np.uint8(NULL), codes)
                column = pc.fill_null(column, _filling(kind))
        faults.add(rule, codes)
        return column

    def _exponents_of(self, rule: FieldRule, currency: pa.Array, count: int) -> Int64:
        """Return int64[n]: the exponent by which each row's amount is scaled."""
        if rule.unit == "minor":
            return np.zeros(count, np.int64)
        index = pc.index_in(currency, self._codes).fill_null(-1).to_numpy(zero_copy_only=False)
        return self._exponents[index]

    def _chosen(self, leaves: Leaves, rows: Int64) -> tuple[Leaves, Int64]:
        """Return the leaves of the rows that the mapping's conditions choose, and these rows."""
        where = self._mapping.where
        texts = {clause.path: _texts(leaves[clause.path], len(rows)) for clause in where}
        inside = chosen(where, texts, len(rows))
        if inside.all():
            return leaves, rows
        place = np.where(inside, np.cumsum(inside) - 1, -1)
        return (
            {path: [part.taken(place) for part in parts] for path, parts in leaves.items()},
            np.flatnonzero(inside),
        )


class BaseAmounts:
    """Amounts in minor units of the base currency.

    Args:
        mapping: With rates.
        currencies: The plan's currencies, exponents by code.
        most: The plan's ``amount_minor_max``, which is also the limit in the base currency.

    Raises:
        ValueError: The mapping's rates do not fit the currencies.
    """

    def __init__(self, mapping: EventMapping, currencies: Mapping[str, int], most: int) -> None:
        self._rates: Rates = rates_of(mapping.rates, currencies)
        self._most = most
        places = {
            rule.column: f"{rule.place}: " for rule in mapping.fields if rule.path is not None
        }
        self._faults = {
            code: (reason, f"{places.get(column, '')}{text}")
            for code, (reason, column, text) in _RATE_FAULTS.items()
        }

    def apply(self, records: pa.RecordBatch) -> tuple[pa.RecordBatch, Int64, list[Refusal]]:
        """Add the column to transactions.

        Args:
            records: n transactions.

        Returns:
            (the valid ones with the column, their row numbers among the n, the rejected ones).
        """
        faults = _Faults(records.num_rows)
        named = {name: records.column(name) for name in ("event_time", "amount_minor", "currency")}
        column = self.column(named, faults)
        records = records.append_column(BASE_FIELD, column)
        good = np.flatnonzero(faults.code == 0)
        refused = faults.refused(np.arange(records.num_rows))
        return records.take(pa.array(good)) if refused else records, good, refused

    def column(self, columns: Mapping[str, pa.Array], faults: "_Faults") -> pa.Array:
        """Return the column, and record a fault for each row without an amount in the base."""
        times = columns["event_time"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        amounts = columns["amount_minor"].to_numpy(zero_copy_only=False)
        values, status = base_minor(self._rates, amounts, columns["currency"], times)
        status[(status == CONVERTED) & (values > self._most)] = OVERFLOW
        for code, told in self._faults.items():
            faults.tell(status == code, told)
        return pa.array(values)


class _Faults:
    """The first fault of each row."""

    def __init__(self, count: int) -> None:
        self.code = np.zeros(count, np.int64)
        self._told: list[tuple[RejectReason, str]] = []
        self.any = False

    def add(self, rule: FieldRule, codes: NDArray[np.uint8]) -> None:
        """Record a fault for the rows of a column that are not ``SOUND``."""
        if not codes.any():
            return
        for code in np.unique(codes[codes != SOUND]).tolist():
            reason, text = conversions.TOLD[Fault(code)]
            self.tell(codes == code, (reason, f"{rule.place}: {text.format(rule.column)}"))

    def tell(self, rows: NDArray[np.bool_], told: tuple[RejectReason, str]) -> None:
        """Record a fault for rows (bool[n]), unless they have one already."""
        new = rows & (self.code == 0)
        if new.any():
            self.any = True
            self._told.append(told)
            self.code[new] = len(self._told)

    def refused(self, rows: Int64) -> list[Refusal]:
        """Return the rows with a fault, by their numbers in ``rows``."""
        bad = np.flatnonzero(self.code).tolist()
        return [(int(rows[row]), *self._told[int(self.code[row]) - 1]) for row in bad]


def _converted(
    rule: FieldRule, part: LeafPart, exponents: Int64
) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Return a part as the rule's column, and the fault of each of its rows."""
    if misfit(rule, part.wire):
        count = len(part.values)
        return (
            pa.nulls(count, _COLUMNS[rule.kind]),
            np.where(
                part.values.is_null().to_numpy(zero_copy_only=False), SOUND, Fault.KIND
            ).astype(np.uint8),
        )
    return conversions.CONVERSIONS[rule.kind](rule, part, exponents)


def _joined(
    rule: FieldRule, parts: Sequence[LeafPart], count: int, exponents: Int64
) -> tuple[pa.Array, NDArray[np.uint8]]:
    """Return the parts of a path as one column of ``count`` rows."""
    codes = np.zeros(count, np.uint8)
    place = np.full(count, -1)
    pieces = [pa.nulls(0, _COLUMNS[rule.kind])]
    end = 0
    for part in parts:
        rows = np.arange(count) if part.rows is None else part.rows
        own = exponents[rows] if len(exponents) else exponents
        column, codes[rows] = _converted(rule, part, own)
        pieces.append(column)
        place[rows] = np.arange(end, end + len(rows))
        end += len(rows)
    joined = pa.concat_arrays(pieces)
    return joined.take(pa.array(place, mask=place < 0)), codes


def _texts(parts: Sequence[LeafPart], count: int) -> NDArray[np.object_]:
    """Return the values at a path as text; None for null, ``_NO_TEXT`` for a value without text."""
    found = np.full(count, None, object)
    for part in parts:
        if part.wire.kind not in COMPARED:
            null = part.values.is_null().to_pylist()
            texts = [None if each else _NO_TEXT for each in null]
        elif part.wire.kind in {"long", "boolean"}:
            texts = part.values.cast(pa.string()).to_pylist()
        else:
            texts = part.values.to_pylist()
        found[slice(None) if part.rows is None else part.rows] = texts
    return found


_NO_TEXT: Final = object()
"""Represents a value that is not null and equals no text."""


def _filling(kind: pa.DataType) -> pa.Scalar:
    return pa.scalar("" if kind == pa.string() else 0).cast(kind)
