"""Schemas that are never written by accident: valid ones that cost much, and some almost Avro."""

import json
from collections.abc import Iterator
from typing import Any, Final

from stream_scorer.registry.limits import STANDARD

BASE: Final[list[dict[str, Any]]] = [
    {"name": "transaction_id", "type": "string"},
    {"name": "event_time", "type": "long"},
    {"name": "customer_id", "type": "string"},
    {"name": "terminal_id", "type": "string"},
    {"name": "amount_minor", "type": "long"},
    {"name": "currency", "type": "string"},
]


def transaction(*more: Any, first: bool = False) -> str:
    """Return a schema that reads as a transaction, with fields before or after the known ones."""
    fields = [*more, *BASE] if first else [*BASE, *more]
    return json.dumps({"type": "record", "name": "Transaction", "namespace": "u", "fields": fields})


def field(kind: Any, name: str = "extra") -> dict[str, Any]:
    return {"name": name, "type": kind}


def doubling(levels: int) -> Any:
    """Return a record type that contains the one before twice, and so on."""
    inner: Any = {"type": "record", "name": "D0", "fields": [field("int", "x")]}
    for level in range(1, levels):
        inner = {
            "type": "record",
            "name": f"D{level}",
            "fields": [field(inner, "a"), field(f"D{level - 1}", "b")],
        }
    return inner


def nested(levels: int, kind: str = "array") -> Any:
    inner: Any = "int"
    part = "items" if kind == "array" else "values"
    for _ in range(levels):
        inner = ["null", {"type": kind, part: inner}]
    return inner


def replaced(name: str, kind: Any) -> str:
    fields = [field(kind, name) if each["name"] == name else each for each in BASE]
    return json.dumps({"type": "record", "name": "Transaction", "namespace": "u", "fields": fields})


def fixed(size: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size}


def enum(*symbols: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols)}


def refused() -> Iterator[tuple[str, str]]:  # noqa: PLR0915 a line per case
    """Yield (description, text) of schemas that no record may be read with."""
    sizes: tuple[Any, ...] = (
        -1,
        -2,
        -(2**45),
        -(2**70),
        2**31,
        2**62,
        2**70,
        "x",
        None,
        1.5,
        True,
        [],
        {},
    )
    for size in sizes:
        yield f"fixed of size {size!r}", transaction(field(fixed(size)), first=True)
    yield "fixed without a size", transaction(field({"type": "fixed", "name": "F"}))
    yield "340 optional arrays", transaction(field(nested(340)))
    yield "40 optional maps", transaction(field(nested(40, "map")))
    yield "20,000 brackets", "[" * 20_000
    yield "100,000 objects", '{"a":' * 40_000
    yield "brackets in an open text", '"' + "[" * 10_000
    yield "backslashes", '"' + "\\" * 200_001
    yield "quotes", '"\\"' * 60_000
    letters = "A" * 200_000
    yield "a symbol of 200,000 letters", replaced("transaction_id", enum(letters))
    yield "a symbol of 1,025 letters", replaced("transaction_id", enum("A" * 1_025))
    yield "a symbol that is not a text", transaction(field(enum(5)))
    yield "a default symbol that is not a text", transaction(field(enum("A") | {"default": 5}))
    yield (
        "symbols that are not a list",
        transaction(field({"type": "enum", "name": "E", "symbols": 5})),
    )
    yield "12,000 fields", transaction(*(field("int", f"f{n}") for n in range(12_000)))
    yield "2,043 fields more", transaction(*(field("int", f"f{n}") for n in range(2_043)))
    yield "a field name of 500,000 letters", transaction(field("int", "f" * 500_000))
    yield "a field name of 257 letters", transaction(field("int", "f" * 257))
    yield "a type name of 257 letters", transaction(field(fixed(1) | {"name": "F" * 257}))
    yield "an alias of 257 letters", transaction(field("int") | {"aliases": ["f" * 257]})
    yield "a reference of 200,000 letters", transaction(field("X" * 200_000))
    yield "a namespace of 257 letters", transaction(field(fixed(1) | {"namespace": "n" * 257}))
    names: tuple[Any, ...] = (5, None, "", "a b", "é", [], {"a": 1}, "a.b", "\ud800", "\x1b[2J")
    for name in names:
        yield f"field name {name!r}", transaction(field("int") | {"name": name})
    for name in (5, None, "", "..", "a..b", "\x00"):
        yield f"type name {name!r}", transaction(field(fixed(1) | {"name": name}))
    for name in ("record", "enum", "array", "fixed", "union", "string", "null"):
        own = {"type": "record", "name": name, "namespace": "", "fields": [field("int")]}
        yield f"a type named {name}", transaction(field(own))
    yield "half a character", transaction(field({"type": "long", "logicalType": "\ud800"}))
    yield "half a character in a doc", transaction(field("int") | {"doc": "\udfff"})
    yield "a logicalType that is a number", transaction(field({"type": "long", "logicalType": 5}))
    for kind in (None, 5, True, {}, {"type": None}, {"type": {"type": "int"}}, {"type": ["int"]}):
        yield f"type {kind!r}", transaction(field(kind))
    yield "an array of nothing", transaction(field({"type": "array"}))
    yield "a map of nothing", transaction(field({"type": "map"}))
    yield (
        "fields that are not a list",
        transaction(field({"type": "record", "name": "X", "fields": 5})),
    )
    yield (
        "a field that is not an object",
        transaction(field({"type": "record", "name": "X", "fields": [5]})),
    )
    # fastavro decodes it: a record of a union is read.
    wide = ["null", *(fixed(1) | {"name": f"F{n}"} for n in range(128))]
    roots = json.loads(transaction(field({"type": "array", "items": wide})))
    yield "a union of 129 types that fastavro decodes", json.dumps(["null", roots])
    yield "a union in a union", transaction(field(["null", ["int", "long"]]))
    yield "a type twice in a union", transaction(field(["null", "null"]))
    yield "an unknown type", transaction(field("Nothing"))
    yield "a type defined twice", transaction(field(fixed(1), "a"), field(fixed(2), "b"))
    yield "a field twice", transaction(field("int"), field("int"))
    yield "aliases that are a text", transaction(field("int") | {"aliases": "abc"})
    yield "a number of 100,000 digits", '{"type": ' + "9" * 100_000 + "}"
    yield "NaN", '{"type": NaN}'
    yield "a key twice", '{"type": "string", "type": "int"}'
    yield (
        "fastavro's own key",
        json.dumps(json.loads(transaction()) | {"__fastavro_parsed": True, "__named_schemas": {}}),
    )
    yield "300 KiB of white space", " " * 300 * 1024 + transaction()
    yield "nothing", ""
    yield "null", "null"
    yield "a list of nothing", "[]"
    yield "a byte order mark", "\ufeff" + transaction()
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": "x", "scale": -1}
    yield "a decimal that is none", transaction(field(decimal))
    yield (
        "a fixed decimal without room",
        transaction(field(fixed(0) | {"logicalType": "decimal", "precision": 5})),
    )
    entangled = transaction(field(["null", "int"] * 20_000))
    yield "a union of 40,000 branches", entangled


def accepted() -> Iterator[tuple[str, str]]:
    """Yield (description, text) of schemas that are odd, and cost little."""
    yield "60 doubling types", transaction(field(doubling(30)))
    yield "31 optional arrays", transaction(field(nested(31)))
    yield "fixed of size 0", transaction(field(fixed(0)))
    yield "2,042 fields more", transaction(*(field("int", f"f{n}") for n in range(2_042)))
    yield "a symbol of 1,024 letters", replaced("transaction_id", enum("A" * STANDARD.symbol_bytes))
    own = {"type": "record", "name": "X", "fields": [field("X", "x")]}
    yield "a type that contains itself", transaction(field(own))
    yield "arrays of null", transaction(field({"type": "array", "items": "null"}))
    yield (
        "300 empty types",
        transaction(
            *(field({"type": "record", "name": f"X{n}", "fields": []}, f"f{n}") for n in range(300))
        ),
    )
    chain = [
        field(
            {"type": "record", "name": f"C{n}", "fields": [field(f"C{n - 1}" if n else "int")]},
            f"f{n}",
        )
        for n in range(600)
    ]
    yield "a chain of 600 types", transaction(*chain)
    many = [fixed(1) | {"name": f"a{n}"} for n in range(2_000)]
    yield "a union of 2,000 types", transaction(field(["null", *many]))
