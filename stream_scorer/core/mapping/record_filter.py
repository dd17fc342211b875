"""``[record] where``: conditions that choose which records of a topic are used.

The others are skipped: they are neither decided nor rejected.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.mapping.mapping_table import Path, path_of, shown, text_of

CLAUSES: Final = 8
VALUES: Final = 64
WHERE_BYTES: Final = 16 * 1024
NULL: Final = "null"

_TOKEN: Final = re.compile(r'\s*(==|!=|[\[\],]|"(?:[^"\\]|\\["\\])*"|[A-Za-z0-9_.:+/-]+)')


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition: the value at a path is, or is not, one of some values.

    Attributes:
        path: Where the value is.
        values: Texts to compare with; a number is compared as decimal text, a boolean as true or
            false.
        null: Whether null is one of the values.
        negated: Whether the condition is met if the value is not one of them.
    """

    path: Path
    values: frozenset[str]
    null: bool
    negated: bool


def clauses_of(value: object, key: str) -> tuple[Clause, ...]:
    """Read conditions such as ``op in [c, r] and source.table == payments``.

    >>> clauses_of("op in [c, r]", "record.where")[0].path
    ('op',)

    Raises:
        ValueError: It does not have this form, or is over a limit; the message names the key.
    """
    words = _words(text_of(value, key, most=WHERE_BYTES), key)
    clauses: list[Clause] = []
    while True:
        if len(clauses) == CLAUSES:
            raise ValueError(f"{key}: more than {CLAUSES} conditions")
        clauses.append(_clause(words, key))
        if not words:
            return tuple(clauses)
        if words.pop(0) != "and":
            raise ValueError(f"{key}: conditions are joined by and, nothing else")


def _words(text: str, key: str) -> list[str]:
    words: list[str] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found:
            raise ValueError(f"{key}: cannot read {shown(text[at:])}")
        words.append(found[1])
        at = found.end()
    return words


def _clause(words: list[str], key: str) -> Clause:
    def take() -> str:
        if not words:
            raise ValueError(f"{key}: ends inside a condition; write PATH in [A, B]")
        return words.pop(0)

    path = path_of(_unquoted(take()), key)
    operator = take()
    if operator == "not":
        if take() != "in":
            raise ValueError(f"{key}: write not in")
        operator = "not in"
    if operator in {"==", "!="}:
        values = [take()]
    elif operator in {"in", "not in"}:
        values = _list(take, key)
    else:
        raise ValueError(f"{key}: {shown(operator)} must be in, not in, == or !=")
    if any(value in {"[", "]", ",", "==", "!="} for value in values):
        raise ValueError(f"{key}: a value is missing")
    texts = frozenset(_unquoted(value) for value in values if value != NULL)
    return Clause(path, texts, NULL in values, operator in {"!=", "not in"})


def _list(take, key: str) -> list[str]:  # type: ignore[no-untyped-def] # noqa: ANN001 the reader of words above
    if take() != "[":
        raise ValueError(f"{key}: in needs a list: [A, B]")
    values = [take()]
    while (following := take()) == ",":
        values.append(take())
        if len(values) > VALUES:
            raise ValueError(f"{key}: more than {VALUES} values in a list")
    if following != "]":
        raise ValueError(f"{key}: a list ends with ]")
    return values


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def chosen(
    clauses: tuple[Clause, ...], texts: Mapping[Path, "NDArray[np.object_]"], count: int
) -> NDArray[np.bool_]:
    """Return bool[n]: which rows meet all conditions.

    Args:
        clauses: The conditions.
        texts: For each path, n values as text. None is null; any other object equals no text.
        count: n.
    """
    met = np.ones(count, np.bool_)
    for clause in clauses:
        wanted = clause.values | {None} if clause.null else clause.values
        column = texts[clause.path]
        inside = np.fromiter((value in wanted for value in column), np.bool_, count)
        met &= inside != clause.negated
    return met
