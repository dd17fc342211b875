"""Users' own records to transactions or labels, by a mapping of events.toml.

First the leaves at the mapped paths are read: by the walk, by fastavro if a schema does not allow
that, or from JSON. Then :mod:`stream_scorer.core.normalising` converts them, in the same way for
all formats.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path as Directory
from typing import Any, BinaryIO, Final, Protocol

import fastavro
import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading import opcodes
from stream_scorer.codec.reading.decode import (
    ColumnDecoder,
    DecodedColumns,
    Piece,
    Refusal,
    TransactionDecoder,
    Writer,
    decode_each,
    rejections_of,
    with_sources,
)
from stream_scorer.codec.reading.decode_program import Framed, compile_walk
from stream_scorer.codec.reading.json_records import JsonRefusal, Leaf, leaves_of
from stream_scorer.codec.reading.mapped_paths import (
    Found,
    StoredPaths,
    Taker,
    find,
    parts_of,
    stored_paths,
    taker_of,
)
from stream_scorer.core.events.batch import EventBatch, Rejections, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.mapping.record_filter import Clause
from stream_scorer.core.normalising.leaves import COMPARED, misfit
from stream_scorer.core.normalising.normalise import BaseAmounts, Normaliser
from stream_scorer.ports import BytesColumn, Int64, RawRecords
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.limits import check_decoded_unions, check_read_symbols
from stream_scorer.registry.sources import SchemaSource, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

_WHY_MOST: Final = 300


class EventDecoder(Protocol):
    """Decodes polled records into transactions; the interface that the transaction loop needs."""

    @property
    def columns(self) -> "PayloadDecoder":
        """Decodes the payloads alone."""
        ...

    @property
    def plan(self) -> Plan:
        """The mapping, currencies and limits on sizes."""
        ...

    def decode(
        self, raw: RawRecords, *, budgeted: bool = False
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records, as :meth:`TransactionDecoder.decode` does.

        A row that is neither decoded nor rejected is skipped, because ``[record] where`` does not
        choose it; see :func:`skipped_rows`.
        """
        ...


class PayloadDecoder(Protocol):
    """Decodes payloads into the columns of one kind of record."""

    def decode(self, values: BytesColumn, *, budgeted: bool = False) -> DecodedColumns:
        """Decode n payloads, as :meth:`ColumnDecoder.decode` does.

        A row that is neither decoded nor rejected is skipped, as in :class:`EventDecoder`.
        """
        ...


def open_decoder(
    source: SchemaSource, plan: Plan, directory: Directory = SCHEMAS_DIRECTORY
) -> EventDecoder:
    """Return the decoder of a plan's records.

    Args:
        source: Returns writer schemas by id.
        plan: The mapping, currencies and limits on sizes. Without a mapping, or with one without
            fields, records have our own schema.
        directory: The folder of this project's schemas.
    """
    mapping = plan.mapping
    if mapping is None:
        return TransactionDecoder(source, plan, directory)
    if not mapping.fields:
        native = TransactionDecoder(source, plan, directory)
        return _Converting(native, mapping, plan) if mapping.rates else native
    if mapping.format == "json":
        return _Mapped(JsonDecoder(mapping, plan), plan)
    return _Mapped(MappedDecoder(mapping, source, plan, directory), plan)


def open_label_decoder(
    source: SchemaSource, plan: Plan, directory: Directory = SCHEMAS_DIRECTORY
) -> PayloadDecoder:
    """Return the decoder of the labels topic.

    Its columns include ``transaction_id``, ``is_fraud``, ``label_time`` (may be null) and, unless a
    mapping leaves them out, ``event_time`` and ``customer_id``.

    Args:
        source: Returns writer schemas by id.
        plan: The mapping of labels and the limits on sizes. Without such a mapping, records have
            our own schema.
        directory: The folder of this project's schemas.
    """
    labels = plan.labels
    if labels is None:
        return ColumnDecoder(source, reader_schema("label.v2", directory), plan)
    if labels.format == "json":
        return JsonDecoder(labels, plan)
    return MappedDecoder(labels, source, plan, directory)


def skipped_rows(count: int, rows: Int64, rejections: Rejections) -> Int64:
    """Return int64: which of ``count`` rows are neither decoded nor rejected."""
    left = np.ones(count, np.bool_)
    left[rows] = False
    left[rejections.rows] = False
    return np.flatnonzero(left)


class _Mapped:
    """Adds the records' partitions, offsets and timestamps to decoded columns."""

    def __init__(self, columns: PayloadDecoder, plan: Plan) -> None:
        self.columns = columns
        self.plan = plan

    def decode(
        self, raw: RawRecords, *, budgeted: bool = False
    ) -> tuple[EventBatch, Int64, Rejections]:
        decoded = self.columns.decode(raw.values, budgeted=budgeted)
        return with_sources(decoded, raw, self.plan)


class _Converting:
    """Records of this project's schema, with amounts converted to the base currency."""

    def __init__(self, native: TransactionDecoder, mapping: EventMapping, plan: Plan) -> None:
        self._native = native
        self.columns = native.columns
        self.plan = plan
        self._base = BaseAmounts(mapping, plan.currencies, plan.amount_minor_max)

    def decode(
        self, raw: RawRecords, *, budgeted: bool = False
    ) -> tuple[EventBatch, Int64, Rejections]:
        events, rows, rejections = self._native.decode(raw, budgeted=budgeted)
        records, good, refused = self._base.apply(events.records)
        if len(good) < len(rows):
            events, rows, own = events.take(good), rows[good], rows
            refused = [(int(own[row]), reason, text) for row, reason, text in refused]
            told = zip(
                rejections.rows.tolist(), rejections.reasons, rejections.details, strict=True
            )
            rejections = rejections_of([*told, *refused])
        batch = EventBatch(records, events.partition, events.offset, events.timestamp)
        return batch, rows, rejections


@dataclass(slots=True)
class _MappedWriter(Writer):
    """A writer schema for taking leaves; ``stored`` is None if fastavro decodes."""

    stored: StoredPaths | None = None
    takers: tuple[Taker | None, ...] = ()


class MappedDecoder(ColumnDecoder):
    """Decodes batches of Confluent-framed Avro of any schema by a mapping.

    Args:
        mapping: With a rule for each column.
        source: Returns writer schemas by id.
        plan: Currencies and limits.
        directory: The folder of this project's schemas.
    """

    def __init__(
        self, mapping: EventMapping, source: SchemaSource, plan: Plan,
        directory: Directory = SCHEMAS_DIRECTORY,
    ) -> None:  # fmt: skip
        super().__init__(source, reader_schema("transaction.v1", directory), plan)
        self._mapping = mapping
        self._paths = mapping.paths
        self._normaliser = Normaliser(mapping, plan.currencies, plan.amount_minor_max)
        self.schema = self._normaliser.schema

    def decode(
        self, values: BytesColumn | Iterable[bytes | None], *, budgeted: bool = False
    ) -> DecodedColumns:
        """Decode n payloads; see :meth:`ColumnDecoder.decode`."""
        if not isinstance(values, BytesColumn):
            values = BytesColumn.of(values)
        decoded = super().decode(values, budgeted=budgeted)
        if self._mapping.where and values.null is not None:
            return _without_tombstones(decoded, values)
        return decoded

    def _ready(self, schema_id: int, text: str) -> Writer | str:
        definition = parse_definition(text, f"schema id {schema_id}", self._limits)
        places = {path: find(definition, path) for path in self._paths}
        refusals = refusals_of(self._mapping, places)
        if refusals:
            return f"schema id {schema_id}: {refusals[0]}"[:_WHY_MOST]
        size = sum(place.symbol_bytes for place in places.values())
        check_read_symbols(size, f"schema id {schema_id}", self._limits)
        stored = self._stored(places)
        if not stored:
            check_decoded_unions(definition.root, f"schema id {schema_id}", self._limits)
        plain = definition.plain()
        return _MappedWriter(
            compile_walk(plain, None, self._limits.steps, stored.tree if stored else None),
            fastavro.parse_schema(plain.root, _force=True),
            None,
            None,
            opcodes.STEPS_PER_BYTE if stored else opcodes.SURE_STEPS_PER_BYTE,
            text,
            stored,
            _takers(definition, places),
        )

    def _stored(self, places: dict[Path, Found], /) -> StoredPaths | None:
        return stored_paths(places)

    def _keep(
        self,
        writer: Writer,
        rows: Int64,
        columns: list[pa.Array],
        framed: Framed,
        pieces: list[Piece],
        refused: list[Refusal],
    ) -> None:
        assert isinstance(writer, _MappedWriter)  # noqa: S101 what _ready returns
        if writer.stored is None:
            rows, found = decode_each(partial(_leaves_by_path, writer), rows, framed, refused)
            leaves = {
                path: parts_of([values[number] for values in found])
                for number, path in enumerate(self._paths)
            }
        else:
            leaves = dict(writer.stored.leaves(columns, self._paths))
        normal = self._normaliser.apply(leaves, len(rows))
        refused += [(int(rows[row]), reason, text) for row, reason, text in normal.refused]
        pieces.append((rows[normal.rows], normal.records))


class JsonDecoder:
    """Decodes batches of JSON records by a mapping; see ``json_records``.

    Args:
        mapping: With a rule for each column.
        plan: Currencies and limits.
    """

    def __init__(self, mapping: EventMapping, plan: Plan) -> None:
        self._mapping = mapping
        self._paths = mapping.paths
        self._plan = plan
        self._normaliser = Normaliser(mapping, plan.currencies, plan.amount_minor_max)
        self.schema = self._normaliser.schema

    def decode(
        self, values: BytesColumn | Iterable[bytes | None], *, budgeted: bool = False
    ) -> DecodedColumns:
        """Decode n payloads; a null value is skipped if there is a ``where``, otherwise rejected.

        Args:
            values: The payloads.
            budgeted: Has no effect, because no schema is looked up.
        """
        del budgeted
        refused: list[Refusal] = []
        good: list[int] = []
        taken: list[list[Leaf]] = [[] for _ in self._paths]
        for row, body in enumerate(values):
            if body is None and self._mapping.where:
                continue
            try:
                found = self._leaves(body)
            except JsonRefusal as refusal:
                refused.append((row, refusal.reason, refusal.detail))
                continue
            good.append(row)
            for column, value in zip(taken, found, strict=True):
                column.append(value)
        rows = np.array(good, np.int64)
        leaves = {path: parts_of(column) for path, column in zip(self._paths, taken, strict=True)}
        normal = self._normaliser.apply(leaves, len(rows))
        refused += [(int(rows[row]), reason, text) for row, reason, text in normal.refused]
        return DecodedColumns(normal.records, rows[normal.rows], rejections_of(refused))

    def _leaves(self, body: bytes | None) -> list[Leaf]:
        if not body:
            raise JsonRefusal(RejectReason.EMPTY, "no value")
        if len(body) > self._plan.record_bytes_max:
            raise JsonRefusal(RejectReason.TOO_LARGE, "longer than record_bytes_max")
        return leaves_of(body, self._paths, self._plan.string_bytes_max)


def refusals_of(mapping: EventMapping, places: dict[Path, Found]) -> list[str]:
    """Return why no record of a writer schema can be mapped; empty if some can.

    Args:
        mapping: With a rule for each column.
        places: What the schema has at each path of the mapping.
    """
    found = []
    for rule in mapping.rules:
        if rule.path is None:
            continue
        place = places[rule.path]
        if place.missing and rule.optional:
            continue
        misfits = [misfit(rule, wire) for wire in place.wires]
        if place.why:
            found.append(f"{rule.key}: {place.why}")
        elif misfits and all(misfits):
            found.append(f"{rule.key}: {rule.place}: {misfits[0]}")
        elif not place.wires and not rule.nullable and rule.default is None:
            found.append(f"{rule.key}: {rule.place}: is always null")
    wrong = (_misfit_of_clause(clause, places[clause.path]) for clause in mapping.where)
    return found + [f"{mapping.where_key}: {why}" for why in wrong if why]


def _misfit_of_clause(clause: Clause, place: Found) -> str:
    """Return why a condition can never be evaluated; empty if it can."""
    kinds = [wire.kind for wire in place.wires]
    if not kinds:
        return place.why
    if not clause.values or not COMPARED.isdisjoint(kinds):
        return ""
    why = place.why or f"{dotted(clause.path)}: is a {kinds[0]}"
    return f"{why}; where can only compare it with null"


def _leaves_by_path(writer: _MappedWriter, body: BinaryIO) -> list[Leaf]:
    """Decode a record with fastavro and take its value at each path of the mapping."""
    # Without return_record_name_override, which compares every branch of a union for each value.
    record: Any = fastavro.schemaless_reader(body, writer.schema, None, return_record_name=True)
    return [None if taker is None else taker(record) for taker in writer.takers]


def _takers(definition: Definition, places: dict[Path, Found]) -> tuple[Taker | None, ...]:
    return tuple(
        None if place.missing else taker_of(definition, path) for path, place in places.items()
    )


def _without_tombstones(decoded: DecodedColumns, values: BytesColumn) -> DecodedColumns:
    """Skip null values, which ``where`` does not choose."""
    rejections = decoded.rejections
    null = values.null
    told = [
        each
        for each in zip(
            rejections.rows.tolist(), rejections.reasons, rejections.details, strict=True
        )
        if null is None or not null[each[0]]
    ]
    return DecodedColumns(decoded.records, decoded.rows, rejections_of(told))
