"""Single records for people: decoded by the schemas of the registry in the settings."""

from typing import Any

from stream_scorer import settings
from stream_scorer.codec.records.record import RecordDecoder
from stream_scorer.registry.sources import open_registry, reader_schema


class RecordReader:
    """Decodes records one by one.

    Args:
        registry: Where the writers' schemas are.
        family: Name of the one schema of this project whose records are read, such as
            ``decision.v1``; the result has its fields. None: records of any schema, with the fields
            of their writers.

    Raises:
        SchemaError: The registry's files cannot be read.
    """

    def __init__(self, registry: settings.Registry, family: str | None = None) -> None:
        schema = None if family is None else reader_schema(family, registry.directory)
        self._decoder = RecordDecoder(open_registry(registry), schema)

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """Return the record's fields.

        Raises:
            RecordError: The bytes are not one framed record of the named schema.
            SchemaError: The registry does not have the schema.
            RegistryUnavailableError: The registry does not answer.
        """
        return self._decoder.decode(value)
