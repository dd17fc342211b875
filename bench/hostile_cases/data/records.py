"""Records that a stranger may send: bytes that are not what the schema says."""

from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Case
from bench.hostile_cases.data.decoding import (
    HOSTILE_ID,
    Attack,
    Source,
    body,
    framed,
    number,
    schema_with,
    text,
)


def _as_written(content: Callable[[], bytes | None], **plan: Any) -> Attack:
    return Attack(schema_with, content, plan)


def _spoilt(old: bytes, new: bytes) -> Attack:
    return _as_written(lambda: framed(body().replace(old, new, 1)))


def _with_array(blocks: bytes) -> Attack:
    kind = {"name": "items", "type": {"type": "array", "items": "long"}}
    return Attack(lambda: schema_with(kind), lambda: framed(body(front=blocks)))


def _typed(kind: Any, content: bytes, *, alone: bool = False) -> Attack:
    """Send bytes of a field ``hostile`` in front of the others, or of nothing else."""
    return Attack(
        lambda: schema_with({"name": "hostile", "type": kind}),
        lambda: framed(content if alone else body(front=content)),
    )


def _own(change: Callable[[bytes], bytes]) -> Attack:
    """Change a good record of the shipped schema."""
    return Attack(schema_with, lambda: change(Source().good("h-1")))


CASES: Final = (
    Case("record: no value", 1, "records", "EMPTY: ", _as_written(lambda: None),
         words="no value"),
    Case("record: an empty value", 1, "records", "EMPTY: ", _as_written(lambda: b"")),
    Case("record: a header cut off", 1, "records", "FRAMING: ", _as_written(lambda: b"\0\0\0")),
    Case(
        "record: another magic byte", 1, "records", "FRAMING: ",
        _as_written(lambda: b"\1" + framed(body())[1:]),
    ),
    Case(
        "record: only a header", 1, "records", "MALFORMED: ", _as_written(lambda: framed(b"")),
        words="ends inside a value",
    ),
    Case(
        "record: cut off inside a text", 1, "records", "MALFORMED: ",
        _as_written(lambda: framed(body()[:-1])),
        words="ends inside a value",
    ),
    Case(
        "record: a byte too many", 1, "records", "TRAILING_BYTES: ",
        _as_written(lambda: framed(body() + b"\0")),
    ),
    Case(
        "record: a text of negative length", 1, "records", "MALFORMED: ",
        _spoilt(text(b"h-1"), number(-3) + b"h-1"),
        words="negative length",
    ),
    Case(
        "record: a text of 2^62 bytes", 1, "records", "MALFORMED: ",
        _spoilt(text(b"h-1"), number(2**62) + b"h-1"),
        words="ends inside a value",
    ),
    Case(
        "record: a text that ends in the record after it", 1, "records", "MALFORMED: ",
        _spoilt(text(b"EUR"), number(40) + b"EUR"),
        words="ends inside a value",
    ),
    Case(
        "record: a number of eleven bytes", 1, "records", "MALFORMED: ",
        _spoilt(number(1_000), b"\xff" * 10 + b"\1"),
        words="out of range or not in its shortest form",
    ),
    Case(
        "record: a number that is not in its shortest form", 1, "records", "MALFORMED: ",
        _spoilt(number(1_000), b"\xd0\x8f\x80\0"),
        words="not in its shortest form",
    ),
    Case(
        "record: text in Latin-1", 1, "records", "MALFORMED: ",
        _spoilt(text(b"h-1"), text(b"h\xe91")),
    ),
    Case(
        "record: a surrogate in UTF-8", 1, "records", "MALFORMED: ",
        _spoilt(text(b"h-1"), text(b"\xed\xa0\x80")),
    ),
    Case(
        "record: an overlong slash", 1, "records", "MALFORMED: ",
        _spoilt(text(b"h-1"), text(b"\xc0\xaf")),
    ),
    Case(
        "record: larger than record_bytes_max", 1, "records", "TOO_LARGE: ",
        _as_written(lambda: framed(body(b"x" * 3_000)), record_bytes_max=2_048),
    ),
    Case(
        "record: a text larger than string_bytes_max", 1, "records", "TOO_LARGE: ",
        _as_written(lambda: framed(body(b"x" * 3_000)), string_bytes_max=2_048),
        words="transaction_id: longer than string_bytes_max",
    ),
    Case(
        "record: an array of 2^62 items", 1, "records", "TOO_LARGE: ",
        _with_array(number(2**62)),
        words="more items than array_items_max",
    ),
    Case(
        "record: a block of -2^63 items", 1, "records", "TOO_LARGE: |MALFORMED: ",
        _with_array(number(-(2**63)) + number(0)),
        words="more items than array_items_max",
    ),
    Case(
        "record: a block whose size is not true", 1, "records", "MALFORMED: ",
        _with_array(number(-1) + number(5) + number(7) + number(0)),
        words="block size is not true at byte 8",
    ),
    Case(
        "record: a block of negative size", 1, "records", "MALFORMED: ",
        _with_array(number(-1) + number(-5) + number(7) + number(0)),
        words="block size is not true at byte 7",
    ),
    Case(
        "record: a branch that the union does not have", 1, "records", "MALFORMED: ",
        _own(lambda value: value[:-1] + number(7)),
        words="no such union branch",
    ),
    Case(
        "record: a negative branch", 1, "records", "MALFORMED: ",
        _own(lambda value: value[:-1] + number(-1)),
        words="no such union branch",
    ),
    Case(
        "record: a boolean of 2", 1, "records", "MALFORMED: ", _typed("boolean", b"\2"),
        words="hostile: ",
    ),
    Case(
        "record: cut off in front of a boolean", 1, "records", "MALFORMED: ",
        _typed("boolean", b"", alone=True), words="hostile: the record ends inside a value",
    ),
    Case(
        "record: cut off inside a double", 1, "records", "MALFORMED: ",
        _typed("double", b"\0\0\0", alone=True), words="hostile: the record ends inside a value",
    ),
    Case(
        "record: cut off inside a fixed", 1, "records", "MALFORMED: ",
        _typed({"type": "fixed", "name": "F", "size": 8}, b"\0\0\0", alone=True),
        words="hostile: the record ends inside a value",
    ),
    Case(
        "record: an int of 2^40", 1, "records", "MALFORMED: ", _typed("int", number(2**40)),
        words="hostile: number out of range",
    ),
    Case(
        "record: a symbol that the enum does not have", 1, "records", "MALFORMED: ",
        _typed({"type": "enum", "name": "E", "symbols": ["A"]}, number(5)),
        words="hostile: no such enum symbol",
    ),
    Case(
        "record: a branch that a union of three does not have", 1, "records", "MALFORMED: ",
        _typed(["int", "string", "bytes"], number(3)), words="hostile: no such union branch",
    ),
    Case(
        "record: under the schema id of our decisions", 1, "records", "[A-Z_]+: ",
        Attack(schema_with, lambda: framed(body(), HOSTILE_ID + 1)),
    ),
)  # fmt: skip
