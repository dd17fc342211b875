"""Converts a file's rows to JSON records that the same mapping reads from a topic.

A record has only the row's values at the paths of the mapping. Null is left out.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from stream_scorer.core.mapping.mapping import EventMapping, FieldRule
from stream_scorer.core.mapping.mapping_table import Path, dotted
from stream_scorer.core.normalising.decimal_kernels import TEXT_MOST
from stream_scorer.core.normalising.leaves import LeafPart, Leaves
from stream_scorer.errors import SettingsError
from stream_scorer.tables.mapped import MappedPiece

RECORD_COLUMN: Final = "record"

_NUMBERS: Final = frozenset({"long", "double"})
_ZEROS: Final = re.compile(r"^(-?)0+(?=[0-9])")
_Text = Callable[[Any], str | None]
_Tree = dict[str, "Path | _Tree"]


class JsonRecords:
    """Makes JSON records from rows.

    Args:
        mapping: Reads the rows, and later the records.

    Raises:
        SettingsError: A JSON record cannot represent such a row; names the path.
    """

    def __init__(self, mapping: EventMapping) -> None:
        self._rules: dict[Path, list[FieldRule]] = {path: [] for path in mapping.paths}
        for rule in mapping.rules:
            if rule.path is not None:
                self._rules[rule.path].append(rule)
        self._chosen = {clause.path for clause in mapping.where}
        self._objects = _objects_of(mapping, self._rules)
        self._tree = _tree_of([path for path in self._rules if path not in self._objects])

    def __call__(self, piece: MappedPiece) -> pa.RecordBatch:
        """Return the rows that became transactions: customer and record, one row for each."""
        place = np.full(piece.rows, -1)
        place[piece.good] = np.arange(len(piece.good))
        leaves = {path: [part.taken(place) for part in each] for path, each in piece.leaves.items()}
        texts = self._texts(leaves, len(piece.good))
        records = [_object(self._tree, texts, row).encode() for row in range(len(piece.good))]
        return pa.RecordBatch.from_pydict(
            {
                "customer_id": piece.records.column("customer_id"),
                RECORD_COLUMN: pa.array(records, pa.binary()),
            }
        )

    def _texts(self, leaves: Leaves, rows: int) -> Mapping[Path, Sequence[str | None]]:
        """Return by path the JSON text of each row's value; None for null."""
        found = {}
        for path, rules in self._rules.items():
            column: list[str | None] = [None] * rows
            for part in leaves[path]:
                if path in self._objects and part.wire.kind == "cell":
                    raise _refusal(dotted(path), "is a value, and other paths go through it")
                write = _writer(part, rules, path, chosen=path in self._chosen)
                at = range(rows) if part.rows is None else part.rows.tolist()
                for row, value in zip(at, part.values.to_pylist(), strict=True):
                    column[row] = None if value is None else write(value)
            found[path] = column
        return found


def _refusal(place: str, why: str) -> SettingsError:
    return SettingsError(
        f"produce: {place}: {why}", "change events.toml; or send the records with your producer"
    )


def _objects_of(mapping: EventMapping, rules: Mapping[Path, Sequence[FieldRule]]) -> set[Path]:
    """Return the paths that only ``where`` reads, to compare them with null, with others inside."""
    named = {clause.path for clause in mapping.where} - {
        clause.path for clause in mapping.where if clause.values
    }
    around = {path[:depth] for path in rules for depth in range(1, len(path))}
    return {path for path in named & around if not rules[path]}


def _tree_of(paths: Sequence[Path]) -> _Tree:
    tree: _Tree = {}
    for path in paths:
        below = tree
        for depth, name in enumerate(path[:-1]):
            inside = below.setdefault(name, {})
            if not isinstance(inside, dict):
                raise _refusal(dotted(path), f"{dotted(path[: depth + 1])} is a value itself")
            below = inside
        if path[-1] in below:
            raise _refusal(dotted(path), "is a value, and other paths go through it")
        below[path[-1]] = path
    return tree


def _object(
    tree: _Tree, texts: Mapping[Path, Sequence[str | None]], row: int, at: Path = ()
) -> str:
    def text_of(below: Path | _Tree, path: Path) -> str | None:
        if not isinstance(below, dict):
            return texts[below][row]
        # ``where`` may compare the object itself with null.
        null = path in texts and texts[path][row] is None
        return None if null else _object(below, texts, row, path)

    parts = ((name, text_of(below, (*at, name))) for name, below in tree.items())
    inside = ", ".join(f"{json.dumps(name)}: {text}" for name, text in parts if text is not None)
    return f"{{{inside}}}"


def _writer(part: LeafPart, rules: Sequence[FieldRule], path: Path, *, chosen: bool) -> _Text:
    """Return the writer for values of a kind; ``chosen``: whether ``where`` reads them."""
    kind = part.wire.kind
    if kind == "decimal":
        scale = part.wire.scale
        return lambda data: _decimal(int.from_bytes(data, "big", signed=True), scale, path)
    if kind in {"double", "float"}:
        # An amount is the shortest decimal of 32 bits, which is how a mapping reads a float.
        amounts = sum(rule.kind == "amount" for rule in rules)
        short = kind == "float" and amounts > 0
        if short and amounts < len(rules):
            raise _refusal(dotted(path), "is a float of 32 bits, read as an amount and otherwise")
        number: _Text = (lambda value: str(np.float32(value))) if short else repr
        return lambda value: _real(value, number, path, chosen=chosen)
    if kind == "cell":
        return _writer_of_cells(rules, path, chosen=chosen)
    if kind in {"bytes", "structure"}:
        return lambda _: "{}"  # which is not null, and equals no value
    # A number has its own digits.
    writers: dict[str, _Text] = {"number": str, "text": _quoted}
    return writers.get(kind, json.dumps)


def _real(value: float, write: _Text, path: Path, *, chosen: bool) -> str | None:
    if math.isfinite(value):
        return write(value)
    if chosen:
        raise _refusal(dotted(path), "where compares it, and JSON has neither NaN nor infinity")
    return None


def _writer_of_cells(rules: Sequence[FieldRule], path: Path, *, chosen: bool) -> _Text:
    """Return the writer for cells of a CSV file, whose rules determine their kinds."""
    flags = any(rule.kind == "boolean" and not rule.table for rule in rules)
    numbers = any(rule.kind in _NUMBERS for rule in rules)
    texts = chosen or any(rule.kind == "string" or rule.table for rule in rules)
    # An amount or a time may be a number or a text, but not true or false.
    either = any(rule.kind in {"amount", "timestamp"} for rule in rules)
    if flags + numbers + texts > 1 or (flags and either):
        raise _refusal(dotted(path), "is read as values of several kinds")
    if numbers:
        return lambda text: _ZEROS.sub(r"\1", text)
    if flags:
        return lambda text: "true" if text.lower() in {"true", "1"} else "false"
    return _quoted


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _decimal(number: int, scale: int, path: Path) -> str:
    text = _fixed(number, scale)
    if len(text) > TEXT_MOST:
        raise _refusal(dotted(path), f"a decimal of more than {TEXT_MOST} characters")
    return text


def _fixed(number: int, scale: int) -> str:
    """Return a decimal without an exponent.

    >>> _fixed(-5, 3)
    '-0.005'
    """
    digits = str(abs(number)).rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if number < 0 else text
