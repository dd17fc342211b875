"""Checks that what was read from JSON has the types of its dataclass."""

from dataclasses import fields
from types import UnionType
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_MOST: Final = 2**63
"""Limit of whole numbers: times and counts have 64 bits."""


def typed(made: _T) -> _T:
    """Return a dataclass whose numbers, texts and truth values have the types of its fields.

    Fields that have other dataclasses, or several values, are not looked at. A whole number is a
    number, too.

    Args:
        made: The dataclass.

    Raises:
        ValueError: A field has another type, or a whole number has more than 64 bits.
    """
    for each in fields(made):  # type: ignore[arg-type]
        kind, value = each.type, getattr(made, each.name)
        if not isinstance(kind, type | UnionType) or (isinstance(kind, type) and not _plain(kind)):
            continue
        if not _fits(value, kind):
            raise ValueError(f"{type(made).__name__}.{each.name} cannot be {str(value)[:40]!r}")
    return made


def _plain(kind: type) -> bool:
    return kind in {int, float, str, bool}


def _fits(value: Any, kind: Any) -> bool:
    kinds = kind.__args__ if isinstance(kind, UnionType) else (kind,)
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return (int in kinds or float in kinds) and -_MOST <= value < _MOST
    return isinstance(value, kinds)
