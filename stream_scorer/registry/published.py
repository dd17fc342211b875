"""Published schemas: an id always means the schema with which its records were written.

``registry.lock.json`` keeps, by subject and version, each published schema without its docs. A
later change of the file in place would make old records unreadable. It is refused, and the error
names the changed field.
"""

import json
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import SchemaError
from stream_scorer.registry.sources import FileRegistry

LOCK: Final = "registry.lock.json"


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_docs(part) for part in schema]
    if isinstance(schema, dict):
        return {
            key: value if key == "default" else _without_docs(value)
            for key, value in schema.items()
            if key != "doc"
        }
    return schema


def _difference(published: Any, now: Any, path: str) -> str | None:
    """Return the path of the first difference between two schemas, or None."""
    if published == now:
        return None
    if isinstance(published, dict) and isinstance(now, dict) and "fields" in published:
        before = {field["name"]: field for field in published["fields"]}
        after = {field["name"]: field for field in now.get("fields", ())}
        for name in (*before, *after):
            at = f"{path}.{name}" if path else name
            if name not in before or name not in after:
                return at
            found = _difference(before[name], after[name], at)
            if found is not None:
                return found
    if isinstance(published, dict) and isinstance(now, dict):
        for key in ("type", "items", "values"):
            if published.get(key) != now.get(key) and isinstance(published.get(key), dict):
                return _difference(published[key], now.get(key), path)
    return path


def _read(directory: Path) -> dict[str, Any]:
    path = directory / LOCK
    if not path.exists():
        return {}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SchemaError(f"{path}: cannot be read: {error}", "restore it") from error
    if not isinstance(lock, dict):
        raise SchemaError(f"{path}: not a JSON object", "restore it")
    return lock


def changed_in_place(registry: FileRegistry) -> list[str]:
    """Return one line for each published schema whose file contains another schema now."""
    lock = _read(registry.directory)
    found = []
    for entry in registry.entries:
        published = lock.get(f"{entry.subject}/{entry.version}")
        if published is None:
            continue
        at = _difference(published, _without_docs(json.loads(entry.schema)), "")
        if at is not None:
            where = f"field {at}" if at else "the schema"
            found.append(
                f"{entry.file}: {where}: changed after version {entry.version} of "
                f"{entry.subject} was published; make a new version of it"
            )
    return found


def publish(registry: FileRegistry) -> list[str]:
    """Add new schemas to the lock; return their names."""
    lock = _read(registry.directory)
    new = {
        f"{entry.subject}/{entry.version}": _without_docs(json.loads(entry.schema))
        for entry in registry.entries
        if f"{entry.subject}/{entry.version}" not in lock
    }
    if new:
        (registry.directory / LOCK).write_text(
            json.dumps(lock | new, indent=1) + "\n", encoding="utf-8"
        )
    return list(new)
