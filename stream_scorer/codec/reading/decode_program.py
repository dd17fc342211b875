"""The program of a walk over Avro bytes, and the rules that every record must follow.

The same walk stores the fields of the reader into columns, if the schema allows it. The kernel that
executes it is in ``decode_kernel``.

The rules, for both ways of decoding:

- Varints are in their shortest form; an int fits 32 bits, a long 64.
- A boolean is the byte 0 or 1. Strings and map keys are UTF-8 (no surrogates, no over-long forms).
- Lengths, union branches and enum indices are in their ranges.
- A negative block count is followed by the block's size, which must be correct.
- Strings, bytes, and the items of an array or map over all its blocks are within the plan's limits.
  Values are nested at most 64 deep.
- A payload of b bytes takes at most 64 b + 4,096 steps, because items without bytes take time, too.
  If fastavro decodes it, the limit is 4 b + 4,096; for a single record (``records.record``) it is
  2 b + 4,096.
- No bytes are left after the record.

A long with a time as its logical type may have any value here; validation checks times.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.codec.reading import decode_kernel, opcodes
from stream_scorer.codec.reading.arrow_layout import Layout, StoredColumn
from stream_scorer.codec.reading.program_check import check_program
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.kernels.memory import SLACK
from stream_scorer.errors import SchemaError
from stream_scorer.ports import BytesColumn, Int64
from stream_scorer.registry.definition import Definition
from stream_scorer.registry.limits import STANDARD

HEADER_BYTES = 5  # magic byte 0 and the schema id, 4 bytes big-endian
_SIMPLE: Final = {
    "boolean": opcodes.BOOLEAN, "int": opcodes.INT, "long": opcodes.LONG,
    "float": opcodes.FLOAT, "double": opcodes.DOUBLE,
    "bytes": opcodes.BYTES, "string": opcodes.STRING,
}  # fmt: skip

_PATH_MOST: Final = 120
_REASONS: Final = {
    opcodes.TRUNCATED: (RejectReason.MALFORMED, "the record ends inside a value"),
    opcodes.VARINT: (
        RejectReason.MALFORMED,
        "number out of range or not in its shortest form",
    ),
    opcodes.LENGTH: (RejectReason.MALFORMED, "negative length"),
    opcodes.BRANCH: (RejectReason.MALFORMED, "no such union branch"),
    opcodes.SYMBOL: (RejectReason.MALFORMED, "no such enum symbol"),
    opcodes.UTF8: (RejectReason.MALFORMED, "text is not UTF-8"),
    opcodes.BOOL: (RejectReason.MALFORMED, "boolean is neither 0 nor 1"),
    opcodes.BLOCK: (RejectReason.MALFORMED, "block size is not true"),
    opcodes.LEFT: (RejectReason.TRAILING_BYTES, "bytes are left after the record"),
    opcodes.STRING_LIMIT: (RejectReason.TOO_LARGE, "longer than string_bytes_max"),
    opcodes.COUNT_LIMIT: (RejectReason.TOO_LARGE, "more items than array_items_max"),
    opcodes.DEPTH: (RejectReason.TOO_LARGE, "nested deeper than 64"),
    opcodes.STEPS: (RejectReason.TOO_LARGE, "more values than its size allows"),
    opcodes.BROKEN: (RejectReason.INCOMPATIBLE_SCHEMA, "the schema's program is broken"),
}
_UNRESOLVED: Final = {
    opcodes.NULL: "null, and the reader takes none",
    opcodes.UNKNOWN_SYMBOL: "a symbol that the reader does not know",
}


@dataclass(frozen=True, slots=True)
class DecodeProgram:
    """A writer schema as a program for the walk.

    Attributes:
        code: int64[k, 5], one row for each step: operation, two operands, number and kind of the
            column.
        paths: k field paths, for messages.
        symbols: int64[s, 2], start and size of the text of a symbol; size -1 if there is none.
        symbol_text: The texts of symbols, and spare bytes.
        kept: The columns that the walk stores.

    Raises:
        ValueError: The walk could leave its memory, or leave a column unwritten.
    """

    code: Int64
    paths: tuple[str, ...]
    symbols: Int64
    symbol_text: NDArray[np.uint8]
    kept: tuple[StoredColumn, ...] = ()

    def __post_init__(self) -> None:
        check_program(self.code, self.symbols, self.symbol_text, self.kept)

    def verdict(self, status: int, step: int, position: int) -> tuple[RejectReason, str]:
        """Return the reject reason and a text for a record that the walk refused."""
        unresolved = _UNRESOLVED.get(status)
        if unresolved:
            name = self.kept[self.code[step, 3]].name
            return RejectReason.INCOMPATIBLE_SCHEMA, f"{name}: {unresolved}"
        reason, text = _REASONS[status]
        path = "" if status == opcodes.LEFT else self.paths[step]
        return reason, f"{path}: {text} at byte {position}" if path else f"{text}, byte {position}"


@dataclass(frozen=True, slots=True)
class Framed:
    """n payloads in one buffer.

    Attributes:
        data: uint8, all payloads, one after the other.
        offsets: int64[n + 1], where each payload begins.
    """

    data: NDArray[np.uint8]
    offsets: Int64

    def size(self, rows: Int64) -> int:
        """Return the number of bytes of the given rows."""
        if len(rows) == len(self.offsets) - 1:
            return int(self.offsets[-1] - self.offsets[0])
        return int((self.offsets[rows + 1] - self.offsets[rows]).sum())

    def body(self, row: int) -> bytes:
        """Return the Avro bytes of one payload, without its header."""
        return self.data[self.offsets[row] + HEADER_BYTES : self.offsets[row + 1]].tobytes()


def frame(values: BytesColumn) -> Framed:
    """Return payloads as the walk takes them; a null is an empty payload."""
    framed = Framed(values.data.view(), values.offsets.view())
    # All buffers become read-only: with a second array type numba would compile the walk again.
    framed.data.flags.writeable = framed.offsets.flags.writeable = False
    return framed


@dataclass(slots=True)
class _Symbols:
    """The texts that are stored for the symbols of all enums."""

    places: list[tuple[int, int]] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)

    def add(self, texts: tuple[str | None, ...]) -> int:
        """Add the texts of one enum; return the number of its first symbol."""
        first = len(self.places)
        for text in texts:
            encoded = b"" if text is None else text.encode()
            self.places.append((len(self.text), -1 if text is None else len(encoded)))
            self.text += encoded
        return first


PathTree: TypeAlias = "dict[str, PathTree | StoredColumn]"
"""For each field name the column that holds it, or a tree for the fields of the record in it.

The key ``PRESENCE``, which is not the name of any field, has a column that stores whether the value
itself is present: as an empty text, or null.
"""
PRESENCE: Final = ""


def columns_in(tree: "PathTree | StoredColumn") -> Iterator[StoredColumn]:
    """Yield the columns of a tree."""
    if isinstance(tree, StoredColumn):
        yield tree
    else:
        for below in tree.values():
            yield from columns_in(below)


class _Compiler:
    def __init__(
        self,
        definition: Definition,
        kept: Mapping[int, StoredColumn],
        most: int,
        tree: "PathTree",
    ) -> None:
        self.definition = definition
        self.tree = tree
        self.most = most
        self.code: list[list[int]] = []
        self.paths: list[str] = []
        self.entries: dict[str, int] = {}
        self.calls: list[tuple[int, str]] = []
        self.used: set[str] = set()
        self.level = 0
        self.kept = kept
        self.keeping: StoredColumn | None = None
        self.symbols = _Symbols()

    def emit(self, path: str, operation: int, first: int = 0, second: int = 0) -> int:
        if len(self.code) == self.most:
            raise SchemaError(f"schema: more than {self.most} steps", "split the schema")
        column = (-1, opcodes.DROPPED) if self.keeping is None else self.keeping.place
        self.code.append([operation, first, second, *column])
        self.paths.append(path)
        return len(self.code) - 1

    def patch(self, step: int, first: int | None = None, second: int | None = None) -> None:
        if first is not None:
            self.code[step][1] = first
        if second is not None:
            self.code[step][2] = second

    def root(self) -> None:
        schema = self.definition.expand(self.definition.root)
        if self.definition.kind(schema) != "record":
            self.value(schema, "")
            return
        self.used.add(schema["name"])
        for number, entry in enumerate(schema["fields"]):
            below = self.tree.get(entry["name"])
            if below is not None:
                self.wanted(entry["type"], entry["name"], below)
                continue
            self.keeping = self.kept.get(number)
            self.value(entry["type"], entry["name"])
        self.keeping = None

    def wanted(self, schema: Any, path: str, below: "PathTree | StoredColumn") -> None:
        """Compile a value that is stored, or that contains values that are stored.

        A record on the way is compiled in place, even if its type was used before: code that is
        called from several places cannot store.
        """
        optional = self.definition.optional(schema)
        if isinstance(below, StoredColumn):
            if below.nullable and not optional:
                self.note(path, opcodes.PRESENT, below)
            self.keeping = below
            self.value(schema, path)
            self.keeping = None
            return
        if optional:
            start = self.emit(path, opcodes.OPTIONAL, optional[1])
            self.wanted(optional[0], path, below)
            over = self.emit(path, opcodes.JUMP)
            self.patch(start, second=len(self.code))
            for column in columns_in(below):
                self.note(path, opcodes.ABSENT, column)
            self.patch(over, len(self.code))
            return
        presence = below.get(PRESENCE)
        if isinstance(presence, StoredColumn):
            self.note_presence(path, presence)
            if len(below) == 1:
                self.value(schema, path)
                return
        record = self.definition.expand(schema)
        self.emit(path, opcodes.SKIP, 0)
        self.level += 1
        for entry in record["fields"]:
            name, inside = entry["name"], _inside(path, entry["name"])
            if name in below:
                self.wanted(entry["type"], inside, below[name])
            else:
                self.value(entry["type"], inside)
        self.level -= 1

    def note(self, path: str, operation: int, column: StoredColumn) -> None:
        """Emit a step for a column that reads no bytes."""
        self.keeping = column
        self.emit(path, operation)
        self.keeping = None

    def note_presence(self, path: str, column: StoredColumn) -> None:
        """Emit the steps that store an empty text."""
        if column.nullable:
            self.note(path, opcodes.PRESENT, column)
        self.note(path, opcodes.FIXED, column)

    def value(self, schema: Any, path: str) -> None:
        kind = self.definition.kind(schema)
        schema = self.definition.expand(schema)
        if kind in _SIMPLE:
            self.emit(path, _SIMPLE[kind])
        elif kind == "null":
            # No bytes, but a step: each value takes fastavro time.
            self.emit(path, opcodes.SKIP, 0)
        elif kind == "fixed":
            stored = opcodes.FIXED if self.keeping else opcodes.SKIP
            self.emit(path, stored, schema["size"])
        elif kind == "enum":
            first = self.symbols.add(self.keeping.texts) if self.keeping else 0
            self.emit(path, opcodes.ENUM, len(schema["symbols"]), first)
        elif kind == "record":
            self.record(schema, path)
        elif kind == "union":
            self.union(schema, path)
        elif kind in {"array", "map"}:
            start = self.emit(path, opcodes.ITEMS)
            self.level += 1
            if kind == "map":
                self.emit(f"{path}{{key}}", opcodes.STRING)
                self.value(schema["values"], f"{path}{{}}")
            else:
                self.value(schema["items"], f"{path}[]")
            self.level -= 1
            self.emit(path, opcodes.NEXT, start)
            self.patch(start, len(self.code))

    def record(self, schema: Any, path: str) -> None:
        """Compile a record type in place at its first use; later uses call it.

        Otherwise types that each contain the previous one twice would double the code each time.
        """
        name = schema["name"]
        if name in self.used:
            self.calls.append((self.emit(path, opcodes.CALL, second=self.level + 1), name))
            return
        self.used.add(name)
        # No bytes, but a step: fastavro makes a dictionary for each record.
        self.emit(path, opcodes.SKIP, 0)
        self.level += 1
        for entry in schema["fields"]:
            self.value(entry["type"], _inside(path, entry["name"]))
        self.level -= 1

    def union(self, schema: Any, path: str) -> None:
        optional = self.definition.optional(schema)
        if optional:
            inner, null = optional
            start = self.emit(path, opcodes.OPTIONAL, null)
            self.value(inner, path)
            self.patch(start, second=len(self.code))
            return
        start = self.emit(path, opcodes.UNION, len(schema))
        for _ in schema:
            self.emit(path, opcodes.JUMP)
        ends = []
        for number, branch in enumerate(schema):
            self.patch(start + 1 + number, len(self.code))
            self.value(branch, path)
            ends.append(self.emit(path, opcodes.JUMP))
        for step in ends:
            self.patch(step, len(self.code))

    def finish(self) -> DecodeProgram:
        self.emit("", opcodes.END)
        # A type that is called has a separate copy of its fields, which ends with a return.
        while self.calls:
            step, name = self.calls.pop()
            if name not in self.entries:
                self.entries[name] = len(self.code)
                for entry in self.definition.named[name]["fields"]:
                    self.value(entry["type"], f"{name}.{entry['name']}")
                self.emit("", opcodes.RETURN)
            self.patch(step, self.entries[name])
        symbols = np.array(self.symbols.places, np.int64).reshape(-1, 2)
        text = np.frombuffer(bytes(self.symbols.text) + bytes(SLACK), np.uint8)
        kept = tuple(
            sorted([*self.kept.values(), *columns_in(self.tree)], key=lambda column: column.number)
        )
        code = np.array(self.code, np.int64)
        return DecodeProgram(code, tuple(self.paths), symbols, text, kept)


def _inside(path: str, name: str) -> str:
    """Return the path of a field; a long one is cut, because it is only for messages."""
    if not path:
        return name
    return f"{path}.{name}" if len(path) <= _PATH_MOST else f"{path[:_PATH_MOST]}....{name}"


def compile_walk(
    definition: Definition,
    kept: Mapping[int, StoredColumn] | None = None,
    steps: int = STANDARD.steps,
    tree: "PathTree | None" = None,
) -> DecodeProgram:
    """Compile a writer schema into the program of a walk.

    Args:
        definition: The writer schema.
        kept: The columns of fields of the root, by the field's number.
        steps: Maximum number of steps of the program.
        tree: The columns of values at paths. Only records, possibly optional, may be on the way to
            them. A column is nullable if the value or one of those records is optional.

    Raises:
        SchemaError: The program would be longer.
    """
    compiler = _Compiler(definition, kept or {}, steps, tree or {})
    compiler.root()
    return compiler.finish()


@dataclass(frozen=True, slots=True)
class Walked:
    """The result of a walk over r rows.

    Attributes:
        good: Number of good rows.
        status: uint8[r], the fault of each row; 0 is good.
        position: int64[r], the byte of its payload at which a refused row fails.
        step: int64[r], the step at which it fails.
        columns: The columns of the good rows, one for each that the program keeps.
    """

    good: int
    status: NDArray[np.uint8]
    position: Int64
    step: Int64
    columns: list[pa.Array]


def check(
    framed: Framed,
    rows: Int64,
    program: DecodeProgram,
    plan: Plan,
    steps_per_byte: int = opcodes.STEPS_PER_BYTE,
) -> Walked:
    """Walk the given rows.

    Args:
        framed: The payloads.
        rows: int64[r], the rows to walk.
        program: The program of their schema.
        plan: Gives the limits on strings and items.
        steps_per_byte: A payload of b bytes takes at most this times b, plus 4,096, steps.

    Raises:
        OverflowError: The payloads are too large for Arrow's columns.
    """
    status = np.empty(len(rows), np.uint8)
    position = np.empty(len(rows), np.int64)
    step = np.empty(len(rows), np.int64)
    layout = Layout(program.kept, len(rows), framed.size(rows))
    good = decode_kernel.walk(
        framed.data, framed.offsets, rows, program.code, program.symbols, program.symbol_text,
        plan.string_bytes_max, plan.array_items_max, steps_per_byte, layout.arena, layout.regions,
        status, position, step,
    )  # fmt: skip
    return Walked(good, status, position, step, layout.columns(good))
