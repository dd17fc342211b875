"""Check that a program with optional records writes each column once, on every way through it.

A program that stores values inside of optional records writes a column in one of two places. So
each way from the first step to the end is followed. If two ways meet, both must have written the
same columns; at the end all columns must be written.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from stream_scorer.codec.reading import opcodes as o
from stream_scorer.codec.reading.arrow_layout import StoredColumn
from stream_scorer.ports import Int64

_WRITES: Final = frozenset(
    {o.LONG, o.INT, o.STRING, o.BYTES, o.ENUM, o.BOOLEAN, o.FLOAT, o.DOUBLE, o.FIXED}
)


def require(held: bool, what: str) -> None:  # noqa: FBT001 it is the condition
    """Refuse a program if a condition does not hold; ``what`` names what is missing.

    Raises:
        ValueError: ``held`` is false.
    """
    if not held:
        raise ValueError(f"a program without {what}")


def check_ways(code: Int64, kept: Sequence[StoredColumn]) -> None:
    """Check that each column, and its validity bit, is written once on every way to the end.

    Args:
        code: int64[k, 5]; the targets of its steps are inside of it.
        kept: The columns.

    Raises:
        ValueError: A column is not.
    """
    operation = code[:, 0]
    ends = np.flatnonzero(operation == o.END)
    require(len(ends) == 1, "columns on the way")
    end = int(ends[0])
    _check_called(code, end)
    columns = len(kept)
    nullable = sum(1 << (columns + column.number) for column in kept if column.nullable)
    complete = ((1 << columns) - 1) | nullable
    # Two bits for each column: its value, and its validity if it has one.
    written: list[int | None] = [None] * (end + 1)
    written[0] = 0
    steps = code[: end + 1].tolist()
    for at, (kind, first, second, column, holding) in enumerate(steps):
        before = written[at]
        if before is None:
            continue
        after = before
        if holding != o.DROPPED:
            after = _after(before, kind, column, columns, nullable)
        if kind == o.END:
            require(before == complete, "columns on every way")
        for target, state in _following(at, kind, first, second, before, after):
            # A null in place of an optional value is written, too.
            if kind == o.OPTIONAL and holding != o.DROPPED and target == second:
                state |= 1 << column  # noqa: PLW2901 the only way on which it is written
            require(target <= end, "columns on the way")
            if target <= at:
                require(written[target] == state, "columns outside loops")
            elif written[target] is None:
                written[target] = state
            else:
                require(written[target] == state, "columns on every way")


def _after(before: int, kind: int, column: int, columns: int, nullable: int) -> int:
    """Return what is written after a step for a column."""
    value, validity = 1 << column, (1 << (columns + column)) & nullable
    if kind in _WRITES:
        adds = value
        # The bit of a value that is optional, or in an optional record, was written before it.
        require(not validity or bool(before & validity), "validity before a value")
    elif kind == o.ABSENT:
        adds = value | validity
    else:
        adds = validity
    require(not before & adds, "a column written once")
    return before | adds


def _following(
    at: int, kind: int, first: int, second: int, before: int, after: int
) -> Iterable[tuple[int, int]]:
    """Yield each step that may follow, with what is written before it."""
    if kind in (o.END, o.RETURN):
        return
    if kind in (o.JUMP, o.NEXT):
        yield first, after
    elif kind == o.UNION:
        for branch in range(first):
            yield at + 1 + branch, after
    else:
        yield at + 1, after
        if kind == o.OPTIONAL:
            yield second, after
        elif kind == o.ITEMS:
            yield first, before


def _check_called(code: Int64, end: int) -> None:
    """Check that called code is after the end, stays there, and stores nothing."""
    behind = code[end + 1 :]
    operation, first, second = behind[:, 0], behind[:, 1], behind[:, 2]
    require(bool((behind[:, 4] == o.DROPPED).all()), "columns on the way")
    calls = code[code[:, 0] == o.CALL, 1]
    require(bool((calls > end).all()), "calls of what is called")
    jumps = np.isin(operation, (o.JUMP, o.NEXT, o.ITEMS))
    require(bool((first[jumps] > end).all()), "calls that stay")
    require(bool((second[operation == o.OPTIONAL] > end).all()), "calls that stay")
