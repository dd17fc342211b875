"""Both decoders agree with each other and with fastavro on mutated records, also in rejections."""

import io
import json
import random
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
import pytest
from fastavro.read import SchemaResolutionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading.decode import ColumnDecoder, DecodedColumns
from stream_scorer.codec.reading.resolve import adapted
from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SchemaError
from stream_scorer.registry.definition import parse_definition
from stream_scorer.registry.sources import reader_schema
from tests.support.codec.codec_writers import writer_of
from tests.support.codec.reference_decoder import SureDecoder
from tests.support.effort import examples

if TYPE_CHECKING:
    from collections.abc import Callable

TRANSACTION = reader_schema("transaction.v1")
PLAN = Plan(record_bytes_max=400, string_bytes_max=60)
RECORDS = 100_000
PER_EXAMPLE = 500
TIME = {"type": "long", "logicalType": "timestamp-millis"}
CHANNELS = ["POS", "ECOM", "ATM", "MOTO"]


def written(*fields: tuple[str, Any]) -> str:
    return json.dumps(
        {
            "type": "record",
            "name": "Transaction",
            "namespace": "upstream",
            "fields": [{"name": name, "type": kind} for name, kind in fields],
        }
    )


OLDER = written(
    ("transaction_id", "string"),
    ("event_time", TIME),
    ("customer_id", "string"),
    ("terminal_id", "string"),
    ("amount_minor", "long"),
    ("currency", "string"),
)
NEWER = written(
    ("amount_minor", "int"),
    ("loyalty", ["null", "double"]),
    ("channel", {"type": "enum", "name": "Channel", "symbols": CHANNELS}),
    ("currency", "string"),
    ("tries", "int"),
    ("customer_id", "string"),
    ("country", "string"),
    ("transaction_id", "string"),
    ("card_present", ["boolean", "null"]),
    ("terminal_id", ["null", "string"]),
    ("event_time", "long"),
    ("contactless", "boolean"),
    ("distance", "float"),
)
RICH = written(  # skipped fields may have any type
    ("transaction_id", "string"),
    ("fee", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
    ("event_time", TIME),
    ("customer_id", ["null", "string"]),
    ("terminal_id", "string"),
    ("extra", ["null", "long", "string"]),
    ("amount_minor", "long"),
    ("hash", {"type": "fixed", "name": "Hash", "size": 4}),
    ("currency", "string"),
)
TANGLED = written(  # a field's type is more than a value and null, so fastavro decodes it
    ("transaction_id", "string"),
    ("event_time", TIME),
    ("customer_id", "string"),
    ("terminal_id", ["null", "long", "string"]),
    ("amount_minor", "long"),
    ("currency", "string"),
)
NARROW = written(("transaction_id", "string"))  # can never be read as ours
WRITERS = {1: TRANSACTION, 2: OLDER, 3: NEWER, 4: RICH, 5: TANGLED, 300: TRANSACTION, 7: NARROW}
PLAIN = {number: parse_definition(text, "writer").plain() for number, text in WRITERS.items()}
PARSED = {number: fastavro.parse_schema(plain.root) for number, plain in PLAIN.items()}
# Floats as raw bytes, because Python would change the bits of a NaN.
EXACT = {
    number: fastavro.parse_schema(
        json.loads(
            json.dumps(plain.root)
            .replace('"float"', '{"type": "fixed", "name": "Float", "size": 4}')
            .replace('"double"', '{"type": "fixed", "name": "Double", "size": 8}')
        )
    )
    for number, plain in PLAIN.items()
}
READER = parse_definition(TRANSACTION, "reader").plain()
READERS = {n: fastavro.parse_schema(adapted(READER, plain)) for n, plain in PLAIN.items()}


class Source:
    def writer_schema(self, schema_id: int) -> str:
        if schema_id not in WRITERS:
            raise SchemaError(f"schema id {schema_id}: unknown")
        return WRITERS[schema_id]

    def id_for(self, subject: str, schema: str) -> int:
        raise NotImplementedError


def value(chance: random.Random, kind: Any) -> Any:
    """Return a random value of a plain schema; texts and numbers of every length."""
    if isinstance(kind, list):
        return value(chance, chance.choice(kind))
    if isinstance(kind, dict):
        if kind["type"] == "enum":
            return chance.choice(kind["symbols"])
        if kind["type"] == "fixed":
            return chance.randbytes(kind["size"])
        return value(chance, kind["type"])
    if kind in {"int", "long"}:
        bits = 31 if kind == "int" else 63
        return chance.getrandbits(chance.randint(0, bits)) - (chance.random() < 0.3)
    make: dict[str, Callable[[], Any]] = {
        "null": lambda: None,
        "boolean": lambda: chance.random() < 0.5,
        "float": lambda: float(chance.randint(-1000, 1000)) / 8,
        "double": lambda: chance.gauss(0, 1e6),
        "bytes": lambda: chance.randbytes(chance.randint(0, 9)),
        "string": lambda: "".join(
            chance.choice("abcXYZ019é€𝄞-") for _ in range(chance.choice((0, 2, 3, 9, 14)))
        ),
    }
    return make[kind]()


def valid(chance: random.Random) -> bytes:
    number = chance.choices(list(WRITERS), (10, 3, 6, 3, 3, 1, 1))[0]
    body = io.BytesIO()
    record = {f["name"]: value(chance, f["type"]) for f in PLAIN[number].root["fields"]}
    fastavro.schemaless_writer(body, PARSED[number], record)
    return b"\0" + number.to_bytes(4, "big") + body.getvalue()


def mutated(chance: random.Random) -> bytes | None:  # noqa: C901 a case per mutation
    data = bytearray(valid(chance))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        at = chance.randrange(len(data)) if data else 0
        match chance.randrange(9):
            case 0 if data:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data += chance.randbytes(chance.choice((1, 1, 5, 400)))
            case 3:
                other = valid(chance)
                data = data[:at] + bytearray(other[chance.randrange(len(other)) :])
            case 4 if len(data) > 4:
                data[4] = chance.choice((1, 2, 3, 4, 5, 7, 9))
            case 5:
                data[at:at] = chance.choice((b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff", b"\x00"))
            case 6 if len(data) > 6:
                data[chance.randrange(5, len(data))] = chance.choice((0, 1, 2, 0x7F, 0x80, 0xFF))
            case 7 if data:
                del data[at]
            case _ if chance.random() < 0.05:
                return None
            case _:
                pass
    return bytes(data)


def oracle(  # noqa: C901, PLR0911 a rule after the other
    data: bytes | None,
) -> RejectReason | dict[str, Any] | set[RejectReason]:
    """Return a payload's expected result by fastavro; a set if several reasons are possible.

    The check is strict because the value is written back: only bytes that fastavro itself would
    write are valid.
    """
    if not data:
        return RejectReason.EMPTY
    if len(data) > PLAN.record_bytes_max:
        return RejectReason.TOO_LARGE
    if len(data) < 5 or data[0]:
        return RejectReason.FRAMING
    number = int.from_bytes(data[1:5], "big")
    if number not in WRITERS:
        return RejectReason.UNKNOWN_SCHEMA
    if WRITERS[number] is NARROW:
        return RejectReason.INCOMPATIBLE_SCHEMA
    body, back = io.BytesIO(data[5:]), io.BytesIO()
    try:
        record: Any = fastavro.schemaless_reader(body, EXACT[number], None)
        fastavro.schemaless_writer(back, EXACT[number], record)
    except Exception:  # noqa: BLE001 whatever the bytes lead to
        return {RejectReason.MALFORMED, RejectReason.TOO_LARGE}
    ints = [f["name"] for f in PLAIN[number].root["fields"] if f["type"] == "int"]
    if any(not -(2**31) <= record[name] < 2**31 for name in ints):
        return RejectReason.MALFORMED  # fastavro accepts an int as a long
    texts = [v if isinstance(v, bytes) else v.encode() for v in record.values()
             if isinstance(v, str | bytes)]  # fmt: skip
    if body.tell() > len(data) - 5 or back.getvalue() != data[5 : 5 + body.tell()]:
        return {RejectReason.MALFORMED, RejectReason.TOO_LARGE}
    if max(map(len, texts)) > PLAN.string_bytes_max:
        return RejectReason.TOO_LARGE
    if body.read(1):
        return RejectReason.TRAILING_BYTES
    try:
        return fastavro.schemaless_reader(  # type: ignore[return-value]
            io.BytesIO(data[5:]), PARSED[number], READERS[number]
        )
    except SchemaResolutionError:
        return RejectReason.INCOMPATIBLE_SCHEMA


def outcomes(decoded: DecodedColumns) -> dict[int, Any]:
    """Return, per input row, the record (times as numbers) or the reason."""
    at = decoded.records.schema.get_field_index("event_time")
    plain = decoded.records.set_column(
        at, "event_time", decoded.records.column(at).cast(pa.int64())
    )
    found: dict[int, Any] = dict(zip(decoded.rows.tolist(), plain.to_pylist(), strict=True))
    found.update(zip(decoded.rejections.rows.tolist(), decoded.rejections.reasons, strict=True))
    return found


def test_both_decoders_agree_with_fastavro_on_mutated_records() -> None:
    fast, sure = (kind(Source(), TRANSACTION, PLAN) for kind in (ColumnDecoder, SureDecoder))
    seen: dict[str, int] = {}
    records = examples(RECORDS)

    @settings(
        max_examples=records // PER_EXAMPLE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64))
    def agree(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 a test's choice, not a secret
        payloads = [mutated(chance) for _ in range(PER_EXAMPLE)]
        decoded = fast.decode(payloads)
        quick, slow = outcomes(decoded), outcomes(sure.decode(payloads))
        assert sorted(quick) == list(range(PER_EXAMPLE))
        assert decoded.rows.tolist() == sorted(decoded.rows.tolist())
        for row, payload in enumerate(payloads):
            shown = payload.hex() if payload is not None else None
            assert quick[row] == slow[row], shown
            expected = oracle(payload)
            if isinstance(expected, set):
                assert quick[row] in expected, shown
            else:
                assert quick[row] == expected, shown
            name = quick[row] if isinstance(quick[row], RejectReason) else "accepted"
            seen[name] = seen.get(name, 0) + 1

    agree()
    assert sum(seen.values()) >= records
    # Every reason that decoding can give was found often, and so were valid records.
    reasons = set(RejectReason) - {r for r in RejectReason if r.name.startswith((
        "ID", "AMOUNT", "CURRENCY", "TIME", "DUPLICATE", "INTERNAL", "MAPPING", "UNREADABLE",
        "EDGE",
    ))}  # fmt: skip
    assert set(seen) == reasons | {"accepted"}
    assert min(seen.values()) > records // 1_000, seen
    assert all(isinstance(w, str) or w.projection or n == 5 for n, w in fast._writers.items())


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_writers_above_take_the_fast_way(number: int) -> None:
    decoder = ColumnDecoder(Source(), TRANSACTION, PLAN)
    writer = writer_of(decoder, number)
    assert not isinstance(writer, str)
    assert writer.projection is not None
    tangled = writer_of(decoder, 5)
    assert not isinstance(tangled, str)
    assert tangled.projection is None
