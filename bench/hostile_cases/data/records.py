"""Records from an untrusted producer: bytes that do not match the schema."""

from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import cases
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


CASES: Final = cases(
    "record", 1,
    ("no value", "records", "EMPTY: ", _as_written(lambda: None), "no value"),
    ("an empty value", "records", "EMPTY: ", _as_written(lambda: b"")),
    ("a header cut off", "records", "FRAMING: ", _as_written(lambda: b"\0\0\0")),
    ("another magic byte", "records", "FRAMING: ", _as_written(lambda: b"\1" + framed(body())[1:])),
    ("only a header", "records", "MALFORMED: ", _as_written(lambda: framed(b"")),
     "ends inside a value"),
    ("cut off inside a text", "records", "MALFORMED: ", _as_written(lambda: framed(body()[:-1])),
     "ends inside a value"),
    ("a byte too many", "records", "TRAILING_BYTES: ", _as_written(lambda: framed(body() + b"\0"))),
    ("a text of negative length", "records", "MALFORMED: ",
     _spoilt(text(b"h-1"), number(-3) + b"h-1"), "negative length"),
    ("a text of 2^62 bytes", "records", "MALFORMED: ",
     _spoilt(text(b"h-1"), number(2**62) + b"h-1"), "ends inside a value"),
    ("a text that ends in the record after it", "records", "MALFORMED: ",
     _spoilt(text(b"EUR"), number(40) + b"EUR"), "ends inside a value"),
    ("a number of eleven bytes", "records", "MALFORMED: ",
     _spoilt(number(1_000), b"\xff" * 10 + b"\1"), "out of range or not in its shortest form"),
    ("a number that is not in its shortest form", "records", "MALFORMED: ",
     _spoilt(number(1_000), b"\xd0\x8f\x80\0"), "not in its shortest form"),
    ("text in Latin-1", "records", "MALFORMED: ", _spoilt(text(b"h-1"), text(b"h\xe91"))),
    ("a surrogate in UTF-8", "records", "MALFORMED: ",
     _spoilt(text(b"h-1"), text(b"\xed\xa0\x80"))),
    ("an overlong slash", "records", "MALFORMED: ", _spoilt(text(b"h-1"), text(b"\xc0\xaf"))),
    ("larger than record_bytes_max", "records", "TOO_LARGE: ",
     _as_written(lambda: framed(body(b"x" * 3_000)), record_bytes_max=2_048)),
    ("a text larger than string_bytes_max", "records", "TOO_LARGE: ",
     _as_written(lambda: framed(body(b"x" * 3_000)), string_bytes_max=2_048),
     "transaction_id: longer than string_bytes_max"),
    ("an array of 2^62 items", "records", "TOO_LARGE: ", _with_array(number(2**62)),
     "more items than array_items_max"),
    ("a block of -2^63 items", "records", "TOO_LARGE: |MALFORMED: ",
     _with_array(number(-(2**63)) + number(0)), "more items than array_items_max"),
    ("a block whose size is not true", "records", "MALFORMED: ",
     _with_array(number(-1) + number(5) + number(7) + number(0)),
     "block size is not true at byte 8"),
    ("a block of negative size", "records", "MALFORMED: ",
     _with_array(number(-1) + number(-5) + number(7) + number(0)),
     "block size is not true at byte 7"),
    ("a branch that the union does not have", "records", "MALFORMED: ",
     _own(lambda value: value[:-1] + number(7)), "no such union branch"),
    ("a negative branch", "records", "MALFORMED: ", _own(lambda value: value[:-1] + number(-1)),
     "no such union branch"),
    ("a boolean of 2", "records", "MALFORMED: ", _typed("boolean", b"\2"), "hostile: "),
    ("cut off in front of a boolean", "records", "MALFORMED: ", _typed("boolean", b"", alone=True),
     "hostile: the record ends inside a value"),
    ("cut off inside a double", "records", "MALFORMED: ", _typed("double", b"\0\0\0", alone=True),
     "hostile: the record ends inside a value"),
    ("cut off inside a fixed", "records", "MALFORMED: ",
     _typed({"type": "fixed", "name": "F", "size": 8}, b"\0\0\0", alone=True),
     "hostile: the record ends inside a value"),
    ("an int of 2^40", "records", "MALFORMED: ", _typed("int", number(2**40)),
     "hostile: number out of range"),
    ("a symbol that the enum does not have", "records", "MALFORMED: ",
     _typed({"type": "enum", "name": "E", "symbols": ["A"]}, number(5)),
     "hostile: no such enum symbol"),
    ("a branch that a union of three does not have", "records", "MALFORMED: ",
     _typed(["int", "string", "bytes"], number(3)), "hostile: no such union branch"),
    ("under the schema id of our decisions", "records", "[A-Z_]+: ",
     Attack(schema_with, lambda: framed(body(), HOSTILE_ID + 1))),
)  # fmt: skip
