"""Columns to Confluent-framed Avro.

fastavro takes 7 µs for a decision. So a small program for each batch drives one kernel over the
columns (docs/adr/0003-own-encoder.md).
"""

import io
import struct
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import fastavro
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.writing.packed import PackedBatch, Pieces
from stream_scorer.core.decision.reasons import explanation_items
from stream_scorer.core.events.batch import DecisionBatch, Explanations, Flag, Outcome
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.errors import SchemaError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.definition import Definition, parse_definition

_CACHE_MAX: Final = 10_000
_REASONS_MAX: Final = 1_000
_INT32: Final = np.iinfo(np.int32)
_NO_ITEMS: Final = b"\0"
_TEXT: Final = {"string": pa.string(), "bytes": pa.binary()}
_SHORT: Final = frozenset(_TEXT.values())
_WHOLE: Final = frozenset({"int", "long", "enum"})


@dataclass(frozen=True, slots=True)
class Constant:
    """One value of any Avro type for all rows."""

    value: Any


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice for each row: few values of any Avro type, or their encoded pieces, and int[n]."""

    index: NDArray[Any]
    values: Sequence[Any] | Pieces


@dataclass(frozen=True, slots=True)
class Items:
    """The items of an array of records.

    Attributes:
        ends: int64[n + 1]; row i has the items ``ends[i]`` to ``ends[i + 1]`` - 1.
        columns: The items' fields, each a :data:`Column` with one value for each item.
    """

    ends: NDArray[np.int64]
    columns: Mapping[str, "Column"]


Column: TypeAlias = Constant | Choice | Items | pa.Array | NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of the schema, looked up once.

    Attributes:
        path: Its name; for a field of an array's items, the array's path, a dot and its name.
        schema: Its type, in which all names are defined.
        inner: Its type without null.
        null: Position of null in the union; None if null is not allowed.
        kind: Avro type of ``inner``.
        default: Its default, or None.
        items: Fields of the records in an array; empty for every other type.
    """

    path: str
    schema: Any
    inner: Any
    null: int | None
    kind: str
    default: Constant | None
    items: Mapping[str, "_Field"]

    @classmethod
    def all_of(cls, definition: Definition, record: Any, path: str = "") -> dict[str, "_Field"]:
        """Return the fields of a record by name."""
        return {entry["name"]: cls.of(definition, entry, path) for entry in record["fields"]}

    @classmethod
    def of(cls, definition: Definition, entry: Any, path: str) -> "_Field":
        inner, null = definition.optional(entry["type"]) or (entry["type"], None)
        inner = definition.expand(inner)
        # fastavro gets the field's type alone, where a name would not be defined.
        schema = inner if null is None else [inner]
        if null is not None:
            schema.insert(null, "null")
        default = Constant(entry["default"]) if "default" in entry else None
        path, kind, items = f"{path}{entry['name']}", definition.kind(inner), {}
        if kind == "array" and definition.kind(inner["items"]) == "record":
            items = cls.all_of(definition, definition.expand(inner["items"]), f"{path}.")
        return cls(path, schema, inner, null, kind, default, items)


class ColumnEncoder:
    """Encodes columns as records of one schema.

    Args:
        schema_id: The id in each record's header; None: records have no header.
        schema: JSON of a record schema.

    Raises:
        SchemaError: The schema is not a record.
    """

    def __init__(self, schema_id: int | None, schema: str) -> None:
        self._header = b"" if schema_id is None else b"\0" + schema_id.to_bytes(4, "big")
        definition = parse_definition(schema, f"schema id {schema_id}").plain()
        if definition.kind(definition.root) != "record":
            raise SchemaError(f"schema id {schema_id}: not a record", "columns need fields")
        self._fields = _Field.all_of(definition, definition.root)
        self._encoded: dict[tuple[str, type, Any], bytes] = {}

    def encode(self, columns: Mapping[str, Column], count: int) -> BytesColumn:
        """Encode ``count`` rows.

        Args:
            columns: By field name: a :class:`Constant`, a :class:`Choice`, :class:`Items`, an
                Arrow array, a numpy column, or (for bytes) a numpy matrix with a row for each
                record. A field without a column has its default.
            count: Number of rows.

        Raises:
            ValueError: A column does not fit its field; the message names the field.
        """
        if not count:
            return BytesColumn.of(())
        batch = PackedBatch(count)
        batch.constant(self._header)
        self._fill(batch, self._fields, columns)
        return batch.write()

    def _fill(
        self, batch: PackedBatch, fields: Mapping[str, _Field], columns: Mapping[str, Column]
    ) -> None:
        unknown = columns.keys() - fields.keys()
        if unknown:
            raise ValueError(f"{min(unknown)}: the schema has no such field")
        for name, entry in fields.items():
            column = columns.get(name, entry.default)
            if column is None:
                raise ValueError(f"{name}: no column and no default")
            try:
                self._add(batch, entry, column)
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{name}: {error}") from error

    @property
    def names(self) -> AbstractSet[str]:
        """Names of the fields."""
        return self._fields.keys()

    def pieces(self, name: str, values: Sequence[Any]) -> Pieces:
        """Encode values of one field once, to use them in a :class:`Choice` of many batches."""
        return self._pieces(self._fields[name], values)

    def item_pieces(self, name: str, field: str, values: Sequence[Any]) -> Pieces:
        """Encode values of a field of an array's items once; see :meth:`pieces`."""
        return self._pieces(self._fields[name].items[field], values)

    def _pieces(self, entry: _Field, values: Sequence[Any]) -> Pieces:
        return Pieces.of(self._value(entry, value) for value in values)

    def encode_batch(self, records: pa.RecordBatch) -> BytesColumn:
        """Encode a record batch whose columns have the names of the fields."""
        columns = dict(zip(records.schema.names, records.columns, strict=True))
        return self.encode(columns, len(records))

    def _add(self, batch: PackedBatch, entry: _Field, column: Column) -> None:
        if isinstance(column, Constant):
            batch.constant(self._value(entry, column.value))
            return
        if isinstance(column, Choice):
            values = column.values
            batch.choice(
                column.index, values if isinstance(values, Pieces) else self._pieces(entry, values)
            )
            return
        if isinstance(column, Items):
            self._add_items(batch, entry, column)
            return
        if len(column) != batch.count:
            raise ValueError(f"{len(column)} values for {batch.count} rows")
        if entry.null is not None:
            batch.optional(_valid(column), entry.null)
        elif isinstance(column, pa.Array) and column.null_count:
            raise ValueError("null where the schema takes none")
        if isinstance(column, pa.Array):
            if entry.kind in _TEXT:
                batch.text(column if column.type in _SHORT else column.cast(_TEXT[entry.kind]))
                return
            column = _numpy(column)
        _add_numpy(batch, entry, column)

    def _add_items(self, batch: PackedBatch, entry: _Field, column: Items) -> None:
        if not entry.items:
            raise ValueError(f"items do not go into {entry.kind}")
        ends = column.ends
        if ends.shape != (batch.count + 1,) or ends[0] != 0 or (np.diff(ends) < 0).any():
            raise ValueError(f"ends of items that are not those of {batch.count} rows")
        if not ends[-1]:
            batch.constant(_NO_ITEMS)
            return
        with batch.items(ends):
            self._fill(batch, entry.items, column.columns)

    def _value(self, entry: _Field, value: Any) -> bytes:
        """Encode one value with fastavro; texts, numbers and lists of texts are cached."""
        kind = type(value)
        if value is None or kind is str or kind is int:
            key = (entry.path, kind, value)
        elif kind is float:
            # Equal values may have different bytes: 0.0 and -0.0.
            key = (entry.path, kind, struct.pack("<d", value))
        elif kind in {list, tuple} and all(type(part) is str for part in value):
            key = (entry.path, list, tuple(value))
        else:
            return self._fresh(entry.schema, value)
        known = self._encoded.get(key)
        if known is None:
            if len(self._encoded) >= _CACHE_MAX:
                self._encoded.clear()
            known = self._encoded[key] = self._fresh(entry.schema, value)
        return known

    def _fresh(self, schema: Any, value: Any) -> bytes:
        buffer = io.BytesIO()
        fastavro.schemaless_writer(
            buffer, schema, list(value) if isinstance(value, tuple) else value
        )
        return buffer.getvalue()


def _add_numpy(batch: PackedBatch, entry: _Field, column: NDArray[Any]) -> None:
    kind = entry.kind
    if kind == "bytes" and column.ndim == 2:  # noqa: PLR2004 a matrix
        batch.rows(column)
    elif column.ndim != 1:
        raise ValueError(f"{column.ndim} dimensions do not go into {kind}")
    elif kind == "double" and column.dtype.kind in "fiu":
        batch.doubles(column)
    elif kind == "boolean" and column.dtype.kind == "b":
        batch.booleans(column)
    elif kind in _WHOLE and column.dtype.kind in "iu":
        _check_range(entry, column)
        batch.longs(column)
    else:
        raise ValueError(f"{column.dtype} does not go into {kind}")


def _check_range(entry: _Field, column: NDArray[Any]) -> None:
    if entry.kind == "enum":
        least, most = 0, len(entry.inner["symbols"]) - 1
    elif entry.kind == "int" and column.dtype != np.int32:
        least, most = int(_INT32.min), int(_INT32.max)
    else:
        return
    if column.min() < least or column.max() > most:
        raise ValueError(f"a value outside {least} to {most}")


def _valid(column: pa.Array | NDArray[Any]) -> NDArray[Any]:
    """Return n booleans or uint8: whether each value is not null."""
    if isinstance(column, pa.Array):
        return np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    return np.ones(len(column), np.uint8)


def _numpy(column: pa.Array) -> NDArray[Any]:
    """Return an Arrow column of numbers, times or booleans as numpy; a null has any value."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        column = column.view(pa.int64())
    elif pa.types.is_date32(kind):
        column = column.view(pa.int32())
    if column.null_count:
        column = column.fill_null(False if pa.types.is_boolean(column.type) else 0)
    return np.asarray(column.to_numpy(zero_copy_only=False))


_OUTCOMES: Final = (*(outcome.name for outcome in Outcome), None)
"""The outcomes by value; the last one is that of NO_OUTCOME."""
_FLAGS: Final = tuple(
    tuple(flag.name.lower() for flag in Flag if flag.value & bits and flag.name)
    for bits in range(1 << len(Flag))
)


def _times(values: NDArray[np.int64] | None) -> Column:
    """Return times, ms, with null in place of NEVER."""
    if values is None:
        return Constant(None)
    never = values == NEVER
    if never.all():
        return Constant(None)
    return pa.array(values, mask=never) if never.any() else values


def without_nulls(column: pa.Array) -> pa.Array:
    """Return a column of texts with empty texts in place of nulls."""
    return column.fill_null("") if column.null_count else column


class DecisionEncoder:
    """Encodes decisions for the decisions topic.

    Args:
        schema_id: The decision schema's id; None for records without a header.
        schema: The decision schema.
        source_topic: Topic of the transactions.
    """

    def __init__(self, schema_id: int | None, schema: str, source_topic: str) -> None:
        self._encoder = ColumnEncoder(schema_id, schema)
        self._source_topic = Constant(source_topic)
        self._flags = self._encoder.pieces("flags", _FLAGS)
        self._outcomes = self._encoder.pieces("model_outcome", _OUTCOMES)
        # Files of decisions have the fields of version 2.
        self._explores = "policy_outcome" in self._encoder.names
        if self._explores:
            self._policy_outcomes = self._encoder.pieces("policy_outcome", _OUTCOMES)
        self._reasons: dict[tuple[str, ...], int] = {}
        self._reason_pieces = Pieces.of(())
        self._names: tuple[str, ...] = ()
        self._name_pieces = Pieces.of(())

    def encode(
        self,
        decisions: DecisionBatch,
        decided_at_ms: int,
        others: Mapping[str, Column] | None = None,
    ) -> BytesColumn:
        """Encode n decisions, row for row.

        Args:
            decisions: The decisions.
            decided_at_ms: When they were made, ms since the epoch.
            others: Columns by field name that replace the usual ones, or fill further fields.
        """
        events = decisions.events
        records = events.records
        columns: dict[str, Column] = {
            "transaction_id": records.column("transaction_id"),
            "customer_id": records.column("customer_id"),
            "terminal_id": without_nulls(records.column("terminal_id")),
            "event_time": events.int64("event_time"),
            "decided_at": Constant(decided_at_ms),
            "score": decisions.score,
            "decision": decisions.outcome,
            "reasons": self._reasons_of(decisions),
            "flags": Choice(decisions.flags, self._flags),
            "model": Constant(decisions.model),
            "model_version": Constant(decisions.version),
            "arm": Constant(decisions.arm),
            "plan_revision": Constant(decisions.plan_revision),
            "propensity": Constant(decisions.propensity),
            "engine": Constant(decisions.engine),
            "features": decisions.features,
            "terminal_watermark": _times(decisions.terminal_watermark),
            "source_topic": self._source_topic,
            "source_partition": events.partition,
            "source_offset": events.offset,
            "amount_minor": events.int64("amount_minor"),
            "currency": records.column("currency"),
            "channel": records.column("channel"),
            "model_outcome": Choice(decisions.own_outcome, self._outcomes),
            "calibrated_score": Constant(None),
            "policy_revision": Constant(decisions.revision_of_policy),
            "explanations": self._explained(decisions.explanations, decisions.features),
        }
        if self._explores:
            columns |= {
                "policy_outcome": Choice(decisions.by_policy, self._policy_outcomes),
                "outcome_propensity": decisions.chance,
                "review_propensity": Constant(decisions.review_propensity),
            }
        return self._encoder.encode({**columns, **(others or {})}, len(decisions))

    def _explained(
        self, explanations: Explanations | None, features: NDArray[np.float64]
    ) -> Column:
        """Return the explanations of n rows as items; ``features`` is float64[n, m]."""
        if explanations is None or not len(explanations):
            return Constant([])
        items = explanation_items(explanations, features)
        if self._names != items.names:
            self._names = items.names
            self._name_pieces = self._encoder.item_pieces("explanations", "feature", items.names)
        return Items(
            items.ends,
            {
                "feature": Choice(items.feature, self._name_pieces),
                "value": items.value,
                "contribution": items.contribution,
                "text": Constant("") if items.text is None else pa.array(items.text, pa.string()),
            },
        )

    def _reasons_of(self, decisions: DecisionBatch) -> Choice:
        """Return each row's reason codes; lists of codes that occurred before are cached."""
        known = self._reasons
        if len(known) > _REASONS_MAX:
            known.clear()
            self._reason_pieces = Pieces.of(())
        known.setdefault((), 0)
        reason = np.zeros(len(decisions), np.int64)
        reason[list(decisions.reasons)] = [
            known.setdefault(codes, len(known)) for codes in decisions.reasons.values()
        ]
        if len(known) != len(self._reason_pieces):
            self._reason_pieces = self._encoder.pieces("reasons", list(known))
        return Choice(reason, self._reason_pieces)
