"""Plans with one mapping share its decoder; each record is read by the mapping of its offset."""

import gc
import json
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading import mapped
from stream_scorer.codec.reading.decode import ColumnDecoder
from stream_scorer.codec.reading.preparation_budget import BURST_SECONDS, RATE, PreparationBudget
from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping, rows_by_mapping
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.definition import parse_definition
from stream_scorer.scoring.batch_reading import BatchReading
from tests.support.codec.mapped_records import Schemas
from tests.support.effort import examples

EUROS, DOLLARS = Plan(), Plan(currencies={"USD": 2})


def test_plans_that_read_alike_share_a_decoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = 0
    reads_as = Plan.reads_as

    def counted(plan: Plan, other: Plan) -> bool:
        nonlocal compared
        compared += 1
        return reads_as(plan, other)

    monkeypatch.setattr(Plan, "reads_as", counted)
    decoders, plans = EventDecoders(Schemas()), (EUROS, Plan(revision=1), DOLLARS)
    first = [decoders.of(plan) for plan in plans]
    assert first[0] is first[1]
    assert first[0] is not first[2]
    assert compared > 0
    compared = 0
    assert [decoders.of(plan) for plan in plans] == first
    assert compared == 0


FIELDS: dict[str, Any] = {
    "transaction_id": "id", "event_time": {"path": "ts", "unit": "ms"}, "customer_id": "card",
    "amount": {"path": "sum", "unit": "minor"}, "currency": {"constant": "EUR"},
}  # fmt: skip


RECORD = {"id": "t", "ts": 5_000, "card": "c", "sum": 1, "one": 1.5, "two": 2.5}


class Unasked(Schemas):
    """Schemas that nothing may look up."""

    def writer_schema(self, schema_id: int) -> str:
        raise AssertionError(schema_id)


def avro_source(count: int = 1) -> Schemas:
    """Return ``count`` schemas of ``RECORD``."""
    names = {"id": "string", "ts": "long", "card": "string", "sum": "long", "one": "double",
             "two": "double"}  # fmt: skip
    fields = [{"name": name, "type": kind} for name, kind in names.items()]
    return Schemas(*[json.dumps({"type": "record", "name": "R", "fields": fields})] * count)


def plan_with(path: str, form: str) -> Plan:
    """Return a plan whose extra field ``gross`` is at a path."""
    extra = {"gross": {"path": path, "type": "double"}}
    return plan_from({"events": {"record": {"format": form}, "fields": FIELDS, "extra": extra}})


def raw_of(values: list[bytes | None]) -> RawRecords:
    at = np.arange(len(values), dtype=np.int64)
    return RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(len(values)), None,
        np.zeros(len(values), np.int32), at, at + 2**41,
    )  # fmt: skip


def test_a_record_never_has_a_field_of_another_record() -> None:
    one, two = plan_with("one", "json"), plan_with("two", "json")
    stored = fields_of(two)["gross"].stored
    refused = {0, 3, 4, 8}
    records: list[bytes | None] = [
        json.dumps({
            "id": f"t{n}", "ts": 5_000, "card": "c", "sum": 1, "one": 0.5,
            "two": "x" if n in refused else float(n),
        }).encode()
        for n in range(9)
    ]  # fmt: skip
    records[6] = b"nothing that is read"
    decoders = EventDecoders(Schemas())
    events, rows, _ = decoders.decode(raw_of(records), one, {stored: two})
    assert rows.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert events.records.column(stored).to_pylist() == [
        None if row in refused else float(row) for row in rows.tolist()
    ]


def test_a_field_is_read_by_its_own_rule_alone() -> None:
    """Which plan defines it does not matter: one cannot read the records, and one skips them."""
    one, two = plan_with("one", "json"), plan_with("two", "json")
    stored = fields_of(two)["gross"].stored
    events = dict(two.events)
    others = [
        events | {"fields": FIELDS | {"transaction_id": "no"}},
        events | {"record": {"format": "json", "where": "id in [never]"}},
    ]
    record = {"id": "t", "ts": 5_000, "card": "c", "sum": 1, "one": 1.5, "two": 2.5}
    batch = raw_of([json.dumps(record).encode()])
    for plan in (two, *(plan_from({"events": each}) for each in others)):
        assert fields_of(plan)["gross"].stored == stored
        events_, rows, _ = EventDecoders(Schemas()).decode(batch, one, {stored: plan})
        assert (rows.tolist(), events_.records.column(stored).to_pylist()) == ([0], [2.5])


@pytest.mark.parametrize("form", ["avro", "json"])
def test_a_field_is_read_in_the_deciding_plans_format(form: str) -> None:
    """The format of the plan that defines the field does not matter, nor which plan came before."""
    source = avro_source()
    one, others = plan_with("one", form), [plan_with("two", other) for other in ("avro", "json")]
    stored = fields_of(others[0])["gross"].stored
    assert fields_of(others[1])["gross"].stored == stored
    body = source.payload(1, RECORD) if form == "avro" else json.dumps(RECORD).encode()
    for order in (others, others[::-1]):
        decoders = EventDecoders(source if form == "avro" else Unasked())
        for other in order:
            events, _, _ = decoders.decode(raw_of([body]), one, {stored: other})
            assert events.records.column(stored).to_pylist() == [2.5]


def test_a_time_without_a_unit_is_null_in_json() -> None:
    """An Avro schema has the unit, JSON has none; so only an Avro plan may omit it."""
    one = plan_with("one", "json")
    extra = {"first": {"path": "two", "type": "timestamp"}}
    other = plan_from({"events": {"fields": FIELDS, "extra": extra}})
    stored = fields_of(other)["first"].stored
    batch = raw_of([json.dumps(RECORD | {"two": each}).encode() for each in (2, "2026-01-01")])
    events, rows, _ = EventDecoders(Unasked()).decode(batch, one, {stored: other})
    assert (rows.tolist(), events.records.column(stored).null_count) == ([0, 1], 2)


@pytest.mark.parametrize("form", ["avro", "json"])
def test_limits_of_the_deciding_plan_hold_for_a_field(form: str) -> None:
    one = plan_with("one", form)
    extra = {"name": {"path": "id", "type": "string"}}
    others = [
        plan_from({"string_bytes_max": most, "events": {"fields": FIELDS, "extra": extra}})
        for most in (100, 2)
    ]
    stored, source = fields_of(others[0])["name"].stored, avro_source()
    record = RECORD | {"id": "long"}
    body = source.payload(1, record) if form == "avro" else json.dumps(record).encode()
    for other in others:
        events, _, _ = EventDecoders(source).decode(raw_of([body]), one, {stored: other})
        assert events.records.column(stored).to_pylist() == ["long"]


def test_the_decoders_of_fields_are_kept_with_the_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    source, one, two = avro_source(), plan_with("one", "avro"), plan_with("two", "avro")
    batch, decoders, parsed = raw_of([source.payload(1, RECORD)]), EventDecoders(source), 0
    read_by = {fields_of(two)["gross"].stored: two}

    def counted(text: str, *limits: Any, **named: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return parse_definition(text, *limits, **named)

    monkeypatch.setattr(mapped, "parse_definition", counted)
    for _ in range(2):
        decoders.decode(batch, one, read_by)
        assert parsed == 2
    forgotten = weakref.ref(decoders.of(one))
    for number in range(9):
        decoders.decode(batch, plan_from({"currencies": {"EUR": 2}, "events": {
            "fields": FIELDS | {"device_id": {"constant": str(number)}}}}), read_by)  # fmt: skip
    gc.collect()
    assert forgotten() is None


def test_a_field_needs_no_schema_that_left_the_registry() -> None:
    source, one, two = avro_source(), plan_with("one", "avro"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    batch, decoders = raw_of([source.payload(1, RECORD)]), EventDecoders(source)
    assert len(BatchReading(decoders, batch, {}, {})(one).events) == 1
    source.texts.clear()
    found = BatchReading(decoders, batch, {}, {stored: two})(one).events
    assert found.records.column(stored).to_pylist() == [2.5]


def test_no_field_becomes_null_because_its_schema_is_not_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, one, two = avro_source(), plan_with("one", "avro"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    batch, decoders = raw_of([source.payload(1, RECORD)]), EventDecoders(source)
    decoders.decode(batch, one, {})
    # As after a batch with more schemas than a decoder keeps.
    monkeypatch.setattr(ColumnDecoder, "text_of", lambda *_: None)
    texts, source.texts = source.texts, {}
    with pytest.raises(RegistryUnavailableError, match="schema id 1: unknown"):
        BatchReading(decoders, batch, {}, {stored: two})(one)
    with pytest.raises(RegistryUnavailableError, match="schema id 1: unknown"):
        decoders.decode(batch, one, {stored: two})
    source.texts = texts
    found = BatchReading(decoders, batch, {}, {stored: two})(one).events
    assert found.records.column(stored).to_pylist() == [2.5]


def test_new_schemas_and_their_fields_share_one_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each field prepares each new schema once more: all of that is within one budget."""
    source, now, cpu = avro_source(400), [0.0], [0.0]
    parse = parse_definition

    def charged(text: str, *limits: Any, **named: Any) -> Any:
        cpu[0] += 0.1
        return parse(text, *limits, **named)

    one = plan_with("one", "avro")
    read_by = {
        fields_of(each)["gross"].stored: each
        for each in (plan_with(path, "avro") for path in ("two", "sum", "ts"))
    }
    decoders = EventDecoders(source)
    main = decoders.of(one).columns
    assert isinstance(main, ColumnDecoder)
    main.budget = PreparationBudget(lambda: now[0], lambda: cpu[0])
    monkeypatch.setattr(mapped, "parse_definition", charged)

    def decode(first: int, count: int) -> Any:
        batch = raw_of([source.payload(n, RECORD) for n in range(first, first + count)])
        return BatchReading(decoders, batch, {}, read_by)(one)

    one_schema = 0.1 * (1 + len(read_by))
    found = decode(1, 100)
    # The burst, and the schema that was begun before the burst was used up.
    assert BURST_SECONDS <= cpu[0] < BURST_SECONDS + one_schema + 0.01
    assert 0 < len(found.events) < 100
    for stored in read_by:
        assert found.events.records.column(stored).null_count == 0
    # Later batches have new schemas, too. What their fields take is within the share over time.
    begun = cpu[0]
    for batch in range(200):
        now[0] += 1.0
        found = decode(101 + batch, 1)
        for stored in read_by:
            assert found.events.records.column(stored).null_count == 0
    of_fields = (cpu[0] - begun) * len(read_by) / (1 + len(read_by))
    assert 3 * one_schema < of_fields < 200 * RATE + one_schema


def test_a_replay_leaves_no_debt_for_the_live_input(monkeypatch: pytest.MonkeyPatch) -> None:
    source, cpu = avro_source(60), [0.0]
    parse = parse_definition

    def charged(text: str, *limits: Any, **named: Any) -> Any:
        cpu[0] += 0.1
        return parse(text, *limits, **named)

    one, two = plan_with("one", "avro"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    decoders = EventDecoders(source)
    main = decoders.of(one).columns
    assert isinstance(main, ColumnDecoder)
    main.budget = PreparationBudget(lambda: 0.0, lambda: cpu[0])
    monkeypatch.setattr(mapped, "parse_definition", charged)
    batch = raw_of([source.payload(n, RECORD) for n in range(1, 60)])
    events, _, _ = decoders.decode(batch, one, {stored: two})
    assert events.records.column(stored).to_pylist() == [2.5] * 59
    live = raw_of([source.payload(60, RECORD)])
    assert len(BatchReading(decoders, live, {}, {stored: two})(one).events) == 1


def test_no_budget_decides_what_rings_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = plan_with("one", "avro"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    source = avro_source()
    batch = raw_of([source.payload(1, RECORD)])
    decoders = EventDecoders(source)
    assert len(BatchReading(decoders, batch, {}, {})(one).events) == 1
    # The first mapping knows the schema; the second's decoder may prepare no more.
    monkeypatch.setattr(PreparationBudget, "is_spent", lambda _: True)
    assert len(BatchReading(decoders, batch, {}, {})(two).events) == 0
    found = BatchReading(decoders, batch, {}, {stored: two})(one).events
    assert found.records.column(stored).to_pylist() == [2.5]


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([EUROS, Plan(revision=1), DOLLARS]))),
    st.lists(st.integers(0, 12), unique=True),
)
def test_each_record_is_read_by_what_holds_at_its_offset(
    later: list[tuple[int, Plan]], offsets: list[int]
) -> None:
    timeline = [(0, EUROS), *sorted(later, key=lambda each: each[0])]
    offset = np.array(sorted(offsets), np.int64)
    parts = rows_by_mapping(offset, timeline)
    rows = [row for _, mine in parts for row in mine.tolist()]
    assert rows == list(range(len(offset)))
    for plan, mine in parts:
        for at in offset[mine].tolist():
            assert [each for begin, each in timeline if begin <= at][-1].reads_as(plan)
    for (one, _), (other, _) in pairwise(parts):
        assert not one.reads_as(other)
    n = len(offset)
    raw = RawRecords(
        BytesColumn.nulls(n), BytesColumn.nulls(n), None, np.zeros(n, np.int32), offset,
        np.zeros(n, np.int64),
    )  # fmt: skip
    found = [(plan, part.offset.tolist()) for plan, part in by_mapping(raw, timeline)]
    assert found == [(plan, offset[mine].tolist()) for plan, mine in parts]
