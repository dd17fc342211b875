"""The checkpoint's format: records are read as written, and all others are refused or skipped."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.state.checkpoints import formats
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner, partitions_of

OWNER = Owner("group/of two", "transactions")

buckets = st.builds(
    Bucket,
    partition=st.integers(0, 500),
    bucket=st.integers(0, BUCKETS - 1),
    offset=st.integers(0, 2**62),
    partitions=st.integers(1, 1_000),
    engine=st.integers(0, 9),
    watermark=st.one_of(st.just(-(2**63)), st.integers(-(2**60), 2**60)),
    horizon=st.integers(0, 2**40),
    since=st.dictionaries(st.sampled_from(["amount", "mcc", "x y"]), st.integers(0, 2**60)),
    payload=st.binary(max_size=60),
    cap=st.integers(0, 2**20),
    unit=st.sampled_from(["", "EUR/2", "KWD/3"]),
    format=st.just(1),
)


def assembled(bucket: Bucket, owner: Owner = OWNER) -> dict[int, Bucket]:
    assembly = Assembly(owner, bucket.partition)
    assembly.add(bucket.records(OWNER))
    return assembly.buckets()


@given(buckets)
def test_a_bucket_comes_back(bucket: Bucket) -> None:
    assert assembled(bucket) == {bucket.bucket: bucket}
    ((key, value),) = bucket.records(OWNER)
    assert partitions_of(OWNER, key, value) == bucket.partitions


def test_format_1_is_this_one() -> None:
    bucket = Bucket(3, 17, 250, 4, 1, 99, 60, {"input": 5}, b"payload", format=1)
    ((key, value),) = bucket.records(Owner("g", "t"))
    assert key == b"g/t/3/17/0"
    assert value[:6] == b"SCKP\x01\x00"
    assert value[10:] == (
        b'{"bucket":17,"buckets":1024,"bytes":7,"engine":1,"horizon":60,"offset":250,"part":0,"partition":3,'
        b'"partitions":4,"parts":1,"since":{"input":5},"watermark":99}payload'
    )
    assert int.from_bytes(value[6:10], "little") == len(value) - 10 - len(b"payload")


def test_cap_and_unit_are_where_an_earlier_reader_ignores_them() -> None:
    bucket = Bucket(3, 17, 250, 4, 1, 99, 60, {"input": 5}, b"payload", 4096, "EUR/2", 1)
    ((_, value),) = bucket.records(OWNER)
    assert b'"since":{"@cap":4096,"@unit=EUR/2":0,"input":5},' in value
    assert value[4:6] == b"\x01\x00"


def test_a_large_bucket_has_parts_and_a_smaller_successor_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 10)
    large = Bucket(0, 5, 100, 4, 1, 7, 60, {}, bytes(range(35)))
    small = Bucket(0, 5, 200, 4, 1, 8, 60, {}, bytes(range(12)))
    assert [len(each.records(OWNER)) for each in (large, small)] == [4, 2]
    assembly = Assembly(OWNER, 0)
    assembly.add(large.records(OWNER))
    assembly.add(small.records(OWNER))
    assert assembly.buckets() == {5: small}


def test_parts_of_two_dumps_or_too_few_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 10)
    old = Bucket(0, 5, 100, 4, 1, 7, 60, {}, bytes(30)).records(OWNER)
    new = Bucket(0, 5, 200, 4, 1, 7, 60, {}, bytes(30)).records(OWNER)
    for records, told in (
        ([*old, new[0]], "another dump"),
        (new[:2], "part 2 is missing"),
        (new[1:], "part 0 is missing"),
        ([*new, (new[1][0], None)], "part 1 is missing"),
    ):
        assembly = Assembly(OWNER, 0)
        assembly.add(records)
        with pytest.raises(ValueError, match=told):
            assembly.buckets()


def test_other_owners_and_partitions_are_skipped() -> None:
    bucket = Bucket(2, 5, 100, 4, 1, 7)
    assert assembled(bucket, Owner("group", "transactions")) == {}
    assembly = Assembly(OWNER, 1)
    assembly.add([*bucket.records(OWNER), (None, b"x"), (b"\xff", b"x"), (b"a/b/c", b"x")])
    assert assembly.buckets() == {}


def test_a_removed_record_is_gone() -> None:
    ((key, value),) = Bucket(0, 5, 100, 4, 1, 7).records(OWNER)
    assembly = Assembly(OWNER, 0)
    assembly.add([(key, value), (key, None)])
    assert assembly.buckets() == {}


@given(buckets, st.randoms(use_true_random=False))
def test_a_damaged_record_is_refused_or_harmless(bucket: Bucket, choose: random.Random) -> None:
    """Without a checksum, a changed number within its range is not detected; other changes are."""
    ((key, value),) = bucket.records(OWNER)
    header_end = 10 + int.from_bytes(value[6:10], "little")
    kind = choose.randrange(3)
    if kind == 0:
        damaged = value[: choose.randrange(len(value))]
    elif kind == 1:
        damaged = value + b"x"
    else:
        at = choose.randrange(10)
        damaged = value[:at] + bytes([value[at] ^ (1 << choose.randrange(8))]) + value[at + 1 :]
    assert header_end <= len(value)
    assembly = Assembly(OWNER, bucket.partition)
    assembly.add([(key, damaged)])
    with pytest.raises(ValueError, match="bucket"):
        assembly.buckets()


@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    assembly = Assembly(OWNER, 0)
    assembly.add([(OWNER.key(0, 0, 0), noise)])
    with pytest.raises(ValueError, match="bucket 0"):
        assembly.buckets()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"offset": -1}, "offset is -1"),
        ({"offset": True}, "offset is True"),
        ({"offset": 1.0}, "offset is 1.0"),
        ({"watermark": None}, "watermark is None"),
        ({"since": []}, "since is"),
        ({"since": {"a": "b"}}, "since is"),
        ({"since": {"@more": 1}}, "since is"),
        ({"since": {"@unit=EUR/2": 0, "@unit=USD/2": 0}}, "since is"),
        ({"since": {"@cap": -1}}, "the cap is -1"),
        ({"buckets": 512}, "512 buckets"),
        ({"parts": 0}, "out of range"),
        ({"bucket": 6}, "another record's"),
        ({"partition": 1}, "another record's"),
        ({"more": 1}, "names"),
    ],
)
def test_a_header_with_other_content_is_refused(change: dict[str, object], told: str) -> None:
    ((key, value),) = Bucket(0, 5, 100, 4, 1, 7, format=1).records(OWNER)
    head = json.dumps(json.loads(value[10:]) | change).encode()
    assembly = Assembly(OWNER, 0)
    assembly.add([(key, value[:6] + len(head).to_bytes(4, "little") + head)])
    with pytest.raises(ValueError, match=told):
        assembly.buckets()
