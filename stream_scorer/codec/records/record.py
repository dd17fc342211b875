"""Single records as dictionaries: summaries, labels, drift events, and records for the CLI.

Any client that may write to a topic chooses the bytes, and the schema that they name. So a record
is walked within limits before fastavro decodes it (see
:mod:`stream_scorer.codec.reading.decode_program`). A reader of one of our topics accepts only
records of that topic's family: the writer schema must have the same full name, and our schema must
be able to read it. The result always has our fields and our types: bytes are read without the
writer's logical types, and times are converted by ours.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import fastavro
import numpy as np

from stream_scorer.codec.reading.decode_program import (
    HEADER_BYTES,
    DecodeProgram,
    check,
    compile_walk,
    frame,
)
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError, StreamScorerError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.compatibility import incompatibilities
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.limits import SchemaLimits, shown
from stream_scorer.registry.schema_cache import RecentSchemas
from stream_scorer.registry.sources import SchemaSource

RECORD_BYTES: Final = 1_048_576 + 65_536
"""Maximum size of a message that this program's producers write."""
STEPS_PER_BYTE: Final = 2
"""Fewer than for a batch: here each value becomes an object."""
OWN_SIZES: Final = Plan(
    record_bytes_max=RECORD_BYTES, string_bytes_max=RECORD_BYTES, array_items_max=65_536
)
"""The limits on records of our own topics."""
_LIMITS: Final = SchemaLimits.of(OWN_SIZES)
_DECIMAL: Final = frozenset({"decimal"})
_WHY_MOST: Final = 200
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RecordError(StreamScorerError):
    """A single record cannot be encoded or decoded."""


@dataclass(frozen=True, slots=True)
class _RecordWriter:
    """A writer schema that is prepared for decoding, or the reason why it is refused."""

    refusal: str
    program: DecodeProgram | None = None
    schema: Any = None


class RecordDecoder:
    """Decodes records one by one, within limits. A decoder must only be used by one thread.

    Args:
        source: Returns writer schemas by id.
        schema: JSON of the schema whose family is read; the result has its fields. None: records of
            any schema, with the fields of their writers.
        own_id: The id of ``schema``, which is never looked up.

    Raises:
        SchemaError: The schema cannot be parsed.
    """

    def __init__(
        self, source: SchemaSource, schema: str | None = None, own_id: int | None = None
    ) -> None:
        self.source = source
        self._own = {} if schema is None or own_id is None else {own_id: schema}
        self._ours: Definition | None = None
        self._reader: Any = None
        self._timed: Callable[[Any], Any] | None = None
        if schema is not None:
            self._ours = parse_definition(schema, "reader schema")
            self._reader = fastavro.parse_schema(self._ours.plain().root, _force=True)
            self._timed = _timed(self._ours, self._ours.root)
        self._writers: RecentSchemas[_RecordWriter] = RecentSchemas()

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """Return a record's fields; times are datetimes in UTC if the decoder has a schema.

        Raises:
            RecordError: There are no bytes, or they are not one framed record of the named schema
                within the limits.
            SchemaError: The registry does not have the schema.
            RegistryUnavailableError: The registry cannot be reached.
        """
        if value is None:
            raise RecordError("record: no value", "nothing was produced")
        if len(value) > RECORD_BYTES:
            raise RecordError(f"record: longer than {RECORD_BYTES} bytes", "see its producer")
        if len(value) < HEADER_BYTES or value[0] != 0:
            raise RecordError("record: no magic byte 0 and schema id in front", "use Avro framing")
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        writer = self._writer(schema_id)
        if writer.program is None:
            raise RecordError(f"record: {writer.refusal}", "see its producer")
        walked = check(
            frame(BytesColumn.of([value])), np.zeros(1, np.int64), writer.program, OWN_SIZES,
            STEPS_PER_BYTE,
        )  # fmt: skip
        if walked.status[0]:
            _, why = writer.program.verdict(
                int(walked.status[0]), int(walked.step[0]), int(walked.position[0])
            )
            raise RecordError(f"record: schema id {schema_id}: {why}", "see its producer")
        body = io.BytesIO(value[HEADER_BYTES:])
        try:
            record = fastavro.schemaless_reader(body, writer.schema, self._reader)
            if self._timed is not None:
                record = self._timed(record)
        except MemoryError:
            raise
        except Exception as error:  # fastavro may raise anything for invalid bytes
            raise RecordError(
                f"record: cannot be decoded with schema id {schema_id}: "
                f"{shown(repr(error))}", "see its producer",
            ) from error  # fmt: skip
        if not isinstance(record, dict):
            raise RecordError(f"record: schema id {schema_id} is not a record", "see its producer")
        return record

    def _writer(self, schema_id: int) -> _RecordWriter:
        known = self._writers.find(schema_id)
        if known is None:
            text = self._own.get(schema_id) or self.source.writer_schema(schema_id)
            try:
                known = self._prepared(text, f"schema id {schema_id}")
            except SchemaError as error:
                known = _RecordWriter(error.what[:_WHY_MOST])
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 no schema may stop the process
                known = _RecordWriter(
                    f"schema id {schema_id}: cannot be prepared: {shown(repr(error))}"
                )
            self._writers.keep(schema_id, known, len(text) if known.program else _WHY_MOST)
        return known

    def _prepared(self, text: str, what: str) -> _RecordWriter:
        definition = parse_definition(text, what, _LIMITS)
        refusal = self._refusal(definition)
        if refusal:
            return _RecordWriter(f"{what}: {refusal}"[:_WHY_MOST])
        # The walk only reads what is on the wire. A decimal of a megabyte would take minutes.
        built = definition.plain() if self._ours else definition.plain(_DECIMAL)
        program = compile_walk(definition.plain(), steps=_LIMITS.steps)
        return _RecordWriter("", program, fastavro.parse_schema(built.root, _force=True))

    def _refusal(self, written: Definition) -> str:
        """Return why a writer schema is not of the family; empty if it is."""
        if self._ours is None:
            return ""
        ours, theirs = self._ours.root, written.expand(written.root)
        name = theirs.get("name") if isinstance(theirs, dict) else None
        if name != ours["name"]:
            return f"is not a {ours['name']}, but {shown(name)}"
        faults = incompatibilities(self._ours, written, per_value=True)
        return f"does not read as {ours['name']}: {faults[0]}" if faults else ""


def _timed(definition: Definition, schema: Any) -> Callable[[Any], Any] | None:
    """Return a function that makes datetimes of a value's ms; None if the schema has no times."""
    schema = definition.expand(schema)
    kind = definition.kind(schema)
    if kind == "union":
        # Our unions have one type and null.
        made = [convert for branch in schema if (convert := _timed(definition, branch))]
        return (lambda value: None if value is None else made[0](value)) if made else None
    if definition.logical(schema) == "timestamp-millis":
        return lambda value: _EPOCH + timedelta(milliseconds=value)
    if kind == "record":
        found = {each["name"]: _timed(definition, each["type"]) for each in schema["fields"]}
        inner = {name: convert for name, convert in found.items() if convert}
        return (
            (lambda value: value | {name: made(value[name]) for name, made in inner.items()})
            if inner
            else None
        )
    if kind == "array":
        of_item = _timed(definition, schema["items"])
        return (lambda value: [of_item(item) for item in value]) if of_item else None
    return None


class RecordCodec:
    """Encodes records with one schema, and decodes records of its family.

    Args:
        schema_id: The id in the header of encoded records.
        schema: JSON of the schema.

    Raises:
        SchemaError: The schema cannot be parsed.
    """

    def __init__(self, schema_id: int, schema: str) -> None:
        self._header = b"\0" + schema_id.to_bytes(4, "big")
        self._id, self._text = schema_id, schema
        self._schema = fastavro.parse_schema(
            parse_definition(schema, f"schema id {schema_id}").root, _force=True
        )
        self._decoder: RecordDecoder | None = None

    def encode(self, record: dict[str, Any]) -> bytes:
        """Return the record in Confluent framing; times are ms since the epoch or datetimes.

        Raises:
            RecordError: A field is missing or does not fit the schema.
        """
        buffer = io.BytesIO(self._header)
        buffer.seek(HEADER_BYTES)
        try:
            fastavro.schemaless_writer(buffer, self._schema, record)
        except Exception as error:
            raise RecordError(f"record: does not fit its schema: {error!r}", "fix it") from error
        return buffer.getvalue()

    def decode(self, value: bytes | None, source: SchemaSource) -> dict[str, Any]:
        """Return a record of this codec's family; see :meth:`RecordDecoder.decode`."""
        if self._decoder is None or self._decoder.source is not source:
            self._decoder = RecordDecoder(source, self._text, self._id)
        return self._decoder.decode(value)
