"""Check a program before it runs: the walk accesses memory by its contents, without checks.

The kernel trusts the code array: it determines the targets of jumps and the columns that are
stored. So every array is checked here, whatever it was compiled from: no step leads out of the
code, no symbol is outside the text, and each column is stored exactly once for each record that is
kept, by an operation that fits the layout of its memory.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading import opcodes as o
from stream_scorer.codec.reading.arrow_layout import StoredColumn, longest
from stream_scorer.codec.reading.written_columns import check_ways, require
from stream_scorer.core.kernels.memory import SLACK
from stream_scorer.ports import Int64

_WIDTH: Final = 5
_STORES: Final = {
    o.LONG: {o.INT64, o.INT32, o.FLOAT64, o.FLOAT32},
    o.INT: {o.INT64, o.INT32, o.FLOAT64, o.FLOAT32},
    o.STRING: {o.TEXT}, o.BYTES: {o.TEXT}, o.ENUM: {o.TEXT}, o.BOOLEAN: {o.BIT},
    o.FLOAT: {o.FLOAT32, o.FLOAT64}, o.DOUBLE: {o.FLOAT64}, o.FIXED: {o.TEXT},
}  # fmt: skip
_LAST: Final = (o.END, o.RETURN, o.JUMP)


def check_program(
    code: Int64, symbols: Int64, symbol_text: NDArray[np.uint8], kept: Sequence[StoredColumn]
) -> None:
    """Check a program; ``decode_program.DecodeProgram`` describes its parts.

    Raises:
        ValueError: It could lead the walk outside its memory, or leave a column unwritten.
    """
    require(code.ndim == 2 and code.shape[1] == _WIDTH, "five numbers a step")  # noqa: PLR2004
    require(code.dtype == np.int64 and symbols.dtype == np.int64, "numbers of 64 bits")
    _check_symbols(symbols, len(symbol_text))
    operation, first, second = code[:, 0], code[:, 1], code[:, 2]
    steps = len(code)
    require(bool(((operation >= o.LONG) & (operation <= o.ABSENT)).all()), "known operations")
    require(steps > 0 and operation[-1] in _LAST, "an end")
    at = np.arange(steps)

    def of(*wanted: int) -> Int64:
        return np.flatnonzero(np.isin(operation, wanted))

    def inside(steps_to: Int64) -> bool:
        return bool(((steps_to >= 0) & (steps_to < steps)).all())

    optional, unions, enums, items = of(o.OPTIONAL), of(o.UNION), of(o.ENUM), of(o.ITEMS)
    calls, following = of(o.CALL), of(o.NEXT)
    require(inside(second[optional]) and inside(first[of(o.JUMP, o.CALL)]), "targets inside")
    require(bool(((second[calls] >= 1) & (second[calls] < steps)).all()), "levels of a call")
    require(bool((second[optional] > optional).all()), "an optional value that jumps forward")
    require(bool(((first[optional] == 0) | (first[optional] == 1)).all()), "a place of null")
    require(bool((first[unions] >= 0).all()) and inside(unions + first[unions]), "branches inside")
    require(bool((first[of(o.SKIP, o.FIXED)] >= 0).all()), "sizes that are not negative")
    require(inside(first[items]) and inside(first[following]), "loops inside")
    require(bool((first[items] > items).all()), "loops that end")
    require(bool((operation[first[following]] == o.ITEMS).all()), "loops that begin")
    require(bool((first[enums] >= 0).all()), "enums with symbols")
    require(bool((code[of(o.FIXED, o.PRESENT, o.ABSENT), 4] != o.DROPPED).all()), "columns named")
    _check_columns(code, at, symbols, kept)


def _check_symbols(symbols: Int64, text_bytes: int) -> None:
    require(symbols.ndim == 2 and symbols.shape[1] == 2, "two numbers a symbol")  # noqa: PLR2004
    start, size = symbols[:, 0], symbols[:, 1]
    require(bool(((start >= 0) & (size >= -1)).all()), "symbols that are not negative")
    require(
        bool((start <= text_bytes).all() and (size <= text_bytes).all())
        and bool((start + np.maximum(size, 0) + SLACK <= text_bytes).all()),
        "symbols inside the text",
    )


def _check_columns(code: Int64, at: Int64, symbols: Int64, kept: Sequence[StoredColumn]) -> None:
    """Check that each column is written once on every way to the end of the record."""
    operation, first, second, column, kind = code.T
    require([k.number for k in kept] == list(range(len(kept))), "columns by number")
    storing = np.flatnonzero(kind != o.DROPPED)
    for step in storing.tolist():
        number = int(column[step])
        require(0 <= number < len(kept) and kind[step] == kept[number].kind, "known columns")
        if operation[step] == o.OPTIONAL:
            require(
                column[step + 1] == number and kind[step + 1] == kind[step]
                and operation[step + 1] != o.OPTIONAL and second[step] == step + 2,
                "one value after an optional one",
            )  # fmt: skip
            continue
        if operation[step] in (o.PRESENT, o.ABSENT):
            require(kept[number].nullable, "room for null")
            continue
        require(int(kind[step]) in _STORES.get(int(operation[step]), ()), "what a column holds")
        _check_text(code[step], symbols, kept[number])
    if np.isin(operation, (o.PRESENT, o.ABSENT)).any():
        check_ways(code, kept)
        return
    writing = storing[operation[storing] != o.OPTIONAL]
    require(sorted(column[writing].tolist()) == list(range(len(kept))), "a column written once")
    ends = np.flatnonzero(operation == o.END)
    require(not len(writing) or (len(ends) == 1 and writing.max() < ends[0]), "columns on the way")
    # No forward jump may skip a step that stores, and no loop may repeat it.
    passed = np.zeros(len(code) + 1, np.int64)
    jumps = np.isin(operation, (o.JUMP, o.ITEMS)) & (first > at)
    np.add.at(passed, at[jumps] + 1, 1)
    np.add.at(passed, first[jumps], -1)
    optional = (operation == o.OPTIONAL) & (kind == o.DROPPED)
    np.add.at(passed, at[optional] + 1, 1)
    np.add.at(passed, second[optional], -1)
    unions = np.flatnonzero(operation == o.UNION)
    np.add.at(passed, unions + 1, 1)
    np.add.at(passed, unions + 1 + first[unions], -1)
    require(not passed.cumsum()[writing].any(), "columns on every way")
    back = np.isin(operation, (o.JUMP, o.NEXT)) & (first <= at)
    for step in at[back].tolist() if len(writing) else ():
        require(not ((writing >= first[step]) & (writing <= step)).any(), "columns outside loops")


def _check_text(step: Int64, symbols: Int64, column: StoredColumn) -> None:
    """Check that the memory of a text is large enough for what is written to it."""
    if column.kind != o.TEXT:
        return
    if step[0] != o.ENUM:
        require(not column.texts, "memory for a text")
        return
    first, count = int(step[2]), int(step[1])
    require(first >= 0 and first + count <= len(symbols), "symbols that are there")
    own = symbols[first : first + count, 1]
    require(not count or int(own.max()) <= longest(column.texts), "memory for the longest symbol")
