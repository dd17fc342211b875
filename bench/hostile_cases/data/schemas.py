"""Schemas that an attacker may register: not quite Avro, or valid Avro that costs too much."""

import json
from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, cases
from bench.hostile_cases.data.decoding import (
    FIELDS,
    Attack,
    Source,
    batch_decoded,
    body,
    decoded,
    framed,
    number,
    schema_with,
    text,
)

_LONG_NAME: Final = "n" * 500_000
_HUGE_SYMBOL: Final = "S" * 900_000


def _field(kind: Any, name: str = "hostile") -> dict[str, Any]:
    return {"name": name, "type": kind}


def _fixed(size: Any) -> str:
    return schema_with(_field({"type": "fixed", "name": "F", "size": size}))


def _leak(_: Place) -> str:
    """Try to make a record return the previous record's transaction id as its own."""
    back = len(Source().good("before"))
    fixed = [_field({"type": "fixed", "name": f"F{n}", "size": size}, f"f{n}")
             for n, size in enumerate((-back, back - len(text(b"before"))))]  # fmt: skip
    kinds = [fixed[0], FIELDS[0], fixed[1], *FIELDS[1:]]
    schema = json.dumps({"type": "record", "name": "Transaction", "fields": kinds})
    return decoded(framed(body()[len(text(b"h-1")) :]), schema)


def _record(schema: Callable[[], str], content: Callable[[], bytes] = body, **plan: Any) -> Attack:
    return Attack(schema, lambda: framed(content()), plan)


def _deep(depth: int, kind: Callable[[Any], Any]) -> str:
    inner: Any = "int"
    for _ in range(depth):
        inner = kind(inner)
    return schema_with(_field(inner))


def _nested_text(depth: int) -> str:
    return '{"type":"array","items":' * depth + '"int"' + "}" * depth


def _doubled(count: int) -> str:
    """Return record types of which each holds the one before twice."""
    kind = '{"type":"record","name":"R0","fields":[{"name":"a","type":"int"}]}'
    for n in range(1, count):
        fields = f'{{"name":"a","type":{kind}}},{{"name":"b","type":"R{n - 1}"}}'
        kind = f'{{"type":"record","name":"R{n}","fields":[{fields}]}}'
    return schema_with(_field("PLACE")).replace('"PLACE"', f'["null",{kind}]')


def _union_of_records(count: int, fields: int) -> str:
    branches = [
        {
            "type": "record",
            "name": f"B{n}",
            "fields": [_field("int", f"f{k}") for k in range(fields)],
        }
        for n in range(count)
    ]
    return schema_with(_field(branches))


def _many_fields(count: int) -> str:
    return schema_with(*[_field("null", f"f{n}") for n in range(count)])


def _symbols(kind: str) -> str:
    symbols = {"type": "enum", "name": "E", "symbols": ["A", _HUGE_SYMBOL]}
    return schema_with(transaction_id=symbols if kind == "plain" else ["null", symbols])


def _enum_body(symbol: int, *, branch: bool = False) -> bytes:
    whole = body(b"")
    return (number(1) if branch else b"") + number(symbol) + whole[1:]


_TEXTS: Final = ("transaction_id", "customer_id", "terminal_id", "currency", "channel", "mcc",
                 "country", "device_id")  # fmt: skip


def _all_symbols(letters: int) -> str:
    """Return a schema in which every text is an enum, of one symbol of so many letters."""
    kinds = [_field({"type": "enum", "name": f"E_{name}", "symbols": ["A" * letters]}, name)
             for name in _TEXTS]  # fmt: skip
    kinds += [_field("long", "event_time"), _field("long", "amount_minor")]
    return json.dumps({"type": "record", "name": "Transaction", "fields": kinds})


def _symbols_body() -> bytes:
    return bytes(len(_TEXTS)) + number(1_700_000_000_000) + number(1_000)


def _batch_of_symbols(letters: int) -> Callable[[Place], str]:
    """Make a batch of the default size with 20 bytes a record, and symbols of so many letters."""
    return lambda _: batch_decoded([framed(_symbols_body())] * 25_000, _all_symbols(letters))


def _recursive() -> str:
    node = {
        "type": "record",
        "name": "Node",
        "fields": [_field({"type": "array", "items": "Node"}, "children")],
    }
    return schema_with(_field(node))


def _zero_arrays(levels: int) -> str:
    """Return nested records of arrays of zero-byte items."""
    inner: Any = {"type": "record", "name": "Z", "fields": []}
    for _ in range(levels):
        inner = {"type": "array", "items": inner}
    return schema_with(_field(inner))


def _text(text_of: Callable[[str], str]) -> Attack:
    return _record(lambda: text_of(schema_with(_field("int"))))


def _surrogate(key: str) -> str:
    return schema_with(_field({"type": "long", key: "A"})).replace('"A"', '"\\ud800"')


def _of_size(size: Any) -> Attack:
    return _record(lambda: _fixed(size))


_REFUSED: Final = r"INCOMPATIBLE_SCHEMA: "
_COUNTED: Final = r"TOO_LARGE: "

_FIXED: Final = (
    Case("schema: a fixed that goes back to another customer's id", 1, "fixed", _REFUSED, _leak),
    *(
    Case(f"schema: a fixed of size {shown}", 1, "fixed", _REFUSED, _of_size(size))
    for shown, size in (
        ("-1", -1), ("-40", -40), ("-2^45", -(2**45)),
        ("-2^63", -(2**63)), ("2^31", 2**31), ("2^63 - 1", 2**63 - 1), ("2^70", 2**70),
        ("the text x", "x"), ("null", None), ("1.5", 1.5), ("true", True), ("a list", [4]),
    )),
)  # fmt: skip

_COSTLY: Final = cases(
    "schema", 2,
    ("60 record types, each with the one before twice", "limits", rf"{_REFUSED}|decoded ",
     _record(lambda: _doubled(60), lambda: body(front=number(0)))),
    ("1,000 record types, each with the one before twice", "limits", _REFUSED,
     _record(lambda: _doubled(1_000))),
    ("340 nested optional arrays", "limits", _REFUSED,
     _record(lambda: _deep(340, lambda x: ["null", {"type": "array", "items": x}]))),
    ("65 nested maps", "limits", _REFUSED,
     _record(lambda: _deep(65, lambda x: {"type": "map", "values": x})),
     "nested deeper than 64 types"),
    ("900 nested type objects", "limits", _REFUSED,
     _record(lambda: _deep(900, lambda x: {"type": x}))),
    ("JSON nested 5,000 deep", "limits", _REFUSED, _record(lambda: _nested_text(5_000)),
     "nested deeper than 64 types"),
    ("JSON nested 100,000 deep", "limits", _REFUSED, _record(lambda: "[" * 100_000),
     "nested deeper than 64 types"),
    ("an enum symbol of 900,000 letters as transaction_id", "limits", _REFUSED,
     _record(lambda: _symbols("plain"), lambda: _enum_body(1))),
    ("an optional enum symbol of 900,000 letters, the other symbol sent", "limits", _REFUSED,
     _record(lambda: _symbols("optional"), lambda: _enum_body(0, branch=True))),
    ("an enum symbol of 5,000 letters, over string_bytes_max", "limits", _REFUSED, _record(
         lambda: schema_with(
             transaction_id={"type": "enum", "name": "E", "symbols": ["A" * 5_000]}
         ),
         lambda: _enum_body(0), string_bytes_max=1_024,
     ), "a symbol is longer than 1024 bytes"),
    ("25,000 records, each of 8 symbols of 1,024 letters", "symbols", f"25000 {_REFUSED}",
     _batch_of_symbols(1_024), "8192 bytes together, more than 1024"),
    ("25,000 records, each of 8 symbols of 128 letters", "symbols", "25000 decoded",
     _batch_of_symbols(128)),
    ("a record of 8 symbols of 129 letters", "symbols", _REFUSED,
     _record(lambda: _all_symbols(129), _symbols_body), "1032 bytes together, more than 1024"),
    ("12,000 fields", "limits", _REFUSED, _record(lambda: _many_fields(12_000))),
    ("2,100 fields in 255 KB", "limits", _REFUSED, _record(lambda: _many_fields(2_100))),
    ("a field name of 500,000 letters", "limits", _REFUSED,
     _record(lambda: schema_with(_field("int", _LONG_NAME)), lambda: body(front=number(1)))),
    ("a field name of 300 letters", "limits", _REFUSED,
     _record(lambda: schema_with(_field("int", "n" * 300)), lambda: body(front=number(1)))),
    ("a record's name of 100,000 letters", "limits", _REFUSED,
     _record(lambda: schema_with(_field({"type": "record", "name": "N" * 100_000, "fields": []})))),
    ("a doc of 2 MB", "limits", _REFUSED,
     _record(lambda: schema_with({**_field("int"), "doc": "d" * 2_000_000}))),
    ("a default of 300 KB", "limits", _REFUSED,
     _record(lambda: schema_with({**_field("string"), "default": "d" * 300_000}))),
    ("a union of 300 records of 300 fields", "limits", _REFUSED,
     _record(lambda: _union_of_records(300, 300))),
)  # fmt: skip

_STEPS: Final = cases(
    "schema", 2,
    ("an array of 2^20 items of no byte", "steps", _COUNTED, _record(
         lambda: schema_with(_field({"type": "array", "items": "null"})),
         lambda: body(front=number(2**20) + number(0)), array_items_max=2**31 - 1,
     ), "more values than its size allows"),
    ("2^30 items of no byte in one block", "steps", _COUNTED, _record(
         lambda: schema_with(_field({"type": "array", "items": "null"})),
         lambda: body(front=number(2**30) + number(0)), array_items_max=2**31 - 1,
     )),
    ("an array of records of 2,000 null fields", "steps", _COUNTED, _record(
         lambda: schema_with(
             _field({"type": "array", "items": {
                 "type": "record", "name": "W",
                 "fields": [_field("null", f"f{n}") for n in range(2_000)]}})
         ),
         lambda: body(front=number(1_000) + number(0)),
     )),
    ("arrays of arrays of nothing, 20 deep", "steps", rf"{_COUNTED}|MALFORMED: ", _record(
         lambda: _zero_arrays(20), lambda: body(front=b"".join(number(1_000) for _ in range(20)))
     )),
    ("a recursive type, the record 10,000 deep", "depth", _COUNTED,
     _record(_recursive, lambda: body(front=number(1) * 10_000)), "nested deeper than 64"),
)  # fmt: skip

_NOT_AVRO: Final = cases(
    "schema", 2,
    ("a field name that is the number 5", "prepare", _REFUSED,
     _text(lambda s: s.replace('"hostile"', "5")), "is not an Avro name"),
    ("a field name that is null", "prepare", _REFUSED,
     _text(lambda s: s.replace('"hostile"', "null")), "is not an Avro name"),
    ("a field name that is a list", "prepare", _REFUSED,
     _text(lambda s: s.replace('"hostile"', '["a"]')), "is not an Avro name"),
    ("a lone surrogate as logicalType", "prepare", rf"{_REFUSED}|decoded ",
     _record(lambda: _surrogate("logicalType"), lambda: body(front=number(1)))),
    ("a lone surrogate as a field's name", "prepare", _REFUSED,
     _text(lambda s: s.replace('"hostile"', '"\\ud800"'))),
    ("a lone surrogate as an enum symbol", "prepare", _REFUSED, _record(
         lambda: schema_with(
             transaction_id={"type": "enum", "name": "E", "symbols": ["@"]}
         ).replace('"@"', '"\\ud800"'),
         lambda: _enum_body(0),
     )),
    ("a lone surrogate as a type's name", "prepare", _REFUSED,
     _text(lambda s: s.replace('"int"', '"\\ud800"'))),
    ("fields that are a text", "prepare", _REFUSED,
     _record(lambda: '{"type":"record","name":"T","fields":"x"}'), "fields are not a list"),
    ("fields that are numbers", "prepare", _REFUSED,
     _record(lambda: '{"type":"record","name":"T","fields":[1,2]}'), "a field has no type"),
    ("an enum whose symbols are numbers", "prepare", _REFUSED, _record(
         lambda: schema_with(transaction_id={"type": "enum", "name": "E", "symbols": [1, 2]}),
         lambda: _enum_body(0),
     ), "1 is not a symbol"),
    ("an enum without symbols", "prepare", rf"{_REFUSED}|MALFORMED: ", _record(
         lambda: schema_with(transaction_id={"type": "enum", "name": "E", "symbols": []}),
         lambda: _enum_body(0),
     )),
    ("the number 17", "prepare", _REFUSED, _record(lambda: "17")),
    ("an empty text", "prepare", _REFUSED, _record(lambda: "")),
    ("a union of unions", "prepare", _REFUSED,
     _record(lambda: schema_with(_field([["int"], "string"]))), "a union is inside a union"),
    ("a record that contains itself and never ends", "prepare",
     rf"{_REFUSED}|{_COUNTED}|MALFORMED: ", _record(
         lambda: schema_with(
             _field({"type": "record", "name": "Me", "fields": [_field("Me", "me")]})
         )
     ), "nested deeper than 64"),
    ("a decimal of precision -5", "prepare", rf"{_REFUSED}|decoded |INCOMP", _record(
         lambda: schema_with(
             _field({"type": "bytes", "logicalType": "decimal", "precision": -5, "scale": "x"})
         ),
         lambda: body(front=text(b"\1")),
     )),
    ("a default that does not fit its type", "prepare", rf"{_REFUSED}|decoded ", _record(
         lambda: schema_with({**_field("int"), "default": {"a": []}}),
         lambda: body(front=number(1)),
     )),
    ("an alias list that is a number", "prepare", rf"{_REFUSED}|decoded ", _record(
         lambda: json.dumps(
             {"type": "record", "name": "Transaction", "aliases": 5, "fields": FIELDS}
         ),
     ), "aliases are not a list"),
)  # fmt: skip


def _refused(what: str, words: str, change: Callable[[str], str]) -> Case:
    """Return the case of a schema with a field ``hostile`` of type int, whose text was changed."""
    return Case(f"schema: {what}", 2, "prepare", _REFUSED, _text(change), words=words)


def _typed(what: str, words: str, kind: Any) -> Case:
    """Return the case of a schema whose field ``hostile`` has another type."""
    return Case(
        f"schema: {what}", 2, "prepare", _REFUSED, _record(lambda: schema_with(_field(kind))),
        words=words,
    )  # fmt: skip


_SHAPES: Final = (
    _refused("a key twice", "a key is there twice",
             lambda s: s.replace('"name": "hostile"', '"name": "hostile", "name": "other"')),
    _refused("a key that fastavro keeps for itself", "a key of fastavro's own",
             lambda s: s.replace('"name": "hostile"',
                                 '"name": "hostile", "__fastavro_parsed": true')),
    _refused("a field's name twice", "field 'hostile' is there twice",
             lambda s: s.replace('"transaction_id"', '"hostile"')),
    _refused("a field's name with a blank", "field: 'a b' is not an Avro name",
             lambda s: s.replace('"hostile"', '"a b"')),
    _refused("the name of a type that is not there", "unknown type 'Nothing'",
             lambda _: '"Nothing"'),
    _typed("a type whose type is a number", "5 is not the name of a type", {"type": 5}),
    _typed("a logicalType that is a number", "a logicalType is not a text",
           {"type": "long", "logicalType": 5}),
    _typed("symbols that are a text", "symbols are not a list",
           {"type": "enum", "name": "E", "symbols": "AB"}),
    _typed("a record whose name is int", "'int' is Avro's own name",
           {"type": "record", "name": "int", "fields": []}),
    _typed("a union of nothing", "a union of nothing", []),
    _typed("an array of nothing", "a type array has no items", {"type": "array"}),
    _typed("a union that has a type twice", "a union has one type twice", ["int", "int"]),
)  # fmt: skip

CASES: Final = (*_FIXED, *_COSTLY, *_STEPS, *_NOT_AVRO, *_SHAPES)
