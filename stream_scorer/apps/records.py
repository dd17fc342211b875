"""Single records for people: what a topic's bytes say, by the schemas of the settings' registry."""

from typing import Any

from stream_scorer import settings
from stream_scorer.codec.record import RecordCodec, RecordError
from stream_scorer.codec.schemas import open_registry, reader_schema

_NO_ID = 0xFFFF_FFFF  # registries number with positive int32: nothing carries this one


class RecordReader:
    """Decodes records one by one, with the fields that their writers gave them.

    Args:
        registry: Knows the writers' schemas.

    Raises:
        SchemaError: The registry's files cannot be read.
    """

    def __init__(self, registry: settings.Registry) -> None:
        self._source = open_registry(registry)
        # Decoding goes by the writer's schema; the codec's own is only what it would encode with.
        self._codec = RecordCodec(_NO_ID, reader_schema("transaction.v1"))

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """Return the record's fields.

        Raises:
            RecordError: The bytes are not one framed record of the schema that they name.
            SchemaError: The registry does not know the schema.
            RegistryUnavailableError: The registry does not answer.
        """
        if value is None:
            raise RecordError("record: no value", "nothing was produced")
        return self._codec.decode(value, self._source)
