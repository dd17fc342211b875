"""JSON records to raw leaves: one record at a time, within limits, each number as its text.

A record is JSON in UTF-8. It may have Confluent's framing of JSON Schema: magic byte 0 and a schema
id, which is not looked up, because a JSON record names its own fields. A record with a duplicate
key is refused, because readers would differ in which value they use.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from stream_scorer.codec.reading.decode_program import HEADER_BYTES
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.decimal_kernels import TEXT_MOST
from stream_scorer.core.normalising.leaves import STRUCTURE, Wire
from stream_scorer.registry.limits import json_depth

DEPTH: Final = 64
_TEXT: Final = Wire("text")
_NUMBER: Final = Wire("number")
_BOOLEAN: Final = Wire("boolean")

Leaf = tuple[Any, Wire] | None


class JsonRefusal(Exception):  # noqa: N818 a fault of one record, not an error for users
    """A record is refused.

    Attributes:
        reason: The reject reason.
        detail: A text for the reader of the dead letter.
    """

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Number(str):
    """The text of a JSON number."""

    __slots__ = ()


def leaves_of(body: bytes, paths: Sequence[Path], string_max: int) -> list[Leaf]:
    """Return the value at each path of a record with its kind; None for null and for a missing key.

    Args:
        body: A record, framed or not, whose size was checked before.
        paths: Names of keys, from the root.
        string_max: Maximum bytes of a string at a path.

    Raises:
        JsonRefusal: It is not a JSON object in UTF-8, or exceeds a limit.
    """
    document = document_of(body)
    return [leaf_at(document, path, string_max) for path in paths]


def document_of(body: bytes) -> dict[str, Any]:
    """Return a record's object; a number is its text, in a subclass of ``str``.

    Raises:
        JsonRefusal: As for :func:`leaves_of`.
    """
    if body[:1] == b"\0":
        if len(body) < HEADER_BYTES:
            raise JsonRefusal(RejectReason.FRAMING, "no magic byte 0 and schema id in front")
        body = body[HEADER_BYTES:]
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise JsonRefusal(
            RejectReason.MALFORMED, f"text is not UTF-8 at byte {error.start}"
        ) from None
    if text.count("{") + text.count("[") > DEPTH and json_depth(text) > DEPTH:
        raise JsonRefusal(RejectReason.TOO_LARGE, f"nested deeper than {DEPTH}")
    try:
        document = json.loads(
            text, object_pairs_hook=_once, parse_int=_Number, parse_float=_Number,
            parse_constant=_no_constant,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise JsonRefusal(
            RejectReason.MALFORMED, f"not JSON at character {error.pos}: {error.msg}"
        ) from None
    if not isinstance(document, dict):
        raise JsonRefusal(RejectReason.MALFORMED, "not a JSON object")
    return document


def leaf_at(document: dict[str, Any], path: Path, string_max: int) -> Leaf:
    """Return the value at a path of an object, with its kind; see :func:`leaves_of`."""
    value: Any = document
    for name in path:
        if value is None:
            break
        if not isinstance(value, dict):
            return b"", STRUCTURE
        value = value.get(name)
    if value is None:
        return None
    if isinstance(value, _Number):
        if len(value) > TEXT_MOST:
            raise JsonRefusal(
                RejectReason.TOO_LARGE,
                f"{dotted(path)}: a number of more than {TEXT_MOST} characters",
            )
        return str(value), _NUMBER
    if isinstance(value, bool):
        return value, _BOOLEAN
    if not isinstance(value, str):
        return b"", STRUCTURE
    return _checked(value, path, string_max), _TEXT


def _checked(text: str, path: Path, string_max: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise JsonRefusal(
            RejectReason.MALFORMED, f"{dotted(path)}: half a surrogate pair"
        ) from None
    if size > string_max:
        raise JsonRefusal(RejectReason.TOO_LARGE, f"{dotted(path)}: longer than string_bytes_max")
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise JsonRefusal(RejectReason.MALFORMED, "an object has a key twice")
    return table


def _no_constant(_: str) -> Any:
    raise JsonRefusal(RejectReason.MALFORMED, "NaN and Infinity are not JSON")
