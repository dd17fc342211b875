"""Single records as dictionaries: summaries, labels, drift events, and what the CLI shows."""

import io
from typing import Any

import fastavro

from stream_scorer.codec.definition import parse_definition
from stream_scorer.codec.schemas import SchemaSource
from stream_scorer.codec.wire import HEADER_BYTES
from stream_scorer.errors import StreamScorerError


class RecordError(StreamScorerError):
    """A single record cannot be encoded or decoded."""


class RecordCodec:
    """Encodes with one schema; decodes with the writer's.

    Args:
        schema_id: The id that goes in front of what is encoded.
        schema: JSON of the schema.

    Raises:
        SchemaError: The schema cannot be parsed.
    """

    def __init__(self, schema_id: int, schema: str) -> None:
        self._header = b"\0" + schema_id.to_bytes(4, "big")
        self._schema = fastavro.parse_schema(
            parse_definition(schema, f"schema id {schema_id}").root, _force=True
        )
        self._writers: dict[int, Any] = {schema_id: self._schema}

    def encode(self, record: dict[str, Any]) -> bytes:
        """Return the record in Confluent framing; times may be ms since the epoch or datetimes.

        Raises:
            RecordError: A field is missing or does not fit the schema.
        """
        buffer = io.BytesIO(self._header)
        buffer.seek(HEADER_BYTES)
        try:
            fastavro.schemaless_writer(buffer, self._schema, record)
        except Exception as error:
            raise RecordError(f"record: does not fit its schema: {error!r}", "mend it") from error
        return buffer.getvalue()

    def decode(self, value: bytes, source: SchemaSource) -> dict[str, Any]:
        """Return a record's fields as its writer named them; times are datetimes in UTC.

        Raises:
            RecordError: The bytes are not one framed record of the schema that they name.
            SchemaError: The registry has no such schema.
            RegistryUnavailableError: The registry cannot be reached.
        """
        if len(value) < HEADER_BYTES or value[0] != 0:
            raise RecordError("record: no magic byte 0 and schema id in front", "use Avro framing")
        schema_id = int.from_bytes(value[1:HEADER_BYTES], "big")
        body = io.BytesIO(value[HEADER_BYTES:])
        try:
            record = fastavro.schemaless_reader(body, self._writer(schema_id, source), None)
        except StreamScorerError:
            raise
        except Exception as error:
            raise RecordError(
                f"record: cannot be decoded with schema id {schema_id}: {error!r}",
                "see its producer",
            ) from error
        if body.read(1):
            raise RecordError("record: bytes are left behind it", "see its producer")
        if not isinstance(record, dict):
            raise RecordError(f"record: schema id {schema_id} is no record", "see its producer")
        return record

    def _writer(self, schema_id: int, source: SchemaSource) -> Any:
        if schema_id not in self._writers:
            definition = parse_definition(source.writer_schema(schema_id), f"schema id {schema_id}")
            self._writers[schema_id] = fastavro.parse_schema(definition.root, _force=True)
        return self._writers[schema_id]
