"""Plans with one mapping share its decoder; each record is read by the mapping of its offset."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.codec.records.event_decoders import EventDecoders, by_mapping, rows_by_mapping
from stream_scorer.core.events.plan import Plan
from stream_scorer.ports import BytesColumn, RawRecords
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
