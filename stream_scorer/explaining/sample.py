"""Samples of the records of a topic or a file: their format, schemas and content."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as File
from typing import Any, BinaryIO, Final

import fastavro

from stream_scorer.codec.reading.json_records import JsonRefusal, document_of, leaf_at
from stream_scorer.codec.reading.mapped_paths import Found, find
from stream_scorer.core.mapping.mapping_table import PATH_DEPTH, Path, path_of
from stream_scorer.core.normalising.leaves import STRUCTURE, Wire
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.registry.definition import Definition, parse_definition
from stream_scorer.registry.sources import SchemaSource, look_up
from stream_scorer.tables.avro import avro_definition, is_damage, plain_records
from stream_scorer.tables.pieces import DamagedError

PATHS_MOST: Final = 2_048
EXAMPLES: Final = 1_000
"""Number of values that a draft looks at."""
_STRING_MOST: Final = 1 << 20
_HEADER: Final = 5
_KEY_SCHEMAS: Final = 16
_FILE_BYTES: Final = 64 * 1024 * 1024
_LINE_BYTES: Final = 1 << 20

Leaf = tuple[Any, Wire] | None


@dataclass(frozen=True, slots=True)
class RecordSample:
    """Records of one format.

    Attributes:
        format: avro or json.
        values: n payloads, as a topic has them.
        keys: n keys; empty for a file.
        schemas: Avro: the schema of most records first, by id; then those of the keys.
        unread: How many records are of another format or of an unknown schema.
    """

    format: str
    values: list[bytes | None]
    keys: list[bytes | None] = field(default_factory=list)
    schemas: dict[int, str] = field(default_factory=dict)
    unread: int = 0

    def writer_schema(self, schema_id: int) -> str:
        """Return a schema, as :class:`SchemaSource` does."""
        if schema_id not in self.schemas:
            raise SchemaError(f"schema id {schema_id}: unknown", "register it")
        return self.schemas[schema_id]

    def id_for(self, subject: str, schema: str) -> int:
        """Refuse: a sample registers nothing."""
        del schema
        raise SchemaError(f"subject {subject}: a sample has no subjects", "use a registry")


def sample_of(values: Sequence[bytes | None], keys: Sequence[bytes | None], source: SchemaSource
              ) -> RecordSample:  # fmt: skip
    """Return the records of a topic as a sample.

    Args:
        values: n payloads.
        keys: n keys.
        source: Has the schemas.

    Raises:
        SchemaError: No record is JSON or Avro of a known schema.
        RegistryUnavailableError: The registry does not answer.
    """
    ids = Counter(
        int.from_bytes(value[1:_HEADER], "big")
        for value in values
        if value and value[0] == 0 and len(value) >= _HEADER and value[_HEADER:][:1] != b"{"
    )
    texts = look_up(source, [each for each, _ in ids.most_common()])
    schemas = {each: text for each, text in texts.items() if isinstance(text, str)}
    avro = sum(ids[each] for each in schemas)
    schemas |= _key_schemas(keys, source)
    json_like = sum(1 for value in values if value and _is_json(value))
    if not avro and not json_like:
        failed = next((text for text in texts.values() if isinstance(text, SchemaError)), None)
        why = failed.what if failed else "they are neither framed Avro nor JSON objects"
        raise SchemaError(f"none of {len(values)} records can be read: {why}", "see its producer")
    whole = sum(1 for value in values if value)
    if avro >= json_like:
        return RecordSample("avro", list(values), list(keys), schemas, whole - avro)
    return RecordSample(
        "json", list(values), list(keys), _key_schemas(keys, source), whole - json_like
    )


def _key_schemas(keys: Sequence[bytes | None], source: SchemaSource) -> dict[int, str]:
    """Return the schemas of Avro keys by id; a customer's id is seldom framed by chance."""
    ids = {
        int.from_bytes(key[1:_HEADER], "big")
        for key in keys
        if key and key[0] == 0 and len(key) > _HEADER
    }
    found = look_up(source, sorted(ids)[:_KEY_SCHEMAS])
    return {each: text for each, text in found.items() if isinstance(text, str)}


def _is_json(value: bytes) -> bool:
    body = value[_HEADER:] if value[:1] == b"\0" else value
    return body.lstrip(b" \t\r\n")[:1] == b"{"


def sample_of_file(path: File, count: int) -> RecordSample:
    """Return the first records of a file: ``.avsc`` (a schema alone), ``.avro``, ``.json(l)``.

    Raises:
        SettingsError: It cannot be read, or is of another kind.
        SchemaError: Its schema is not Avro, or over a limit.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".avsc":
            with path.open("rb") as stream:
                return _schema_alone(path, stream)
        if kind == ".avro":
            with path.open("rb") as stream:
                return _container(stream, count)
        if kind in {".json", ".jsonl", ".ndjson"}:
            with path.open("rb") as stream:
                return _json_lines(path, stream, count)
    except Exception as error:
        if isinstance(error, DamagedError) or is_damage(error):
            raise SettingsError(
                f"{path}: cannot be read: {type(error).__name__}", "see its writer"
            ) from error
        if isinstance(error, OSError):
            raise SettingsError(f"{path}: {error.strerror}", "name a file") from error
        raise
    raise SettingsError(f"{path}: unknown kind of file", "use .avsc, .avro, .json or .jsonl")


def _schema_alone(path: File, stream: BinaryIO) -> RecordSample:
    text = stream.read(_FILE_BYTES + 1)
    if len(text) > _FILE_BYTES:
        raise SettingsError(f"{path}: is larger than {_FILE_BYTES:,} bytes", "name a schema")
    return RecordSample("avro", [], schemas={1: text.decode()})


def _json_lines(path: File, stream: BinaryIO, count: int) -> RecordSample:
    lines: list[bytes | None] = []
    for number in range(1, count + 1):
        line = stream.readline(_LINE_BYTES + 1)
        if len(line.rstrip(b"\r\n")) > _LINE_BYTES:
            raise SettingsError(
                f"{path}: line {number} is longer than {_LINE_BYTES:,} bytes",
                "name a file with one record a line",
            )
        if not line:
            break
        if stripped := line.strip():
            lines.append(stripped)
    if lines and not any(line and _is_json(line) for line in lines):
        raise SchemaError(
            f"{path}: none of {len(lines)} lines is a JSON object",
            "name a file with one record a line",
        )
    return RecordSample("json", lines)


def _container(stream: Any, count: int) -> RecordSample:
    data = io.BytesIO(stream.read(_FILE_BYTES))
    definition = avro_definition(data)
    data.seek(0)
    # Without logical types: a time or decimal that Python cannot represent is a value like others.
    schema = fastavro.parse_schema(definition.plain().root, _force=True)
    values: list[bytes | None] = []
    for record in islice(plain_records(data, definition), count):
        body = io.BytesIO(b"\0\0\0\0\1")
        body.seek(_HEADER)
        fastavro.schemaless_writer(body, schema, record)
        values.append(body.getvalue())
    return RecordSample("avro", values, schemas={1: json.dumps(definition.root)})


def paths_of(sample: RecordSample) -> dict[Path, Found]:
    """Return what the records have at each path to a single value.

    For Avro, the schema of most records is used; for JSON, all records are. At most ``PATHS_MOST``
    paths are looked at: those that come first.

    Raises:
        SchemaError: The schema is not Avro, or over a limit.
    """
    if sample.format == "avro":
        schema_id, text = next(iter(sample.schemas.items()))
        definition = parse_definition(text, f"schema id {schema_id}")
        found = {path: find(definition, path) for path in dict.fromkeys(_leaves(definition))}
        return {path: place for path, place in found.items() if not place.why}
    wires: dict[Path, dict[Wire, None]] = {}
    for document in documents(sample.values):
        if len(wires) < PATHS_MOST:
            for path in _paths_in(document):
                wires.setdefault(path, {})
                if len(wires) == PATHS_MOST:
                    break
        _add_wires(wires, document)
    return _found(wires)


def found_at(sample: RecordSample, paths: Iterable[Path]) -> dict[Path, Found]:
    """Return what JSON records have at some paths; a path without a single value is left out."""
    wires: dict[Path, dict[Wire, None]] = {path: {} for path in paths}
    for document in documents(sample.values):
        _add_wires(wires, document)
    return _found(wires)


def documents(values: Iterable[bytes | None]) -> Iterator[dict[str, Any]]:
    """Yield the JSON records that can be read."""
    for value in values:
        try:
            yield document_of(value or b"")
        except JsonRefusal:
            continue


def _leaves(definition: Definition) -> Iterable[Path]:
    """Yield the paths to single values of a schema, in order, within limits."""
    waiting: list[tuple[Path, Any]] = [((), definition.root)]
    count = 0
    while waiting and count < PATHS_MOST:
        path, schema = waiting.pop(0)
        schema = definition.expand(schema)
        count += 1
        if isinstance(schema, list):
            waiting[:0] = [(path, branch) for branch in schema if branch != "null"]
        elif definition.kind(schema) == "record" and len(path) < PATH_DEPTH:
            waiting[:0] = [((*path, each["name"]), each["type"]) for each in schema["fields"]]
        elif definition.kind(schema) not in {"array", "map", "record"} and path:
            yield path


def _paths_in(document: dict[str, Any]) -> Iterator[Path]:
    """Yield the paths to single values and arrays of a document that a mapping can name, in order.

    The time is proportional to the names up to the last path that is taken.
    """
    waiting = [iter(document.items())]
    path: list[str] = []
    while waiting:
        name, value = next(waiting[-1], (None, None))
        if name is None:
            waiting.pop()
            if path:
                path.pop()
        elif not _can_be_named(name):
            continue
        elif isinstance(value, dict) and len(waiting) < PATH_DEPTH:
            waiting.append(iter(value.items()))
            path.append(name)
        else:
            yield (*path, name)


def _can_be_named(name: str) -> bool:
    """Return whether a path of a mapping can have a name: by its length, and as Unicode text."""
    try:
        path_of([name], "")
    except ValueError:
        return False
    return True


def _add_wires(wires: Mapping[Path, dict[Wire, None]], document: dict[str, Any]) -> None:
    """Add what a document has at each path."""
    for path, kinds in wires.items():
        leaf = _leaf(document, path)
        if leaf is not None and leaf[1] != STRUCTURE:
            kinds[leaf[1]] = None


def _found(wires: Mapping[Path, Mapping[Wire, None]]) -> dict[Path, Found]:
    return {path: Found(tuple(kinds), True, walked=False) for path, kinds in wires.items() if kinds}


def _leaf(document: dict[str, Any], path: Path) -> Leaf:
    try:
        return leaf_at(document, path, _STRING_MOST)
    except JsonRefusal:
        return None
