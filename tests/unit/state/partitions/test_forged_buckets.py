"""A forged bucket is refused in one line, whatever its lengths and numbers are.

A forger can compute checksums, so all forged buckets have correct ones.
"""

import json
import os
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.buckets import bucket_of
from stream_scorer.core.rings.payload import sound
from stream_scorer.errors import NotWarmError, StateError
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import CheckpointStore
from stream_scorer.settings import Settings
from stream_scorer.state.checkpoints.formats import HEADER_BYTES_MOST, Bucket, checksum_of
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.state.partitions.readiness import Warmth
from stream_scorer.state.partitions.restorer import Restoration
from stream_scorer.state.stores import file_store
from stream_scorer.state.stores.file_store import FileStore
from tests.support.state.stores import MemoryStore
from tests.unit.state.partitions.test_restorer import Input, run

OWNER = Owner("g", "t")
HOME = int(bucket_of(pa.array(["c"]))[0])
MODEL = load_model(Settings(), Deployment())[0]
MEMORY_MOST = 32_000_000


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def sealed(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return body + zlib.crc32(body).to_bytes(4, "little")


NO_FIELDS = b"\x01\x00"
ONE = varint(1)
CUSTOMER = b"\x01c"
NEWEST = varint(2 * 10**12)
EVENT = b"\x00\x02" + bytes(8)
SOUND = sealed(NO_FIELDS, ONE, CUSTOMER, NEWEST, ONE, EVENT)

PAYLOADS = {
    "an id longer than the payload": sealed(NO_FIELDS, ONE, varint(2**30), b"c", NEWEST, ONE),
    "an id of 2^62 bytes": sealed(NO_FIELDS, ONE, varint(2**62), b"c", NEWEST, ONE),
    "an id of negative length": sealed(NO_FIELDS, ONE, varint(2**64 - 4096), b"c", NEWEST, ONE),
    "2^61 customers": sealed(NO_FIELDS, varint(2**61), CUSTOMER, NEWEST, ONE, EVENT),
    "a negative count of customers": sealed(NO_FIELDS, varint(2**63), CUSTOMER, NEWEST, ONE, EVENT),
    "as many customers as bytes": sealed(NO_FIELDS, varint(19), CUSTOMER, NEWEST, ONE, EVENT),
    "2^40 events": sealed(NO_FIELDS, ONE, CUSTOMER, NEWEST, varint(2**40), EVENT),
    "2^30 events": sealed(NO_FIELDS, ONE, CUSTOMER, NEWEST, varint(2**30), EVENT),
    "a negative count of events": sealed(
        NO_FIELDS, ONE, CUSTOMER, NEWEST, varint(2**63 + 1), EVENT
    ),
    "a time before all times": sealed(
        NO_FIELDS, ONE, CUSTOMER, NEWEST, ONE, varint(2**62), b"\x02", bytes(8)
    ),
    "a newest time of 2^62": sealed(NO_FIELDS, ONE, CUSTOMER, varint(2**63), ONE, EVENT),
    "bytes behind the rings": sealed(NO_FIELDS, ONE, CUSTOMER, NEWEST, ONE, EVENT, b"\x00"),
    "more fields than bytes": sealed(b"\x01\xff", ONE, CUSTOMER),
    "a field name past the end": sealed(b"\x01\x01\xff", b"mcc"),
    "one byte": b"\x01",
    "a number in ten bytes too many": sealed(NO_FIELDS, b"\xff" * 11),
    "a customer of another bucket": sealed(NO_FIELDS, ONE, b"\x01d", NEWEST, ONE, EVENT),
}  # fmt: skip

HEADERS: dict[str, dict[str, Any]] = {
    "an offset of 2^80": {"offset": 2**80},
    "a watermark of 2^80": {"watermark": 2**80},
    "a watermark of 2^62": {"watermark": 2**62},
    "a horizon of 10^400": {"horizon": 10**400},
    "a cap of 2^63": {"cap": 2**63},
    "partitions of 2^70": {"partitions": 2**70},
    "a reason's time of 2^63": {"since": {"input": 2**63}},
    "ten thousand reasons": {"since": {str(n): 1 for n in range(6_000)}},
    "a unit that moves the cursor": {"unit": "EUR/2\x1b[2J"},
    "a reason with a line's end": {"since": {"a\nb": 1}},
    "a unit of 300 letters": {"unit": "E" * 300},
    "a unit that is no text": {"unit": "\ud800"},
    "a header of 80 KiB": {"unit": "E" * 81_920},
}


def forged(payload: bytes = SOUND, head: bytes | None = None, **changes: Any) -> bytes:
    """Return a record of format 2 with forged fields."""
    bucket = Bucket(0, HOME, 90, 4, RINGS_ENGINE, 10**12, 10**12, {}, payload, 0, "")
    ((_, value),) = bucket.records(OWNER)
    header = json.loads(value[14 : 14 + int.from_bytes(value[6:10], "little")])
    text = json.dumps(header | changes).encode() if head is None else head
    checksum = checksum_of(text, payload).to_bytes(4, "little")
    return value[:6] + len(text).to_bytes(4, "little") + checksum + text + payload


def restore(store: CheckpointStore) -> PartitionRings:
    rings = PartitionRings(MODEL.features)
    source = Input()
    restoration = Restoration("t", source, OWNER, store, rings, source.open)
    restoration.expect({0})
    run(restoration.open(0, 100))
    return rings


def store_of(value: bytes) -> MemoryStore:
    store = MemoryStore()
    store.write(0, [(OWNER.key(0, HOME, 0), value)])
    return store


@pytest.mark.parametrize(
    "changes",
    [{"since": {"horizon": 1 << 61}}, {"since": {"horizon": 1 << 62}}, {"watermark": 1 << 60,
     "horizon": 1}, {"since": {"horizon": -(1 << 62)}, "watermark": -(1 << 60)}],
)  # fmt: skip
def test_history_of_a_far_time_is_judged_in_one_line(changes: dict[str, Any]) -> None:
    """A time that is valid in a bucket may be outside of the calendar."""
    rings = PartitionRings(MODEL.features)
    source = Input()
    restoration = Restoration("t", source, OWNER, store_of(forged(**changes)), rings, source.open)
    restoration.expect({0})
    opened = restoration.open(0, 100)
    run(opened)
    assert opened.restored is not None
    since, watermark = opened.restored.since, rings.of(0).watermark
    warmth = Warmth(lambda _: None)
    with pytest.raises(NotWarmError, match="have too little history") as raised:
        warmth.judge(0, since, watermark, MODEL)
    assert "\n" not in raised.value.what
    assert warmth.lacking(0, since, watermark, [MODEL]) == raised.value.what


def refused(value: bytes) -> str:
    """Restore a record; return the error as the command line prints it."""
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="state rebuild") as raised:
            restore(store_of(value))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MOST
    finally:
        tracemalloc.stop()
    told = str(raised.value)
    assert told.isprintable()
    assert len(told) < 400
    return told


def test_the_record_without_a_forgery_is_accepted() -> None:
    assert len(restore(store_of(forged())).of(0)) == 1


@pytest.mark.parametrize("cap", [0, 1], ids=["rings alone", "rings that were cut short"])
@pytest.mark.parametrize("case", PAYLOADS)
def test_rings_whose_lengths_or_times_cannot_be_are_refused(case: str, cap: int) -> None:
    """With a smaller cap, the rings are read once more, to find out which of them were full."""
    assert f"bucket {HOME}: bucket: " in refused(forged(PAYLOADS[case], cap=cap))


@pytest.mark.parametrize("case", sorted(PAYLOADS.keys() - {"a customer of another bucket"}))
def test_the_commands_that_show_rings_refuse_them_too(case: str) -> None:
    for read in (columns_of, sound):
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="bucket: "):
                read(PAYLOADS[case])
            assert tracemalloc.get_traced_memory()[1] < MEMORY_MOST
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("case", HEADERS)
def test_headers_whose_numbers_or_texts_cannot_be_are_refused(case: str) -> None:
    assert f"bucket {HOME} part 0" in refused(forged(**HEADERS[case]))


@pytest.mark.parametrize(
    "head",
    [b"[" * 60_000, b"9" * 60_000, b'{"a":' * 10_000, b" " * (HEADER_BYTES_MOST + 1), b"\xff{}"],
    ids=["deep lists", "a long number", "deep objects", "too long", "no UTF-8"],
)
def test_headers_that_are_not_our_json_are_refused(head: bytes) -> None:
    assert f"bucket {HOME} part 0" in refused(forged(head=head))


@pytest.mark.parametrize(
    "key", ["g/t/0/{}/00", "g/t/00/{}/0", "g/t/0/0{}/0", "g/t/\N{ARABIC-INDIC DIGIT ZERO}/{}/0",
            "g/t/0/{}/" + "1" * 5_000],
)  # fmt: skip
def test_a_place_has_one_key(key: str) -> None:
    ours = OWNER.key(0, HOME, 0)
    assembly = Assembly(OWNER, 0)
    assembly.add([(ours, forged(offset=90)), (key.format(HOME).encode(), forged(offset=1))])
    assert assembly.buckets()[HOME].offset == 90


def test_a_file_larger_than_any_bucket_is_not_read(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    store.write(0, [(OWNER.key(0, HOME, 0), forged())])
    (path,) = (tmp_path / "g" / "t" / "0").iterdir()
    os.truncate(path, file_store.FILE_BYTES_MOST + 1)
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="state rebuild") as raised:
            restore(store)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MOST
    finally:
        tracemalloc.stop()
    assert "a file of 1073741825 bytes" in str(raised.value)
    assert store.sample() == []


def test_noise_with_a_valid_checksum_is_refused_or_harmless() -> None:
    random = np.random.default_rng(5)
    for _ in range(3_000):
        body = bytearray(SOUND[:-4])
        for _ in range(random.integers(1, 4)):
            body[random.integers(0, len(body))] = random.integers(0, 256)
        try:
            columns = columns_of(sealed(bytes(body)))
        except ValueError:
            continue
        assert columns.payload(list(range(len(columns.customers)))) == sealed(bytes(body))
