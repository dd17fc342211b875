"""Sends transactions to a topic: columns in, Confluent-framed Avro out, at full speed or paced."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from stream_scorer import settings
from stream_scorer.codec.reading.resolve import arrow_schema
from stream_scorer.codec.writing.encode import ColumnEncoder
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError
from stream_scorer.kafka.reading.paced_producer import Encode, Feed
from stream_scorer.producing.json_records import RECORD_COLUMN, JsonRecords
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import open_registry, reader_schema
from stream_scorer.tables.files import local_file
from stream_scorer.tables.mapped import MappedReader, read_mapped
from stream_scorer.tables.transactions import read_transactions

_SUBJECT = "transactions-value"
_SCHEMA = "transaction.v1"


class TransactionEncoder:
    """Encodes rows of transactions.

    Args:
        registry: Contains the id of our transaction schema.

    Attributes:
        schema: The columns of the transaction schema.
        defaults: Values of optional columns, by name.

    Raises:
        SchemaError: The registry does not have the schema.
        RegistryUnavailableError: It does not answer.
    """

    def __init__(self, registry: settings.Registry) -> None:
        text = reader_schema(_SCHEMA)
        definition = parse_definition(text, _SCHEMA)
        self.schema: pa.Schema = arrow_schema(definition)
        self.defaults: dict[str, Any] = {
            field["name"]: field["default"]
            for field in definition.root["fields"]
            if "default" in field
        }
        self._encoder = ColumnEncoder(open_registry(registry).id_for(_SUBJECT, text), text)

    def __call__(self, rows: pa.RecordBatch) -> list[bytes]:
        """Return one payload for each of n rows.

        Args:
            rows: Has at least the columns of :attr:`schema`, with its types; others are ignored.
        """
        return self._encoder.encode_batch(rows.select(self.schema.names)).to_list()


@dataclass(frozen=True, slots=True)
class FileRecords:
    """The records of a file.

    Attributes:
        rows: Its transactions, in order.
        encode: Returns the payload of each row.
    """

    rows: Iterator[pa.RecordBatch]
    encode: Encode


def records_of_file(
    file: Path, registry: settings.Registry, plan: Plan | None = None
) -> FileRecords:
    """Return a file's transactions as records.

    Without a mapping in the plan, and with one of Avro records, the records have our own schema.
    With a mapping of JSON records, they are JSON that the same plan reads.

    Args:
        file: With our columns; or, if the plan has a mapping, with the columns that it names.
        registry: Contains the id of our schema.
        plan: Of the file; None: it has our columns.

    Raises:
        SettingsError: The file cannot be read, or a row does not fit; names file, row, and column
            or path. Or no record can have what the mapping names.
        SchemaError: The registry does not have our schema.
        RegistryUnavailableError: It does not answer.
    """
    mapping = None if plan is None else plan.mapping
    if plan is None or mapping is None or not mapping.fields:
        encoder = TransactionEncoder(registry)
        return FileRecords(read_transactions(file, encoder.schema, encoder.defaults), encoder)
    if mapping.format == "json":
        records = JsonRecords(mapping)
        pieces = read_mapped(local_file(file), MappedReader(plan))
        return FileRecords(map(records, pieces), _payloads)
    if plan.extras:
        raise SettingsError(
            f"produce: the plan has the extra field {min(plan.extras)}, and records of "
            "transaction.v1 have none",
            'set [record] format = "json"; or send your own records with your producer',
        )
    if not plan.has_terminals:
        raise SettingsError(
            "produce: the plan's mapping gives no terminal_id, which transaction.v1 needs",
            'set [record] format = "json"; or send your own records with your producer',
        )
    pieces = read_mapped(local_file(file), MappedReader(plan))
    return FileRecords((piece.records for piece in pieces), TransactionEncoder(registry))


def _payloads(rows: pa.RecordBatch) -> list[bytes]:
    found: list[bytes] = rows.column(RECORD_COLUMN).to_pylist()
    return found


def open_feed(
    kafka: settings.Kafka,
    registry: settings.Registry,
    topic: str | None = None,
    rate: float | None = None,
) -> Feed:
    """Return a feed of transactions.

    Args:
        kafka: The cluster.
        registry: Contains the id of our transaction schema.
        topic: Default: the settings' input topic.
        rate: Records per second; None: as fast as the broker accepts them.

    Raises:
        SettingsError: The topic does not exist.
        UnavailableError: Broker or registry do not answer.
    """
    encode = TransactionEncoder(registry)
    return Feed(kafka, encode, topic or kafka.topics.transactions, rate)
