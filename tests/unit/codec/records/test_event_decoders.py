"""Plans with one mapping share its decoder; each record is read by the mapping of its offset."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.reading.preparation_budget import PreparationBudget
from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping, rows_by_mapping
from stream_scorer.core.events.fields import fields_of
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.ports import BytesColumn, RawRecords
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


def test_a_field_of_another_format_is_null_without_a_look_up() -> None:
    class Unasked(Schemas):
        def writer_schema(self, schema_id: int) -> str:
            raise AssertionError(schema_id)

    one, two = plan_with("one", "json"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    record = {"id": "t", "ts": 5_000, "card": "c", "sum": 1, "one": 1.5, "two": 2.5}
    batch = raw_of([json.dumps(record).encode()])
    events, _, _ = EventDecoders(Unasked()).decode(batch, one, {stored: two})
    assert events.records.column(stored).to_pylist() == [None]


def test_a_plan_of_another_format_hides_no_later_one() -> None:
    one, other, two = plan_with("one", "json"), plan_with("two", "avro"), plan_with("two", "json")
    stored = fields_of(two)["gross"].stored
    record = {"id": "t", "ts": 5_000, "card": "c", "sum": 1, "one": 1.5, "two": 2.5}
    batch = raw_of([json.dumps(record).encode()])
    decoders, found = EventDecoders(Schemas()), []
    for plan in (other, two):
        events, _, _ = decoders.decode(batch, one, {stored: plan})
        found += events.records.column(stored).to_pylist()
    assert found == [None, 2.5]


def test_no_budget_decides_what_rings_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = plan_with("one", "avro"), plan_with("two", "avro")
    stored = fields_of(two)["gross"].stored
    names = {"id": "string", "ts": "long", "card": "string", "sum": "long", "one": "double",
             "two": "double"}  # fmt: skip
    fields = [{"name": name, "type": kind} for name, kind in names.items()]
    source = Schemas(json.dumps({"type": "record", "name": "R", "fields": fields}))
    record = {"id": "t", "ts": 5_000, "card": "c", "sum": 1, "one": 1.5, "two": 2.5}
    batch = raw_of([source.payload(1, record)])
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
