"""Reads the JSON of a model file, within limits on its size, nesting and numbers.

The text is measured before it is parsed: Python's objects take up to 60 times the bytes of the text
that they are made from. Each decimal is rounded correctly to float64 (CatBoost's own JSON reader
does not do that). A duplicate key is refused, because parsers differ in which value they use.
"""

import json
import re
from typing import Any, Final, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.quoting import quoted
from stream_scorer.errors import ModelError

Float64 = NDArray[np.float64]

Entry = TypeVar("Entry", dict[str, Any], list[Any], str, int, bool)
_NAMES: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "an integer",
    bool: "true or false",
}

BYTES_MOST: Final = 256 * 1024 * 1024
"""Maximum size of a file."""

LEVELS_MOST: Final = 512
"""Maximum nesting. A tree that is not symmetric takes one level of the text for each of its own."""

NUMBER_LONGEST: Final = 64
"""Maximum characters of a number; CatBoost writes at most 25."""

_COUNTS_MOST: Final = {
    b"{": ("objects", 1 << 21),
    b"[": ("lists", 1 << 20),
    b",": ("values", 1 << 23),
    b'"': ("quotation marks", 1 << 23),
}
"""Maximum counts in the text; strings count, too. 19,000 trees of 64 leaves are within them."""

# All but brackets. Quantifiers are possessive, so that no position is tried twice.
_NOT_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[^\[\]{}"]++', re.DOTALL)

_EXPORT: Final = "export it again with save_model(file, format='json')"
_INTEGER_LONGEST: Final = 18


def refuse(what: str, fix: str = _EXPORT) -> NoReturn:
    """Refuse the file.

    Args:
        what: What is wrong with it.
        fix: What the user can do about it.

    Raises:
        ModelError: Always.
    """
    raise ModelError(f"model: {what}", fix)


def parse_document(data: bytes) -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Args:
        data: The text, as UTF-8.

    Raises:
        ModelError: It is too large, nested too deeply, has too many values, is not JSON or not an
            object; or a key is there twice, or a number is too long, NaN or infinite.
    """
    _refuse_large(data)
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=_integer,
            parse_float=_decimal,
            parse_constant=_constant,
        )
    except UnicodeDecodeError:
        refuse("is not UTF-8")
    except RecursionError:
        refuse(f"nested deeper than {LEVELS_MOST} levels")
    except json.JSONDecodeError as error:
        refuse(f"is not JSON: {error.msg} at character {error.pos}")
    if not isinstance(document, dict):
        refuse("is not a JSON object")
    return document


def _refuse_large(data: bytes) -> None:
    """Refuse a text whose objects would not fit into memory, or that a parser cannot recurse."""
    if len(data) > BYTES_MOST:
        refuse(f"has {len(data)} bytes, more than {BYTES_MOST}", "train fewer or smaller trees")
    for mark, (name, most) in _COUNTS_MOST.items():
        if data.count(mark) > most:
            refuse(f"has more than {most} {name}", "train fewer or smaller trees")
    brackets = np.frombuffer(_NOT_BRACKETS.sub(b"", data), np.uint8)
    opened = (brackets == ord("{")) | (brackets == ord("["))
    levels = np.cumsum(np.where(opened, 1, -1))
    if levels.size and int(levels.max()) > LEVELS_MOST:
        refuse(f"nested deeper than {LEVELS_MOST} levels", "train trees of a smaller depth")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen = set[str]()
        for key, _ in pairs:
            if key in seen:
                refuse(f"the key {quoted(key)} is there twice in one object")
            seen.add(key)
    return table


def _integer(text: str) -> int | float:
    # A longer one is not a number of anything here, but it may be a rounded leaf value.
    return int(text) if len(text) <= _INTEGER_LONGEST else _decimal(text)


def _decimal(text: str) -> float:
    if len(text) > NUMBER_LONGEST:
        refuse(f"has a number of {len(text)} characters, more than {NUMBER_LONGEST}")
    number = float(text)
    if number in (float("inf"), float("-inf")):
        refuse(f"the number {text} is too large for float64")
    return number


def _constant(text: str) -> NoReturn:
    refuse(f"has {text} in the place of a number")


def known_keys(table: dict[str, Any], known: frozenset[str], where: str) -> None:
    """Refuse an object with a key that this importer does not know: it may change the score.

    Args:
        table: The object.
        known: The keys that are known.
        where: What the object is, for the message.

    Raises:
        ModelError: There is another key; the message names it.
    """
    for key in table:
        if key not in known:
            refuse(
                f"{where} has the unknown key {quoted(key)}", "use a supported version of CatBoost"
            )


def entry(table: dict[str, Any], key: str, kind: type[Entry], where: str) -> Entry:
    """Return the value of a key.

    Args:
        table: The object.
        key: The key.
        kind: The type of the value; a boolean is not an integer.
        where: What the object is, for the message.

    Raises:
        ModelError: The key is missing, or its value has another type.
    """
    if key not in table:
        refuse(f"{where} has no {key}")
    value: Entry = table[key]
    if type(value) is not kind:
        refuse(f"{where}: {key} is {quoted(value)}, not {_NAMES[kind]}")
    return value


def entries(table: dict[str, Any], key: str, where: str) -> list[Any]:
    """Return the list of a key; an empty list for null, which CatBoost writes in its place.

    Args:
        table: The object.
        key: The key.
        where: What the object is, for the message.

    Raises:
        ModelError: The key is missing, or its value is not a list.
    """
    if key in table and table[key] is None:
        return []
    return entry(table, key, list, where)


def number_of(value: object, where: str) -> float:
    """Return a JSON number as float64.

    Args:
        value: The value.
        where: What it is, for the message.

    Raises:
        ModelError: It is not a number.
    """
    if type(value) is float or type(value) is int:
        return float(value)
    refuse(f"{where} is {quoted(value)}, not a number")


def numbers_of(values: list[Any], where: str) -> Float64:
    """Return float64[n]: a list of JSON numbers.

    Args:
        values: The list.
        where: What it is, for the message.

    Raises:
        ModelError: An item is not a number.
    """
    for value in values:
        if type(value) is not float and type(value) is not int:
            refuse(f"{where} hold {quoted(value)}, not a number")
    return np.array(values, np.float64)
