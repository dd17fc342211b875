"""Since when histories are complete, and until when a feature must wait."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.compile import compile_union
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.rings import NEVER, CustomerRings, Retention, RingColumns
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.history_coverage import (
    CAP,
    HORIZON,
    INPUT,
    Coverage,
    history,
    merged,
    outlived,
    since_of,
)
from stream_scorer.state.checkpoints.ring_columns import stored_fields

DAY = 86_400_000
NOW = 100 * DAY
RINGS = b"\x01\x01\x03mcc rings"
WHOLE = Bucket(0, 5, 900, 4, 1, NOW, 30 * DAY, {}, RINGS)


@dataclass(frozen=True)
class Needed:
    window_ms: int
    fields: tuple[str, ...] = ()


def kept(days: int, cap: int = 5) -> Retention:
    return Retention(3, days * DAY, cap)


CUSTOMER = "c"
NEIGHBOUR = next(
    name for name in map(str, range(100_000))
    if bucket_of(pa.array([name])) == bucket_of(pa.array([CUSTOMER]))
)  # fmt: skip
"""Another customer in the same bucket."""


def full(*counts: int) -> bytes:
    """Return a payload of customers with these numbers of events, the last at NOW, a minute apart.

    The second customer's events are an hour older.
    """
    (features,) = compile_union([[{"name": "A", "kind": "passthrough", "field": "amount"}]], Plan())
    rings = CustomerRings(kept(30, 1_000), features.engine.program)
    count = sum(counts)
    times = np.concatenate(
        [NOW - 3_600_000 * at - 60_000 * np.arange(own)[::-1] for at, own in enumerate(counts)]
    )
    ids = [(CUSTOMER, NEIGHBOUR)[at] for at, own in enumerate(counts) for _ in range(own)]
    customers = pa.array(ids)
    columns = RingColumns(
        customers, hashes_of(customers), np.arange(count).astype(np.uint64), times,
        np.ones(count, np.int64), np.empty((0, count), np.int64),
    )  # fmt: skip
    verdict, observed = np.zeros(count, np.uint8), np.empty((count, 1))
    rings.fold(np.arange(count), columns, np.zeros(count, np.bool_), verdict, observed)
    return rings.dump(int(bucket_of(pa.array([CUSTOMER]))[0]))


def coverage(window_days: int, since: dict[str, int], *fields: str, now: int = NOW) -> Coverage:
    (told,) = history([("f", Needed(window_days * DAY, fields))], since, now, 3)
    return told


def test_the_names_of_stored_fields_are_read() -> None:
    assert stored_fields(RINGS) == ("mcc",)
    assert stored_fields(b"") == ()
    with pytest.raises(ValueError, match="damaged"):
        stored_fields(b"\x01\x02\x03mcc\x09x")


def test_a_bucket_kept_as_needed_is_complete() -> None:
    assert since_of([WHOLE], ["mcc"], kept(30)) == {}
    assert since_of([WHOLE], [], kept(7)) == {}


def test_a_new_field_begins_with_the_checkpoint() -> None:
    later = replace(WHOLE, bucket=6, watermark=NOW + 5)
    assert since_of([WHOLE, later], ["mcc", "country"], kept(30)) == {"country": NOW + 5}


def test_a_longer_horizon_reaches_back_as_far_as_the_shorter_did() -> None:
    assert since_of([WHOLE], ["mcc"], kept(60)) == {HORIZON: NOW - 30 * DAY}


def test_a_larger_cap_reaches_back_as_far_as_a_full_ring_did() -> None:
    capped = replace(WHOLE, payload=full(5), cap=5)
    oldest = NOW - 4 * 60_000
    assert since_of([capped], [], kept(30, cap=6)) == {CAP: oldest}
    # If several rings were full, the one that reaches back the least counts.
    several = replace(capped, payload=full(5, 7))
    assert since_of([several], [], kept(30, cap=8)) == {CAP: oldest}
    # If a ring was not full, if the cap is not larger, or if the cap is unknown, nothing is
    # reported.
    assert since_of([replace(capped, payload=full(4))], [], kept(30, cap=6)) == {}
    assert since_of([capped], [], kept(30, cap=5)) == {}
    assert since_of([capped], [], kept(30, cap=4)) == {}
    assert since_of([replace(capped, cap=0)], [], kept(30, cap=6)) == {}
    with pytest.raises(ValueError, match="bucket 5: bucket: the bytes are damaged"):
        since_of([replace(capped, payload=full(5)[:-1] + b"x")], [], kept(30, cap=6))


def test_an_empty_bucket_has_all_fields_and_keeps_its_marks() -> None:
    empty = replace(WHOLE, payload=b"", since={INPUT: 7})
    assert since_of([empty], ["country"], kept(30)) == {INPUT: 7}
    assert since_of([replace(empty, watermark=NEVER)], ["country"], kept(60)) == {INPUT: 7}


def test_a_bucket_without_rings_covers_only_what_was_kept() -> None:
    empty = replace(WHOLE, payload=b"")
    assert since_of([empty], [], kept(60)) == {HORIZON: NOW - 30 * DAY}


def test_reasons_are_merged_and_outlived() -> None:
    assert merged([{INPUT: 1, "mcc": 9}, {INPUT: 4}]) == {INPUT: 4, "mcc": 9}
    assert outlived({INPUT: 70 * DAY, "mcc": 70 * DAY + 1}, NOW, 30 * DAY) == {"mcc": 70 * DAY + 1}


def test_a_feature_waits_for_its_own_window_and_fields_only() -> None:
    since = {"country": NOW - 7 * DAY, HORIZON: NOW - 30 * DAY}
    assert coverage(1, since) == Coverage("f", True, NOW - 29 * DAY + 3)
    assert coverage(30, since) == Coverage("f", False, NOW + 3)
    assert coverage(30, since, now=NOW + 3).covered
    assert coverage(7, since, "country") == Coverage("f", False, NOW + 3)
    assert coverage(8, since, "country") == Coverage("f", False, NOW + DAY + 3)
    assert coverage(8, since, "mcc").covered
    assert coverage(0, since, "country") == Coverage("f", True, None)
    assert coverage(60, {}) == Coverage("f", True, None)
