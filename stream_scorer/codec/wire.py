"""What strict Avro bytes are: a walk over the wire that every record passes before it is decoded.

The rules, in one place for both ways of decoding:

- Varints are in their shortest form; an int fits 32 bits, a long 64.
- A boolean is the byte 0 or 1; strings and map keys are UTF-8 (no surrogates, no over-long forms).
- Lengths, union branches and enum indices are inside their range.
- A negative block count carries the block's size, and the size is true.
- Strings and bytes, and the items of an array or map over all its blocks, keep to the plan's
  limits; nesting goes 64 deep at most.
- Nothing is left behind the record.

A long with a time as its logical type may hold any value here; validation judges times.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec import walk
from stream_scorer.codec.definition import Definition
from stream_scorer.core.batch import RejectReason
from stream_scorer.core.plan import Plan
from stream_scorer.ports import Int64

HEADER_BYTES = 5  # magic byte 0 and the schema id, 4 bytes big-endian
_FIXED_WIDTH: Final = {"float": 4, "double": 8}
_SIMPLE: Final = {
    "boolean": walk.BOOLEAN, "int": walk.INT, "long": walk.LONG,
    "bytes": walk.BYTES, "string": walk.STRING,
}  # fmt: skip

_REASONS: Final = {
    walk.TRUNCATED: (RejectReason.MALFORMED, "the record ends inside a value"),
    walk.VARINT: (RejectReason.MALFORMED, "number out of range or not in its shortest form"),
    walk.LENGTH: (RejectReason.MALFORMED, "negative length"),
    walk.BRANCH: (RejectReason.MALFORMED, "no such union branch"),
    walk.SYMBOL: (RejectReason.MALFORMED, "no such enum symbol"),
    walk.UTF8: (RejectReason.MALFORMED, "text is not UTF-8"),
    walk.BOOL: (RejectReason.MALFORMED, "boolean is neither 0 nor 1"),
    walk.BLOCK: (RejectReason.MALFORMED, "block size is not true"),
    walk.LEFT: (RejectReason.TRAILING_BYTES, "bytes are left behind the record"),
    walk.STRING_LIMIT: (RejectReason.TOO_LARGE, "longer than string_bytes_max"),
    walk.COUNT_LIMIT: (RejectReason.TOO_LARGE, "more items than array_items_max"),
    walk.DEPTH: (RejectReason.TOO_LARGE, "nested deeper than 64"),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A writer schema as the walk executes it.

    Attributes:
        code: int64[k, 3], one row per step: operation, two operands.
        paths: k field paths, for messages.
    """

    code: Int64
    paths: tuple[str, ...]

    def verdict(self, status: int, step: int, position: int) -> tuple[RejectReason, str]:
        """Return the reason and a text for a record that the walk refused."""
        reason, text = _REASONS[status]
        path = "" if status == walk.LEFT else self.paths[step]
        return reason, f"{path}: {text} at byte {position}" if path else f"{text}, byte {position}"


@dataclass(frozen=True, slots=True)
class Framed:
    """n payloads in one buffer.

    Attributes:
        data: uint8, all payloads back to back.
        offsets: int64[n + 1], where each begins.
    """

    data: NDArray[np.uint8]
    offsets: Int64

    def body(self, row: int) -> bytes:
        """Return the Avro bytes of one payload, without its header."""
        return self.data[self.offsets[row] + HEADER_BYTES : self.offsets[row + 1]].tobytes()


class _Compiler:
    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.code: list[tuple[int, int, int]] = []
        self.paths: list[str] = []
        self.entries: dict[str, int] = {}
        self.calls: list[tuple[int, str]] = []
        self.open: set[str] = set()

    def emit(self, path: str, operation: int, first: int = 0, second: int = 0) -> int:
        self.code.append((operation, first, second))
        self.paths.append(path)
        return len(self.code) - 1

    def patch(self, step: int, first: int | None = None, second: int | None = None) -> None:
        operation, a, b = self.code[step]
        self.code[step] = (
            operation,
            a if first is None else first,
            b if second is None else second,
        )

    def value(self, schema: Any, path: str) -> None:
        kind = self.definition.kind(schema)
        schema = self.definition.expand(schema)
        if kind in _SIMPLE:
            self.emit(path, _SIMPLE[kind])
        elif kind in _FIXED_WIDTH or kind == "fixed":
            self.emit(path, walk.SKIP, _FIXED_WIDTH.get(kind) or schema["size"])
        elif kind == "enum":
            self.emit(path, walk.ENUM, len(schema["symbols"]))
        elif kind in {"record", "error"}:
            self.record(schema, path)
        elif kind == "union":
            self.union(schema, path)
        elif kind in {"array", "map"}:
            start = self.emit(path, walk.ITEMS)
            if kind == "map":
                self.emit(f"{path}{{key}}", walk.STRING)
                self.value(schema["values"], f"{path}{{}}")
            else:
                self.value(schema["items"], f"{path}[]")
            self.emit(path, walk.NEXT, start)
            self.patch(start, len(self.code))

    def record(self, schema: Any, path: str) -> None:
        name = schema["name"]
        if name in self.open:
            self.calls.append((self.emit(path, walk.CALL), name))
            return
        self.open.add(name)
        for field in schema["fields"]:
            self.value(field["type"], f"{path}.{field['name']}" if path else field["name"])
        self.open.remove(name)

    def union(self, schema: Any, path: str) -> None:
        optional = self.definition.optional(schema)
        if optional:
            inner, null = optional
            start = self.emit(path, walk.OPTIONAL, null)
            self.value(inner, path)
            self.patch(start, second=len(self.code))
            return
        start = self.emit(path, walk.UNION, len(schema))
        for _ in schema:
            self.emit(path, walk.JUMP)
        ends = []
        for number, branch in enumerate(schema):
            self.patch(start + 1 + number, len(self.code))
            self.value(branch, path)
            ends.append(self.emit(path, walk.JUMP))
        for step in ends:
            self.patch(step, len(self.code))

    def finish(self) -> Program:
        self.emit("", walk.END)
        # A recursive type is called: its own copy of the fields, ended by a return.
        while self.calls:
            step, name = self.calls.pop()
            if name not in self.entries:
                self.entries[name] = len(self.code)
                self.open = {name}
                for field in self.definition.named[name]["fields"]:
                    self.value(field["type"], f"{name}.{field['name']}")
                self.emit("", walk.RETURN)
            self.patch(step, self.entries[name])
        return Program(np.array(self.code, np.int64).reshape(-1, 3), tuple(self.paths))


def compile_walk(definition: Definition) -> Program:
    """Turn a writer schema into the program that the walk executes."""
    compiler = _Compiler(definition)
    compiler.value(definition.root, "")
    return compiler.finish()


def check(
    framed: Framed, rows: Int64, program: Program, plan: Plan
) -> tuple[NDArray[np.uint8], Int64, Int64]:
    """Walk the given rows.

    Returns:
        (uint8[r] status, 0 is good; int64[r] failing byte of the payload; int64[r] failing step).
    """
    status = np.empty(len(rows), np.uint8)
    position = np.empty(len(rows), np.int64)
    step = np.empty(len(rows), np.int64)
    walk.walk(
        framed.data, framed.offsets, rows, program.code,
        plan.string_bytes_max, plan.array_items_max, status, position, step,
    )  # fmt: skip
    return status, position, step
