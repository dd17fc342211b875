"""Sources of schemas: a directory of files, or a registry over HTTP."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from stream_scorer import settings
from stream_scorer.errors import SchemaError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.http_registry import HttpRegistry

INDEX: Final = "registry.json"


class SchemaSource(Protocol):
    """Returns schemas for ids, and ids for the schemas that we produce; thread-safe."""

    def writer_schema(self, schema_id: int) -> str:
        """Return the schema's JSON.

        Raises:
            SchemaError: There is no such id.
            RegistryUnavailableError: The registry does not answer now.
        """
        ...

    def id_for(self, subject: str, schema: str) -> int:
        """Return the id of ``schema`` in ``subject``.

        Raises:
            SchemaError: It is unknown there, or refused.
            RegistryUnavailableError: The registry does not answer now.
        """
        ...


def look_up(
    source: SchemaSource, ids: Sequence[int], *, budgeted: bool = False
) -> dict[int, str | SchemaError]:
    """Return the schema of each id, or why there is none.

    Args:
        source: The source.
        ids: Those with the most records first.
        budgeted: Whether ids may be left out after too many queries for unknown ones: only for
            records that can be sent again, not for those that were decided before.

    Raises:
        RegistryUnavailableError: The registry does not answer now; nothing is returned.
    """
    if isinstance(source, HttpRegistry):
        return source.writer_schemas(ids, budgeted=budgeted)
    found: dict[int, str | SchemaError] = {}
    for schema_id in ids:
        try:
            found[schema_id] = source.writer_schema(schema_id)
        except SchemaError as error:
            found[schema_id] = error.as_value()
    return found


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a subject."""

    schema_id: int
    subject: str
    version: int
    file: str
    schema: str


def registered(source: SchemaSource, subject: str, version: int) -> tuple[int, str]:
    """Return the id and the JSON of a version of a subject.

    Args:
        source: A registry over HTTP, or of files.
        subject: The subject.
        version: Its version, from 1.

    Raises:
        SchemaError: There is no such version.
        RegistryUnavailableError: The registry does not answer now.
    """
    if isinstance(source, HttpRegistry):
        return source.version(subject, version)
    if isinstance(source, FileRegistry):
        for entry in source.entries:
            if (entry.subject, entry.version) == (subject, version):
                return entry.schema_id, entry.schema
    raise SchemaError(
        f"subject {subject}: has no version {version}", "register it, or correct the setting"
    )


class FileRegistry:
    """Schemas in a directory: ``registry.json`` gives each file its fixed id.

    Args:
        directory: Contains ``registry.json`` and the files that it names.

    Attributes:
        compatibility: The rule for every subject without its own rule.
        entries: All versions, by subject and version.

    Raises:
        SchemaError: A file is missing or unreadable, or ids or versions clash.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        index = _read_index(directory)
        self.compatibility: str = index.get("compatibility", "BACKWARD")
        self.subject_compatibility: dict[str, str] = dict(index.get("subjects", {}))
        self.entries: tuple[RegisteredVersion, ...] = tuple(
            sorted(
                (_entry(directory, item) for item in index["schemas"]),
                key=lambda entry: (entry.subject, entry.version),
            )
        )
        self._by_id: dict[int, str] = {}
        versions: set[tuple[str, int]] = set()
        for entry in self.entries:
            known = self._by_id.setdefault(entry.schema_id, entry.schema)
            if not same_schema(known, entry.schema):
                raise SchemaError(
                    f"{directory / INDEX}: id {entry.schema_id} is used for two schemas",
                    "give each schema its own id",
                )
            if (entry.subject, entry.version) in versions:
                raise SchemaError(
                    f"{directory / INDEX}: {entry.subject} has version {entry.version} twice",
                    "number the versions",
                )
            versions.add((entry.subject, entry.version))

    def writer_schema(self, schema_id: int) -> str:
        """Return the schema's JSON; see :class:`SchemaSource`."""
        try:
            return self._by_id[schema_id]
        except KeyError:
            raise SchemaError(
                f"schema id {schema_id}: not in {self.directory / INDEX}", "add it there"
            ) from None

    def id_for(self, subject: str, schema: str) -> int:
        """Return the schema's id; see :class:`SchemaSource`.

        A subject without entries belongs to a topic that is renamed here. Then any subject's entry
        is used, because an id always means the same schema.
        """
        own = [entry for entry in self.entries if entry.subject == subject]
        for entry in own or self.entries:
            if same_schema(entry.schema, schema):
                return entry.schema_id
        raise SchemaError(
            f"subject {subject}: the schema is not in {self.directory / INDEX}", "add it there"
        )


def _read_index(directory: Path) -> dict[str, Any]:
    path = directory / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}", "name a directory of schemas") from error
    except ValueError as error:
        raise SchemaError(f"{path}: not JSON: {error}", "fix the file") from error
    if not isinstance(index, dict) or not isinstance(index.get("schemas"), list):
        raise SchemaError(f"{path}: needs a list `schemas`", "see schemas/README.md")
    return index


def _entry(directory: Path, item: Mapping[str, Any]) -> RegisteredVersion:
    path = directory / INDEX
    try:
        schema_id, subject, version, file = (
            item["id"], item["subject"], item["version"], item["file"]
        )  # fmt: skip
    except (KeyError, TypeError):
        raise SchemaError(
            f"{path}: {item!r} has no id, subject, version or file", "see schemas/README.md"
        ) from None
    if type(schema_id) is not int or type(version) is not int or min(schema_id, version) < 1:
        raise SchemaError(f"{path}: {file}: id and version are whole numbers from 1", "fix them")
    return RegisteredVersion(
        schema_id, str(subject), version, str(file), read_schema(directory / str(file))
    )


def read_schema(path: Path) -> str:
    """Read one schema file.

    Raises:
        SchemaError: The file cannot be read or contains no Avro schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}", "name a schema file") from error
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path}: not UTF-8", "save it as UTF-8") from error
    parse_definition(text, str(path))
    return text


def same_schema(one: str, other: str) -> bool:
    """Return whether two schemas are the same JSON, ignoring white space and key order."""
    return one == other or bool(json.loads(one) == json.loads(other))


def reader_schema(name: str, directory: Path = settings.SCHEMAS_DIRECTORY) -> str:
    """Return the JSON of one of our schemas.

    Args:
        name: The file's stem, such as ``transaction.v1``.
        directory: Where the files are.

    Raises:
        SchemaError: There is no such file, or it contains no schema.
    """
    return read_schema(directory / f"{name}.avsc")


def narrowed(schema: str, wanted: Callable[[str], bool]) -> str:
    """Return a record schema with only some of its fields, so that others are not decoded.

    Args:
        schema: JSON of a record.
        wanted: Returns whether the field of a name stays.
    """
    record = json.loads(schema)
    return json.dumps({**record, "fields": [f for f in record["fields"] if wanted(f["name"])]})


def open_registry(registry: settings.Registry) -> SchemaSource:
    """Return the registry of the settings: by URL, or else the directory's files.

    Raises:
        SchemaError: The directory's files do not form a registry.
        SettingsError: The URL or CA file cannot be used.
    """
    return HttpRegistry(registry) if registry.url else FileRegistry(registry.directory)
