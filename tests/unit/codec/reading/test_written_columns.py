"""A program that stores inside optional records writes each column once, or is refused."""

import json

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading import opcodes as o
from stream_scorer.codec.reading.arrow_layout import StoredColumn
from stream_scorer.codec.reading.decode_program import DecodeProgram, compile_walk
from stream_scorer.codec.reading.mapped_paths import find, stored_paths
from stream_scorer.registry.definition import parse_definition

ROW = {"type": "record", "name": "Row", "fields": [
    {"name": "id", "type": "string"}, {"name": "n", "type": ["null", "long"]},
    {"name": "tags", "type": {"type": "array", "items": "string"}}]}  # fmt: skip
SCHEMA = {"type": "record", "name": "Envelope", "fields": [
    {"name": "before", "type": ["null", ROW]}, {"name": "after", "type": ["null", "Row"]},
    {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4,
                              "logicalType": "decimal", "precision": 9, "scale": 2}}]}  # fmt: skip


def compiled() -> DecodeProgram:
    definition = parse_definition(json.dumps(SCHEMA), "schema")
    paths = [("after", "id"), ("after", "n"), ("hash",)]
    stored = stored_paths({path: find(definition, path) for path in paths})
    assert stored is not None
    return compile_walk(definition.plain(), tree=stored.tree)


def remade(program: DecodeProgram, code: np.ndarray) -> DecodeProgram:
    return DecodeProgram(code, program.paths, program.symbols, program.symbol_text, program.kept)


def step(program: DecodeProgram, operation: int, column: int | None = None) -> int:
    found = program.code[:, 0] == operation
    if column is not None:
        found &= (program.code[:, 3] == column) & (program.code[:, 4] != o.DROPPED)
    return int(np.flatnonzero(found)[0])


def test_a_compiled_program_passes() -> None:
    program = compiled()
    assert o.ABSENT in program.code[:, 0]
    assert o.PRESENT in program.code[:, 0]
    remade(program, program.code)


@pytest.mark.parametrize(
    ("operation", "column", "change", "why"),
    [
        (o.ABSENT, 0, {3: 1, 4: o.INT64}, "a column written once"),
        (o.ABSENT, 0, {0: o.PRESENT}, "columns on every way"),
        (o.ABSENT, 0, {0: o.JUMP, 1: 0}, "what a column holds"),
        (o.ABSENT, 1, {0: o.SKIP, 3: -1, 4: o.DROPPED}, "columns on every way"),
        (o.PRESENT, 0, {0: o.SKIP, 3: -1, 4: o.DROPPED}, "validity before a value"),
        (o.PRESENT, 0, {3: 2, 4: o.TEXT}, "room for null"),
        (o.PRESENT, 0, {3: -1, 4: o.DROPPED}, "columns named"),
        (o.FIXED, 2, {3: -1, 4: o.DROPPED}, "columns named"),
        (o.FIXED, 2, {1: -1}, "sizes that are not negative"),
        (o.FIXED, 2, {0: o.SKIP, 4: o.DROPPED}, "columns on every way"),
        (o.STRING, 0, {4: o.DROPPED}, "columns on every way"),
        (o.STRING, 0, {3: 1}, "known columns"),
        (o.OPTIONAL, 1, {2: 0}, "an optional value that jumps forward"),
    ],
)
def test_a_broken_program_is_refused(
    operation: int, column: int, change: dict[int, int], why: str
) -> None:
    program = compiled()
    code = program.code.copy()
    at = step(program, operation, column)
    for place, value in change.items():
        code[at, place] = value
    with pytest.raises(ValueError, match=f"a program without {why}"):
        remade(program, code)


def test_a_jump_over_what_is_stored_is_refused() -> None:
    program = compiled()
    code = program.code.copy()
    fixed = step(program, o.FIXED, 2)
    code[fixed - 1] = [o.JUMP, fixed + 1, 0, -1, o.DROPPED]
    with pytest.raises(ValueError, match="a program without"):
        remade(program, code)


def test_a_loop_around_what_is_stored_is_refused() -> None:
    program = compiled()
    end = step(program, o.END)
    code = program.code.copy()
    code = np.insert(code, end, [[o.JUMP, 0, 0, -1, o.DROPPED]], axis=0)
    with pytest.raises(ValueError, match="a program without columns outside loops"):
        remade(program, code)


def test_a_call_of_what_stores_is_refused() -> None:
    column = StoredColumn(0, "a", o.INT64, pa.int64(), nullable=True)
    code = np.array(
        [
            [o.PRESENT, 0, 0, 0, o.INT64],
            [o.LONG, 0, 0, 0, o.INT64],
            [o.CALL, 0, 1, -1, o.DROPPED],
            [o.END, 0, 0, -1, o.DROPPED],
        ]
    )
    symbols, text = np.empty((0, 2), np.int64), np.zeros(32, np.uint8)
    with pytest.raises(ValueError, match="a program without calls of what is called"):
        DecodeProgram(code, ("",) * 4, symbols, text, (column,))
