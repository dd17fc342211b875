"""Decisions of every version of their schema, as columns.

The compiled path cannot decode lists, and fastavro is many times slower if it resolves a schema. So
a batch is checked and decoded by the compiled path first. Then fastavro reads the lists of the
accepted records, by the writer's schema alone if possible.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fastavro
import numpy as np
import pyarrow as pa

from stream_scorer.codec.reading.decode import UNLIMITED, ColumnDecoder, DecodedColumns
from stream_scorer.codec.reading.decode_program import HEADER_BYTES
from stream_scorer.core.events.batch import Rejections, RejectReason
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.compatibility import incompatibilities
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.schema_cache import RecentSchemas
from stream_scorer.registry.sources import SchemaSource, narrowed, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY

NEWEST: Final = "decision.v3"
"""The schema that scorers of this release write."""
ANSWERED: Final = "decision.v2"
"""The fields of the API's answers: they do not tell a client what was drawn at random."""
EXPLANATIONS: Final = "explanations"
"""A field that is null in a decision of version 1."""
EXPLANATION: Final = pa.struct(
    [
        ("feature", pa.string()), ("value", pa.float64()), ("contribution", pa.float64()),
        ("text", pa.string()),
    ]
)  # fmt: skip
_LISTS: Final = {
    "reasons": pa.list_(pa.string()), "flags": pa.list_(pa.string()),
    EXPLANATIONS: pa.list_(EXPLANATION),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _DecisionWriter:
    """A writer schema that is prepared for reading lists, or the reason why it is refused.

    Attributes:
        refusal: Why it is not that of a decision; empty if it is.
        schema: The parsed writer schema.
        reader: The schema to resolve to; None if the lists have our types.
        explains: Whether it has explanations.
    """

    refusal: str
    schema: Any = None
    reader: Any = None
    explains: bool = False


class DecisionDecoder:
    """Decodes decisions. It must not be used by several threads at the same time.

    Args:
        source: Returns writer schemas by id.
        directory: The folder of this project's schemas.

    Raises:
        SchemaError: The directory has no decision schema.
    """

    def __init__(self, source: SchemaSource, directory: Path = SCHEMAS_DIRECTORY) -> None:
        text = reader_schema(NEWEST, directory)
        self._source = source
        self._columns = ColumnDecoder(
            source, narrowed(text, lambda name: name not in _LISTS), UNLIMITED
        )
        self._ours = parse_definition(text, "reader schema").plain()
        self._reader = fastavro.parse_schema(self._ours.root, _force=True)
        self._writers: RecentSchemas[_DecisionWriter] = RecentSchemas()

    def decode(self, values: BytesColumn) -> DecodedColumns:
        """Decode n payloads into the fields of the newest schema, lists last.

        A field that is missing in a record of version 1 has its default; ``explanations`` is null.

        Args:
            values: The payloads, in Confluent framing.

        Raises:
            RegistryUnavailableError: A writer schema is unavailable at the moment; nothing is
                decoded.
        """
        decoded = self._columns.decode(values)
        refused = list(
            zip(
                decoded.rejections.rows.tolist(), decoded.rejections.reasons,
                decoded.rejections.details, strict=True,
            )
        )  # fmt: skip
        found: list[dict[str, Any]] = []
        kept: list[int] = []
        payloads = values if len(decoded.rows) == len(values) else values.take(decoded.rows)
        for place, (row, payload) in enumerate(
            zip(decoded.rows.tolist(), payloads.to_list(), strict=True)
        ):
            lists = self._lists(payload)
            if isinstance(lists, str):
                refused.append((row, RejectReason.INCOMPATIBLE_SCHEMA, lists))
            else:
                kept.append(place)
                found.append(lists)
        records, rows = decoded.records, decoded.rows
        if len(kept) < len(rows):
            records, rows = records.take(pa.array(kept, pa.int64())), rows[kept]
            refused.sort(key=lambda refusal: refusal[0])
        for name, kind in _LISTS.items():
            records = records.append_column(name, pa.array([r[name] for r in found], kind))
        return DecodedColumns(records, rows, _rejections(refused))

    def _lists(self, payload: bytes) -> dict[str, Any] | str:
        """Return the lists of a record that the compiled path accepted, or why it is refused."""
        schema_id = int.from_bytes(payload[1:HEADER_BYTES], "big")
        writer = self._writers.find(schema_id)
        if writer is None:
            text = self._source.writer_schema(schema_id)
            writer = self._prepared(parse_definition(text, f"schema id {schema_id}"))
            self._writers.keep(schema_id, writer, len(text))
        if writer.refusal:
            return writer.refusal
        body = io.BytesIO(payload[HEADER_BYTES:])
        try:
            record: Any = fastavro.schemaless_reader(body, writer.schema, writer.reader)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 fastavro may raise anything for invalid bytes
            return f"cannot be decoded: {type(error).__name__}"
        lists = {name: record.get(name) for name in _LISTS}
        return lists if writer.explains else lists | {EXPLANATIONS: None}

    def _prepared(self, written: Definition) -> _DecisionWriter:
        # Without logical types: times and decimals take long to build, and are not needed here.
        plain = written.plain()
        theirs, ours = plain.root, self._ours.root
        faults = incompatibilities(self._ours, plain)
        if faults:
            return _DecisionWriter(f"does not read as {ours['name']}: {faults[0]}")
        types = {field["name"]: field["type"] for field in theirs["fields"]}
        own = {field["name"]: field["type"] for field in ours["fields"]}
        # Lists of the same types need no resolution.
        as_ours = all(types[each] == own[each] for each in _LISTS if each in types)
        as_ours &= {"reasons", "flags"} <= types.keys()
        schema = fastavro.parse_schema(theirs, _force=True)
        return _DecisionWriter("", schema, None if as_ours else self._reader, EXPLANATIONS in types)


def _rejections(refused: list[tuple[int, RejectReason, str]]) -> Rejections:
    if not refused:
        return Rejections.none()
    rows, reasons, details = zip(*refused, strict=True)
    return Rejections(np.array(rows, np.int64), reasons, details)
