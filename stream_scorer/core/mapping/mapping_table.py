"""Strict reading of the tables of events.toml: each error is one line that names the key."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, Final

from stream_scorer.core.mapping.quoting import quoted

Path = tuple[str, ...]
"""The names of fields that lead from a record to one of its values."""

PATH_DEPTH: Final = 16
NAME_BYTES: Final = 256
TEXT_BYTES: Final = 256
TABLE_ENTRIES: Final = 2_048
DOCUMENT_BYTES: Final = 256 * 1024
_DOCUMENT_DEPTH: Final = 8
_SHOWN: Final = 40
_INTEGER_BITS: Final = 64


def shown(value: object) -> str:
    """Return a value as text for an error: escaped, at most 40 characters.

    >>> shown("b" * 60)
    "'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb..."
    """
    return quoted(value, _SHOWN, ascii)


def canonical(table: Mapping[str, Any]) -> str:
    """Return a table as JSON with sorted keys.

    Raises:
        ValueError: A value is not plain data, the table is nested too deeply, or it is too long.
    """
    _plain(table, "events", _DOCUMENT_DEPTH)
    text = json.dumps(table, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > DOCUMENT_BYTES:
        raise ValueError(f"events: {len(text)} bytes as JSON, and at most {DOCUMENT_BYTES} are")
    return text


def _plain(value: object, key: str, depth: int) -> None:
    """Check that a value is unchanged after it is written as JSON and read again."""
    if depth == 0:
        raise ValueError(f"{key}: nested deeper than {_DOCUMENT_DEPTH} tables")
    if isinstance(value, dict):
        for name, below in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key}: the key {shown(name)} must be text")  # noqa: TRY004 the plan's errors are ValueErrors
            _encodable(name, key)
            inside = f"{key}.{name[:NAME_BYTES]}" if len(key) < NAME_BYTES else key
            _plain(below, inside, depth - 1)
    elif isinstance(value, list):
        for below in value:
            _plain(below, key, depth - 1)
    elif isinstance(value, str):
        _encodable(value, key)
    else:
        _scalar(value, key)


def _scalar(value: object, key: str) -> None:
    if not isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004 the plan's errors are ValueErrors
            f"{key}: write {shown(str(value))} as text; a {type(value).__name__} is not plain data"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}: {value} is not a finite number")
    if isinstance(value, int) and value.bit_length() >= _INTEGER_BITS:
        raise ValueError(f"{key}: {shown(value)} does not fit into {_INTEGER_BITS} bits")


def _encodable(text: str, key: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key}: {shown(text)} is not Unicode text") from None


def table_of(value: object, key: str, known: Collection[str]) -> Mapping[str, Any]:
    """Return a value if it is a table without unknown keys.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{key}: must be a table, not {shown(value)}")  # noqa: TRY004 as above
    for name in value:
        if name not in known:
            raise ValueError(
                f"{key}: unknown key {shown(name)}; known are {', '.join(sorted(known))}"
            )
    return value


def choice_of(value: object, key: str, choices: Collection[str]) -> str:
    """Return a value if it is one of the given words.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{key}: must be one of {', '.join(choices)}, not {shown(value)}")
    return value


def text_of(value: object, key: str, least: int = 1, most: int = TEXT_BYTES) -> str:
    """Return a value if it is text of a limited length.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, str):
        raise ValueError(f"{key}: must be text, not {shown(value)}")  # noqa: TRY004 as above
    if not least <= len(value.encode()) <= most:
        raise ValueError(f"{key}: must have {least} to {most} bytes, not {shown(value)}")
    return value


def flag_of(value: object, key: str) -> bool:
    """Return a value if it is true or false.

    Raises:
        ValueError: It is not.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{key}: must be true or false, not {shown(value)}")  # noqa: TRY004 as above
    return value


def path_of(value: object, key: str) -> Path:
    """Return the names of a dotted path, or of a list of names (with dots or brackets in them).

    >>> path_of("txn.id", "fields.transaction_id")
    ('txn', 'id')
    >>> path_of(["a.b", "c"], "fields.mcc")
    ('a.b', 'c')
    >>> path_of(["amount [EUR]"], "fields.amount")
    ('amount [EUR]',)

    Raises:
        ValueError: It is neither; a name is empty or too long; or there are too many names.
    """
    if isinstance(value, str):
        names = value.split(".")
    elif isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        names = value
    else:
        raise ValueError(f"{key}: must be a dotted path or a list of names, not {shown(value)}")
    if len(names) > PATH_DEPTH:
        raise ValueError(f"{key}: a path of {len(names)} names, and at most {PATH_DEPTH} are")
    for name in names:
        if not name or name != name.strip():
            raise ValueError(f"{key}: a name in {shown(value)} is empty or has spaces around it")
        if isinstance(value, str) and ("[" in name or "]" in name):
            raise ValueError(
                f"{key}: {shown(name)}: a path cannot go through an array; if the name has "
                "brackets, write a list of names"
            )
        if len(name.encode()) > NAME_BYTES:
            raise ValueError(f"{key}: a name of more than {NAME_BYTES} bytes: {shown(name)}")
    return tuple(names)


def dotted(path: Path) -> str:
    """Return a path as text for people.

    >>> dotted(("txn", "id"))
    'txn.id'
    """
    return ".".join(path)
