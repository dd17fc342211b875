"""Records that are sliced, joined or reordered keep their headers."""

import numpy as np

from stream_scorer.ports import BytesColumn, Headers, RawRecords


def raw(first: int, headers: list[Headers] | None) -> RawRecords:
    """Return three records with the offsets ``first`` and following."""
    offset = np.arange(first, first + 3)
    return RawRecords(
        BytesColumn.of(b"%d" % at for at in offset.tolist()), BytesColumn.nulls(3), headers,
        np.zeros(3, np.int32), offset, offset,
    )  # fmt: skip


A: Headers = [("seconds.score", b"1")]
B: Headers = [("seconds.score", b"2")]


def told(records: RawRecords) -> list[tuple[bytes | None, Headers]]:
    headers = records.headers or [None] * len(records)
    return list(zip(records.values, headers, strict=True))


def test_joined_records_have_the_headers_of_their_piece() -> None:
    both = RawRecords.join([raw(0, [A, None, B]), raw(3, None)])
    assert told(both) == [
        (b"0", A),
        (b"1", None),
        (b"2", B),
        (b"3", None),
        (b"4", None),
        (b"5", None),
    ]
    assert RawRecords.join([raw(0, None), raw(3, None)]).headers is None


def test_taken_records_have_theirs_in_the_new_order() -> None:
    assert told(raw(0, [A, None, B]).take(np.array([2, 0]))) == [(b"2", B), (b"0", A)]
    assert raw(0, None).take(np.array([2, 0])).headers is None


def test_a_part_and_another_number_keep_theirs() -> None:
    assert told(raw(0, [A, None, B]).between(1, 3)) == [(b"1", None), (b"2", B)]
    assert told(raw(0, [A, None, B]).of_partition(7))[0] == (b"0", A)
