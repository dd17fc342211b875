"""Every kind of feature equals plain Python: late, repeated, capped, undone, evicted, in pieces."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stream_scorer.core.decision.observe import PartitionRings, observe
from stream_scorer.core.events.batch import Flag
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import FeatureSet, compile_features, compile_union
from stream_scorer.core.rings.buckets import bucket_of
from tests.support.core.events import NOW, batch, event
from tests.support.core.feature_oracle import FeatureOracle, longest_ms
from tests.support.core.manifests import EVERY_EXTRA, EVERY_KIND, EXTRAS, RICH
from tests.support.effort import examples

Float64 = NDArray[np.float64]
FLAGS = {"added": 0, "late": int(Flag.LATE), "capped": int(Flag.CAPPED)}
texts = st.sampled_from([None, "", "DE", "FR"])
doubles = st.sampled_from([
    None, 0.0, -0.0, 5e-324, 0.1, 0.2, 0.3, -0.7, 1e16, 1e308, -1e308, math.nan, math.inf, 2.5,
])  # fmt: skip
longs = st.sampled_from([
    None, 0, 1, 2, 7, -5, 10**15 + 1, 2**53 + 1, 2**63 - 1, -(2**63) + 2, -(2**63) + 1, -(2**63),
])  # fmt: skip
extras = st.fixed_dictionaries({
    "ratio": doubles, "items": longs, "ip_country": texts,
    "guest": st.sampled_from([None, True, False]),
    "opened": st.sampled_from([None, 0, NOW, NOW - 86_400_001, -1]),
})  # fmt: skip
rows = st.lists(
    st.builds(
        lambda number, customer, time, amount, terminal, channel, *others: event(
            number, customer_id=customer, event_time=NOW + time, timestamp=NOW + time,
            amount_minor=amount, terminal_id=terminal, channel=channel, mcc=others[0],
            country=others[1], device_id=others[2], card_present=others[3],
            partition=ord(customer) % 3, **others[4],
        ),
        st.integers(0, 60), st.sampled_from("aabcd"), st.integers(0, 60_000),
        st.sampled_from([0, 1, 2, 300, 300, 7_777, 10**11]), st.sampled_from("xyz"),
        st.sampled_from(["POS", "ECOM", "ATM"]), texts, texts, texts,
        st.sampled_from([None, True, False]), extras,
    ),
    max_size=40,
)  # fmt: skip


def seen(
    events: list[dict[str, Any]],
    rings: PartitionRings,
    plan: Plan,
    features: FeatureSet,
    fate: str = "keep",
) -> list[tuple[int, list[float]]]:
    """Fold a batch; return flag and features of each event; the flag is -1 for a duplicate."""
    made = batch(events, plan.extras)
    folded = observe(made, rings, plan, features)
    values = features.compute(made.take(folded.accepted), folded.observed[folded.accepted])
    assert values.flags.c_contiguous
    out: list[tuple[int, list[float]]] = [(-1, [])] * len(events)
    for at, row in zip(folded.accepted.tolist(), values.tolist(), strict=True):
        out[at] = int(folded.flags[at]), row
    (rings.release if fate == "keep" else rings.undo)(folded.journals)
    return out


def expected(oracle: FeatureOracle, events: list[dict[str, Any]]) -> list[tuple[int, list[float]]]:
    told = [oracle.see(row) for row in events]
    return [(FLAGS.get(verdict, -1), values) for verdict, values in told]


MANIFESTS: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "ours": (EVERY_KIND, {}),
    "extra": (EVERY_EXTRA, EXTRAS),
}


@pytest.mark.parametrize("name", MANIFESTS)
@settings(max_examples=examples(150), deadline=None)
@given(
    stream=rows,
    cuts=st.lists(st.integers(0, 40), max_size=3),
    wrong=rows,
    lateness=st.integers(0, 30_000),
    cap=st.integers(1, 8),
)
def test_every_kind_equals_plain_python_in_any_batches(
    name: str,
    stream: list[dict[str, Any]],
    cuts: list[int],
    wrong: list[dict[str, Any]],
    lateness: int,
    cap: int,
) -> None:
    specs, types = MANIFESTS[name]
    plan = Plan(lateness_ms=lateness, ring_cap=cap, extras=types)
    features = compile_features(specs, plan)
    rings, oracle = PartitionRings(features), FeatureOracle(specs, plan)
    ends = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})
    for start, end in pairwise(ends):
        seen(wrong, rings, plan, features, fate="undo")
        part = stream[start:end]
        # The comparison of texts makes NaN equal to itself, and includes every bit.
        assert repr(seen(part, rings, plan, features)) == repr(expected(oracle, part))
        assert sum(rings.of(p).evict(9) for p in rings.partitions()) == oracle.evict()


@settings(max_examples=examples(40), deadline=None)
@given(stream=rows, cut=st.integers(0, 40), lateness=st.integers(0, 30_000), cap=st.integers(1, 8))
def test_extras_come_back_from_a_checkpoint_bit_for_bit(
    stream: list[dict[str, Any]], cut: int, lateness: int, cap: int
) -> None:
    plan = Plan(lateness_ms=lateness, ring_cap=cap, extras=EXTRAS)
    features = compile_features(EVERY_EXTRA, plan)
    rings, oracle = PartitionRings(features), FeatureOracle(EVERY_EXTRA, plan)
    seen(stream[:cut], rings, plan, features)
    expected(oracle, stream[:cut])
    restored = PartitionRings(features)
    for partition in rings.partitions():
        for bucket in np.unique(bucket_of(pa.array(list("abcd")))).tolist():
            restored.of(partition).load(rings.of(partition).dump(bucket))
    assert repr(seen(stream[cut:], restored, plan, features)) == repr(
        expected(oracle, stream[cut:])
    )


@pytest.mark.parametrize("exponent", [0, 3])
def test_a_long_stream_with_rings_of_many_events(exponent: int) -> None:
    plan = Plan(currencies={"EUR": exponent}, ring_cap=200, lateness_ms=86_400_000)
    features = compile_features(RICH, plan)
    rings, oracle = PartitionRings(features), FeatureOracle(RICH, plan)
    random = np.random.default_rng(3)
    for step in range(6):
        part = [
            event(
                step * 300 + n, customer_id=str(int(random.integers(0, 3))), partition=0,
                event_time=NOW + (step * 300 + n) * 2_400_000 + int(random.integers(-10**8, 10**7)),
                amount_minor=int(random.integers(0, 50_000)), timestamp=NOW * 2,
                terminal_id=str(int(random.integers(0, 9))),
            )
            for n in range(300)
        ]  # fmt: skip
        assert repr(seen(part, rings, plan, features)) == repr(expected(oracle, part))
    assert max(len(events) for _, events in oracle.rings.values()) > 128


@settings(max_examples=examples(60), deadline=None)
@given(stream=rows, lateness=st.integers(0, 30_000), cap=st.integers(1, 8))
def test_manifests_sharing_an_engine_compute_as_if_alone(
    stream: list[dict[str, Any]], lateness: int, cap: int
) -> None:
    plan = Plan(lateness_ms=lateness, ring_cap=cap)
    # Every id is unique, because the rings' horizon decides which duplicates are known.
    stream = [row | {"transaction_id": str(n)} for n, row in enumerate(stream)]
    short: list[dict[str, Any]] = [
        {"name": "n", "kind": "count", "last": 4},
        {"name": "s", "kind": "sum", "field": "amount", "window": "3s"},
        {"name": "d", "kind": "distinct", "field": "mcc", "window": "3s"},
    ]
    together = compile_union([short, EVERY_KIND, RICH], plan)
    assert together[0].retention.horizon_ms == longest_ms(RICH) + lateness
    for specs, shared in zip([short, EVERY_KIND, RICH], together, strict=True):
        alone = compile_features(specs, plan)
        of_alone = [v for _, v in seen(stream, PartitionRings(alone), plan, alone)]
        of_shared = [v for _, v in seen(stream, PartitionRings(together[0]), plan, shared)]
        assert repr(of_shared) == repr(of_alone)
        assert shared.identities == alone.identities


# -- by hand --------------------------------------------------------------------------------

PLAN = Plan(lateness_ms=1_000)
BEFORE = [
    # seconds, amount, terminal, device
    (0, 1_000, "x", "p"),
    (10, 300, "y", None),
    (20, 500, "x", None),
    (30, 100, "z", "p"),
    (40, 900, "x", None),
]


def last_of(spec: dict[str, Any], *earlier: dict[str, Any], **changes: Any) -> float:
    """Return a feature of the last event of BEFORE."""
    specs = [*earlier, {"name": "f"} | spec]
    features = compile_features(specs, PLAN)
    made = [
        event(n, event_time=NOW + 1_000 * at, amount_minor=amount, terminal_id=terminal,
              device_id=device, timestamp=NOW + 10**8)
        for n, (at, amount, terminal, device) in enumerate(BEFORE)
    ]  # fmt: skip
    made[-1] |= changes
    return seen(made, PartitionRings(features), PLAN, features)[-1][1][-1]


HERE = ["customer_id", "terminal_id"]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ({"kind": "count", "window": "30s"}, 3.0),  # at 20, 30, 40: the one at 10 is 30 old
        ({"kind": "count", "window": "31s"}, 4.0),
        ({"kind": "count", "last": 3, "window": "1h"}, 3.0),
        ({"kind": "count", "window": "1h", "key": HERE}, 3.0),  # x at 0, 20, 40
        ({"kind": "count", "window": "1h", "key": ["customer_id", "device_id"]}, 3.0),  # nulls
        ({"kind": "sum", "field": "amount", "window": "25s"}, 15.0),
        ({"kind": "sum", "field": "amount", "window": "1h", "last": 2, "key": HERE}, 14.0),
        ({"kind": "mean", "field": "amount", "window": "25s"}, 5.0),
        ({"kind": "min", "field": "amount", "window": "15s"}, 1.0),
        ({"kind": "max", "field": "amount", "window": "1h", "last": 4}, 9.0),
        ({"kind": "median", "field": "amount", "window": "1h"}, 5.0),
        ({"kind": "median", "field": "amount", "window": "1h", "last": 4}, 4.0),  # (3 + 5) / 2
        ({"kind": "distinct", "field": "terminal_id", "window": "1h"}, 3.0),
        ({"kind": "distinct", "field": "terminal_id", "last": 2, "window": "1h"}, 2.0),
        ({"kind": "distinct", "field": "device_id", "window": "1h"}, 2.0),  # p, and null
        ({"kind": "distinct", "field": "device_id", "window": "1h", "key": HERE}, 2.0),
        ({"kind": "time_since_last", "window": "1h"}, 10.0),
        ({"kind": "time_since_last", "window": "1h", "key": HERE}, 20.0),
        ({"kind": "time_since_last", "window": "10s", "missing": -1}, -1.0),
        ({"kind": "stddev", "field": "amount", "last": 2, "window": "1h"}, 4.0),  # of 1 and 9
        ({"kind": "stddev", "field": "amount", "last": 1, "window": "1h"}, 0.0),
        ({"kind": "first_seen", "field": "terminal_id", "window": "1h"}, 40.0),  # x at 0
        ({"kind": "first_seen", "field": "terminal_id", "window": "40s"}, 20.0),  # x at 20
        ({"kind": "first_seen", "field": "device_id", "window": "1h"}, 30.0),  # null at 10
        ({"kind": "first_seen", "field": "device_id", "window": "9s", "missing": -2}, -2.0),
        ({"kind": "count", "window": "1h", "exclude_self": True}, 4.0),
        ({"kind": "count", "last": 3, "window": "1h", "exclude_self": True}, 3.0),
        ({"kind": "mean", "field": "amount", "window": "25s", "exclude_self": True}, 3.0),
        ({"kind": "max", "field": "amount", "window": "1h", "exclude_self": True,
          "key": HERE}, 10.0),
        ({"kind": "count", "window": "1h", "where": {"terminal_id": "x"}}, 3.0),
        ({"kind": "sum", "field": "amount", "window": "1h", "where": {"device_id": "p"}}, 11.0),
        ({"kind": "sum", "field": "amount", "window": "1h", "where": {"device_id": "no"}}, 0.0),
        ({"kind": "min", "field": "amount", "window": "1h", "where": {"device_id": "no"},
          "missing": -3}, -3.0),
        ({"kind": "median", "field": "amount", "last": 2, "window": "1h",
          "where": {"terminal_id": "x"}, "exclude_self": True}, 7.5),  # 10 and 5
        ({"kind": "distinct", "field": "device_id", "window": "1h", "exclude_self": True,
          "where": {"terminal_id": "z"}}, 1.0),
        ({"kind": "time_since_last", "window": "1h", "where": {"terminal_id": "y"}}, 30.0),
    ],
)  # fmt: skip
def test_each_kind_over_the_ring_by_hand(spec: dict[str, Any], value: float) -> None:
    assert last_of(spec) == value


def test_without_history_nothing_was_last() -> None:
    assert np.isnan(last_of({"kind": "time_since_last", "window": "10s"}))


@pytest.mark.parametrize(
    ("spec", "changes", "value"),
    [
        ({"kind": "passthrough", "field": "amount"}, {}, 9.0),
        ({"kind": "passthrough", "field": "card_present", "missing": 2}, {}, 2.0),
        ({"kind": "passthrough", "field": "card_present"}, {"card_present": True}, 1.0),
        ({"kind": "weekend"}, {"event_time": 1_523_145_599_999}, 1.0),  # Saturday 23:59:59.999
        ({"kind": "weekend"}, {"event_time": 1_523_232_000_000}, 0.0),  # Monday 00:00
        ({"kind": "night"}, {"event_time": 1_522_997_999_999}, 1.0),  # 06:59:59.999
        ({"kind": "night"}, {"event_time": 1_522_998_000_000}, 0.0),
        ({"kind": "hour"}, {"event_time": 1_522_998_000_000}, 7.0),
        ({"kind": "day_of_week"}, {"event_time": 0}, 3.0),  # 1970-01-01, a Thursday
        # 2018-03-25 01:00 UTC: Berlin's clocks go from 2 to 3.
        ({"kind": "hour", "timezone": "Europe/Berlin"}, {"event_time": 1_521_939_599_999}, 1.0),
        ({"kind": "hour", "timezone": "Europe/Berlin"}, {"event_time": 1_521_939_600_000}, 3.0),
        ({"kind": "hour", "timezone": "Europe/Berlin"}, {"event_time": 253_402_300_799_999}, 0.0),
    ],
)  # fmt: skip
def test_each_kind_over_the_event_by_hand(
    spec: dict[str, Any], changes: dict[str, Any], value: float
) -> None:
    assert (
        last_of(spec, **{"timestamp": 253_402_300_799_999, "customer_id": "d"} | changes) == value
    )


@pytest.mark.parametrize(
    ("channel", "value"), [("POS", 0.0), ("ECOM", 1.0), ("ATM", -1.0), (None, -2.0)]
)
def test_a_category_is_its_place_in_the_list(channel: str | None, value: float) -> None:
    spec = {
        "kind": "categorical", "field": "mcc", "values": ["POS", "ECOM"], "unknown": -1,
        "missing": -2,
    }  # fmt: skip
    assert last_of(spec, mcc=channel) == value


def test_a_ratio_without_a_denominator_is_missing() -> None:
    total = {"name": "sum", "kind": "sum", "field": "amount", "window": "25s"}
    count = {"name": "count", "kind": "count", "window": "25s"}
    assert last_of({"kind": "ratio", "field": "amount", "to": "sum"}, total) == 9 / 15
    assert last_of({"kind": "ratio", "feature": "sum", "to": "count"}, total, count) == 5.0
    nothing = {"name": "zero", "kind": "min", "field": "amount", "last": 1, "window": "1s"}
    of_nothing = {"kind": "ratio", "field": "amount", "to": "zero"}
    assert np.isnan(last_of(of_nothing, nothing, amount_minor=0))
    assert last_of(of_nothing | {"missing": 3}, nothing, amount_minor=0) == 3.0
