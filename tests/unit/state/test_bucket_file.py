"""A bucket's file: any flipped bit is found, and files from before the checksum are read."""

import pytest

from stream_scorer.state.bucket_file import pack, unpack
from stream_scorer.state.checkpoint import Assembly, Bucket, Owner

OWNER = Owner("g", "t")
BUCKET = Bucket(1, 3, 10, 4, 1, 7, 60, {"input": 5}, bytes(range(200)), 4096, "EUR/2")
VALUES = [value for _, value in BUCKET.records(OWNER)]
TRAILER_BYTES = 12


def legacy(values: list[bytes]) -> bytes:
    """Return a file as it was before there was a checksum."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


def test_no_flipped_bit_is_accepted() -> None:
    whole = pack(VALUES * 2)
    accepted = []
    for at in range(len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            try:
                unpack(bytes(flipped))
            except ValueError:
                continue
            accepted.append((at, bit))
    assert accepted == []


def test_a_file_that_is_cut_off_is_refused_or_whole_but_for_its_checksum() -> None:
    whole = pack(VALUES)
    for length in range(len(whole)):
        if length == len(whole) - TRAILER_BYTES:
            assert unpack(whole[:length]) == VALUES
            continue
        with pytest.raises(ValueError, match="the file is"):
            unpack(whole[:length])
    for behind in (b"\0", b"zz", whole):
        with pytest.raises(ValueError, match="the file is damaged"):
            unpack(whole + behind)


def test_a_file_from_before_the_checksum_is_read() -> None:
    values = [b"SCKP one", b"SCKP two!"]
    assert unpack(legacy(values)) == values


def test_a_reader_from_before_the_checksum_passes_it_over() -> None:
    """It took a file for records behind their lengths, and each for a part by its place."""
    data, at = pack(VALUES), 0
    found: list[tuple[bytes, bytes]] = []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        found.append((OWNER.key(1, 3, len(found)), data[at + 4 : at + 4 + length]))
        at += 4 + length
    assert len(found) == len(VALUES) + 1
    assembly = Assembly(OWNER, 1)
    assembly.add(found)
    assert assembly.buckets() == {3: BUCKET}
