"""Format 2 of the checkpoint: any change is detected; format 1 is still read."""

import random
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.errors import StateError
from stream_scorer.state.checkpoints import formats
from stream_scorer.state.checkpoints.formats import Bucket, UnknownFormatError
from stream_scorer.state.checkpoints.ownership import Assembly, Owner, partitions_of
from stream_scorer.state.checkpoints.restore_rules import Takeover, damaged

OWNER = Owner("group/of two", "transactions")
TAKEN = Takeover("transactions", 0, 4, 10, fresh=False, low=0, engine=1, group="g")

buckets = st.builds(
    Bucket,
    partition=st.just(0),
    bucket=st.integers(0, BUCKETS - 1),
    offset=st.integers(0, 2**62),
    partitions=st.integers(1, 1_000),
    engine=st.integers(0, 9),
    watermark=st.one_of(st.just(-(2**63)), st.integers(-(2**60), 2**60)),
    horizon=st.integers(0, 2**40),
    since=st.dictionaries(st.sampled_from(["amount", "mcc", "x y", "@cap"]), st.integers(0, 2**60)),
    payload=st.binary(max_size=60),
    cap=st.integers(0, 2**20),
    unit=st.sampled_from(["", "EUR/2", "KWD/3"]),
    format=st.just(2),
)


def assembled(*records: tuple[bytes, bytes | None]) -> dict[int, Bucket]:
    assembly = Assembly(OWNER, 0)
    assembly.add(records)
    return assembly.buckets()


def sound(rings: bytes) -> bytes:
    """Return a payload as rings give it, with its own CRC-32 at the end."""
    return rings + zlib.crc32(rings).to_bytes(4, "little")


def headed(bucket: Bucket, payload: bytes) -> bytes:
    """Return a bucket's only record with another payload."""
    ((_, value),) = bucket.records(OWNER)
    assert value.endswith(bucket.payload)
    return value.removesuffix(bucket.payload) + payload


@given(buckets)
def test_a_bucket_comes_back(bucket: Bucket) -> None:
    ((key, value),) = bucket.records(OWNER)
    assert assembled((key, value)) == {bucket.bucket: bucket}
    assert partitions_of(OWNER, key, value) == bucket.partitions


def test_format_2_is_this_one() -> None:
    bucket = Bucket(3, 17, 250, 4, 1, 99, 60, {"input": 5}, b"payload", 4096, "EUR/2")
    ((key, value),) = bucket.records(Owner("g", "t"))
    assert key == b"g/t/3/17/0"
    assert value[:6] == b"SCKP\x02\x00"
    head = (
        b'{"bucket":17,"buckets":1024,"bytes":7,"cap":4096,"engine":1,"horizon":60,"offset":250,'
        b'"part":0,"partition":3,"partitions":4,"parts":1,"since":{"input":5},"unit":"EUR/2",'
        b'"watermark":99}'
    )
    assert int.from_bytes(value[6:10], "little") == len(head)
    assert int.from_bytes(value[10:14], "little") == zlib.crc32(head + b"load" + b"pay")
    assert value[14:] == head + b"payload"


@given(buckets, st.randoms(use_true_random=False))
def test_no_changed_byte_is_missed(bucket: Bucket, choose: random.Random) -> None:
    ((key, value),) = bucket.records(OWNER)
    at = choose.randrange(len(value))
    changed = value[:at] + bytes([value[at] ^ choose.randrange(1, 256)]) + value[at + 1 :]
    for damage in (changed, value[:at], value + b"x", value[:at] + b"0" + value[at:]):
        with pytest.raises(ValueError, match=f"bucket {bucket.bucket}"):
            assembled((key, damage))


@pytest.mark.parametrize("change", [{"offset": 100}, {"watermark": 8}, {"cap": 7}, {"unit": "X/0"}])
def test_a_label_that_is_not_the_payloads_is_refused(change: dict[str, int | str]) -> None:
    """Format 1 cannot detect it, because each number is within its range."""
    there = Bucket(0, 5, 200, 4, 1, 7, 60, {}, b"rings", 9, "EUR/2")
    changed: Bucket = replace(there, **change)  # type: ignore[arg-type]
    ((key, value),), ((_, other),) = there.records(OWNER), changed.records(OWNER)
    # The header of the other record, with this one's checksum.
    mixed = other[:10] + value[10:14] + other[14:]
    with pytest.raises(ValueError, match="bucket 5: its checksum is 0x"):
        assembled((key, mixed))
    with pytest.raises(ValueError, match="bucket 5: its checksum is 0x"):
        partitions_of(OWNER, key, mixed)


@given(st.binary(min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_another_buckets_valid_payload_is_noticed(rings: bytes, choose: random.Random) -> None:
    """Both end with their own CRC-32, so a CRC of header and then payload would be equal."""
    other = bytearray(rings)
    other[choose.randrange(len(other))] ^= choose.randrange(1, 256)
    ours, theirs = sound(rings), sound(bytes(other))
    assert zlib.crc32(b"header" + ours) == zlib.crc32(b"header" + theirs)
    bucket = Bucket(0, 5, 200, 4, 1, 7, 60, {}, ours)
    key = OWNER.key(0, 5, 0)
    assert assembled((key, headed(bucket, ours))) == {5: bucket}
    with pytest.raises(ValueError, match="bucket 5: its checksum"):
        assembled((key, headed(bucket, theirs)))


def test_parts_carry_the_checksum_of_the_entire_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 10)
    bucket = Bucket(0, 5, 200, 4, 1, 7, 60, {}, bytes(range(25)))
    records = bucket.records(OWNER)
    assert len(records) == 3
    assert {value[10:14] for _, value in records} == {records[0][1][10:14]}
    assert assembled(*records) == {5: bucket}
    # A part has its place; a change of its other bytes is only detected in the complete bucket.
    key, last = records[2]
    with pytest.raises(ValueError, match="bucket 5: its checksum"):
        assembled(*records[:2], (key, last[:-1] + b"x"))
    other = replace(bucket, payload=bytes(25)).records(OWNER)
    with pytest.raises(ValueError, match="part 1 is of another dump"):
        assembled(records[0], other[1], records[2])
    before = replace(bucket, format=1).records(OWNER)
    with pytest.raises(ValueError, match="part 2 is of another dump"):
        assembled(*records[:2], before[2])
    # One record of several only shows the number of partitions.
    assert partitions_of(OWNER, *records[1]) == 4


def test_buckets_of_both_formats_can_be_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each bucket has the format of its last write, whether it is larger or smaller than before."""
    monkeypatch.setattr(formats, "PART_BYTES", 10)
    old = Bucket(0, 5, 100, 4, 1, 7, 60, {"input": 3}, bytes(25), 9, "EUR/2", 1)
    new = replace(old, offset=200, payload=bytes(range(12)), format=2)
    other = replace(old, bucket=6)
    upgraded = [*old.records(OWNER), *other.records(OWNER), *new.records(OWNER)]
    assert assembled(*upgraded) == {5: new, 6: other}
    downgraded = [*replace(new, payload=bytes(35)).records(OWNER), *old.records(OWNER)]
    assert assembled(*downgraded) == {5: old}
    for bucket in (old, new):
        assert {value[4] for _, value in bucket.records(OWNER)} == {bucket.format}


def test_a_later_format_is_refused_by_its_number() -> None:
    ((key, value),) = Bucket(0, 5, 100, 4, 1, 7).records(OWNER)
    later = value[:4] + (3).to_bytes(2, "little") + value[6:]
    for read in (lambda: assembled((key, later)), lambda: partitions_of(OWNER, key, later)):
        with pytest.raises(UnknownFormatError) as raised:
            read()
    error = damaged(TAKEN, raised.value)
    assert error.exit_code == 9
    assert error.what == (
        "checkpoint of transactions partition 0: bucket 5 part 0: format 3 is not known; this "
        "version reads 1 and 2"
    )
    assert error.fix == (
        "run the version that wrote it, or a later one, or, with every scorer of the group "
        "stopped: stream-scorer state rebuild"
    )


def test_what_is_damaged_names_bucket_and_command() -> None:
    ((key, value),) = Bucket(0, 5, 100, 4, 1, 7, payload=b"rings").records(OWNER)
    with pytest.raises(ValueError, match="bucket 5") as raised:
        assembled((key, value[:-1] + b"x"))
    error = damaged(TAKEN, raised.value)
    assert isinstance(error, StateError)
    assert error.exit_code == 9
    assert error.what.startswith("checkpoint of transactions partition 0: bucket 5: its checksum")
    assert error.fix == "with every scorer of the group stopped: stream-scorer state rebuild"
    assert "\n" not in str(error)
