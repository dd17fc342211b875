"""Routing: which arm decides which customer, and from which offset on."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.decision.routing import (
    BUCKETS,
    CANARY,
    CHAMPION,
    CONTROL,
    Override,
    Routing,
    Slice,
    Version,
    activated,
    canary_slices,
    due_at,
    route,
    salted_buckets,
    split_slices,
)
from stream_scorer.core.events.batch import EventBatch
from stream_scorer.core.events.strings import hashes_of

OLD, NEW = Version("fraud", "1.0.0"), Version("fraud", "1.1.0")
ARMS = {CHAMPION: OLD, CONTROL: OLD, CANARY: NEW}
MASK = 2**64 - 1


def customers_of(ids: list[str]) -> np.ndarray:
    return hashes_of(pa.array(ids, pa.string()))


def events_of(customers: list[str], **columns: list[str]) -> EventBatch:
    n = len(customers)
    records = pa.RecordBatch.from_pydict(
        {
            "customer_id": customers,
            "currency": columns.get("currency", ["EUR"] * n),
            "channel": columns.get("channel", ["POS"] * n),
        }
    )
    zeros = np.zeros(n, np.int64)
    return EventBatch(records, zeros.astype(np.int32), np.arange(n), zeros)


def bucket_in_plain_python(customer: str, salt: str) -> int:
    """Return the bucket by the rule of the module's docstring, with unbounded integers."""
    h = 0xCBF29CE484222325
    for byte in customer.encode():
        h = (h ^ byte) * 0x100000001B3 & MASK
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor & MASK
    h ^= h >> 33
    h = h + int.from_bytes(hashlib.sha256(salt.encode()).digest()[:8], "little") & MASK
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & MASK
    h = (h ^ h >> 27) * 0x94D049BB133111EB & MASK
    return (h ^ h >> 31) % BUCKETS


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=20), st.text(max_size=20))
def test_buckets_are_those_of_the_published_rule(ids: list[str], salt: str) -> None:
    expected = [bucket_in_plain_python(customer, salt) for customer in ids]
    assert salted_buckets(customers_of(ids), salt).tolist() == expected


def test_buckets_are_even_and_another_salt_reassigns() -> None:
    ids = customers_of([f"c{n}" for n in range(200_000)])
    first, second = salted_buckets(ids, "a"), salted_buckets(ids, "b")
    counts = np.bincount(first, minlength=BUCKETS)
    # Chi-squared with 9,999 degrees of freedom, within five standard deviations.
    assert abs(((counts - 20) ** 2 / 20).sum() - 9_999) < 5 * (2 * 9_999) ** 0.5
    assert 0 < (first == second).mean() < 0.001


@settings(deadline=None)
@given(st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_a_ramp_only_adds_customers(one: int, other: int) -> None:
    less, more = sorted((one, other))
    events = events_of([f"c{n}" for n in range(300)])
    hashes = customers_of([f"c{n}" for n in range(300)])
    arms = []
    for buckets in (less, more):
        routing = Routing(1, ARMS, canary_slices(buckets), salt="s")
        names = np.array(routing.arms)
        arms.append(names[route(routing, events, hashes).arm] == CANARY)
        assert routing.share(CANARY) == buckets / BUCKETS
        assert routing.share(CONTROL) == (buckets / BUCKETS if 2 * buckets <= BUCKETS else 0)
    assert not (arms[0] & ~arms[1]).any()


def test_canary_and_control_hold_the_buckets_that_are_pairs() -> None:
    ids = [f"c{n}" for n in range(50_000)]
    routing = Routing(1, ARMS, canary_slices(500), salt="s")
    arms = np.array(routing.arms)[route(routing, events_of(ids), customers_of(ids)).arm]
    buckets = salted_buckets(customers_of(ids), "s")
    assert set(buckets[arms == CANARY].tolist()) <= set(range(500))
    assert set(buckets[arms == CONTROL].tolist()) <= set(range(9_500, 10_000))
    assert len(set(buckets[arms == CANARY].tolist())) > 450


def test_the_first_matching_override_applies_and_is_reported() -> None:
    customers = ["vip", "a", "b", "vip"]
    events = events_of(customers, channel=["POS", "ONLINE", "POS", "ONLINE"])
    routing = Routing(
        1, ARMS, canary_slices(0),
        (Override("customer_id", ("vip",), CONTROL), Override("channel", ("ONLINE",), CANARY)),
    )  # fmt: skip
    routed = route(routing, events, customers_of(customers))
    names = [routing.arms[at] for at in routed.arm]
    assert names == [CONTROL, CANARY, CHAMPION, CONTROL]
    assert routed.overridden.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slices": (Slice(CHAMPION, 0, 9_999),)}, "must cover buckets"),
        ({"slices": (Slice(CHAMPION, 0, 6_000), Slice(CANARY, 5_000, 10_000))}, "must cover"),
        ({"slices": (Slice(CANARY, 0, 0), Slice(CHAMPION, 0, 10_000))}, "must hold a bucket"),
        ({"slices": (Slice("blue", 0, 10_000),)}, "arm 'blue': has no version"),
        ({"versions": {CANARY: NEW}}, "must be an arm 'champion'"),
        ({"shadows": ("new",)}, "arm 'new': has no version"),
        ({"shadows": (CHAMPION,)}, "a shadow decides nothing"),
        ({"overrides": (Override("amount", ("1",), CANARY),)}, "known fields are currency"),
        ({"overrides": (Override("channel", ("1",), "green"),)}, "arm 'green': has no version"),
    ],
)
def test_what_cannot_be_routed_is_refused(change: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {"revision": 1, "versions": ARMS, **change}
    with pytest.raises(ValueError, match=said):
        Routing(**values)


def test_split_slices_cover_all_in_order() -> None:
    assert split_slices({"a": 2_500, "b": 0, "c": 7_500}) == (
        Slice("a", 0, 2_500), Slice("c", 2_500, 10_000)
    )  # fmt: skip


def pending(*effective: int | None) -> list[Routing]:
    return [Routing(n + 1, ARMS, effective_at=at) for n, at in enumerate(effective)]


def begun(
    routings: list[Routing], offset: Any, time: Any, next_offset: int
) -> list[tuple[int, int]]:
    return activated([due_at(each, offset, time, next_offset) for each in routings])


def test_a_plan_begins_at_the_first_new_enough_record_and_stays() -> None:
    offset, time = np.array([5, 6, 8, 9]), np.array([10, 30, 20, 40])
    assert begun(pending(25), offset, time, 4) == [(6, 0)]
    assert begun(pending(41), offset, time, 4) == []
    assert begun(pending(None), offset, time, 4) == [(4, 0)]
    # A plan with a later start that was written earlier is skipped.
    assert begun(pending(40, 25), offset, time, 4) == [(6, 1)]
    assert begun(pending(25, 40), offset, time, 4) == [(6, 0), (9, 1)]
    assert begun(pending(25, None), offset, time, 4) == [(4, 1)]
    # A plan that has not begun does not stop a later one from beginning.
    assert begun(pending(99, 25), offset, time, 4) == [(6, 1)]
