"""Combines a schema and the schemas that it references into one."""

from typing import Any


def inline(schema: Any, definitions: dict[str, Any], namespace: str) -> Any:
    """Put each referenced definition where its name is used first; later uses keep the name."""
    if isinstance(schema, str):
        full = schema if "." in schema or not namespace else f"{namespace}.{schema}"
        for name in (full, schema):
            if name in definitions:
                found = definitions.pop(name)
                return inline(found, definitions, name.rpartition(".")[0])
        return schema
    if isinstance(schema, list):
        return [inline(branch, definitions, namespace) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    inner = schema.get("namespace", namespace)
    if "." in str(schema.get("name", "")):
        inner = str(schema["name"]).rpartition(".")[0]
    copy = dict(schema)
    for key in ("type", "items", "values"):
        if key in copy:
            copy[key] = inline(copy[key], definitions, inner)
    if "fields" in copy:
        copy["fields"] = [
            {**field, "type": inline(field["type"], definitions, inner)} for field in copy["fields"]
        ]
    return copy
