"""The schema of a skops file: JSON that is judged before it is parsed, and before skops reads it.

Python takes up to 200 bytes for a few characters of JSON, and skops takes about a kilobyte for each
object. So what the text may create is counted in the text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final = "schema.json"

CHARACTERS_MOST: Final = 64 * 1024 * 1024
"""Maximum bytes of the schema; 1,000 trees of gradient boosting take 28 MB, of a forest 15 MB."""
OBJECTS_MOST: Final = 200_000
"""Maximum opening brackets, also those in texts: skops parses some of these as JSON, too. 1,000
trees of gradient boosting take 80,000, of a forest 63,000."""
LARGE_OBJECTS_MOST: Final = 20_000
"""Maximum estimators, trees and functions, for which skops takes over 3 kB; 1,000 trees take 2,000
at most."""
VALUES_MOST: Final = 1_000_000
"""Maximum commas, also those in texts; 1,000 trees take up to 333,000."""
ARRAYS_MOST: Final = 20_000
"""Maximum arrays; 1,000 trees take up to 5,000."""
ARRAY_BYTES_MOST: Final = 512 * 1024 * 1024
"""Maximum bytes of all arrays; the maximum number of nodes takes 335 MB."""

_MODULES: Final = {"_loss": "sklearn._loss._loss"}
"""Modules by the names under which files of scikit-learn 1.6 and 1.7 have them."""
_PLAIN_ESCAPE: Final = re.compile(rb"\\u00[2-7]")
_WIDE_ESCAPE: Final = re.compile(rb"\\u[dD][89abAB]")
_LARGE: Final = (b'"ObjectNode"', b'"FunctionNode"')
_BYTES: Final = ("BytesNode", "BytearrayNode")
"""skops returns a member as bytes, which no model has, or makes a list of its bytes."""
_POOL: Final = "4"
"""numpy's size of a pool of seeds, as JSON. It allocates any other size, and is quadratic in it."""


def refuse_size(text: bytes) -> None:
    """Refuse a schema that takes much memory when it is parsed.

    Args:
        text: The member of the archive.

    Raises:
        ValueError: The message names what is too large.
    """
    if text.count(b"{") + text.count(b"[") > OBJECTS_MOST:
        raise ValueError(f"it holds more than {OBJECTS_MOST} objects")
    if sum(text.count(loader) for loader in _LARGE) > LARGE_OBJECTS_MOST:
        raise ValueError(f"it holds more than {LARGE_OBJECTS_MOST} estimators and functions")
    if text.count(b",") > VALUES_MOST:
        raise ValueError(f"it holds more than {VALUES_MOST} values")
    # skops writes ASCII. In other encodings, and in escapes, brackets would not be counted.
    if not text.isascii() or b"\0" in text:
        raise ValueError(f"{SCHEMA} is not ASCII")
    if b"\\u" not in text:
        return
    if _PLAIN_ESCAPE.search(text):
        raise ValueError(f"{SCHEMA} writes ASCII characters as escapes")
    # Python stores a text with as many bytes for each character as the widest one needs.
    width = 4 if _WIDE_ESCAPE.search(text) else 2
    if width * len(text) > CHARACTERS_MOST:
        raise ValueError(
            f"{SCHEMA} has {len(text)} bytes with other characters than those of ASCII"
        )


def objects_in(schema: Any) -> list[Any]:
    """Return the objects and lists of a parsed schema, from the outermost inwards."""
    order = [schema]
    for each in order:
        below = each.values() if isinstance(each, dict) else each
        order += [other for other in below if isinstance(other, dict | list)]
    return order


def refuse_growth(schema: Any, bytes_of: Mapping[str, int]) -> None:
    """Refuse a schema that refers to more objects or arrays than it contains.

    If an object has the id of an earlier one, skops uses the earlier one, and walks through it
    again. In files of skops every mention of an object is complete. So if all mentions of an id
    have the same number of objects, the walk is no longer than the text, and no object contains
    itself. A member is read again for each object that names it, unless the object is an earlier
    one.

    Args:
        schema: The parsed schema, an object or a list.
        bytes_of: The size of each member of the archive.

    Raises:
        ValueError: The message names what is too large.
    """
    objects: dict[int, int] = {}
    mentioned: dict[Any, tuple[int, Any]] = {}
    read: dict[Any, int] = {}
    for each in reversed(objects_in(schema)):
        below = each.values() if isinstance(each, dict) else each
        size = sum(objects[id(other)] for other in below if isinstance(other, dict | list))
        objects[id(each)] = size = size + isinstance(each, dict)
        if not isinstance(each, dict):
            continue
        _refuse_object(each)
        number = each.get("__id__")
        content = each.get("content")
        mention = (size, content if isinstance(content, str) else None)
        if number and mentioned.setdefault(number, mention) != mention:
            raise ValueError(f"the object {number} is mentioned in part")
        file = each.get("file")
        if isinstance(file, str):
            read[number or id(each), file] = bytes_of.get(file, 0)
    if len(read) > ARRAYS_MOST:
        raise ValueError(f"its objects name more than {ARRAYS_MOST} arrays")
    if sum(read.values()) > ARRAY_BYTES_MOST:
        raise ValueError("its objects name over 512 MiB of arrays")


def _refuse_object(each: dict[str, Any]) -> None:
    if each.get("__loader__") in _BYTES:
        raise ValueError("it holds bytes that are not an array")
    if "pool_size" in each:
        pool = each["pool_size"]
        if not isinstance(pool, dict) or pool.get("content") != _POOL:
            raise ValueError(f"its random numbers have another pool_size than {_POOL}")


def with_full_modules(text: bytes) -> bytes:
    """Return a schema with the names that today's scikit-learn gives its modules.

    Args:
        text: The schema, whose size was checked.
    """
    # Nearly all files have none, and a start should not parse the schema once more.
    if not any(json.dumps(name).encode() in text for name in _MODULES):
        return text
    return json.dumps(json.loads(text, object_hook=_with_full_module)).encode()


def _with_full_module(each: dict[str, Any]) -> dict[str, Any]:
    module = each.get("__module__")
    if isinstance(module, str) and module in _MODULES:
        each["__module__"] = _MODULES[module]
    return each
