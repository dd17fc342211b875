"""Checkpoint records that a stranger may write: a restore reads them before it decides."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, entry

_GROUP, _TOPIC = "g", "t"
_OFFSET, _PARTITIONS = 90, 4
_CUSTOMER = b"c-1"
Record = tuple[bytes | None, bytes | None]


def varint(value: int) -> bytes:
    """Return an unsigned number as payloads have it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def ring(
    *, key: bytes = _CUSTOMER, length: int | None = None, newest: bytes = varint(2_000),
    count: int = 1, events: bytes | None = None,
) -> bytes:  # fmt: skip
    """Return one customer's ring; each part may lie."""
    size = len(key) if length is None else length
    body = (varint(0) + varint(100) + b"\7" * 8) if events is None else events
    return varint(size) + key + newest + varint(count) + body


def payload(rings: bytes, *, customers: int = 1, fields: bytes = b"\0") -> bytes:
    """Return a bucket's payload with a true checksum, whatever it says."""
    body = b"\1" + fields + varint(customers) + rings
    return body + zlib.crc32(body).to_bytes(4, "little")


def _bucket() -> int:
    import pyarrow as pa  # noqa: PLC0415 as the product

    return int(entry("stream_scorer.core.windows", "bucket_of")(pa.array([_CUSTOMER.decode()]))[0])


def records_of(
    content: bytes, *, number: int | None = None, cap: int = 10, **changed: Any
) -> list[Record]:
    """Return a forged bucket's records: everything in them is consistent but the payload."""
    made = entry("stream_scorer.state.checkpoint")
    values = {
        "partitions": _PARTITIONS, "engine": entry("stream_scorer.core.features", "ENGINE"),
        "watermark": 7, "horizon": 1, "payload": content, "cap": cap, **changed,
    }  # fmt: skip
    bucket = made.Bucket(0, _bucket() if number is None else number, _OFFSET, **values)
    return list(bucket.records(made.Owner(_GROUP, _TOPIC)))


class _Store:
    """A checkpoint store that holds what a stranger wrote."""

    rides = True
    topic = "state"

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def read(self, partition: int) -> Iterator[Sequence[Record]]:
        yield self._records if partition == 0 else []

    def sample(self) -> Sequence[Record]:
        return self._records[:1]


class _Input:
    """An input of which nothing is left to replay."""

    next_offset, end, done = 0, 100, False

    def low_watermark(self, _: int) -> int:
        return 0

    def partition_count(self) -> int:
        return _PARTITIONS

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 100)

    def open(self, *_: int) -> "_Input":
        return self

    def step(self) -> None:
        self.next_offset, self.done = self.end, True

    def close(self) -> None:
        pass


def _features(place: Place) -> Any:
    folder = place.root / "models" / "fraud" / "1.0.0"
    specs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["features"]
    plan = entry("stream_scorer.core.plan", "Plan")()
    return entry("stream_scorer.core.features", "compile_features")(specs, plan)


def restored(
    place: Place,
    records: Sequence[Record],
    look: Callable[[Any], None] = lambda _: None,
    seal: Any = None,
) -> str:
    """Restore a partition from a stranger's records; return what came of it.

    Args:
        place: Where the case runs.
        records: What the store holds.
        look: Called with the replay when its buckets are loaded.
        seal: The keys that records must be sealed with.
    """
    rings = entry("stream_scorer.core.scorer", "Rings")(_features(place))
    owned = {} if seal is None else {"seal": seal}
    owner = entry("stream_scorer.state.checkpoint", "Owner")(_GROUP, _TOPIC, **owned)
    source = _Input()
    found = entry("stream_scorer.apps.restoring", "Restoration")(
        _TOPIC, source, owner, _Store(records), rings, source.open
    )
    found.expect({0})
    opened = found.open(0, 100)
    for _ in range(1_000):
        if opened.done:
            break
        opened.step()
    look(opened)
    held = list(rings.of(0).events())
    return f"restored {[(key.decode('ascii', 'replace'), len(times)) for key, times, *_ in held]}"


def good(place: Place) -> str:
    """Restore a partition from a good bucket."""
    return restored(place, records_of(payload(ring())))


def _payload(content: Callable[[], bytes], **changed: Any) -> Callable[[Place], str]:
    return lambda place: restored(place, records_of(content(), **changed))


def _values(change: Callable[[bytes], bytes]) -> Callable[[Place], str]:
    """Restore from a good bucket whose record was changed."""

    def run(place: Place) -> str:
        good = records_of(payload(ring()))
        return restored(place, [(key, change(value or b"")) for key, value in good])

    return run


def _header(**changed: Any) -> Callable[[bytes], bytes]:
    """Return a change of a format 2 record's header, with a checksum that fits it again."""

    def change(value: bytes) -> bytes:
        length = int.from_bytes(value[6:10], "little")
        head = json.loads(value[14 : 14 + length]) | changed
        data, rest = (
            json.dumps(head, separators=(",", ":"), sort_keys=True).encode(),
            value[14 + length :],
        )
        checksum = entry("stream_scorer.state.formats", "checksum_of")(data, rest)
        return struct.pack("<4sHII", b"SCKP", 2, len(data), checksum) + data + rest

    return change


_STOPS: Final = r"StateError: checkpoint of t partition 0: "
_HUGE: Final = 2**62

_LENGTHS: Final = tuple(
    Case(f"bucket: {what}", 5, "buckets", _STOPS, _payload(content))
    for what, content in (
        ("an id of 2^62 bytes", lambda: payload(ring(length=_HUGE))),
        ("an id of 2^63 bytes", lambda: payload(ring(length=2**63))),
        ("an id of -8 bytes", lambda: payload(ring(length=2**64 - 8))),
        ("an id of -2^45 bytes", lambda: payload(ring(length=2**64 - 2**45))),
        ("an id one byte past the end", lambda: payload(ring(length=len(ring())))),
        ("2^62 customers", lambda: payload(ring(), customers=_HUGE)),
        ("10^9 customers", lambda: payload(ring(), customers=10**9)),
        ("-1 customers", lambda: payload(ring(), customers=2**64 - 1)),
        ("no customers", lambda: payload(ring(), customers=0)),
        ("2^62 events", lambda: payload(ring(count=_HUGE))),
        ("-1 events", lambda: payload(ring(count=2**64 - 1))),
        ("20 events in the bytes of one", lambda: payload(ring(count=20))),
        ("a number of 30 bytes", lambda: payload(ring(newest=b"\xff" * 30 + b"\1"))),
        ("an impossible time", lambda: payload(ring(newest=varint(2**63)))),
        ("no rings after the names", lambda: payload(b"", customers=0)[:7]),
        ("255 fields of no name", lambda: payload(ring(), fields=b"\xff" + b"\0" * 9)),
        ("a field's name past the end", lambda: payload(b"", fields=b"\1\xf0mcc")),
        ("a field's name that is not ASCII", lambda: payload(ring(), fields=b"\1\2\xc3\xa9")),
        ("one customer twice", lambda: payload(ring() * 2, customers=2)),
        ("a byte after the rings", lambda: payload(ring() + b"\0")),
        ("one byte", lambda: b"\1"),
        ("another version", lambda: b"\2" + payload(ring())[1:]),
        ("a checksum that is not true", lambda: payload(ring())[:-1] + b"\0"),
    )
)  # fmt: skip

_PLACES: Final = (
    Case(
        "bucket: a customer of another bucket", 5, "buckets", _STOPS,
        lambda place: restored(place, records_of(payload(ring()), number=(_bucket() + 1) % 1_024)),
    ),
    Case(
        "bucket: a customer again in another bucket", 5, "buckets", _STOPS,
        lambda place: restored(
            place,
            [
                *records_of(payload(ring())),
                *records_of(payload(ring()), number=(_bucket() + 7) % 1_024),
            ],
        ),
    ),
    Case("bucket: a record of one byte", 5, "buckets", _STOPS, _values(lambda _: b"S")),
    Case(
        "bucket: a header of 4 GB", 5, "buckets", _STOPS,
        _values(lambda v: v[:6] + b"\xff" * 4 + v[10:]),
    ),
    Case(
        "bucket: a header nested 100,000 deep", 5, "buckets", _STOPS,
        _values(
            lambda _: struct.pack("<4sHII", b"SCKP", 2, 100_000, 0) + b"[" * 100_000
        ),
    ),
    Case(
        "bucket: a header in Latin-1", 5, "buckets", _STOPS,
        _values(lambda v: v[:14] + b"\xe9" + v[15:]),
    ),
    Case(
        "bucket: an offset of 2^70", 5, "buckets", _STOPS, _values(_header(offset=2**70)),
    ),
    Case(
        "bucket: a watermark of 2^70", 5, "buckets", _STOPS, _values(_header(watermark=2**70)),
    ),
    Case(
        "bucket: a horizon of 10^30", 5, "buckets", _STOPS, _values(_header(horizon=10**30)),
    ),
    Case(
        "bucket: a time of -2^80 since when it is complete", 5, "buckets", _STOPS,
        _values(_header(since={"input": -(2**80)})),
    ),
    Case(
        "bucket: 10^9 parts", 5, "buckets", _STOPS, _values(_header(parts=10**9)),
    ),
    Case(
        "bucket: 10^15 bytes of payload", 5, "buckets", _STOPS, _values(_header(bytes=10**15)),
    ),
    Case(
        "bucket: an offset that is true", 5, "buckets", _STOPS, _values(_header(offset=True)),
    ),
    Case(
        "bucket: an offset after the committed one", 5, "buckets", "(StateError|OffsetsError): ",
        _values(_header(offset=10_000)),
    ),
    Case(
        "bucket: a key with a number of 5,000 digits", 5, "buckets", "restored ",
        lambda place: restored(
            place, [(b"g/t/0/" + b"1" * 5_000 + b"/0", b"x"), *records_of(payload(ring()))]
        ),
    ),
    Case(
        "bucket: a key with Arabic digits", 5, "buckets", r"restored \[\('c-1', 1\)\]",
        lambda place: restored(
            place,
            [("g/t/0/\u0663/0".encode(), b"x"), *records_of(payload(ring()))],
        ),
    ),
    Case(
        "bucket: a key that is not UTF-8", 5, "buckets", r"restored \[\('c-1', 1\)\]",
        lambda place: restored(place, [(b"g/t/0/\xff/0", b"x"), *records_of(payload(ring()))]),
    ),
    Case(
        "bucket: a good one", 5, "buckets", r"restored \[\('c-1', 1\)\]",
        good,
    ),
)  # fmt: skip

CASES: Final = (*_LENGTHS, *_PLACES)
