"""Segments of rejected offsets: written, read, merged, damaged, and their size in a flood."""

import json
import random
import struct
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import StateError
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.state.checkpoints.formats import UnknownFormatError
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.checkpoints.rejected_segments import (
    MOST_REJECTED,
    MOST_SPAN,
    StoredSegment,
    merged,
    parse,
    segment,
)
from stream_scorer.state.partitions import rejection_log
from stream_scorer.state.partitions.rejected_offsets import Rejected
from stream_scorer.state.partitions.rejection_log import MERGED_AT_ONCE, RejectionLog

OWNER = Owner("a/g", "t")
LARGEST_BATCH = 100_000
"""The maximum of ``scorer.maximum_batch``."""
REASONS = ("CURRENCY", "MALFORMED", "TIME_AHEAD")

segments = st.sets(st.integers(0, 10**12) | st.integers(500, 700), min_size=1, max_size=80).flatmap(
    lambda offsets: st.tuples(
        st.just(sorted(offsets)),
        st.lists(st.sampled_from(REASONS), min_size=len(offsets), max_size=len(offsets)),
    )
)


def made(offsets: list[int], reasons: list[str]) -> StoredSegment:
    return StoredSegment.of(segment(3, np.array(offsets, np.int64), reasons))


def reasons_of(kept: StoredSegment) -> dict[int, str]:
    found = kept.decoded()
    assert found.codes is not None
    names = [found.names[code] for code in found.codes.tolist()]
    return dict(zip(found.offsets.tolist(), names, strict=True))


@given(segments)
def test_offsets_and_reasons_come_back(told: tuple[list[int], list[str]]) -> None:
    kept = made(*told)
    again = parse(kept.value, 3, told[0][0])
    assert again == kept
    assert reasons_of(again) == dict(zip(*told, strict=True))


@given(st.lists(segments, min_size=2, max_size=5))
def test_what_is_merged_is_the_union(parts: list[tuple[list[int], list[str]]]) -> None:
    own = sorted((made(*part) for part in parts), key=lambda kept: kept.first)
    together = merged([kept.decoded() for kept in own])
    offsets = sorted({offset for part in parts for offset in part[0]})
    if offsets[-1] - offsets[0] >= 1 << 23:
        assert together is None
    else:
        assert together is not None
        assert together.offsets.tolist() == offsets
        assert StoredSegment.of(together).decoded().offsets.tolist() == offsets


@given(segments, st.randoms(use_true_random=False))
def test_damage_is_refused_and_never_more_than_a_value_error(
    told: tuple[list[int], list[str]], choose: random.Random
) -> None:
    value = bytearray(made(*told).value)
    for _ in range(choose.randrange(1, 4)):
        value[choose.randrange(len(value))] ^= 1 << choose.randrange(8)
    if bytes(value) == made(*told).value:
        return
    with pytest.raises(ValueError):  # noqa: PT011 any of them
        parse(bytes(value), 3, told[0][0])
    # Even with a valid checksum, which any client that may write to the topic can compute.
    value[6:10] = zlib.crc32(value[10:]).to_bytes(4, "little")
    try:
        kept = parse(bytes(value), 3, told[0][0])
        found = kept.decoded()
    except ValueError:
        return
    assert len(found.offsets) == kept.count
    assert (np.diff(found.offsets) > 0).all()


HEADER = struct.Struct("<BBIqqI")
BITMAP, RUNS = 0, 1


def forged(
    kept: StoredSegment,
    *,
    offsets: bytes | None = None,
    reasons: bytes | None = None,
    **changed: int,
) -> bytes:
    """Return a segment's record with other parts or header fields, and a valid checksum."""
    names = ("level", "how", "partition", "first", "end", "count")
    fields = dict(zip(names, HEADER.unpack(kept.value[10:36]), strict=True)) | changed
    size = int.from_bytes(kept.value[36:40], "little")
    parts = (offsets or kept.value[44 : 44 + size], reasons or kept.value[44 + size :])
    body = HEADER.pack(*fields.values())
    body += b"".join(len(part).to_bytes(4, "little") for part in parts) + b"".join(parts)
    return kept.value[:6] + zlib.crc32(body).to_bytes(4, "little") + body


@pytest.mark.parametrize("part", ["offsets", "reasons"])
def test_what_would_inflate_without_bound_is_refused(part: str) -> None:
    kept = made([5, 7], ["MALFORMED"] * 2)
    assert parse(forged(kept), 3, 5).decoded().offsets.tolist() == [5, 7]
    bomb = zlib.compress(bytes(500_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="do not fit"):
        parse(forged(kept, **{part: bomb}), 3, 5).decoded()  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def reasons(*told: Any) -> bytes:
    return zlib.compress(json.dumps(told).encode())


def runs(*lengths: int) -> bytes:
    return zlib.compress(np.array(lengths, "<i8").tobytes())


ONE = ["MALFORMED"]
FAR = 5 + (1 << 62)


@pytest.mark.parametrize(
    "changed",
    [
        {"reasons": reasons(ONE, [0, 1 << 62] * 4 + [0, 2])},
        {"reasons": reasons(ONE, [[0, 1], [0, 1]])},
        {"reasons": reasons(ONE, [0, 1, 0])},
        {"reasons": reasons(ONE, [0, 3])},
        {"reasons": reasons(ONE, [0, 3, 0, -1])},
        {"reasons": reasons(ONE, [1, 2])},
        {"reasons": reasons(ONE, [-1, 2])},
        {"reasons": reasons(ONE, 7)},
        {"reasons": reasons(ONE, None, [1, 1])},
        {"reasons": reasons([], None, [])},
        {"reasons": reasons([str(number) for number in range(257)], None, [1] * 257)},
        {"reasons": reasons(["x" * 16_385], None, [2])},
        {"reasons": reasons([7], [0, 2])},
        {"reasons": reasons(ONE, [0, 2]) + b"more"},
        {"reasons": reasons(ONE, [0, 2])[:-4]},
        {"how": RUNS, "offsets": runs(*[1 << 62, 1] * 4, 5), "end": FAR + 4, "count": 5},
        {"how": RUNS, "offsets": runs(1, 1, 1, 1)},
        {"how": RUNS, "offsets": runs(1, -1, 1)},
        {"how": RUNS, "offsets": runs(2, 1)},
        {"how": RUNS, "offsets": runs(1, 2, 1)},
        {"how": BITMAP, "offsets": zlib.compress(b"\x05\0")},
        {"how": BITMAP, "offsets": zlib.compress(b"\x07")},
        {"how": BITMAP, "offsets": zlib.compress(b"\x03")},
    ],
)
def test_parts_that_contradict_the_header_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        parse(forged(made([5, 7], ["MALFORMED"] * 2), **changed), 3, 5).decoded()


@pytest.mark.parametrize(
    "changed",
    [
        {"level": 9}, {"first": -5}, {"how": 2}, {"count": 0}, {"count": 4}, {"end": 5}, {"end": 4},
        {"how": RUNS, "end": FAR, "count": MOST_REJECTED + 1},
        {"how": BITMAP, "end": 5 + MOST_SPAN + 1},
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_is_refused_before_its_parts(changed: dict[str, int]) -> None:
    value = forged(made([5, 7], ["MALFORMED"] * 2), **changed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contradicts itself"):
        parse(value, 3, changed.get("first", 5))


def test_a_later_format_is_refused_by_its_number() -> None:
    value = bytearray(made([5], ["EMPTY"]).value)
    value[4] = 2
    with pytest.raises(UnknownFormatError, match="format 2 is not known; this version reads 1"):
        parse(bytes(value), 3, 5)


@pytest.mark.parametrize(("partition", "first"), [(2, 5), (3, 4)])
def test_another_places_record_is_refused(partition: int, first: int) -> None:
    with pytest.raises(ValueError, match="another record's"):
        parse(made([5], ["EMPTY"]).value, partition, first)


class Topic:
    """One partition's records, as a compacted topic keeps them, and the log that writes them."""

    def __init__(self) -> None:
        self.low = 0
        self.clock = 0.0
        self.log = RejectionLog("state", OWNER, lambda _: self.low, lambda: self.clock)
        self.log.start(0, (), 0)
        self.kept: dict[bytes, bytes] = {}

    def batch(self, first: int, count: int, rows: list[int], reasons: list[str]) -> Any:
        raw = RawRecords(
            BytesColumn.nulls(count), BytesColumn.nulls(count), None, np.zeros(count, np.int32),
            np.arange(first, first + count), np.zeros(count, np.int64),
        )  # fmt: skip
        return self.log.take(raw, rows, reasons)

    def commit(self, noted: Any) -> None:
        for outgoing in noted.outgoing:
            assert set(outgoing.partition.tolist()) == {0}
            for key, value in zip(outgoing.keys, outgoing.values, strict=True):
                self.kept.pop(key, None)
                if value is not None:
                    self.kept[key] = value

    @property
    def size(self) -> int:
        return sum(len(key) + len(value) for key, value in self.kept.items())

    def read(self) -> Rejected:
        found = Rejected(OWNER, 0)
        found.add([(b"a/g/t/0/17/0", b"a bucket"), *self.kept.items(), (b"b/t/0/rejected/1", b"")])
        found.settle()
        return found


def test_a_batch_that_rejects_nothing_writes_nothing() -> None:
    assert Topic().batch(0, 100, [], []).outgoing == ()


@pytest.mark.parametrize("size", [20, 500, 25_000])
@pytest.mark.parametrize("kinds", [1, 3])
def test_a_flood_of_good_and_bad_costs_at_most_a_bit_a_record(size: int, kinds: int) -> None:
    topic = Topic()
    batches = max(100_000 // size, 2 * MERGED_AT_ONCE)
    choose = random.Random(size)  # noqa: S311 random test data
    for number in range(batches):
        rows = list(range(number % 2, size, 2))
        topic.commit(topic.batch(
            number * size, size, rows, [choose.choice(REASONS[:kinds]) for _ in rows]
        ))  # fmt: skip
    records = batches * size
    assert topic.size * 8 <= records
    assert len(topic.kept) <= 6 * MERGED_AT_ONCE
    found = topic.read()
    for number in (0, 1, batches // 2, batches - 1):
        offsets = np.arange(number * size, (number + 1) * size)
        mask = found.among(offsets)
        assert mask is not None
        assert np.flatnonzero(mask).tolist() == list(range(number % 2, size, 2))


def test_the_largest_segments_are_not_merged_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection_log, "MOST_REJECTED", 100)
    topic = Topic()
    for number in range(MERGED_AT_ONCE**2):
        topic.commit(topic.batch(number * 10, 10, [3, 5], ["EMPTY", "FRAMING"]))
    found = topic.read()
    assert {kept.level for kept in found.segments} == {1}
    assert len(found.segments) == MERGED_AT_ONCE
    assert sum(kept.count for kept in found.segments) == 2 * MERGED_AT_ONCE**2
    mask = found.among(np.arange(10 * MERGED_AT_ONCE**2))
    assert mask is not None
    assert np.flatnonzero(mask)[:4].tolist() == [3, 5, 13, 15]
    assert mask.sum() == 2 * MERGED_AT_ONCE**2


def test_merging_a_damaged_segment_stops_with_the_fix() -> None:
    topic = Topic()
    bad = reasons(ONE, [0, 1])
    segments = [
        parse(forged(made([at, at + 2], ONE * 2), reasons=bad), 3, at)
        for at in range(MERGED_AT_ONCE - 1)
    ]
    topic.log.start(0, segments, 0)
    with pytest.raises(StateError, match="state rebuild"):
        topic.batch(100, 10, [3], ONE)


def told_by(letter: str, count: int, letters: int) -> dict[str, bytes]:
    """Return the reasons of two offsets: many, or long ones."""
    names = [f"{number:03}{letter * letters}" for number in range(count)]
    return {"reasons": reasons(names, None, [1] * count)}


@pytest.mark.parametrize(
    ("most", "changed"),
    [
        (0, [told_by("A", 200, 1), told_by("B", 200, 1)]),
        (0, [told_by("A", 1, 16_000), told_by("B", 1, 16_000)]),
        (8, [{}, {}]),
    ],
)
def test_what_is_merged_from_forged_segments_can_be_read(
    most: int, changed: list[dict[str, Any]]
) -> None:
    topic, at = Topic(), 0
    # The newest segments of each level are merged into the next, up to the highest readable level.
    for level in range(most, -1, -1):
        for number in range(MERGED_AT_ONCE - 1):
            key = OWNER.rejected_key(0, at)
            kept = StoredSegment.of(segment(0, np.array([at, at + 2], np.int64), ONE * 2))
            topic.kept[key] = forged(kept, **changed[number % 2], level=level)
            at += 4
    topic.log.start(0, topic.read().segments, 0)
    topic.commit(topic.batch(at, 10, [3], ONE))
    mask = topic.read().among(np.arange(at + 10))
    assert mask is not None
    assert mask.sum() == at // 2 + 1


def test_undone_batches_leave_no_trace() -> None:
    topic, calm = Topic(), Topic()
    choose = random.Random(3)  # noqa: S311 random test data
    first = 0
    for _ in range(200):
        rows = sorted(choose.sample(range(40), choose.randrange(4)))
        reasons = [choose.choice(REASONS) for _ in rows]
        lost = [
            topic.batch(first, 40, rows[:1], reasons[:1]),
            topic.batch(first + 40, 40, [3], ["EMPTY"]),
        ]
        for noted in reversed(lost):
            topic.log.undo(noted)
        for each in (topic, calm):
            each.commit(each.batch(first, 40, rows, reasons))
        first += 40
    assert topic.kept == calm.kept
    # A process that continues from the stored records writes the same as the first one.
    after = Topic()
    after.kept = dict(topic.kept)
    after.log.start(0, after.read().segments, 0)
    for number in range(40):
        for each in (topic, after):
            each.commit(each.batch(first + number, 1, [0], ["EMPTY"]))
    assert topic.read().segments == after.read().segments


def test_undoing_a_batch_of_a_returned_partition_changes_nothing() -> None:
    topic = Topic()
    topic.commit(topic.batch(0, 10, [3], ["EMPTY"]))
    lost = topic.batch(10, 10, [3], ["EMPTY"])
    topic.log.stop(0)
    topic.log.undo(lost)
    topic.log.start(0, topic.read().segments, 0)
    topic.log.undo(lost)
    topic.commit(topic.batch(10, 10, [4], ["EMPTY"]))
    assert [kept.first for kept in topic.log._segments[0]] == [3, 14]


def test_exactly_what_retention_deleted_is_removed() -> None:
    topic = Topic()
    for number in range(8):
        topic.commit(topic.batch(number * 10, 10, [3, 5], ["EMPTY", "FRAMING"]))
    assert len(topic.kept) == 8
    topic.low, topic.clock = 25, 10_000.0
    topic.commit(topic.batch(80, 10, [0], ["EMPTY"]))  # triggers the removal
    while not all(asked.done() for asked in topic.log._asking.values()):
        pass
    topic.commit(topic.batch(90, 10, [0], ["EMPTY"]))
    found = topic.read()
    assert [kept.first for kept in found.segments] == [23, *range(33, 80, 10), 80, 90]
    assert (found.reason(25), found.reason(24), found.reason(33)) == ("FRAMING", "", "EMPTY")


def test_rejections_from_an_offset_on_are_removed_to_judge_again() -> None:
    topic = Topic()
    for number in range(3):
        topic.commit(topic.batch(number * 10, 10, [3, 5], ["EMPTY", "FRAMING"]))
    found = topic.read()
    for key, value in found.without(15):
        topic.kept.pop(key)
        if value is not None:
            topic.kept[key] = value
    again = topic.read()
    assert again.end == found.end == 14
    assert [again.reason(offset) for offset in (5, 13, 15, 23)] == ["FRAMING", "EMPTY", "", ""]


@pytest.mark.parametrize(
    ("at", "told"), [(-1, "the checksum"), (4, "format 2 is not known")], ids=["damaged", "later"]
)
def test_a_complete_rebuild_ignores_an_unreadable_segment(at: int, told: str) -> None:
    topic = Topic()
    for number in range(2):
        topic.commit(topic.batch(number * 10, 10, [3], ["EMPTY"]))
    key = OWNER.rejected_key(0, 13)
    value = bytearray(topic.kept[key])
    value[at] ^= 3
    topic.kept[key] = bytes(value)
    with pytest.raises(ValueError, match=f"rejections from offset 13: {told}"):
        topic.read()
    found = Rejected(OWNER, 0)
    found.add(list(topic.kept.items()))
    assert found.settle(forgive=True) == [13]
    assert [kept.first for kept in found.segments] == [3]


@pytest.mark.parametrize("place", ["0/rejected/03", "00/rejected/3", "0/rejected/\u0663"])
def test_a_key_has_one_form(place: str) -> None:
    topic = Topic()
    topic.commit(topic.batch(0, 10, [3], ["EMPTY"]))
    # No command would remove such a record.
    topic.kept[f"a/g/t/{place}".encode()] = b"damaged"
    assert [kept.first for kept in topic.read().segments] == [3]


def test_rejections_for_more_reasons_than_fit_are_remembered() -> None:
    topic = Topic()
    found = topic.read()
    found.adopt({offset: "R" * (offset % 40) + "_" * (offset // 40) for offset in range(400)})
    mask = found.among(np.arange(400))
    assert mask is not None
    assert mask.all()
    assert found.reason(399) == "VARIOUS"


@pytest.mark.parametrize(("level", "count"), [(0, LARGEST_BATCH), (1, MOST_REJECTED)])
def test_the_largest_segment_fits_a_record(level: int, count: int) -> None:
    """Offsets without any pattern, each of which may have another reason.

    A transaction writes one segment of level 0, and rejects at most a batch.
    """
    chosen = np.random.default_rng(5).choice(MOST_SPAN, count, replace=False)
    offsets = np.sort(chosen) + 2**40
    reasons = [REASONS[number] for number in (chosen % 3).tolist()]
    kept = StoredSegment.of(replace(segment(3, offsets, reasons), level=level))
    assert len(kept.value) < 1_000_000
