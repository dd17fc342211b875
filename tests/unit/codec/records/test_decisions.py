import io
import json
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.records.decisions import DecisionDecoder
from stream_scorer.errors import SchemaError
from stream_scorer.ports import BytesColumn
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.effort import examples

FIRST, SECOND, THIRD = (json.loads(reader_schema(f"decision.v{number}")) for number in (1, 2, 3))
FILES = FileRegistry(SCHEMAS_DIRECTORY)
DECODER = DecisionDecoder(FILES)


class Registry:
    """The shipped schemas, and others from id 100 on."""

    def __init__(self, *others: Any) -> None:
        self._others = {100 + at: json.dumps(each) for at, each in enumerate(others)}

    def writer_schema(self, schema_id: int) -> str:
        return self._others.get(schema_id) or FILES.writer_schema(schema_id)

    def id_for(self, subject: str, schema: str) -> int:
        raise AssertionError((subject, schema))


def encoded(schema: Any, schema_id: int, record: dict[str, Any]) -> bytes:
    body = io.BytesIO(b"\0" + schema_id.to_bytes(4, "big"))
    body.seek(5)
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema, _force=True), record)
    return body.getvalue()


word = st.text("aé𝄞", max_size=5)
number = st.floats(allow_nan=False)
decisions = st.fixed_dictionaries(
    {
        "transaction_id": word,
        "customer_id": word,
        "terminal_id": word,
        "event_time": st.integers(0, 2**40),
        "decided_at": st.integers(0, 2**40),
        "score": number,
        "decision": st.sampled_from(["APPROVE", "REVIEW", "BLOCK"]),
        "reasons": st.lists(word, max_size=3),
        "flags": st.lists(st.sampled_from(["late", "capped"]), max_size=2),
        "model": word,
        "model_version": word,
        "arm": word,
        "plan_revision": st.integers(0, 2**63 - 1),
        "propensity": number,
        "engine": st.integers(0, 9),
        "features": st.binary(max_size=24),
        "terminal_watermark": st.none() | st.integers(0, 2**40),
        "source_topic": word,
        "source_partition": st.integers(0, 99),
        "source_offset": st.integers(0, 2**63 - 1),
        "amount_minor": st.integers(0, 2**63 - 1),
        "currency": word,
        "channel": word,
        "model_outcome": st.sampled_from(["APPROVE", "REVIEW", "BLOCK", None]),
        "calibrated_score": st.none() | number,
        "policy_revision": st.integers(0, 2**63 - 1),
        "explanations": st.lists(
            st.fixed_dictionaries(
                {"feature": word, "value": number, "contribution": number, "text": word}
            ),
            max_size=3,
        ),
        "policy_outcome": st.sampled_from(["APPROVE", "REVIEW", "BLOCK", None]),
        "outcome_propensity": number,
        "review_propensity": number,
    }
)
VERSIONS = {2: FIRST, 11: SECOND, 19: THIRD}


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(list(VERSIONS)), decisions), max_size=4))
def test_all_versions_in_one_topic_are_what_fastavro_reads(
    written: list[tuple[int, dict[str, Any]]],
) -> None:
    values = [encoded(VERSIONS[key], key, record) for key, record in written]
    decoded = DECODER.decode(BytesColumn.of(values))
    assert decoded.rows.tolist() == list(range(len(values)))
    times = [f.name for f in decoded.records.schema if pa.types.is_timestamp(f.type)]
    assert times == ["event_time", "decided_at", "terminal_watermark"]
    found = decoded.records.to_pylist()
    plain = {name: decoded.records.column(name).cast(pa.int64()).to_pylist() for name in times}
    defaults = {field["name"]: field.get("default") for field in THIRD["fields"]}
    for row, (key, record) in enumerate(written):
        new = {field["name"] for field in THIRD["fields"][len(VERSIONS[key]["fields"]) :]}
        record.update({name: defaults[name] for name in new})
        if key == 2:
            record["explanations"] = None
        told = found[row] | {name: column[row] for name, column in plain.items()}
        assert told == record


def fields(default: Any = (), **changed: Any) -> dict[str, Any]:
    """Return the second schema with other types for some fields; None removes a field."""
    kept = [
        {**field, "type": changed[field["name"]]} | ({"default": default} if default != () else {})
        if changed.get(field["name"])
        else field
        for field in SECOND["fields"]
        if changed.get(field["name"], "") is not None
    ]
    return {**SECOND, "fields": kept}


RECORD: dict[str, Any] = {
    "transaction_id": "t", "customer_id": "c", "terminal_id": "", "event_time": 0, "decided_at": 0,
    "score": 0.5, "decision": "BLOCK", "model": "m", "model_version": "1.0.0", "engine": 1,
    "features": b"", "source_topic": "s", "source_partition": 0, "source_offset": 0,
    "reasons": ["A"], "flags": ["late"], "explanations": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({**SECOND, "name": "Summary"}, "written as record stream_scorer.v1.Summary"),
        ({**SECOND, "name": "a\x1b[2J"}, r"'a\x1b[2J' is not an Avro name"),
        (fields(explanations={"type": "map", "values": "string"}, default={}), "explanations: "),
        (fields(flags={"type": "array", "items": ["null", "string"]}), "flags[]: "),
        (fields(reasons={"type": "array", "items": "int"}), "reasons: "),
        (fields(score="string"), "score: written as string"),
        (fields(source_offset=None), "source_offset"),
    ],
)
def test_what_is_not_a_decision_is_left_out_with_its_reason(schema: Any, told: str) -> None:
    good = encoded(SECOND, 11, RECORD)
    bad = b"\0" + (100).to_bytes(4, "big") + good[5:]
    decoded = DecisionDecoder(Registry(schema)).decode(BytesColumn.of([good, bad, b"", good]))
    assert decoded.rows.tolist() == [0, 3]
    assert decoded.records.column("reasons").to_pylist() == [["A"], ["A"]]
    assert decoded.rejections.rows.tolist() == [1, 2]
    assert told in decoded.rejections.details[0]


def test_a_later_version_is_read_with_the_fields_that_are_known() -> None:
    more = {"name": "more", "type": "string", "default": ""}
    later = {**SECOND, "fields": [more, *SECOND["fields"]]}
    value = encoded(later, 100, RECORD | {"more": "x"})
    (found,) = DecisionDecoder(Registry(later)).decode(BytesColumn.of([value])).records.to_pylist()
    assert (found["reasons"], found["flags"], found["explanations"]) == (["A"], ["late"], [])
    assert "more" not in found


def test_lists_of_other_types_are_turned_into_ours() -> None:
    other = fields(reasons={"type": "array", "items": "bytes"})
    values = [encoded(other, 100, RECORD | {"reasons": reasons}) for reasons in ([b"A"], [b"\xff"])]
    decoded = DecisionDecoder(Registry(other)).decode(BytesColumn.of(values))
    assert decoded.records.column("reasons").to_pylist() == [["A"]]
    assert decoded.rejections.rows.tolist() == [1]


def test_an_unknown_id_is_a_reason() -> None:
    value = encoded(SECOND, 99, RECORD)
    decoded = DecisionDecoder(FILES).decode(BytesColumn.of([value]))
    assert decoded.rejections.reasons == ("UNKNOWN_SCHEMA",)
    with pytest.raises(SchemaError, match="schema id 99"):
        FILES.writer_schema(99)
