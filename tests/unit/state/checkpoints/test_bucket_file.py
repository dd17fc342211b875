"""Any flipped bit of a bucket's file is found, by its own checksum or by its records'."""

import zlib
from dataclasses import replace

import pytest

from stream_scorer.state.checkpoints import formats
from stream_scorer.state.checkpoints.bucket_file import pack, unpack
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner

OWNER = Owner("g", "t")
PAYLOAD = bytes(range(60)) + zlib.crc32(bytes(range(60))).to_bytes(4, "little")
CHECKED = Bucket(1, 3, 10, 4, 1, 7, 60, {"input": 5}, PAYLOAD, 4096, "EUR/2", 2)
PLAIN = replace(CHECKED, format=1)
CHECKSUM_BYTES = 12


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 40)


def values(bucket: Bucket) -> list[bytes]:
    found = [value for _, value in bucket.records(OWNER)]
    assert len(found) == 2
    return found


def plainly(values: list[bytes]) -> bytes:
    """Return a file without its own checksum."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def read(data: bytes) -> Bucket:
    """Return the bucket of a file as a restore reads it.

    Raises:
        ValueError: It is refused.
    """
    assembly = Assembly(OWNER, 1)
    assembly.add((OWNER.key(1, 3, part), value) for part, value in enumerate(unpack(data)))
    return assembly.buckets()[3]


@pytest.mark.parametrize("bucket", [PLAIN, CHECKED])
def test_it_is_read_as_it_was_written(bucket: Bucket) -> None:
    assert read(pack(values(bucket))) == bucket


@pytest.mark.parametrize("bucket", [PLAIN, CHECKED])
def test_no_flipped_bit_is_accepted(bucket: Bucket) -> None:
    whole = pack(values(bucket))
    accepted = []
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            try:
                read(bytes(flipped))
            except ValueError:
                continue
            accepted.append((at, bit))
    assert accepted == []


def test_what_carries_its_checksum_gets_no_second_one() -> None:
    assert pack(values(CHECKED)) == plainly(values(CHECKED))
    assert len(pack(values(PLAIN))) == len(plainly(values(PLAIN))) + CHECKSUM_BYTES


def test_where_it_is_there_it_is_checked_whatever_the_format() -> None:
    body = plainly(values(CHECKED))
    checksum = zlib.crc32(body)
    for found, sound in ((checksum, True), (checksum ^ 1, False)):
        data = body + b"\x08\0\0\0SCRC" + found.to_bytes(4, "little")
        if sound:
            assert read(data) == CHECKED
        else:
            with pytest.raises(ValueError, match="checksum does not match"):
                read(data)


def test_a_payload_that_ends_like_one_is_a_payload() -> None:
    bucket = replace(CHECKED, payload=b"\x08\0\0\0SCRCfour")
    (value,) = (value for _, value in bucket.records(OWNER))
    assert read(pack([value])) == bucket


@pytest.mark.parametrize("bucket", [PLAIN, CHECKED])
def test_a_cut_off_file_is_refused_unless_cut_at_its_checksum(bucket: Bucket) -> None:
    whole, body = pack(values(bucket)), plainly(values(bucket))
    for length in range(len(whole)):
        if length == len(body):
            assert read(whole[:length]) == bucket
            continue
        with pytest.raises(ValueError, match=r"the file is|part 1 is missing"):
            read(whole[:length])
    for behind in (b"\0", b"zz", whole + b"\0"):
        with pytest.raises(ValueError, match="the file is damaged"):
            read(whole + behind)


def test_a_file_from_before_the_checksum_is_read() -> None:
    assert read(plainly(values(PLAIN))) == PLAIN


def test_a_reader_from_before_the_checksum_passes_it_over() -> None:
    """It read a file as records after their lengths, and each record as the part of that number."""
    data, at = pack(values(PLAIN)), 0
    found: list[tuple[bytes, bytes]] = []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append((OWNER.key(1, 3, len(found)), data[at + 4 : at + 4 + length]))
        at += 4 + length
    assert len(found) == len(values(PLAIN)) + 1
    assembly = Assembly(OWNER, 1)
    assembly.add(found)
    assert assembly.buckets() == {3: PLAIN}
