"""Rings that continue with another set of features: new features, and refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet, compile_union
from tests.support.core.events import batch
from tests.support.effort import examples
from tests.unit.core.decision.test_observe import SPECS, contents, rows

PLAN = Plan(lateness_ms=1_000, ring_cap=5)
MEDIAN = {"name": "median", "kind": "median", "field": "amount", "window": "2s"}
LAST = {"name": "most", "kind": "max", "field": "amount", "window": "4s"}
FIELD = {"name": "places", "kind": "distinct", "field": "terminal_id", "window": "1s"}
LONG = {"name": "long", "kind": "count", "window": "6s"}


def sets(*manifests: list[dict[str, Any]], plan: Plan = PLAN) -> tuple[FeatureSet, ...]:
    return compile_union(manifests, plan)


@settings(max_examples=examples(60))
@given(before=rows, between=rows, after=rows)
def test_an_adopted_feature_sees_the_history_from_its_beginning(
    before: list[dict[str, Any]], between: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    (old,) = sets(SPECS)
    both = sets(SPECS, [MEDIAN, LAST])
    swapped, steady = PartitionRings(old), PartitionRings(both[0])
    found = []
    for part, features in ((before, old), (between, both[0]), (after, both[0])):
        swapped.adopt(features)
        seen = observe(batch(part), swapped, PLAN, features)
        swapped.release(seen.journals)
        expected = observe(batch(part), steady, PLAN, both[0])
        steady.release(expected.journals)
        found.append((seen, expected))
        assert seen.accepted.tolist() == expected.accepted.tolist()
    assert contents(swapped) == contents(steady)
    for seen, expected in found[1:]:
        mine, its = seen.rows(), expected.rows()
        for features in both:
            left = features.compute(mine.events, mine.observed)
            right = features.compute(its.events, its.observed)
            assert left.tobytes() == right.tobytes()


def test_partitions_that_come_later_compute_it_too() -> None:
    (old,) = sets(SPECS)
    both = sets(SPECS, [MEDIAN])
    rings = PartitionRings(old)
    rings.adopt(both[0])
    seen = observe(batch([]), rings, PLAN, both[0])
    assert seen.observed.shape == (0, both[0].engine.width)
    assert np.array_equal(rings.of(3)._program.operations, both[0].engine.program.operations)


@pytest.mark.parametrize(
    ("more", "plan", "said"),
    [
        ([FIELD], PLAN, "the rings do not keep terminal_id"),
        ([LONG], PLAN, "the rings do not reach back 0.00166667 h"),
        ([MEDIAN], Plan(lateness_ms=2_000, ring_cap=5), "lateness, ring cap or currency differ"),
        ([MEDIAN], Plan(lateness_ms=1_000, ring_cap=6), "lateness, ring cap or currency differ"),
    ],
)
def test_what_the_rings_cannot_serve_is_refused(
    more: list[dict[str, Any]], plan: Plan, said: str
) -> None:
    (old,) = sets(SPECS)
    rings = PartitionRings(old)
    with pytest.raises(ValueError, match=said):
        rings.adopt(sets(SPECS, more, plan=plan)[0])
    # The rings continue with their old features.
    rings.adopt(old)


def test_fewer_ring_fields_are_refused_but_not_a_shorter_window() -> None:
    (old,) = sets([*SPECS, FIELD, LONG])
    assert old.engine.lacks(sets(SPECS)[0].engine) == "it leaves out fields that the rings keep"
    assert old.engine.lacks(sets([*SPECS, FIELD])[0].engine) == ""


def test_terminals_rows_must_be_kept_for_long_enough() -> None:
    at_terminal = {"name": "risk", "kind": "risk", "key": "terminal_id", "delay": "7d"}
    short, long = (
        sets([*SPECS, at_terminal | {"window": window}])[0].engine for window in ("1d", "7d")
    )
    assert long.lacks(short) == ""
    assert short.lacks(long) == "terminals' rows are not kept for so long"
    assert sets(SPECS)[0].engine.lacks(short) == "terminals' rows are not kept for so long"
