"""The one place where JSON of a request is read.

Refused: what is not JSON (NaN and Infinity are not), text after the value, invalid UTF-8, half of a
surrogate pair, more than :data:`LEVELS_MOST` levels, integers of thousands of digits, and, where it
is asked for, an object with the same key twice. A problem has a position and nothing of the body.
"""

from re import DOTALL
from re import compile as pattern
from typing import Any, Final, TypeVar

import msgspec

from stream_scorer.serving.web.problems import Problem

LEVELS_MOST: Final = 64
"""Of arrays and objects inside each other."""

T = TypeVar("T")

# An unterminated string extends to the end of the text, so that no position is tried twice.
_STRING: Final = pattern(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', DOTALL)
_NO_BRACKETS: Final = bytes(each for each in range(256) if each not in b"[]{}")
_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_BYTE: Final = pattern(r"\(byte (\d+)\)$")
_PLACE: Final = pattern(r" - at `(\$[^`]*)`$")
# Names in these are of our own types, never of the body.
_HARMLESS: Final = pattern(
    r"Expected `[^`]*`(?:, got `[^`]*`)?|Expected `[^`]*` of length .*|Expected `\w+` [<>=!]+ \S+"
    r"|Object missing required field `[^`]*`|(?:Number|Integer value) out of range"
)
_any: Final = msgspec.json.Decoder()


def read_json(body: bytes, *, unique_keys: bool = False) -> Any:
    """Return the value of a JSON text as Python's own types; integers are exact.

    Args:
        body: The text, UTF-8.
        unique_keys: Whether an object may have each key only once; costs about as much again.

    Raises:
        Problem: 400.
    """
    document = read_typed(body, _any)
    if unique_keys and _keys_of(document) != _colons_of(body):
        raise _malformed("an object has the same key twice")
    return document


def read_typed(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Return the value of a JSON text as a type.

    Args:
        body: The text, UTF-8.
        decoder: Of the type.

    Raises:
        Problem: 400: not JSON, beyond a limit, or not of the type.
    """
    # Brackets in strings count, too: then the exact count below decides.
    if body.count(b"[") + body.count(b"{") > LEVELS_MOST:
        _check_levels(body)
    try:
        if not body.isascii():
            # A decoder does not look into strings that its type leaves out.
            str(body, "utf-8")
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise _malformed(f"not UTF-8 at byte {error.start}") from None
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from None
    except msgspec.DecodeError as error:
        found = _BYTE.search(str(error))
        place = f"at byte {found[1]}" if found else "it ends too early, or an escape is invalid"
        raise _malformed(place) from None
    except RecursionError:
        raise _too_deep() from None


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-json", "The body is not valid JSON.", detail)


def _too_deep() -> Problem:
    return _malformed(f"nested deeper than {LEVELS_MOST} levels")


def _unfit(message: str) -> Problem:
    """Return the problem of a value that is not of its type, without its content."""
    found = _PLACE.search(message)
    reason = message[: found.start()] if found else message
    if _HARMLESS.fullmatch(reason) is None:
        known = "unknown field" in reason
        reason = "there is a field that is not known" if known else "a value is not allowed here"
    return Problem(
        400,
        "invalid-body",
        "The body is JSON, but not what this path expects.",
        f"{reason}, at {found[1]}" if found else reason,
    )


def _check_levels(body: bytes) -> None:
    """Refuse a text whose brackets are nested too deep, or do not match.

    Each round removes the innermost pairs of all branches.
    """
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(LEVELS_MOST):
        if not brackets:
            return
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            raise _malformed("its brackets do not match")
        brackets = fewer
    if brackets:
        raise _too_deep()


def _colons_of(body: bytes) -> int:
    """Return the number of keys of all objects of a valid JSON text."""
    return _STRING.sub(b"", body).count(b":")


def _keys_of(document: Any) -> int:
    """Return the number of keys of all objects of a document; a repeated key counts once."""
    keys, layer = 0, [document]
    while layer:
        value = layer.pop()
        if isinstance(value, dict):
            keys += len(value)
            layer += [each for each in value.values() if isinstance(each, (dict, list))]
        elif isinstance(value, list):
            layer += [each for each in value if isinstance(each, (dict, list))]
    return keys
