"""The cost of foreign schemas and records is bounded by their size, and none stops the loop."""

import io
import json
import random
import threading
import time
import tracemalloc
from typing import Any

import fastavro
import numpy as np
import pytest

from stream_scorer.codec.reading import decode, decode_program, preparation_budget
from stream_scorer.codec.reading import opcodes as o
from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.decode_program import DecodeProgram, check, compile_walk, frame
from stream_scorer.codec.reading.preparation_budget import (
    BATCH_SECONDS,
    BURST_SECONDS,
    RATE,
    PreparationBudget,
)
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.compatibility import incompatibilities, verdicts
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.limits import STANDARD, SchemaLimits
from stream_scorer.registry.sources import reader_schema
from tests.support.codec.codec_writers import writer_of
from tests.support.codec.reference_decoder import SureDecoder
from tests.support.registry.hostile_schemas import (
    BASE,
    accepted,
    enum,
    field,
    fixed,
    refused,
    transaction,
)

READER = reader_schema("transaction.v1")
HEADER = b"\0\0\0\0\1"
SECONDS = 1.0
BYTES = 64 * 1024 * 1024
BODY = b"\x02t\x02\x02c\x02x\x02\x06EUR"


class Source:
    def __init__(self, *texts: Any) -> None:
        self.texts = texts

    def writer_schema(self, schema_id: int) -> str:
        return self.texts[(schema_id - 1) % len(self.texts)]

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    ColumnDecoder(Source(transaction()), READER, Plan()).decode([HEADER + BODY])


def verdict(text: str, body: bytes, plan: Plan | None = None) -> RejectReason | None:
    """Decode one record with both decoders, which must agree."""
    found = []
    for kind in (ColumnDecoder, SureDecoder):
        decoded = kind(Source(text), READER, plan or Plan()).decode([HEADER + body])
        found.append(decoded.rejections.reasons[0] if len(decoded.rejections) else None)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("what", "text"), list(refused()), ids=[str(n) for n, _ in enumerate(refused())]
)
def test_a_schema_over_a_limit_refuses_its_own_records_only(what: str, text: str) -> None:
    decoder = ColumnDecoder(Source(text, transaction()), READER, Plan())
    tracemalloc.start()
    begun = time.perf_counter()
    decoded = decoder.decode([HEADER + BODY, b"\0\0\0\0\2" + BODY, HEADER + b"\0"])
    taken = time.perf_counter() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoded.rows.tolist() == [1], what
    assert set(decoded.rejections.reasons) == {RejectReason.INCOMPATIBLE_SCHEMA}
    assert "cannot be prepared" not in decoded.rejections.details[0]
    assert max(len(each.encode()) for each in decoded.rejections.details) <= 512
    assert peak < BYTES
    assert taken < 10 * SECONDS  # traced, and next to other processes


@pytest.mark.parametrize(("what", "text"), list(accepted()), ids=[what for what, _ in accepted()])
def test_an_odd_schema_is_prepared_quickly(what: str, text: str) -> None:
    decoder = ColumnDecoder(Source(text), READER, Plan())
    begun = time.thread_time()
    writer = writer_of(decoder, 1)
    assert time.thread_time() - begun < SECONDS, what
    assert not isinstance(writer, str), writer
    assert len(writer.program.code) < 10_000


def test_code_grows_with_the_text_and_not_with_its_meaning() -> None:
    inner: Any = {"type": "record", "name": "D0", "fields": [field("int", "x")]}
    fields = [field(inner, "f0")]
    for level in range(1, 500):
        pair = [field(f"D{level - 1}", "a"), field(f"D{level - 1}", "b")]
        fields.append(field({"type": "record", "name": f"D{level}", "fields": pair}, f"f{level}"))
    program = compile_walk(parse_definition(transaction(*fields), "schema"))
    assert len(program.code) < 4_000


def test_a_program_over_the_limit_is_refused() -> None:
    text = transaction(*(field("int", f"f{n}") for n in range(100)))
    with pytest.raises(SchemaError, match="more than 100 steps"):
        compile_walk(parse_definition(text, "schema"), steps=100)
    assert len(compile_walk(parse_definition(text, "schema"), steps=107).code) == 107


ARRAYS = {
    "null": transaction(field({"type": "array", "items": "null"})),
    "a fixed of size 0": transaction(field({"type": "array", "items": fixed(0)})),
    "an empty record": transaction(
        field({"type": "array", "items": {"type": "record", "name": "X", "fields": []}})
    ),
    "records of nulls": transaction(
        field({"type": "array", "items": {
            "type": "record", "name": "X", "fields": [field("null", f"f{n}") for n in range(40)],
        }})
    ),
}  # fmt: skip


@pytest.mark.parametrize("items", ARRAYS)
def test_items_of_no_bytes_are_bounded_by_the_record(items: str) -> None:
    few = BODY + b"\x04\0"  # 2 items
    many = BODY + b"\xfe\xff\xff\x07\0"  # 8,388,607 items in 5 bytes
    plan = Plan(array_items_max=2**31 - 1)
    assert verdict(ARRAYS[items], few, plan) is None
    assert verdict(ARRAYS[items], many, plan) is RejectReason.TOO_LARGE


def test_calls_that_take_no_bytes_are_bounded_by_the_record() -> None:
    # 30 record types without data, each with two fields of the previous type: 2^30 steps over zero
    # bytes.
    fields = [field({"type": "record", "name": "D0", "fields": []}, "f0")]
    for level in range(1, 30):
        pair = [field(f"D{level - 1}", "a"), field(f"D{level - 1}", "b")]
        fields.append(field({"type": "record", "name": f"D{level}", "fields": pair}, f"f{level}"))
    begun = time.thread_time()
    assert verdict(transaction(*fields), BODY) is RejectReason.TOO_LARGE
    assert time.thread_time() - begun < SECONDS


def chain(length: int) -> Any:
    """Return nested records of one field each, around an empty record."""
    inner: Any = "null"
    for level in range(length):
        inner = {"type": "record", "name": f"C{level}", "fields": [field(inner, "f")]}
    return inner


@pytest.mark.parametrize(
    ("amount", "found"), [("long", ()), (["int", "long"], (RejectReason.TOO_LARGE,))]
)
def test_nested_empty_records_are_bounded_by_the_record(
    amount: Any, found: tuple[RejectReason, ...]
) -> None:
    # With the union fastavro decodes it, and makes a dictionary of each record: its limit is lower.
    fields = [field(amount if each["name"] == "amount_minor" else each["type"], each["name"])
              for each in BASE]  # fmt: skip
    items = field({"type": "array", "items": {"type": "array", "items": chain(50)}}, "items")
    text = json.dumps({"type": "record", "name": "Transaction", "namespace": "u",
                       "fields": [*fields, items, field("bytes", "pad")]})  # fmt: skip
    body = io.BytesIO()
    record: dict[str, Any] = dict.fromkeys(("transaction_id", "customer_id", "terminal_id"), "t")
    empty: Any = None
    for _ in range(50):
        empty = {"f": empty}
    record |= {"event_time": 1, "amount_minor": 1, "currency": "EUR"}
    record |= {"items": [[empty] * 60] * 250, "pad": bytes(48_000)}
    fastavro.schemaless_writer(body, fastavro.parse_schema(json.loads(text)), record)
    decoder = ColumnDecoder(Source(text), READER, Plan(string_bytes_max=50_000))
    begun = time.thread_time()
    assert decoder.decode([HEADER + body.getvalue()]).rejections.reasons == found
    assert time.thread_time() - begun < SECONDS


@pytest.mark.parametrize("spare", [-1, 0])
def test_the_number_of_steps_is_64_a_byte_and_4096(spare: int) -> None:
    text = transaction(field({"type": "array", "items": "null"}))
    program = compile_walk(parse_definition(text, "schema"))
    size = len(HEADER + BODY) + 3
    # The steps: a block of items, its end, and one for each item and for each return.
    most = 4_096 + 63 * size - 1
    items = most // 2 - spare
    count = io.BytesIO()
    fastavro.schemaless_writer(count, "long", items)
    assert len(count.getvalue()) == 2
    framed = frame(BytesColumn.of([HEADER + BODY + count.getvalue() + b"\0"]))
    walked = check(framed, np.array([0]), program, Plan(array_items_max=2**31 - 1))
    assert walked.status[0] == (o.STEPS if spare < 0 else 0)


def test_a_type_that_contains_itself_always_is_too_deep() -> None:
    own = {"type": "record", "name": "X", "fields": [field("X", "x")]}
    assert verdict(transaction(field(own)), BODY) is RejectReason.TOO_LARGE


def test_records_inside_a_recursive_type_count_as_levels() -> None:
    inner: Any = ["null", "X"]
    for level in range(30):
        inner = {"type": "record", "name": f"L{level}", "fields": [field(inner, "x")]}
    text = transaction(field({"type": "record", "name": "X", "fields": [field(inner, "x")]}))
    assert verdict(text, BODY + b"\x02" + b"\0") is None
    assert verdict(text, BODY + b"\x02" * 3 + b"\0") is RejectReason.TOO_LARGE


def test_the_deepest_valid_record_fits_a_small_stack() -> None:
    own: Any = {"type": "record", "name": "X", "fields": [field(["null", "X"], "x")]}
    for level in range(28):
        own = {"type": "record", "name": f"L{level}", "fields": [field(["null", own], "x")]}
    text = transaction(field(own))
    found: list[RejectReason | None] = []
    stack = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: found.append(verdict(text, BODY + b"\x02" * 28 + b"\x02" * 35 + b"\0"))
        )
        thread.start()
        thread.join()
    finally:
        threading.stack_size(stack)
    assert found == [None]


def test_symbols_are_limited_by_the_plan() -> None:
    plan = Plan(string_bytes_max=8, record_bytes_max=100)
    long = {"type": "enum", "name": "E", "symbols": ["ABCDEFGHI"]}
    decoded = ColumnDecoder(Source(transaction(field(long))), READER, plan).decode([HEADER + BODY])
    assert "longer than 8 bytes" in decoded.rejections.details[0]
    wide = ColumnDecoder(Source(transaction(field(fixed(101)))), READER, plan)
    assert "from 0 to 100" in wide.decode([HEADER + BODY]).rejections.details[0]
    assert SchemaLimits.of(Plan(string_bytes_max=2**31 - 1)).symbol_bytes == 16_384


TEXTS = (
    "transaction_id", "customer_id", "terminal_id", "currency", "channel", "mcc", "country",
    "device_id",
)  # fmt: skip
"""The transaction's text fields."""


def spelled(*letters: int) -> str:
    """Return a schema whose first texts are enums with one symbol of this many letters."""
    sizes = dict(zip(TEXTS, letters, strict=False))
    return json.dumps({"type": "record", "name": "Transaction", "namespace": "u", "fields": [
        field(enum("A" * sizes[name]) | {"name": f"E_{name}"} if name in sizes else kind, name)
        for name, kind in [*((name, "string") for name in TEXTS), ("event_time", "long"),
                           ("amount_minor", "long")]
    ]})  # fmt: skip


@pytest.mark.parametrize("kind", [ColumnDecoder, SureDecoder])
@pytest.mark.parametrize(("letters", "most"), [(1_024, 0), (128, 1_024)])
def test_symbols_of_a_batch_have_bounded_memory(
    kind: type[ColumnDecoder], letters: int, most: int
) -> None:
    count = 3_000
    decoder = kind(Source(spelled(*[letters] * 8)), READER, Plan())
    payloads = BytesColumn.of([HEADER + bytes(8) + b"\x02\x02"] * count)
    decoder.decode(payloads)
    tracemalloc.start()
    decoded = decoder.decode(payloads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded.rows) == (count if most else 0)
    assert decoded.records.nbytes <= count * (most + 100) + 1_000
    # Numbers, offsets, reasons and Python's own objects take up to 2 KiB per record.
    assert peak <= count * (most + 2_048)


@pytest.mark.parametrize(
    ("kind", "refuses"),
    [
        (enum("A" * 1_020), False),
        (enum("A" * 1_020, "B"), False),
        (enum("A", "B" * 1_021), True),
        (["null", enum("A" * 1_021)], True),
        (["string", "null", enum("A" * 1_021)], True),
    ],
)
def test_the_longest_symbols_that_are_read_are_bounded_together(
    kind: Any, *, refuses: bool
) -> None:
    fields = [
        *(field(kind, each["name"]) if each["name"] == "terminal_id" else each for each in BASE),
        field(enum("ECOM", "POS") | {"name": "Channel"}, "channel"),
        field(enum("A" * 1_024) | {"name": "Unread"}, "unread"),
    ]
    text = json.dumps({"type": "record", "name": "Transaction", "namespace": "u", "fields": fields})
    for decoder in (ColumnDecoder, SureDecoder):
        writer = writer_of(decoder(Source(text), READER, Plan()), 1)
        assert isinstance(writer, str) == refuses
        assert not refuses or "1025 bytes together, more than 1024" in writer


def test_symbols_that_the_reader_replaces_are_not_read() -> None:
    def record(*symbols: str, **more: str) -> str:
        fields = [field(enum(*symbols) | {"name": f"E{n}"} | more, f"f{n}") for n in range(2)]
        return json.dumps({"type": "record", "name": "R", "fields": fields})

    reader = record("A", "UNKNOWN", default="UNKNOWN")
    decoder = ColumnDecoder(Source(record("A", "B" * 1_000)), reader, Plan())
    decoded = decoder.decode([HEADER + b"\0\x02"])
    assert decoded.records.to_pylist() == [{"f0": "A", "f1": "UNKNOWN"}]


def test_what_the_source_gives_may_be_anything() -> None:
    for text in (None, 5, b"{}"):
        decoded = ColumnDecoder(Source(text), READER, Plan()).decode([HEADER + BODY])
        assert decoded.rejections.reasons == (RejectReason.INCOMPATIBLE_SCHEMA,)


def test_an_error_while_a_schema_is_prepared_refuses_its_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream_scorer.codec.reading.decode.compile_walk", broken)
    decoded = ColumnDecoder(Source(transaction()), READER, Plan()).decode([HEADER + BODY])
    assert decoded.rejections.reasons == (RejectReason.INCOMPATIBLE_SCHEMA,)
    assert decoded.rejections.details == ("schema id 1: cannot be prepared: ZeroDivisionError",)


def test_a_memory_error_is_not_blamed_on_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("stream_scorer.codec.reading.decode.compile_walk", full)
    with pytest.raises(MemoryError):
        ColumnDecoder(Source(transaction()), READER, Plan()).decode([HEADER + BODY])


def test_many_registered_schemas_are_not_all_kept() -> None:
    text = transaction(field("int") | {"doc": "x" * 200_000})
    decoder = ColumnDecoder(Source(text), READER, Plan())
    for number in range(60):
        decoder.decode([b"\0" + number.to_bytes(4, "big") + BODY + b"\0"])
    assert 5 < len(decoder._writers) < 15
    assert 59 in decoder._writers
    refusing = ColumnDecoder(Source("{"), READER, Plan())
    for number in range(9_000):
        writer_of(refusing, number)
    assert len(refusing._writers) <= 2_048


def test_faults_of_doubling_types_are_reported_once() -> None:
    def doubled(leaf: str) -> str:
        inner: Any = {"type": "record", "name": "D0", "fields": [field(leaf, "x")]}
        for level in range(1, 30):
            pair = [field(inner, "a"), field(f"D{level - 1}", "b")]
            inner = {"type": "record", "name": f"D{level}", "fields": pair}
        return json.dumps(inner)

    begun = time.thread_time()
    found = incompatibilities(
        parse_definition(doubled("int"), "reader"), parse_definition(doubled("string"), "writer")
    )
    assert time.thread_time() - begun < SECONDS
    assert 1 <= len(found) <= 40
    assert {fault.why for fault in found} == {"written as string, read as int"}
    assert max(len(fault.path) for fault in found) < 500


def test_schemas_too_entangled_to_compare_are_refused() -> None:
    many = [fixed(1) | {"name": f"a{n}"} for n in range(1_500)]
    other = [fixed(2) | {"name": f"b{n}"} for n in range(1_500)]
    begun = time.thread_time()
    with pytest.raises(SchemaError, match="too many types"):
        verdicts(json.dumps(many), [(1, json.dumps(other))], "BACKWARD")
    assert time.thread_time() - begun < 2 * SECONDS


def test_a_chain_of_types_is_not_too_deep_to_be_refused() -> None:
    def chained(more: dict[str, Any]) -> str:
        fields = [
            field({"type": "record", "name": f"C{n}", "fields": [
                field(f"C{n - 1}" if n else "int", "x")]}, f"f{n}") | more
            for n in range(900)
        ]  # fmt: skip
        return json.dumps({"type": "record", "name": "R", "fields": fields})

    writer = json.loads(chained({}))
    # Only the last field has a name that the reader needs, so the comparison nests 900 types deep.
    for entry in writer["fields"][:-1]:
        entry["name"] = f"w{entry['name']}"
    with pytest.raises(SchemaError, match="too deeply"):
        incompatibilities(
            parse_definition(chained({"default": {"x": 1}}), "reader"),
            parse_definition(json.dumps(writer), "writer"),
        )


def program(*steps: tuple[int, ...]) -> DecodeProgram:
    code = np.array([[*step, *(0, 0, -1, 0)[len(step) - 1 :]][:5] for step in steps], np.int64)
    text = np.frombuffer(bytes(16), np.uint8)
    return DecodeProgram(code, ("",) * len(code), np.empty((0, 2), np.int64), text)


@pytest.mark.parametrize(
    "steps",
    [
        [(o.SKIP, -1), (o.END,)],
        [(o.SKIP, -(2**45)), (o.END,)],
        [(o.BROKEN + 99,), (o.END,)],
        [(-1,), (o.END,)],
        [(o.LONG,)],
        [],
        [(o.JUMP, 2), (o.END,)],
        [(o.JUMP, -1), (o.END,)],
        [(o.CALL, 5, 1), (o.END,)],
        [(o.CALL, 1, 0), (o.END,), (o.RETURN,)],
        [(o.CALL, 1, -(2**40)), (o.END,), (o.RETURN,)],
        [(o.UNION, 2), (o.END,)],
        [(o.UNION, -1), (o.END,)],
        [(o.OPTIONAL, 2, 1), (o.END,)],
        [(o.OPTIONAL, 0, 9), (o.END,)],
        [(o.OPTIONAL, 0, 0), (o.END,)],
        [(o.ITEMS, 9), (o.END,)],
        [(o.ITEMS, 0), (o.END,)],
        [(o.ITEMS, 2), (o.NEXT, 9), (o.END,)],
        [(o.ITEMS, 2), (o.NEXT, 2), (o.END,)],
        [(o.ENUM, -1), (o.END,)],
        [(o.LONG, 0, 0, 0, o.INT64), (o.END,)],
        [(o.LONG, 0, 0, -1, o.INT64), (o.END,)],
    ],
)
def test_a_program_that_leads_outside_is_refused(steps: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="a program without"):
        program(*steps)


def test_a_program_is_refused_for_any_wrong_number() -> None:
    """Every operand is changed in every direction; the program is then refused or harmless."""
    kinds: list[Any] = [
        field({"type": "array", "items": ["null", "int", "string"]}, "list"),
        field({"type": "map", "values": fixed(3)}, "map"),
        field({"type": "record", "name": "X", "fields": [field(["null", "X"], "x")]}, "own"),
    ]
    channel = ["null", {"type": "enum", "name": "Channel", "symbols": ["POS", "ECOM"]}]
    text = transaction(kinds[0], field(channel, "channel"), *kinds[1:])
    writer = writer_of(ColumnDecoder(Source(text), READER, Plan()), 1)
    assert not isinstance(writer, str)
    assert writer.projection is not None
    sound = writer.program
    chance = random.Random(5)  # noqa: S311 a test's choice, not a secret
    payloads = [HEADER + BODY + chance.randbytes(chance.randrange(40)) for _ in range(50)]
    framed = frame(BytesColumn.of(payloads))
    ran = 0
    for at in np.ndindex(sound.code.shape):
        for other in (-(2**45), -2, -1, 0, 1, 2, 5, len(sound.code), 2**20, 2**62):
            code = sound.code.copy()
            code[at] = other
            try:
                changed = DecodeProgram(
                    code, sound.paths, sound.symbols, sound.symbol_text, sound.kept
                )
            except ValueError:
                continue
            ran += 1
            walked = check(framed, np.arange(len(payloads)), changed, Plan())
            for stored in walked.columns:
                stored.validate(full=True)
    assert ran > 50
    for symbols in ([[0, 2**40]], [[-1, 3]], [[2**62, 2**62]], [[0, -2]], [[90, 3]]):
        with pytest.raises(ValueError, match="symbols"):
            DecodeProgram(
                sound.code, sound.paths, np.array(symbols * 9, np.int64), sound.symbol_text,
                sound.kept,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "failed"),
    [
        ([(o.SKIP, -1), (o.END,)], o.TRUNCATED),
        ([(o.SKIP, -(2**45)), (o.END,)], o.TRUNCATED),
        ([(o.NEXT, 0), (o.END,)], o.BROKEN),
        ([(o.RETURN,)], o.BROKEN),
        ([(o.CALL, 1, 1), (o.NEXT, 0)], o.BROKEN),
        ([(o.ITEMS, 2), (o.RETURN,), (o.END,)], o.BROKEN),
        ([(99,), (o.END,)], o.BROKEN),
        ([(o.JUMP, 0)], o.STEPS),
        ([(o.CALL, 0, 1)], o.DEPTH),
    ],
)
def test_the_kernel_takes_no_operand_on_trust(
    steps: list[tuple[int, ...]], failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_program, "check_program", lambda *_: None)
    framed = frame(BytesColumn.of([HEADER + b"\x02\x02\x02"]))
    walked = check(framed, np.array([0]), program(*steps), Plan())
    assert walked.status[0] == failed


def scrambled(chance: random.Random, document: Any) -> Any:
    """Return a schema with one node replaced, moved or repeated."""
    odd = [
        None, True, -1, 0, 5, 2**31, 2**70, 1.5, "", "x", "record", "\ud800", "A" * 300, [], {},
        ["null"], ["null", "int"], {"type": "array", "items": "null"}, fixed(-1), fixed(0),
        {"type": "long", "logicalType": "date"}, {"type": "enum", "name": "N", "symbols": []},
        "Transaction", "u.Transaction", {"type": "record", "name": "Q", "fields": []},
    ]  # fmt: skip
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in node.keys() if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                visit(node[key])

    document = json.loads(json.dumps(document))
    visit(document if chance.random() < 0.2 else document["fields"][6:])
    if not places:
        return document
    node, key = chance.choice(places)
    match chance.randrange(4):
        case 0:
            del node[key]
        case 1:
            other, at = chance.choice(places)
            node[key] = json.loads(json.dumps(other[at])) if node is not other else odd[0]
        case _:
            node[key] = chance.choice(odd)
    return document


def test_scrambled_schemas_and_bytes_raise_nothing() -> None:
    chance = random.Random(14)  # noqa: S311 a test's choice, not a secret
    seeds = [json.loads(text) for _, text in accepted() if len(text) < 4_000]
    seeds += [json.loads(text) for text in ARRAYS.values()]
    outcomes: dict[str, int] = {}
    slowest, longest = 0.0, 0
    for _ in range(1_500):
        document = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 3))):
            if isinstance(document, dict) and isinstance(document.get("fields"), list):
                document = scrambled(chance, document)
        text = json.dumps(document)
        if chance.random() < 0.1:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice('{}[]",:\\0e') + text[at + 1 :]
        payloads = [HEADER + BODY + chance.randbytes(chance.randrange(12)) for _ in range(4)]
        begun = time.thread_time()
        decoded = ColumnDecoder(Source(text), READER, Plan()).decode([*payloads, HEADER + BODY])
        slowest = max(slowest, time.thread_time() - begun)
        for reason, detail in zip(
            decoded.rejections.reasons, decoded.rejections.details, strict=True
        ):
            assert "cannot be prepared" not in detail, text
            outcomes[reason] = outcomes.get(reason, 0) + 1
        outcomes["accepted"] = outcomes.get("accepted", 0) + len(decoded.rows)
        decoded.records.validate(full=True)
        try:
            new = parse_definition(text, "new")
            incompatibilities(new, parse_definition(transaction(), "old"))
        except SchemaError as error:
            longest = max(longest, len(str(error)))
    assert slowest < SECONDS
    assert longest < 700
    assert outcomes["accepted"] > 30
    assert min(outcomes["INCOMPATIBLE_SCHEMA"], outcomes["MALFORMED"]) > 100


def test_the_limits_equal_those_of_the_document() -> None:
    assert SchemaLimits(256 * 1024, 64, 2_048, 65_536, 1_024, 1_024, 256, 65_536) == STANDARD


def test_schema_preparation_takes_at_most_its_budget_per_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = {"type": "record", "name": "R",
             "fields": [field("int", f"f{number}") for number in range(100)]}  # fmt: skip
    # One small schema, used in every batch, and 150 large ones.
    texts = [transaction(), *[transaction(field(large))] * 150]
    parse, cpu = parse_definition, [0.0]

    def charged(text: str, *limits: Any, **named: Any) -> Any:
        cpu[0] += 0.1 if text != texts[0] else 0.001
        return parse(text, *limits, **named)

    monkeypatch.setattr(decode, "parse_definition", charged)
    decoders = [ColumnDecoder(Source(*texts), READER, Plan()) for _ in range(2)]
    budget = PreparationBudget(lambda: 0.0, lambda: cpu[0])
    for decoder in decoders:
        decoder.budget = budget

    def batch(last: int) -> list[bytes]:
        return [b"\0" + number.to_bytes(4, "big") + BODY for number in range(1, last + 1)]

    begun = cpu[0]
    decoded = decoders[0].decode(batch(151), budgeted=True)
    # The burst, and the schema that was begun before the burst was used up.
    assert BURST_SECONDS <= cpu[0] - begun < BURST_SECONDS + 0.2
    assert decoded.rows.tolist() == [0]
    not_prepared = ["not prepared" in detail for detail in decoded.rejections.details]
    assert not_prepared.count(True) == 150 - BURST_SECONDS / 0.1
    assert {decoded.rejections.reasons[n] for n, left in enumerate(not_prepared) if left} == {
        RejectReason.UNKNOWN_SCHEMA
    }
    # The budget is used up, but small schemas are prepared, and prepared ones are kept.
    begun = cpu[0]
    assert decoders[1].decode(batch(151), budgeted=True).rows.tolist() == [0]
    assert BATCH_SECONDS <= cpu[0] - begun < BATCH_SECONDS + 0.2
    begun = cpu[0]
    assert decoders[0].decode(batch(1), budgeted=True).rows.tolist() == [0]
    assert cpu[0] == begun


def test_a_preparation_budget_counts_seconds_of_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BURST_SECONDS", "BATCH_SECONDS"):
        monkeypatch.setattr(preparation_budget, name, 0.2)
    budget = PreparationBudget()
    budget.begin()
    time.sleep(0.3)
    assert not budget.is_spent()
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    assert budget.is_spent()


def test_a_preparation_budget_refills_and_each_batch_has_some() -> None:
    now, cpu = [0.0], [0.0]
    budget = PreparationBudget(lambda: now[0], lambda: cpu[0])
    for seconds, given in ((0.0, BURST_SECONDS), (0.0, BATCH_SECONDS), (10.0, 10.0 * RATE),
                           (1_000.0, BURST_SECONDS)):  # fmt: skip
        now[0] += seconds
        budget.begin()
        cpu[0] += given - 0.001
        assert not budget.is_spent()
        cpu[0] += 0.002
        assert budget.is_spent()
        budget.end()


def test_a_preparation_budget_that_owes_time_prepares_nothing() -> None:
    now, cpu = [0.0], [0.0]
    budget = PreparationBudget(lambda: now[0], lambda: cpu[0])

    def spend(seconds: float, *, owed: bool) -> None:
        budget.begin()
        cpu[0] += seconds
        budget.end(owed=owed)

    spend(BURST_SECONDS + 1.0, owed=True)
    # What is not owed does not change the debt.
    spend(5.0, owed=False)
    now[0] = 1.0 / RATE - 0.01
    budget.begin()
    assert budget.is_spent()
    now[0] += 0.02
    budget.begin()
    assert not budget.is_spent()


def test_a_preparation_budget_counts_repeated_schemas() -> None:
    cpu = [0.0]
    budget = PreparationBudget(lambda: 0.0, lambda: cpu[0])
    budget.repeats = 3
    budget.begin()
    cpu[0] = BURST_SECONDS / 4 - 0.001
    assert not budget.is_spent()
    cpu[0] += 0.002
    assert budget.is_spent()
