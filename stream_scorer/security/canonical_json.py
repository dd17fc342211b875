"""Strict parsing and canonical writing of the JSON that is signed.

JSON does not define the meaning of a duplicate key, and parsers differ in which value they use. So
one program could check another value than the next one uses. Here duplicate keys are refused.
"""

import json
from typing import Any

from stream_scorer.nesting import deeper_than

_LEVELS_MOST = 200
"""Maximum nesting: later readers of the document recurse for each level."""
_DEEPEST = f"nested deeper than {_LEVELS_MOST} levels"


def parse(data: bytes) -> dict[str, Any]:
    """Return a JSON object.

    Args:
        data: UTF-8, without a byte order mark.

    Raises:
        ValueError: Not JSON, not an object, nested deeper than 200 levels, a duplicate key (also in
            another case), NaN or infinity; the message names which.
    """
    try:
        document = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number
        )
    except RecursionError:
        raise ValueError(_DEEPEST) from None
    if deeper_than(_LEVELS_MOST, document):
        raise ValueError(_DEEPEST)
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 what is wrong is the text
    return document


def canonical(document: dict[str, Any]) -> bytes:
    r"""Return the canonical form of a document: sorted keys, no blanks, ASCII.

    >>> canonical({"b": 1, "a": "é"})
    b'{"a":"\\u00e9","b":1}'
    """
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    seen: dict[str, str] = {}
    for key, value in pairs:
        other = seen.setdefault(key.casefold(), key)
        if key in table:
            raise ValueError(f"the key {key!r} is there twice")
        if other != key:
            raise ValueError(f"the keys {other!r} and {key!r} differ in their case alone")
        table[key] = value
    return table


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")
