import io
import json
import math
from dataclasses import replace
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.writing import encode, write_kernel
from stream_scorer.codec.writing.encode import (
    Choice,
    Column,
    ColumnEncoder,
    Constant,
    DecisionEncoder,
    Items,
)
from stream_scorer.codec.writing.packed import PackedBatch, Pieces
from stream_scorer.core.events.batch import DecisionBatch, EventBatch, Explanations
from stream_scorer.core.features.texts import number_text
from stream_scorer.core.rings.rings import NEVER
from stream_scorer.errors import SchemaError
from stream_scorer.registry.sources import reader_schema
from tests.support.effort import examples

DECISION = reader_schema("decision.v2")
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [
            {"name": "text", "type": "string"},
            {"name": "maybe", "type": ["null", "string"]},
            {"name": "blob", "type": "bytes"},
            {"name": "whole", "type": "long"},
            {"name": "small", "type": "int"},
            {"name": "score", "type": "double"},
            {"name": "flag", "type": ["boolean", "null"]},
            {"name": "fixed", "type": "string"},
            {"name": "list", "type": {"type": "array", "items": "string"}},
            {"name": "matrix", "type": "bytes"},
            {"name": "time", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "kind", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}},
            {"name": "absent", "type": ["null", "long"], "default": None},
            {
                "name": "items",
                "type": {
                    "type": "array",
                    "items": {
                        "type": "record",
                        "name": "Item",
                        "fields": [
                            {"name": "word", "type": "string"},
                            {"name": "maybe", "type": ["null", "long"]},
                            {"name": "same", "type": "double"},
                            {"name": "choice", "type": "E"},
                            {"name": "text", "type": "string"},
                        ],
                    },
                },
                "default": [],
            },
            {"name": "named", "type": ["null", "E"]},
            {"name": "last", "type": "long"},
        ],
    }
)
PARSED = fastavro.parse_schema(json.loads(SCHEMA))
LISTS: tuple[list[str], ...] = ([], ["x"], ["x", "", "long" * 9])


def by_fastavro(schema: Any, records: list[dict[str, Any]], schema_id: int) -> list[bytes]:
    found = []
    for record in records:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, record)
        found.append(b"\0" + schema_id.to_bytes(4, "big") + body.getvalue())
    return found


rows = st.fixed_dictionaries(
    {
        "text": st.text("aé€𝄞", max_size=80),
        "maybe": st.none() | st.text(max_size=3),
        "blob": st.binary(max_size=70),
        "whole": st.integers(-(2**63), 2**63 - 1),
        "small": st.integers(-(2**31), 2**31 - 1),
        "score": st.floats(allow_nan=False),
        "flag": st.none() | st.booleans(),
        "list": st.integers(0, 2),
        "matrix": st.lists(st.floats(allow_nan=False), min_size=9, max_size=9),
        "time": st.integers(-(2**40), 2**40),
        "kind": st.integers(0, 1),
        "named": st.sampled_from([0, 1, 2]),
        "items": st.lists(
            st.fixed_dictionaries(
                {
                    "word": st.integers(0, 2),
                    "maybe": st.none() | st.integers(-(2**63), 2**63 - 1),
                    "text": st.text("aé𝄞", max_size=20),
                }
            ),
            max_size=4,
        ),
    }
)
WORDS = ("", "feature", "a name that is longer than eight bytes")
NAMED = ("A", "B", None)


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(rows, min_size=1, max_size=20), st.integers(0, 2**31 - 1), st.integers(0, 3))
def test_columns_give_the_bytes_that_fastavro_gives(
    records: list[dict[str, Any]], schema_id: int, cut: int
) -> None:
    kept = records[cut:] or records
    start = len(records) - len(kept)

    def arrow(name: str, kind: pa.DataType) -> pa.Array:
        # A slice, so that its buffers begin before the first row.
        return pa.array([record[name] for record in records], kind).slice(start)

    items = [item for record in kept for item in record["items"]]
    columns: dict[str, Column] = {
        "text": arrow("text", pa.string()),
        "maybe": arrow("maybe", pa.large_string()),
        "blob": arrow("blob", pa.binary()),
        "whole": arrow("whole", pa.int64()),
        "small": np.array([record["small"] for record in kept], np.int32),
        "score": np.array([record["score"] for record in kept]),
        "flag": arrow("flag", pa.bool_()),
        "fixed": Constant("always"),
        "list": Choice(np.array([record["list"] for record in kept]), LISTS),
        "matrix": np.array([record["matrix"] for record in kept]),
        "time": arrow("time", pa.timestamp("ms")),
        "kind": np.array([record["kind"] for record in kept], np.uint8),
        "items": Items(
            np.cumsum([0, *(len(record["items"]) for record in kept)]),
            {
                "word": Choice(np.array([item["word"] for item in items], np.int64), WORDS),
                "maybe": pa.array([item["maybe"] for item in items], pa.int64()),
                "same": Constant(0.5),
                "choice": Constant("B"),
                "text": pa.array([item["text"] for item in items], pa.string()),
            },
        ),
        "named": Choice(np.array([record["named"] for record in kept], np.uint8), NAMED),
        "last": np.array([record["whole"] for record in kept]),
    }
    expected = [
        record
        | {
            "fixed": "always",
            "list": LISTS[record["list"]],
            "matrix": np.array(record["matrix"], "<f8").tobytes(),
            "kind": "AB"[record["kind"]],
            "absent": None,
            "items": [
                item | {"word": WORDS[item["word"]], "same": 0.5, "choice": "B"}
                for item in record["items"]
            ],
            "named": NAMED[record["named"]],
            "last": record["whole"],
        }
        for record in kept
    ]
    encoder = ColumnEncoder(schema_id, SCHEMA)
    assert encoder.encode(columns, len(kept)).to_list() == by_fastavro(PARSED, expected, schema_id)


def one(kind: Any, column: Any, count: int = 2) -> list[bytes]:
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": kind}]}
    return ColumnEncoder(1, json.dumps(schema)).encode({"a": column}, count).to_list()


ARRAY = {
    "type": "array",
    "items": {"type": "record", "name": "I", "fields": [{"name": "b", "type": "long"}]},
}


@pytest.mark.parametrize(
    ("kind", "column", "text"),
    [
        ("string", pa.array(["x", None]), "null where the schema takes none"),
        ("string", pa.array(["x"]), "1 values for 2 rows"),
        ("int", np.array([0, 2**31]), "a value outside"),
        ("long", np.array([0.5, 1.0]), "float64 does not go into long"),
        ("string", np.array([1, 2]), "int64 does not go into string"),
        (
            {"type": "enum", "name": "E", "symbols": ["A"]},
            np.array([0, 1]),
            "a value outside 0 to 0",
        ),
        ("string", Choice(np.array([0, 1]), ["x"]), "a choice names no value"),
        ("string", Choice(np.array([0, -1]), ["x"]), "a choice names no value"),
        ("string", Choice(np.array([0]), ["x"]), "1 choices for 2 rows"),
        ("double", np.zeros((2, 1)), "2 dimensions do not go into double"),
        ("long", Items(np.zeros(3, np.int64), {}), "items do not go into long"),
        (ARRAY, Items(np.array([0, 1]), {"b": np.array([1])}), "ends of items that are not"),
        (ARRAY, Items(np.array([0, 2, 1]), {"b": np.array([1])}), "ends of items that are not"),
        (ARRAY, Items(np.array([0, 1, 2]), {"b": np.array([1])}), "b: 1 values for 2 rows"),
        (ARRAY, Items(np.array([0, 1, 1]), {}), "b: no column and no default"),
        ("string", Constant(3), "a"),
    ],
)
def test_a_column_that_does_not_fit_is_named(kind: Any, column: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^a: ") as caught:
        one(kind, column)
    assert text in str(caught.value)


def test_fields_without_column_and_unknown_columns_are_named() -> None:
    encoder = ColumnEncoder(1, DECISION)
    with pytest.raises(ValueError, match="transaction_id: no column and no default"):
        encoder.encode({}, 1)
    with pytest.raises(ValueError, match="zip: the schema has no such field"):
        encoder.encode({"zip": Constant(1)}, 1)
    with pytest.raises(SchemaError, match="not a record"):
        ColumnEncoder(1, '"long"')


def test_equal_values_of_different_types_are_not_mixed_up() -> None:
    double = {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["long", "double"]}]}
    encoder = ColumnEncoder(1, json.dumps(double))
    for value in (1, 1.0, 1, 0.0, -0.0, math.nan, -math.nan):
        assert encoder.encode({"a": Constant(value)}, 1).to_list() == by_fastavro(
            fastavro.parse_schema(double), [{"a": value}], 1
        )


def test_a_long_value_that_no_row_has_takes_no_room() -> None:
    batch, rows = PackedBatch(1_000), np.zeros(1_000, np.int64)
    batch.choice(rows, Pieces.of([b"\x02a", b"x" * 8_000]))
    assert batch.room < 10_000
    assert batch.write().to_list() == [b"\x02a"] * 1_000


NAMES = tuple(f"feature {n}" for n in range(9))
TEXTS = ("", "{value} of {name}", *[""] * 7)


def decisions(count: int) -> DecisionBatch:
    numbers = np.arange(count)
    records = pa.record_batch(
        {
            "transaction_id": [f"t{n}" for n in range(count)],
            "customer_id": [f"c{n % 7}" for n in range(count)],
            "terminal_id": pa.array(
                [f"x{n % 5}" if n % 5 else None for n in range(count)], pa.string()
            ),
            "event_time": pa.array(numbers * 1000, pa.timestamp("ms")),
            "amount_minor": pa.array(numbers * 10**9),
            "currency": ["EUR"] * count,
            "channel": [("POS", "ECOM")[n % 2] for n in range(count)],
        }
    )
    events = EventBatch(records, (numbers % 3).astype(np.int32), numbers + 2**40, numbers)
    outcome = (numbers % 3).astype(np.uint8)
    reasons = {n: ("amount", "n_7d", "é")[: n % 3 + 1] for n in range(count) if n % 3}
    rows = np.repeat(numbers, np.where(numbers % 3, numbers % 3 + 1, 0))
    explained = Explanations(
        rows, np.arange(len(rows)) % 9, np.arange(0.25, len(rows)), NAMES, TEXTS
    )
    return DecisionBatch(
        events, numbers / 7, outcome, (numbers % 32).astype(np.uint8),
        np.outer(numbers, np.arange(1, 10)) / 3, reasons, "fraud", "1.2.3", "canary", 4, 0.25,
        model_outcome=(numbers % 4).astype(np.uint8), policy_revision=7, explanations=explained,
        engine=2,
    )  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 100])
def test_a_decision_carries_every_field(count: int) -> None:
    batch = decisions(count)
    assert batch.explanations is not None
    names = ("late", "degraded", "fallback", "late_decision", "capped")
    expected = [
        {
            "transaction_id": f"t{n}",
            "customer_id": f"c{n % 7}",
            "terminal_id": f"x{n % 5}" if n % 5 else "",
            "event_time": n * 1000,
            "decided_at": 1_764_000_000_000,
            "score": n / 7,
            "decision": ("APPROVE", "REVIEW", "BLOCK")[n % 3],
            "reasons": list(batch.reasons.get(n, ())),
            "flags": [name for bit, name in enumerate(names) if n % 32 >> bit & 1],
            "model": "fraud",
            "model_version": "1.2.3",
            "arm": "canary",
            "plan_revision": 4,
            "propensity": 0.25,
            "engine": 2,
            "features": batch.features[n].tobytes(),
            "terminal_watermark": None,
            "source_topic": "transactions",
            "source_partition": n % 3,
            "source_offset": n + 2**40,
            "amount_minor": n * 10**9,
            "currency": "EUR",
            "channel": ("POS", "ECOM")[n % 2],
            "model_outcome": ("APPROVE", "REVIEW", "BLOCK", None)[n % 4],
            "calibrated_score": None,
            "policy_revision": 7,
            "explanations": [
                {
                    "feature": f"feature {item % 9}",
                    "value": batch.features[n, item % 9],
                    "contribution": item + 0.25,
                    "text": f"{number_text(batch.features[n, 1])} of feature 1"
                    if item % 9 == 1
                    else "",
                }
                for item in np.flatnonzero(batch.explanations.row == n).tolist()
            ],
        }
        for n in range(count)
    ]
    encoder = DecisionEncoder(258, DECISION, "transactions")
    schema = fastavro.parse_schema(json.loads(DECISION))
    assert encoder.encode(batch, 1_764_000_000_000).to_list() == by_fastavro(schema, expected, 258)


@pytest.mark.parametrize(
    ("watermarks", "told"),
    [
        ([1_000, NEVER, -5], [1_000, None, -5]),
        ([1_000, 2_000, 3_000], [1_000, 2_000, 3_000]),
        ([NEVER, NEVER, NEVER], [None, None, None]),
    ],
)
def test_a_terminal_watermark_is_written_and_never_is_null(
    watermarks: list[int], told: list[int | None]
) -> None:
    batch = replace(decisions(3), terminal_watermark=np.array(watermarks, np.int64))
    encoded = DecisionEncoder(1, DECISION, "transactions").encode(batch, 1).to_list()
    # As numbers, because the test's event times are in 1970, and some watermarks are before.
    schema = json.loads(DECISION.replace('"logicalType": "timestamp-millis"', '"doc": ""'))
    read: list[Any] = [
        fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in encoded
    ]
    assert [record["terminal_watermark"] for record in read] == told


def test_by_default_the_outcome_is_the_models_own() -> None:
    batch = replace(
        decisions(4), model_outcome=None, policy_revision=None, explanations=None, reasons={}
    )
    encoded = DecisionEncoder(1, DECISION, "transactions").encode(batch, 1).to_list()
    schema = fastavro.parse_schema(json.loads(DECISION))
    read: list[Any] = [
        fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in encoded
    ]
    assert [r["model_outcome"] for r in read] == [r["decision"] for r in read]
    assert [r["policy_revision"] for r in read] == [4] * 4
    assert [r["explanations"] for r in read] == [[]] * 4


def test_some_rows_are_taken_with_their_explanations() -> None:
    batch, rows = decisions(60), np.array([0, 1, 7, 8, 59])
    encoder = DecisionEncoder(1, DECISION, "transactions")
    every = encoder.encode(batch, 1).to_list()
    assert encoder.encode(batch.take(rows), 1).to_list() == [every[row] for row in rows]


@pytest.mark.parametrize("outcome", ["APPROVE", "REVIEW", "BLOCK"])
def test_what_is_written_reads_with_the_first_schema(outcome: str) -> None:
    batch = decisions(30)
    encoded = DecisionEncoder(1, DECISION, "transactions").encode(batch, 1).to_list()
    second: Any = fastavro.parse_schema(json.loads(DECISION), _force=True)
    first: Any = fastavro.parse_schema(json.loads(reader_schema("decision.v1")), _force=True)
    found = 0
    for value in encoded:
        whole: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), second, None)
        old: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), second, first)
        assert old == {field["name"]: whole[field["name"]] for field in first["fields"]}
        found += old["decision"] == outcome
    assert found == 10


def test_reasons_stay_right_when_more_were_met_than_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encode, "_REASONS_MAX", 4)
    encoder = DecisionEncoder(1, DECISION, "transactions")
    schema = fastavro.parse_schema(json.loads(DECISION))
    for first in range(0, 30, 3):
        reasons: dict[int, tuple[str, ...]] = {row: (f"code {first + row}",) for row in range(3)}
        encoded = encoder.encode(replace(decisions(4), reasons=reasons), 1).to_list()
        read: list[Any] = [
            fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in encoded
        ]
        assert [record["reasons"] for record in read] == [
            list(reasons.get(row, ())) for row in range(4)
        ]


def test_optional_columns_share_one_compiled_kernel() -> None:
    encoder = DecisionEncoder(1, DECISION, "transactions")
    batch = decisions(3)
    encoder.encode(batch, 1)
    compiled = len(write_kernel.write.signatures)
    batch.features.flags.writeable = False
    text = pa.StringArray.from_buffers(
        3, pa.py_buffer(np.arange(4, dtype=np.int32)), pa.py_buffer(b"abc")
    )
    columns = dict(zip(batch.events.records.schema.names, batch.events.records, strict=True))
    records = pa.record_batch(columns | {"customer_id": text})
    encoder.encode(replace(batch, events=replace(batch.events, records=records)), 1)
    assert len(write_kernel.write.signatures) == compiled
