"""A bucket's bytes depend only on its rings' content; they are read exactly, or refused."""

import zlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.fields import MISSING
from stream_scorer.core.kernels.folding import ADDED, DUPLICATE
from stream_scorer.core.rings.buckets import BUCKETS, bucket_of
from stream_scorer.core.rings.rings import NEVER, CustomerRings, Retention
from tests.support.core.ring_oracle import (
    Event,
    check_blocks,
    check_table,
    content,
    counts_and_sums,
    fold,
    fold_with,
    raw,
    stored,
)
from tests.support.effort import examples

RETENTION = Retention(lateness_ms=30, horizon_ms=90, cap=6)
LONG = Retention(lateness_ms=30, horizon_ms=2**33, cap=6)


def new(retention: Retention = RETENTION, fields: tuple[str, ...] = ()) -> CustomerRings:
    return CustomerRings(retention, counts_and_sums([25]), fields)


def keep(rings: CustomerRings, events: Sequence[Event]) -> CustomerRings:
    rings.release(fold(rings, events)[0])
    return rings


def dumped(rings: CustomerRings) -> dict[int, bytes]:
    return {bucket: data for bucket in range(BUCKETS) if (data := rings.dump(bucket))}


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


events = st.lists(
    st.builds(
        Event,
        customer=st.sampled_from(["", "a", "b", "ab", "ä", "x" * 3_000]),
        transaction=st.integers(0, 30).map(str),
        time=st.integers(0, 200),
        amount=st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=40,
)


def test_a_dump_has_the_customers_of_its_bucket() -> None:
    ids = ["", "a", "customer", "ä"]
    rings = keep(new(), [Event(name, name, 1, 1) for name in ids])
    assert sorted(dumped(rings)) == sorted(set(bucket_of(pa.array(ids)).tolist()))


@pytest.mark.parametrize("retention", [RETENTION, LONG])
@settings(max_examples=examples(100), deadline=None)
@given(stream=events)
def test_what_is_dumped_is_loaded_and_dumps_to_the_same_bytes(
    retention: Retention, stream: list[Event]
) -> None:
    rings = keep(new(retention), stream)
    other = new(retention)
    for data in dumped(rings).values():
        other.load(data)
    assert content(other) == content(rings)
    assert dumped(other) == dumped(rings)
    check_blocks(other)
    check_table(other)
    # Later events have the same results in both, and so has the lateness.
    more = [Event(e.customer, f"n{n}", e.time + 7 - n, n) for n, e in enumerate(stream[::-1])]
    assert fold(other, more)[1] == fold(rings, more)[1]
    assert content(other) == content(rings)


@settings(max_examples=examples(60), deadline=None)
@given(stream=events, others=events, seed=st.integers(0, 9))
def test_bytes_do_not_depend_on_how_the_rings_were_built(
    stream: list[Event], others: list[Event], seed: int
) -> None:
    straight = keep(new(), stream)
    winding = new()
    by_customer = sorted(stream, key=lambda event: (event.customer, 0))
    for at, event in enumerate(by_customer):
        if at % 3 == seed % 3:
            winding.undo(fold(winding, others)[0])
        keep(winding, [event])
    assert dumped(winding) == dumped(straight)


def test_customers_of_one_bucket_have_one_order() -> None:
    ids = [str(n) for n in range(3_000)]
    bucket = bucket_of(pa.array(ids))
    mine = [name for name, b in zip(ids, bucket.tolist(), strict=True) if b == bucket[0]]
    assert len(mine) > 1
    one = keep(new(), [Event(name, "t", 5, 7) for name in mine])
    other = keep(new(), [Event(name, "t", 5, 7) for name in reversed(mine)])
    assert one.dump(int(bucket[0])) == other.dump(int(bucket[0])) != b""


def test_an_empty_bucket_has_no_bytes() -> None:
    rings = new()
    assert dumped(rings) == {}
    rings.load(b"")
    assert len(rings) == 0
    for bucket in (-1, BUCKETS):
        with pytest.raises(ValueError, match="is not one of 0 to 1023"):
            rings.dump(bucket)


def test_a_customer_already_present_is_refused_without_a_change() -> None:
    rings = keep(new(), [Event("a", "1", 5, 5), Event("b", "2", 6, 6)])
    other = keep(new(), [Event("b", "3", 7, 7)])
    before = raw(other)
    with pytest.raises(ValueError, match="a customer is in the rings already"):
        other.load(rings.dump(int(bucket_of(pa.array(["b"]))[0])))
    assert raw(other) == before


def test_nothing_is_loaded_while_a_batch_is_open() -> None:
    rings = new()
    fold(rings, [Event("a", "1", 5, 5)])
    with pytest.raises(RuntimeError, match="while a batch is open"):
        rings.load(b"")


def test_fields_absent_from_a_payload_are_missing_others_dropped() -> None:
    rings = new(fields=("terminal_id", "channel"))
    stream = [Event("a", "1", 5, 50), Event("a", "2", 6, 60)]
    rings.release(fold_with(rings, stream, np.array([[11, 12], [21, 22]]))[0])
    bucket = int(bucket_of(pa.array(["a"]))[0])
    payload = rings.dump(bucket)
    assert payload[:22] == b"\1\2\x0bterminal_id\7channel"
    for fields, expected in {
        ("channel", "mcc"): [[21, 22], [MISSING, MISSING]],
        ("mcc", "terminal_id"): [[MISSING, MISSING], [11, 12]],
        ("terminal_id", "channel"): [[11, 12], [21, 22]],
        (): [],
    }.items():
        other = new(fields=fields)
        other.load(payload)
        assert content(other) == content(rings)
        assert stored(other, "a") == expected
        back = new(fields=("terminal_id", "channel"))
        back.load(other.dump(bucket))
        assert content(back) == content(rings)


def test_a_shorter_memory_takes_what_it_can_use() -> None:
    rings = keep(new(LONG), [Event("a", str(t), t, t) for t in (1, 50, 100, 130, 140, 141)])
    bucket = int(bucket_of(pa.array(["a"]))[0])
    other = new(Retention(lateness_ms=5, horizon_ms=60, cap=4))
    other.load(rings.dump(bucket))
    assert content(other)[0][1] == [100, 130, 140, 141]
    other = new(Retention(lateness_ms=5, horizon_ms=60, cap=2))
    other.load(rings.dump(bucket))
    assert content(other)[0][1] == [140, 141]


# -- damage ---------------------------------------------------------------------------------


def sample() -> bytes:
    ids = [str(n) for n in range(3_000)]
    bucket = bucket_of(pa.array(ids))
    mine = [name for name, b in zip(ids, bucket.tolist(), strict=True) if b == bucket[0]][:3]
    stream = [Event(name, f"{name}-{n}", 10 * n, 300 * n) for name in mine for n in range(4)]
    rings = keep(new(), stream)
    return rings.dump(int(bucket[0]))


SAMPLE = sample()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\1", "cut off"),
        (SAMPLE[:-1], "the checksum does not match"),
        (b"\2" + SAMPLE[1:], "version 2 is not known; known: 1"),
        (SAMPLE[:9] + b"\xff" + SAMPLE[10:], "the checksum does not match"),
        (sealed(b"\1\1"), "names of its fields"),
        (sealed(b"\1\1\5ab"), "names of its fields"),
        (sealed(b"\1\1\1\xe4"), "names of its fields"),
        (sealed(b"\1\2\1a\1a\1"), "names of its fields"),
        (sealed(b"\1\0\0"), "lengths do not fit"),
        (sealed(b"\1\0" + b"\xff" * 9 + b"\1"), "lengths do not fit"),
        (sealed(SAMPLE[:-4] + b"\0"), "lengths do not fit"),
        # one customer "a", newest 2^62
        (sealed(b"\1\0\1\1a" + b"\x80" * 8 + b"\x80\1" + b"\0"), "an impossible time"),
        # one ring of one event, 2^61 before the newest
        (
            sealed(b"\1\0\1\1a\0\1" + b"\x80" * 8 + b"\x20" + b"\0" + b"12345678"),
            "an impossible time",
        ),
        (sealed(b"\1\0\2" + 2 * b"\1a\0\0"), "not in order"),
    ],
)
def test_damage_is_refused_by_name(payload: bytes, message: str) -> None:
    rings = new()
    before = raw(rings)
    with pytest.raises(ValueError, match=message):
        rings.load(payload)
    assert raw(rings) == before


@settings(max_examples=examples(800), deadline=None)
@given(data=st.data())
def test_any_bytes_are_refused_or_are_rings(data: st.DataObject) -> None:
    body = bytearray(SAMPLE[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        way = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if way == "set" and at < len(body):
            body[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 8, 64]))
        elif way == "cut":
            del body[at : at + data.draw(st.integers(1, 20))]
        elif way == "insert":
            body[at:at] = data.draw(st.binary(max_size=12))
        else:
            body[at:at] = body[at : at + data.draw(st.integers(1, 60))]
    rings = new()
    try:
        rings.load(sealed(bytes(body)))
    except ValueError:
        assert len(rings) == 0
        return
    check_blocks(rings)
    check_table(rings)
    again = new()
    for bucket_bytes in dumped(rings).values():
        again.load(bucket_bytes)
    assert content(again) == content(rings)


@settings(max_examples=examples(300), deadline=None)
@given(tail=st.binary(max_size=80))
def test_random_bytes_never_crash(tail: bytes) -> None:
    rings = new()
    try:
        rings.load(sealed(b"\1\0" + tail))
    except ValueError:
        assert len(rings) == 0


# -- eviction of entire rings ---------------------------------------------------------------


def test_a_ring_is_evicted_after_horizon_and_lateness() -> None:
    rings = keep(new(), [Event("old", "1", 100, 1), Event("new", "2", 220, 1)])
    assert rings.watermark == 220
    assert rings.evict(10) == 0  # 100 + 90 + 30 is not passed yet
    keep(rings, [Event("new", "3", 221, 1)])
    assert rings.evict(10) == 1
    assert [key for key, *_ in content(rings)] == [b"new"]
    check_blocks(rings)
    check_table(rings)


def test_a_rejected_event_moves_no_watermark() -> None:
    rings = keep(new(), [Event("a", "1", 100, 1)])
    journal, seen = fold(rings, [Event("a", "1", 150, 1)])
    assert [verdict for verdict, *_ in seen] == [DUPLICATE]
    assert rings.newest == 100
    rings.release(journal)
    assert rings.watermark == 100


def test_no_released_batch_means_no_watermark() -> None:
    rings = new()
    assert rings.watermark == NEVER
    journal, _ = fold(rings, [Event("a", "1", 100, 1)])
    assert (rings.watermark, rings.evict(9)) == (NEVER, 0)
    rings.undo(journal)
    assert rings.watermark == NEVER
    rings.release(fold(rings, [])[0])
    assert rings.watermark == NEVER
    rings.watermark = 5_000
    assert rings.evict(9) == 0


def test_eviction_continues_where_it_ended() -> None:
    rings = keep(new(), [Event(str(n), "t", n, 1) for n in range(10)])
    keep(rings, [Event("now", "t", 10_000, 1)])
    assert [rings.evict(4) for _ in range(4)] == [4, 4, 2, 0]
    assert len(rings) == 1


def test_a_ring_of_an_open_batch_stays_and_its_undo_is_exact() -> None:
    rings = keep(new(), [Event("old", "1", 0, 1), Event("idle", "1", 0, 1)])
    keep(rings, [Event("new", "2", 1_000, 1)])
    before = content(rings)
    first, _ = fold(rings, [Event("old", "3", 7, 1), Event("fresh", "4", 3, 1)])
    second, _ = fold(rings, [Event("other", "5", 4, 1)])
    assert rings.evict(10) == 1
    rings.undo(second)
    rings.undo(first)
    assert content(rings) == [ring for ring in before if ring[0] != b"idle"]
    check_blocks(rings)
    check_table(rings)
    assert rings.evict(10) == 1


def test_slots_ids_and_blocks_are_reused() -> None:
    rings = new()
    sizes = []
    for step in range(60):
        made = [Event(f"{step}-{n}" + "y" * (n % 30), str(n), 200 * step, 1) for n in range(500)]
        keep(rings, made)
        rings.evict(10**6)
        sizes.append([len(array) for array in rings._store])
        check_blocks(rings)
    assert len(rings) <= 1_000
    assert sizes[5:] == sizes[5:6] * 55
    check_table(rings)


@settings(max_examples=examples(150), deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            events, events, st.integers(0, 8), st.sampled_from(["keep", "undo", "undo both"])
        ),
        max_size=8,
    )
)
def test_evictions_between_open_batches_do_not_change_results(
    steps: list[tuple[list[Event], list[Event], int, str]],
) -> None:
    rings, other = new(), new()
    for step, (one, two, most, fate) in enumerate(steps):
        shifted = [
            [event._replace(time=event.time + 150 * step) for event in part] for part in (one, two)
        ]
        first = fold(rings, shifted[0])[0]
        rings.evict(most)
        second = fold(rings, shifted[1])[0]
        rings.evict(most)
        if fate == "undo both":
            rings.undo(second)
            rings.undo(first)
        else:
            rings.release(first)
            keep(other, shifted[0])
            rings.evict(most)
            if fate == "undo":
                rings.undo(second)
            else:
                rings.release(second)
                keep(other, shifted[1])
        check_blocks(rings)
        check_table(rings)
        assert rings.watermark == other.watermark
        rings.evict(10**6)
        other.evict(10**6)
        # Rings at the edge may already be evicted in one of the two, so they are not compared.
        edge = rings.watermark - 150
        fresh = [{k[0]: k for k in content(r) if max(k[1]) >= edge} for r in (rings, other)]
        assert set(fresh[0]) == set(fresh[1])


@settings(max_examples=examples(300), deadline=None)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from("abc"), st.integers(0, 9), st.integers(-30, 250), st.integers(1, 99)
            ),
            min_size=1,
            max_size=6,
        ),
        max_size=12,
    )
)
def test_evictions_do_not_affect_events_within_the_lateness(
    batches: list[list[tuple[str, int, int, int]]],
) -> None:
    evicted, whole = new(), new()
    for batch in batches:
        first = max(evicted.watermark, 0)
        made = [Event(who, str(name), first + step, amount) for who, name, step, amount in batch]
        seen = []
        for rings in (evicted, whole):
            journal, told = fold(rings, made)
            rings.release(journal)
            seen.append(told)
        assert seen[0] == seen[1]
        evicted.evict(10**6)


def test_an_id_is_free_after_the_horizon_evicted_or_not() -> None:
    for evicts in (False, True):
        rings = keep(new(), [Event("a", "1", 100, 1), Event("b", "2", 221, 1)])
        assert rings.evict(10 * evicts) == evicts
        assert fold(rings, [Event("a", "1", 190, 5)])[1][0][0] == ADDED
    rings = keep(new(), [Event("a", "1", 100, 1), Event("b", "2", 221, 1)])
    assert fold(rings, [Event("a", "1", 189, 5)])[1][0][0] == DUPLICATE


@pytest.mark.parametrize(
    "late", [Event("a", "2", 40, 1), Event("a", "2", 101, 1), Event("a", "1", 100, 1)]
)
def test_only_events_far_before_the_watermark_see_evictions(
    late: Event,
) -> None:
    seen = []
    for evicts in (False, True):
        rings = keep(new(), [Event("a", "1", 100, 1), Event("b", "2", 221, 1)])
        assert rings.evict(10 * evicts) == evicts
        assert rings.watermark - late.time > rings.retention.horizon_ms
        seen.append(fold(rings, [late])[1])
    # docs/adr/0009: if the ring is still there, its events are seen; else the event is its first.
    assert seen[1][0][0] == ADDED
    assert seen[0] != seen[1]
