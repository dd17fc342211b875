"""The registry server's data: subjects, versions, ids and rules, stored in the files."""

import fcntl
import hashlib
import json
import os
import re
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stream_scorer.durable_files import SHARED, replace_file
from stream_scorer.errors import SchemaError, SettingsError
from stream_scorer.registry.compatibility import Incompatibility, check_mode, verdicts
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import INDEX, FileRegistry, RegisteredVersion, same_schema

_LOCK: Final = ".registry.lock"
_ENTRIES_MOST: Final = 10_000
_NAME_MOST: Final = 160
"""Maximum length of the subject in a file name, which may have at most 255 characters."""


class RegistryError(Exception):
    """A refusal with Confluent's error code, whose first three digits are the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status."""
        return int(str(self.code)[:3])


class RegistryStore:
    """Subjects and their versions; thread-safe.

    Args:
        directory: The file registry that it starts from.
        writable: Whether schemas may be registered. They are always written to disk: otherwise
            their ids would be given to other schemas after a restart.

    Raises:
        SchemaError: The directory's files do not form a registry.
        SettingsError: Another server writes to the directory.
    """

    def __init__(self, directory: Path, *, writable: bool) -> None:
        self._locked = _lock(directory) if writable else None
        try:
            files = FileRegistry(directory)
        except BaseException:
            self.close()
            raise
        self._directory = directory
        self._writable = writable
        self._lock = threading.Lock()
        self._entries = list(files.entries)
        self._level = files.compatibility
        self._levels = dict(files.subject_compatibility)

    @property
    def mode(self) -> str:
        """READWRITE or READONLY."""
        return "READWRITE" if self._writable else "READONLY"

    def close(self) -> None:
        """Release the lock, so that another server may write to the directory."""
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def subjects(self) -> list[str]:
        """Return all subjects."""
        return sorted({entry.subject for entry in self._entries})

    def versions(self, subject: str) -> list[RegisteredVersion]:
        """Return a subject's versions, oldest first."""
        found = [entry for entry in self._entries if entry.subject == subject]
        if not found:
            raise RegistryError(40401, f"Subject '{subject}' not found.")
        return found

    def version(self, subject: str, version: str) -> RegisteredVersion:
        """Return one version: its number, ``latest`` or -1."""
        found = self.versions(subject)
        if version in {"latest", "-1"}:
            return found[-1]
        if not re.fullmatch("0*[1-9][0-9]{0,9}", version):
            raise RegistryError(
                42202,
                f"The specified version '{version}' is not a valid version id. Allowed values "
                'are between [1, 2^31-1] and the string "latest"',
            )
        for entry in found:
            if entry.version == int(version):
                return entry
        raise RegistryError(40402, f"Version {version} not found.")

    def by_id(self, schema_id: int) -> list[RegisteredVersion]:
        """Return every version with this id."""
        found = [entry for entry in self._entries if entry.schema_id == schema_id]
        if not found:
            raise RegistryError(40403, f"Schema {schema_id} not found")
        return found

    def lookup(self, subject: str, schema: str) -> RegisteredVersion:
        """Return the version of ``subject`` that equals this schema."""
        _check_schema(schema)
        for entry in self.versions(subject):
            if same_schema(entry.schema, schema):
                return entry
        raise RegistryError(40403, "Schema not found")

    def register(self, subject: str, schema: str) -> RegisteredVersion:
        """Return this schema's version in ``subject``; register it if it is new and compatible."""
        _check_schema(schema)
        with self._lock:
            earlier = [entry for entry in self._entries if entry.subject == subject]
            for entry in earlier:
                if same_schema(entry.schema, schema):
                    return entry
            found = verdicts(schema, [(e.version, e.schema) for e in earlier], self.level(subject))
            if found:
                raise RegistryError(
                    409,
                    f"Schema being registered is incompatible with an earlier schema for subject "
                    f'"{subject}", compatibility {self.level(subject)}: '
                    + "; ".join(map(str, found)),
                )
            self._check_writable(subject)
            if len(self._entries) >= _ENTRIES_MOST:
                raise RegistryError(42201, f"This registry holds at most {_ENTRIES_MOST} versions")
            version = earlier[-1].version + 1 if earlier else 1
            entry = RegisteredVersion(
                self._id(schema), subject, version, f"{_file_name(subject)}.v{version}.avsc", schema
            )
            entries = sorted([*self._entries, entry], key=lambda e: (e.subject, e.version))
            # On disk before a client is given the id.
            _replace(self._directory / entry.file, json.dumps(json.loads(schema), indent=2))
            self._write(entries, self._level, self._levels)
            self._entries = entries
            return entry

    def compatible(self, subject: str, schema: str, version: str | None) -> list[Incompatibility]:
        """Return what does not fit between a schema and one version, or all of its rule."""
        _check_schema(schema)
        earlier = [self.version(subject, version)] if version else self.versions(subject)
        return verdicts(schema, [(e.version, e.schema) for e in earlier], self.level(subject))

    def level(self, subject: str | None = None) -> str:
        """Return the rule that applies to a subject, or the default."""
        return self._levels.get(subject, self._level) if subject else self._level

    def own_level(self, subject: str) -> str:
        """Return the rule that is set for the subject itself."""
        if subject not in self._levels:
            raise RegistryError(
                40408,
                f"Subject '{subject}' does not have subject-level compatibility configured",
            )
        return self._levels[subject]

    def set_level(self, subject: str | None, level: str) -> str:
        """Set the rule for a subject, or the default."""
        try:
            level = check_mode(level)
        except SchemaError as error:
            raise RegistryError(42203, f"Invalid compatibility level. {error}") from error
        with self._lock:
            self._check_writable(subject or "all")
            general = self._level if subject else level
            levels = self._levels | ({subject: level} if subject else {})
            self._write(self._entries, general, levels)
            self._level, self._levels = general, levels
        return level

    def _check_writable(self, subject: str) -> None:
        if not self._writable:
            raise RegistryError(
                42205, f"Subject {subject} is in read-only mode: serve with --writable"
            )

    def _id(self, schema: str) -> int:
        for entry in self._entries:
            if same_schema(entry.schema, schema):
                return entry.schema_id
        return max((entry.schema_id for entry in self._entries), default=0) + 1

    def _write(self, entries: list[RegisteredVersion], level: str, levels: dict[str, str]) -> None:
        """Write the index atomically."""
        index: dict[str, Any] = {"compatibility": level}
        if levels:
            index["subjects"] = levels
        index["schemas"] = [
            {"id": e.schema_id, "subject": e.subject, "version": e.version, "file": e.file}
            for e in sorted(entries, key=lambda e: e.schema_id)
        ]
        _replace(self._directory / INDEX, json.dumps(index, indent=2))


def _check_schema(schema: str) -> None:
    try:
        parse_definition(schema, "schema")
    except (SchemaError, RecursionError) as error:
        raise RegistryError(42201, f"Invalid schema: {error}") from error


def _file_name(subject: str) -> str:
    """Return a unique file name for a subject, which may contain any character."""
    name = quote(subject, safe="")
    if len(name) <= _NAME_MOST:
        return name
    # Longer than every name that is not cut, so no other subject has it.
    return f"{name[:_NAME_MOST]}-{hashlib.sha256(subject.encode()).hexdigest()}"


def _replace(path: Path, text: str) -> None:
    try:
        replace_file(path, f"{text}\n".encode(), SHARED)
    except OSError as error:
        raise RegistryError(50001, f"{path.name} cannot be written: {error.strerror}") from error


def _lock(directory: Path) -> int:
    """Lock a directory, which only one server may write to; return the lock."""
    path = directory / _LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}", "name a --directory that this user may write to"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise SettingsError(
            f"{directory}: another registry server writes there",
            "end it: two would give one id to two schemas",
        ) from error
    return file
