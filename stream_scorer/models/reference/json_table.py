"""Reads the values of a hostile JSON document: each is checked, and errors name its path."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

TEXT_LONGEST: Final = 220
"""Maximum number of characters of a text."""


class JsonTable:
    """An object of a document; its methods return checked values.

    Args:
        value: The object.
        path: Where it is in the document; empty for the document itself.
        keys: The keys that it must have.
        possible: Keys that it may have, besides; None is the value of one that is not there.

    Raises:
        ValueError: It is not an object, or has other keys. All methods raise it for a value that is
            refused, with the path of the value.
    """

    def __init__(
        self, value: Any, path: str, keys: frozenset[str], possible: frozenset[str] = frozenset()
    ) -> None:
        self._path = path
        if not isinstance(value, dict) or set(value) - possible != keys:
            named = ", ".join(sorted(keys))
            raise ValueError(f"{path or 'the document'}: must have the keys {named}")
        self._value = dict.fromkeys(possible) | value

    def path(self, key: str) -> str:
        """Return the path of a key's value."""
        return f"{self._path}.{key}" if self._path else key

    def refuse(self, key: str, text: str) -> ValueError:
        """Return the error that refuses a key's value."""
        return ValueError(f"{self.path(key)}: {text}")

    def value(self, key: str) -> Any:
        """Return a value that is not checked."""
        return self._value[key]

    def number(self, key: str, least: float, most: float) -> float:
        """Return a finite number from ``least`` to ``most``."""
        return number(self._value[key], self.path(key), least, most)

    def whole(self, key: str, least: int, most: int) -> int:
        """Return a whole number from ``least`` to ``most``."""
        return whole(self._value[key], self.path(key), least, most)

    def text(self, key: str, least: int = 1) -> str:
        """Return a printable text of at least ``least`` characters."""
        return text(self._value[key], self.path(key), least)

    def listed(self, key: str, most: int) -> list[Any]:
        """Return a list of at most ``most`` values of any type."""
        found = listed(self._value[key], self.path(key))
        if len(found) > most:
            raise self.refuse(key, f"has {len(found)} values, at most {most} are possible")
        return found

    def texts(self, key: str, most: int, *, unique: bool = True) -> tuple[str, ...]:
        """Return at most ``most`` printable texts, by default without repeats."""
        found = tuple(text(each, self.path(key), 0) for each in self.listed(key, most))
        if unique and len(set(found)) < len(found):
            raise self.refuse(key, "a value is there twice")
        return found

    def table(self, key: str) -> Mapping[str, Any]:
        """Return an object with any keys."""
        found = self._value[key]
        if not isinstance(found, dict):
            raise self.refuse(key, "is not an object")
        return found


def listed(value: Any, path: str) -> list[Any]:
    """Return a list; ``path`` names it in the error."""
    if not isinstance(value, list):
        raise ValueError(f"{path}: is not a list")  # noqa: TRY004 what is wrong is the text
    return value


def text(value: Any, path: str, least: int) -> str:
    """Return a printable text of at least ``least`` characters."""
    if not isinstance(value, str) or not least <= len(value) <= TEXT_LONGEST:
        raise ValueError(f"{path}: is not a text of at most {TEXT_LONGEST} characters")
    if not value.isprintable():
        raise ValueError(f"{path}: has control characters")
    return value


def number(value: Any, path: str, least: float, most: float) -> float:
    """Return a finite number from ``least`` to ``most``."""
    # A boolean is an int in Python, and NaN fails both comparisons.
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(f"{path}: is not a number from {least:g} to {most:g}")
    return float(value)


def whole(value: Any, path: str, least: int, most: int) -> int:
    """Return a whole number from ``least`` to ``most``; a boolean is not a number."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{path}: is not a whole number from {least} to {most}")
    return value


def numbers(
    values: Sequence[Any], path: str, least: float, most: float, count: int | None = None,
    *, missing: bool = False,
) -> Float64:  # fmt: skip
    """Return float64[n], a list of finite numbers from ``least`` to ``most``.

    Args:
        values: The list.
        path: Names it in the error.
        least: Smallest number.
        most: Largest number.
        count: Its length; None for any.
        missing: Whether null is a value, which becomes NaN.
    """
    if count is not None and len(values) != count:
        raise ValueError(f"{path}: has {len(values)} numbers, not {count}")
    return np.array(
        [
            math.nan if missing and value is None else number(value, path, least, most)
            for value in values
        ],
        np.float64,
    )
