"""Rejection records, forged by an attacker who may write to the state topic."""

import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, cases, entry
from bench.hostile_cases.data.buckets import payload, records_of, restored, ring

_FIRST: Final = 40
_REASONS: Final = b'[["CURRENCY"],[0,3]]'


def _segment(
    *, first: int = _FIRST, end: int = _FIRST + 3, count: int = 3, how: int = 0,
    offsets: bytes = zlib.compress(b"\7"), reasons: bytes = zlib.compress(_REASONS),
    number: int = 1, level: int = 0, sizes: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """Return a segment with a valid checksum, whatever its contents."""
    of_offsets, of_reasons = sizes or (len(offsets), len(reasons))
    body = struct.pack("<BBIqqIII", level, how, 0, first, end, count, of_offsets, of_reasons)
    body += offsets + reasons
    return struct.pack("<4sHI", b"SREJ", number, zlib.crc32(body)) + body


def _with(
    value: Callable[[], bytes], key: bytes = b"g/t/0/rejected/40", **group: int
) -> Callable[[Place], str]:
    """Restore a good bucket with an attacker's segment; replay records of offsets 40 to 42."""

    def run(place: Place) -> str:
        entry("stream_scorer.state.checkpoints.rejected_segments")
        found: list[Any] = []

        def replayed(opened: Any) -> None:
            import numpy as np  # noqa: PLC0415 as the product

            ports = entry("stream_scorer.ports")
            offsets = np.arange(38, 45)
            column = ports.BytesColumn.of([b"v"] * len(offsets))
            records = ports.RawRecords(
                column, column, None, np.zeros(len(offsets), np.int32), offsets, offsets
            )
            kept = opened.restored.others(records)
            found.append([] if kept is None else kept.offset.tolist())

        buckets = [] if group else records_of(payload(ring()))
        text = restored(place, [*buckets, (key, value())], replayed, **group)
        return f"{text}, folded {found}"

    return run


def _runs(*lengths: int) -> bytes:
    return zlib.compress(struct.pack(f"<{len(lengths)}q", *lengths))


def _packed(reasons: bytes) -> Callable[[], bytes]:
    return lambda: _segment(reasons=zlib.compress(reasons))


_STOPS: Final = "StateError: checkpoint of t partition 0: "
_CONTRADICTS: Final = "contents and header do not fit"
_BOMB: Final = zlib.compress(b"\0" * 200_000_000, 1)
_ALL: Final = r"restored \[\('c-1', 1\)\], folded \[\[38, 39, 40, 41, 42, 43, 44\]\]"

_FORGED: Final = tuple(
    Case(f"rejected: {what}", 8, "segments", expected, _with(value), words=words)
    for what, expected, words, value in (
        ("a good segment", r"restored \[\('c-1', 1\)\], folded \[\[38, 39, 43, 44\]\]", "",
         _segment),
        ("a checksum that is not true", _STOPS, "the checksum does not match",
         lambda: _segment()[:-1] + b"\0"),
        ("a format of a later version", _STOPS, "format 2 is not known",
         lambda: _segment(number=2)),
        ("a record of three bytes", _STOPS, "3 bytes are not a record", lambda: b"SRE"),
        ("a header cut off", _STOPS, "the header is cut off",
         lambda: struct.pack("<4sHI", b"SREJ", 1, zlib.crc32(b"\0")) + b"\0"),
        ("another place's header", _STOPS, "the header is another record's",
         lambda: _segment(first=39)),
        ("4 billion offsets", _STOPS, "the header contradicts itself",
         lambda: _segment(count=2**32 - 1)),
        ("a span of 2^62 in a bitmap", _STOPS, "the header contradicts itself",
         lambda: _segment(end=2**62)),
        ("an end before its beginning", _STOPS, "the header contradicts itself",
         lambda: _segment(end=_FIRST - 5)),
        ("lengths beyond its bytes", _STOPS, "the header contradicts itself",
         lambda: _segment(sizes=(2**31, 2**31))),
        ("a bitmap of 200 MB", _STOPS, _CONTRADICTS, lambda: _segment(offsets=_BOMB)),
        ("reasons of 200 MB", _STOPS, _CONTRADICTS, lambda: _segment(reasons=_BOMB)),
        ("runs whose sum overflows", _STOPS, _CONTRADICTS,
         lambda: _segment(how=1, offsets=_runs(2**62, 2**62, 2**62))),
        ("runs of negative length", _STOPS, _CONTRADICTS,
         lambda: _segment(how=1, offsets=_runs(5, -4, 2), count=3)),
        ("bits that are not zlib", _STOPS, _CONTRADICTS, lambda: _segment(offsets=b"\xff\xff")),
        ("a record of another kind", _STOPS, "does not begin as a record of rejections",
         lambda: b"XREJ" + _segment()[4:]),
        ("fewer offsets than its bitmap has", _STOPS, _CONTRADICTS,
         lambda: _segment(count=2, reasons=zlib.compress(b'[["CURRENCY"],[0,2]]'))),
        ("reasons that are numbers", _STOPS, _CONTRADICTS, _packed(b"[[5],[0,3]]")),
        ("a reason that its list does not have", _STOPS, _CONTRADICTS,
         _packed(b'[["CURRENCY"],[1,3]]')),
        ("reasons for two of three offsets", _STOPS, _CONTRADICTS,
         _packed(b'[["CURRENCY"],[0,2]]')),
        ("two counts of one reason", _STOPS, _CONTRADICTS, _packed(b'[["CURRENCY"],null,[1,2]]')),
        ("an offset that is not committed yet", _STOPS, "offset 9999 was rejected",
         lambda: _segment(end=10_000, count=2, how=1, offsets=_runs(1, 9_958, 1))),
    )
)  # fmt: skip

CASES: Final = (
    *_FORGED,
    *cases(
        "rejected", 8,
        ("a segment where the group has no offset", "segments", _STOPS, _with(_segment, offset=-1),
         "no committed offset, though records"),
        ("a key with a number of 5,000 digits", "segments", _ALL,
         _with(_segment, b"g/t/0/rejected/" + b"9" * 5_000)),
        ("another group's segment", "segments", _ALL, _with(_segment, b"other/t/0/rejected/40")),
        ("another partition's segment", "segments", _ALL, _with(_segment, b"g/t/1/rejected/40")),
    ),
)  # fmt: skip
