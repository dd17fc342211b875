"""Lists of numbers in a text of LightGBM: counted before they are read, and read exactly.

The library separates numbers by one blank. It writes floating-point numbers with 17 significant
digits and reads them correctly rounded, as Python's ``float`` does.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError

CHUNK_BYTES: Final = 1 << 20
"""Bytes of a list that are split at the same time: a split list needs 20 times its memory."""

NUMBER_LONGEST: Final = 40
"""Maximum characters of a number; the library writes at most 24."""

FIX: Final = "save the model again with LightGBM's save_model"


def malformed(what: str) -> ModelError:
    """Return the error that refuses a file for its content.

    Args:
        what: The thing and what is wrong with it.
    """
    return ModelError(f"model: {what}", FIX)


def integers(what: str, text: bytes, count: int, low: int, high: int) -> NDArray[np.int64]:
    """Return int64[count].

    Args:
        what: Name of the list, for errors.
        text: Its text.
        count: How many numbers it must have.
        low: The smallest number that is valid.
        high: The largest number that is valid.

    Raises:
        ModelError: It has another count, a text that is not an integer, or a number out of range.
    """
    _judge_text(what, text, count, b"0123456789- ")
    numbers = np.empty(count, np.int64)
    for at, tokens in _chunks(what, text):
        try:
            part = [int(token) for token in tokens]
        except ValueError:
            raise malformed(f"{what} holds a text that is not an integer") from None
        if min(part) < low or max(part) > high:
            wrong = next(number for number in part if not low <= number <= high)
            raise malformed(f"{what} holds {wrong}, not {low} to {high}")
        numbers[at : at + len(part)] = part
    return numbers


def integer(what: str, text: bytes, low: int, high: int) -> int:
    """Return one integer.

    Raises:
        ModelError: The text is not one, or it is out of range.
    """
    return int(integers(what, text, 1, low, high)[0])


def decimals(what: str, text: bytes, count: int, *, infinite: bool = False) -> NDArray[np.float64]:
    """Return float64[count], each number correctly rounded.

    Args:
        what: Name of the list, for errors.
        text: Its text.
        count: How many numbers it must have.
        infinite: Whether ``inf`` and ``-inf`` are numbers of the list.

    Raises:
        ModelError: It has another count, a text that is not such a number, or a number that is too
            large for a float64.
    """
    _judge_text(what, text, count, b"0123456789+-.e " + b"inf" * infinite)
    numbers = np.empty(count)
    for at, tokens in _chunks(what, text):
        try:
            part = np.array([float(token) for token in tokens])
        except ValueError:
            raise malformed(f"{what} holds a text that is not a number") from None
        too_large = np.flatnonzero(~np.isfinite(part))
        if any(tokens[place].lstrip(b"-") != b"inf" for place in too_large):
            raise malformed(f"{what} holds a number that is too large for a float64")
        numbers[at : at + len(part)] = part
    return numbers


def legacy_decimal(what: str, text: bytes) -> float:
    """Return a number of the objective's line as the library reads it, which is not exactly.

    LightGBM reads such a number with a function of its own, ``Common::Atof``: the digits before and
    after the point separately, then a scale by powers of ten. The last bit of the result may differ
    from that of a correctly rounded number.

    Raises:
        ModelError: The text is not a finite number of at most 15 digits.
    """
    exact = float(decimals(what, text, 1)[0])
    mantissa, _, exponent = text.decode("ascii").lstrip("+-").partition("e")
    before, _, after = mantissa.partition(".")
    if len(before) + len(after) > np.finfo(np.float64).precision:
        raise malformed(f"{what} has more than 15 digits")
    value = float(before or "0") + float(after or "0") / 10.0 ** len(after)
    scale, power = 1.0, min(abs(int(exponent or "0")), 308)
    for step in (50, 8, 1):
        while power >= step:
            scale *= 10.0**step
            power -= step
    value = value / scale if exponent.startswith("-") else value * scale
    if not np.isfinite(value):
        raise malformed(f"{what} is too large for a float64")
    return float(np.copysign(value, exact))


def _judge_text(what: str, text: bytes, count: int, allowed: bytes) -> None:
    """Refuse a list of another count, or with other bytes, before anything is allocated for it."""
    found = text.count(b" ") + 1 if text else 0
    if found != count:
        raise malformed(f"{what} has {found} numbers, not {count}")
    if text.translate(None, allowed):
        raise malformed(f"{what} holds a text that is not a finite number")


def _chunks(what: str, text: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the texts of the numbers, in parts, each with the place of its first."""
    at, start = 0, 0
    # A blank at the end has an empty number after it, which is refused later.
    while text and start <= len(text):
        end = text.find(b" ", start + CHUNK_BYTES)
        end = len(text) if end < 0 else end
        tokens = text[start:end].split(b" ")
        if max(map(len, tokens)) > NUMBER_LONGEST:
            raise malformed(f"{what} holds a number of more than {NUMBER_LONGEST} characters")
        yield at, tokens
        at, start = at + len(tokens), end + 1
