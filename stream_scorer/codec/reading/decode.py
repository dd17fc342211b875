"""Confluent-framed Avro to columns: a compiled fast path, fastavro as the fallback.

Every payload is walked (:mod:`stream_scorer.codec.reading.decode_program` lists the rules), so both
paths refuse the same records. The fast path stores the reader's columns during that walk. The
fallback gives the checked bytes to fastavro, record by record. It is for writer schemas in which a
field of the reader is more than a single value that may be optional. Both read plain numbers,
without logical types: a long is a long, whether or not a date can represent it. If the bytes are
valid, but the reader schema cannot take a value (null where null is not allowed, an unknown
symbol), only that record is rejected, as INCOMPATIBLE_SCHEMA.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastavro.read import SchemaResolutionError

from stream_scorer.codec.reading import framing, opcodes, resolve
from stream_scorer.codec.reading.decode_program import (
    DecodeProgram,
    Framed,
    check,
    compile_walk,
    frame,
)
from stream_scorer.codec.reading.preparation_budget import PreparationBudget
from stream_scorer.core.events.batch import EventBatch, Rejections, RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError
from stream_scorer.ports import BytesColumn, Int64, RawRecords
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.limits import (
    SchemaLimits,
    check_decoded_unions,
    check_read_symbols,
    shown,
)
from stream_scorer.registry.schema_cache import RecentSchemas
from stream_scorer.registry.sources import SchemaSource, look_up, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

_FRAME_REASONS: Final = {
    opcodes.EMPTY: (RejectReason.EMPTY, "no value"),
    opcodes.OVERSIZE: (RejectReason.TOO_LARGE, "longer than record_bytes_max"),
    opcodes.FRAMING: (RejectReason.FRAMING, "no magic byte 0 and schema id in front"),
}

_FEW_IDS: Final = 8
_REFUSED_BYTES: Final = 1_024
_WHY_MOST: Final = 300
_PUBLISHED: Final = ("transaction_id", "customer_id", "terminal_id", "currency", "channel")
PUBLISHED_BYTES_MAX: Final = 800_000
"""Maximum bytes of a record's key and of the texts that its decision and its shadow scores copy.
The rest of a decision is the scorer's own: 8 bytes for each feature, three explanations, names, and
trace headers of at most 8 KiB. Together that is less than the maximum size of a producer's message.
"""
_TOGETHER: Final = f"key and texts are longer than {PUBLISHED_BYTES_MAX} bytes together"
UNLIMITED: Final = Plan(record_bytes_max=1 << 30, string_bytes_max=1 << 30, array_items_max=1 << 30)
"""For records that this project wrote; a plan's limits are for records of other clients."""

Refusal = tuple[int, RejectReason, str]
Piece = tuple[Int64, pa.RecordBatch]
_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True)
class DecodedColumns:
    """The result for n payloads.

    Attributes:
        records: The decoded records, in the reader schema's fields.
        rows: int64, their row numbers in the input, ascending.
        rejections: The rejected rows. With a mapping, all remaining rows are skipped ones.
    """

    records: pa.RecordBatch
    rows: Int64
    rejections: Rejections


@dataclass(slots=True)
class Writer:
    """A writer schema that is prepared for decoding; without a projection fastavro decodes.

    ``text`` is its JSON.
    """

    program: DecodeProgram
    schema: Any
    reader: Any
    projection: resolve.Projection | None
    steps_per_byte: int
    text: str


class ColumnDecoder:
    """Decodes batches of payloads into columns of one reader schema.

    Args:
        source: Returns writer schemas by id.
        reader_schema: JSON of a record whose fields are single values or arrays of simple values,
            possibly optional.
        plan_limits: The limits on record, string and array size.
        same_name: Whether a writer schema must have the full name of the reader schema, as in our
            own topics.

    Attributes:
        budget: The time for new schemas.

    Raises:
        SchemaError: The reader schema is not such a record.
    """

    def __init__(
        self,
        source: SchemaSource,
        reader_schema: str,
        plan_limits: Plan,
        *,
        same_name: bool = False,
    ) -> None:
        self._source = source
        self._plan = plan_limits
        self._same_name = same_name
        self._reader = parse_definition(reader_schema, "reader schema")
        self.schema: pa.Schema = resolve.arrow_schema(self._reader)
        self._plain_reader = self._reader.plain()
        self._limits = SchemaLimits.of(plan_limits)
        self._writers: RecentSchemas[Writer | str] = RecentSchemas()
        self.budget = PreparationBudget()

    def text_of(self, schema_id: int) -> str | None:
        """Return the JSON of a writer schema that is prepared; None if it is not kept."""
        writer = self._writers.peek(schema_id)
        return writer.text if isinstance(writer, Writer) else None

    def decode(
        self, values: BytesColumn | Iterable[bytes | None], *, budgeted: bool = False
    ) -> DecodedColumns:
        """Decode n payloads; a null value is rejected as EMPTY.

        Args:
            values: The payloads.
            budgeted: As for :func:`~stream_scorer.registry.sources.look_up`.

        Raises:
            RegistryUnavailableError: A writer schema is unavailable at the moment; nothing is
                decoded.
        """
        if not isinstance(values, BytesColumn):
            values = BytesColumn.of(values)
        count = len(values)
        framed = frame(values)
        status = np.empty(count, np.uint8)
        ids = np.empty(count, np.int64)
        bad, uniform = framing.frames(
            framed.data, framed.offsets, self._plan.record_bytes_max, status, ids
        )
        refused: list[Refusal] = []
        rows = np.arange(count)
        if bad:
            wrong = np.flatnonzero(status)
            refused += [(r, *_FRAME_REASONS[status[r]]) for r in wrong.tolist()]
            rows = np.flatnonzero(status == 0)
        groups = [(int(ids[rows[0]]), rows)] if uniform and len(rows) else _by_id(ids, rows)
        pieces: list[Piece] = []
        writers = self._writers_of(groups, budgeted=budgeted)
        for schema_id, members in groups:
            self._decode_group(members, framed, pieces, refused, writers[schema_id])
        records, good = self._join(pieces, count)
        return DecodedColumns(records, good, rejections_of(refused))

    def _decode_group(
        self,
        rows: Int64,
        framed: Framed,
        pieces: list[Piece],
        refused: list[Refusal],
        writer: Writer | str | SchemaError,
    ) -> None:
        """Decode the rows of one writer schema."""
        if isinstance(writer, SchemaError):
            refused += [(r, RejectReason.UNKNOWN_SCHEMA, writer.what) for r in rows.tolist()]
            return
        if isinstance(writer, str):
            refused += [(r, RejectReason.INCOMPATIBLE_SCHEMA, writer) for r in rows.tolist()]
            return
        walked = check(framed, rows, writer.program, self._plan, writer.steps_per_byte)
        if walked.good < len(rows):
            for k in np.flatnonzero(walked.status).tolist():
                verdict = writer.program.verdict(
                    int(walked.status[k]), int(walked.step[k]), int(walked.position[k])
                )
                refused.append((int(rows[k]), *verdict))
            rows = rows[walked.status == 0]
        if len(rows):
            self._keep(writer, rows, walked.columns, framed, pieces, refused)

    def _keep(
        self,
        writer: Writer,
        rows: Int64,
        columns: list[pa.Array],
        framed: Framed,
        pieces: list[Piece],
        refused: list[Refusal],
    ) -> None:
        """Add the reader's columns of the rows that the walk accepted."""
        if writer.projection is None:
            self._sure(writer, rows, framed, pieces, refused)
        else:
            pieces.append((rows, writer.projection.apply(columns, len(rows))))

    def _sure(
        self,
        writer: Writer,
        rows: Int64,
        framed: Framed,
        pieces: list[Piece],
        refused: list[Refusal],
    ) -> None:
        """Decode with fastavro, record by record."""

        def record_of(body: BinaryIO) -> Any:
            return fastavro.schemaless_reader(body, writer.schema, writer.reader)

        good, found = decode_each(record_of, rows, framed, refused)
        columns = [resolve.column(field, found) for field in self.schema]
        pieces.append((good, pa.RecordBatch.from_arrays(columns, schema=self.schema)))

    def _join(self, pieces: list[Piece], count: int) -> tuple[pa.RecordBatch, Int64]:
        """Return the pieces as one batch in the order of the ``count`` input rows."""
        if len(pieces) == 1:
            return pieces[0][1], pieces[0][0]
        if not pieces:
            return pa.RecordBatch.from_pylist([], self.schema), np.empty(0, np.int64)
        found = np.concatenate([rows for rows, _ in pieces])
        place = np.full(count, -1)
        place[found] = np.arange(len(found))
        good = np.flatnonzero(place >= 0)
        joined = pa.concat_batches([batch for _, batch in pieces])
        return joined.take(pa.array(place[good])), good

    def _writers_of(
        self, groups: list[tuple[int, Int64]], *, budgeted: bool
    ) -> dict[int, Writer | str | SchemaError]:
        """Return the prepared schema of each id, or why it does not resolve or is unknown."""
        found: dict[int, Writer | str | SchemaError] = {}
        new: list[tuple[int, Int64]] = []
        # The schema of the most records is used last, so it is the last one to be forgotten.
        groups = sorted(groups, key=lambda group: len(group[1]))
        for schema_id, rows in groups:
            known = self._writers.find(schema_id)
            if known is None:
                new.append((schema_id, rows))
            else:
                found[schema_id] = known
        if new:
            new.sort(key=lambda group: -len(group[1]))
            asked = [schema_id for schema_id, _ in new]
            texts = self._texts_of(asked, budgeted=budgeted)
            found |= self._prepared(texts, budgeted=budgeted)
            for schema_id, _ in groups:
                self._writers.find(schema_id)
        return found

    def _texts_of(self, ids: list[int], *, budgeted: bool) -> dict[int, str | SchemaError]:
        """Return the JSON of new schemas, as :func:`~stream_scorer.registry.sources.look_up`."""
        return look_up(self._source, ids, budgeted=budgeted)

    def _prepared(
        self, texts: Mapping[int, str | SchemaError], *, budgeted: bool
    ) -> dict[int, Writer | str | SchemaError]:
        """Prepare new schemas, the shortest first, within the budget if there is one."""
        found: dict[int, Writer | str | SchemaError] = {}
        self.budget.begin()
        for schema_id, text in sorted(
            texts.items(), key=lambda each: len(each[1]) if isinstance(each[1], str) else 0
        ):
            if isinstance(text, SchemaError):
                found[schema_id] = text
            elif budgeted and self.budget.is_spent():
                found[schema_id] = _not_prepared(schema_id)
            else:
                found[schema_id] = self._kept(schema_id, text)
        self.budget.end()
        return found

    def _kept(self, schema_id: int, text: str) -> Writer | str:
        """Prepare a new schema and keep it."""
        prepared = self._prepare(schema_id, text)
        size = _REFUSED_BYTES if isinstance(prepared, str) else len(text)
        self._writers.keep(schema_id, prepared, size)
        return prepared

    def _prepare(self, schema_id: int, text: str) -> Writer | str:
        """Return a prepared schema, or why it cannot be; no text of a schema raises an error."""
        try:
            return self._ready(schema_id, text)
        except SchemaError as error:
            return error.what[:_WHY_MOST]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 no schema may stop the process
            return f"schema id {schema_id}: cannot be prepared: {type(error).__name__}"

    def _ready(self, schema_id: int, text: str) -> Writer | str:
        definition = parse_definition(text, f"schema id {schema_id}", self._limits)
        ours, theirs = _name_of(self._reader), _name_of(definition)
        if self._same_name and theirs != ours:
            return f"schema id {schema_id}: is not a {ours}, but {shown(theirs)}"[:_WHY_MOST]
        refusals = resolve.refusals(definition, self._reader)
        if refusals:
            return f"schema id {schema_id}: {refusals[0]}"[:_WHY_MOST]
        size = resolve.read_symbol_bytes(definition, self._reader)
        check_read_symbols(size, f"schema id {schema_id}", self._limits)
        plain = definition.plain()
        projection = resolve.project(definition, self._reader)
        if not projection:
            check_decoded_unions(definition.root, f"schema id {schema_id}", self._limits)
        return Writer(
            compile_walk(plain, projection.kept if projection else None, self._limits.steps),
            fastavro.parse_schema(plain.root, _force=True),
            fastavro.parse_schema(resolve.adapted(self._plain_reader, plain), _force=True),
            projection,
            opcodes.STEPS_PER_BYTE if projection else opcodes.SURE_STEPS_PER_BYTE,
            text,
        )


class TransactionDecoder:
    """Decodes polled records into transactions.

    Args:
        source: Returns writer schemas by id.
        plan: The limits on sizes.
        directory: The folder of this project's schemas.

    Attributes:
        columns: Decodes the payloads alone.
        plan: The plan.
    """

    def __init__(
        self, source: SchemaSource, plan: Plan, directory: Path = SCHEMAS_DIRECTORY
    ) -> None:
        self.columns = ColumnDecoder(source, reader_schema("transaction.v1", directory), plan)
        self.plan = plan

    def decode(
        self, raw: RawRecords, *, budgeted: bool = False
    ) -> tuple[EventBatch, Int64, Rejections]:
        """Decode n records.

        Args:
            raw: The records.
            budgeted: As for :func:`~stream_scorer.registry.sources.look_up`.

        Returns:
            (m transactions in input order, int64[m] their row numbers, all other rows).

        Raises:
            RegistryUnavailableError: A writer schema is unavailable at the moment; nothing is
                decoded.
        """
        return with_sources(self.columns.decode(raw.values, budgeted=budgeted), raw, self.plan)


def with_sources(
    decoded: DecodedColumns, raw: RawRecords, plan: Plan
) -> tuple[EventBatch, Int64, Rejections]:
    """Return the decoded payloads of ``raw`` as :meth:`TransactionDecoder.decode` does.

    A decision copies the record's key and some of its texts. So a record is rejected as TOO_LARGE
    if its key is longer than ``record_bytes_max``, or if key and texts could make the decision too
    large to be published.
    """
    decoded = _without_large(decoded, raw.keys, plan)
    rows = decoded.rows
    if len(rows) == len(raw):
        batch = EventBatch(decoded.records, raw.partition, raw.offset, raw.timestamp)
    else:
        batch = EventBatch(
            decoded.records, raw.partition[rows], raw.offset[rows], raw.timestamp[rows]
        )
    return batch, rows, decoded.rejections


def _without_large(decoded: DecodedColumns, keys: BytesColumn, plan: Plan) -> DecodedColumns:
    lengths = np.diff(keys.offsets)
    longest = int(lengths.max(initial=0))
    if longest <= plan.record_bytes_max and (
        longest + len(_PUBLISHED) * plan.string_bytes_max <= PUBLISHED_BYTES_MAX
    ):
        return decoded
    lengths = lengths[decoded.rows]
    by_key = lengths > plan.record_bytes_max
    together = lengths + sum(_lengths(decoded.records.column(name)) for name in _PUBLISHED)
    large = by_key | (together > PUBLISHED_BYTES_MAX)
    if not large.any():
        return decoded
    refused = list(
        zip(
            decoded.rejections.rows.tolist(), decoded.rejections.reasons,
            decoded.rejections.details, strict=True,
        )
    )  # fmt: skip
    for row, key in zip(decoded.rows[large].tolist(), by_key[large].tolist(), strict=True):
        why = "the key is longer than record_bytes_max" if key else _TOGETHER
        refused.append((row, RejectReason.TOO_LARGE, why))
    good = ~large
    records = decoded.records.filter(pa.array(good))
    return DecodedColumns(records, decoded.rows[good], rejections_of(refused))


def _lengths(texts: pa.Array) -> Int64:
    """Return int64[n]: the bytes of n texts; 0 for null."""
    found = pc.fill_null(pc.binary_length(texts.cast(pa.large_string())), 0)
    return found.to_numpy(zero_copy_only=False)


def decode_each(
    decode: Callable[[BinaryIO], _Record], rows: Int64, framed: Framed, refused: list[Refusal]
) -> tuple[Int64, list[_Record]]:
    """Decode rows one by one, with fastavro.

    Args:
        decode: Reads one record. If it raises an error other than ``MemoryError``, the row is
            refused.
        rows: int64, the rows.
        framed: The payloads.
        refused: The rows that cannot be decoded are added to it.

    Returns:
        int64, the other rows; and the result of ``decode`` for each.
    """
    good: list[int] = []
    found: list[_Record] = []
    for row in rows.tolist():
        try:
            record = decode(io.BytesIO(framed.body(row)))
        except SchemaResolutionError:
            refused.append(
                (row, RejectReason.INCOMPATIBLE_SCHEMA, "a value that the reader cannot take")
            )
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 fastavro may raise anything for invalid bytes
            refused.append(
                (row, RejectReason.MALFORMED, f"cannot be decoded: {type(error).__name__}")
            )
        else:
            good.append(row)
            found.append(record)
    return np.array(good, np.int64), found


def _name_of(definition: Definition) -> str | None:
    """Return the full name of a definition's type; None for a type without a name."""
    root = definition.expand(definition.root)
    return root.get("name") if isinstance(root, dict) else None


def _not_prepared(schema_id: int) -> SchemaError:
    return SchemaError(
        f"schema id {schema_id}: not prepared, because too many new schemas came before it",
        "send the record again: stream-scorer dlq replay",
    )


def _by_id(ids: Int64, rows: Int64) -> list[tuple[int, Int64]]:
    """Group rows by schema id; rows are ascending in each group."""
    groups: list[tuple[int, Int64]] = []
    own = ids[rows]
    while len(rows):
        if len(groups) == _FEW_IDS:
            return groups + _by_many_ids(own, rows)
        same = own == own[0]
        groups.append((int(own[0]), rows[same]))
        rows, own = rows[~same], own[~same]
    return groups


def _by_many_ids(own: Int64, rows: Int64) -> list[tuple[int, Int64]]:
    """Group rows by sorting: corrupt headers name many ids, each in one row."""
    found, group, counts = np.unique(own, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(rows[order], np.cumsum(counts)[:-1])
    return [(int(number), part) for number, part in zip(found, parts, strict=True)]


def rejections_of(refused: list[Refusal]) -> Rejections:
    """Return refusals in the order of their rows; the list itself is sorted, too."""
    if not refused:
        return Rejections.none()
    refused.sort(key=lambda refusal: refusal[0])
    rows, reasons, details = zip(*refused, strict=True)
    return Rejections(np.array(rows, np.int64), tuple(reasons), tuple(details))
