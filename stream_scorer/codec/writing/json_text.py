"""JSON text to values, within limits, with every number as its text."""

import json
import re
from typing import Any, Final, Self

from stream_scorer.registry.limits import json_depth, shown

DEPTH: Final = 64
NUMBER_MOST: Final = 64
"""Maximum characters of a number."""
_PATH_MOST: Final = 200
_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")


class JsonNumber(str):
    """The text of a JSON number, so that it keeps all its digits."""

    __slots__ = ()

    @property
    def whole(self) -> bool:
        """Whether it has neither a fraction nor an exponent."""
        return _WHOLE.fullmatch(self) is not None


class JsonValueError(ValueError):
    """A JSON text or value is refused.

    Args:
        why: What is wrong, without the value.

    Attributes:
        why: As given.
        path: Where in the document, such as ``card.items[3]``; empty for the document itself.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""

    def inside(self, step: str | int) -> Self:
        """Return the error with a field's name or an item's number in front of its path."""
        if len(self.path) < _PATH_MOST:
            own = f"[{step}]" if isinstance(step, int) else shown(step)[1:-1]
            joint = "." if self.path and not self.path.startswith("[") else ""
            self.path = f"{own}{joint}{self.path}"
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.why}" if self.path else self.why


def kind_of(value: Any) -> str:
    """Return the kind of a parsed value, with an article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, JsonNumber):
        return "a number"
    names = ((str, "a string"), (list, "an array"), (dict, "an object"))
    return next((name for kind, name in names if isinstance(value, kind)), "another value")


def parse_json(body: bytes, depth: int = DEPTH) -> Any:
    """Parse a JSON text; numbers are :class:`JsonNumber`.

    Args:
        body: The text in UTF-8; its size was checked before.
        depth: Maximum nesting of arrays and objects.

    Raises:
        JsonValueError: It is not JSON in UTF-8, is nested deeper, has a key twice in an object,
            contains NaN, infinity or half a surrogate pair, or a number of more than 64 characters.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise JsonValueError(f"not UTF-8 at byte {error.start}") from None
    if text.count("{") + text.count("[") > depth and json_depth(text) > depth:
        raise JsonValueError(f"nested deeper than {depth}")
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_int=_number, parse_float=_number,
            parse_constant=_no_constant,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise JsonValueError(f"not JSON at character {error.pos}: {error.msg}") from None
    # An escape may be half of a surrogate pair, which UTF-8 cannot encode.
    if "\\u" in text and not _is_unicode(value):
        raise JsonValueError("half a surrogate pair")
    return value


def json_text(value: Any) -> str:
    """Return a parsed value as JSON without spaces and with sorted keys; numbers as they were.

    >>> json_text(parse_json(b'{"b": 1.50, "a": [true, null]}'))
    '{"a":[true,null],"b":1.50}'
    """
    if isinstance(value, JsonNumber):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{_quoted(name)}:{json_text(value[name])}" for name in sorted(value))
        return f"{{{','.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{','.join(map(json_text, value))}]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise JsonValueError("an object has a key twice")
    return table


def _number(text: str) -> JsonNumber:
    if len(text) > NUMBER_MOST:
        raise JsonValueError(f"a number of more than {NUMBER_MOST} characters")
    return JsonNumber(text)


def _no_constant(_: str) -> Any:
    raise JsonValueError("NaN and Infinity are not JSON")


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
