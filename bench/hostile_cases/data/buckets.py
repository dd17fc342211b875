"""Checkpoint records from an untrusted writer: a restore reads them before it decides."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from bench.hostile_cases.case import Case, Place, cases, entry

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
    """Return one customer's ring; each part may be false."""
    size = len(key) if length is None else length
    body = (varint(0) + varint(100) + b"\7" * 8) if events is None else events
    return varint(size) + key + newest + varint(count) + body


def payload(rings: bytes, *, customers: int = 1, fields: bytes = b"\0") -> bytes:
    """Return a bucket's payload with a valid checksum, whatever its contents."""
    body = b"\1" + fields + varint(customers) + rings
    return body + zlib.crc32(body).to_bytes(4, "little")


def _bucket() -> int:
    import pyarrow as pa  # noqa: PLC0415 as the product

    return int(
        entry("stream_scorer.core.rings.buckets", "bucket_of")(pa.array([_CUSTOMER.decode()]))[0]
    )


def records_of(
    content: bytes, *, number: int | None = None, cap: int = 10, **changed: Any
) -> list[Record]:
    """Return a forged bucket's records: everything in them is consistent but the payload."""
    made = entry("stream_scorer.state.checkpoints.ownership")
    values = {
        "partitions": _PARTITIONS,
        "engine": entry("stream_scorer.core.features.engines", "RINGS_ENGINE"),
        "watermark": 7, "horizon": 1, "payload": content, "cap": cap, **changed,
    }  # fmt: skip
    bucket = made.Bucket(0, _bucket() if number is None else number, _OFFSET, **values)
    return list(bucket.records(made.Owner(_GROUP, _TOPIC)))


class _Store:
    """A checkpoint store with an attacker's records."""

    transactional = True
    topic = "state"

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def read(self, partition: int) -> Iterator[Sequence[Record]]:
        yield self._records if partition == 0 else []

    def sample(self) -> Sequence[Record]:
        return self._records[:1]


class _Input:
    """An input with nothing left to replay.

    Args:
        offset: The group's committed offset; -1 for none.
        low: The oldest offset that is retained.
    """

    next_offset, end, done = 0, 100, False

    def __init__(self, offset: int, low: int) -> None:
        self._offset = offset
        self._low = low

    def low_watermark(self, _: int) -> int:
        return self._low

    def partition_count(self) -> int:
        return _PARTITIONS

    def committed(self, partitions: set[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self._offset)

    def open(self, *_: int) -> "_Input":
        return self

    def step(self) -> None:
        self.next_offset, self.done = self.end, True

    def close(self) -> None:
        pass


def _features(place: Place) -> Any:
    folder = place.root / "models" / "fraud" / "1.0.0"
    specs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["features"]
    plan = entry("stream_scorer.core.events.plan", "Plan")()
    return entry("stream_scorer.core.features.compile", "compile_features")(specs, plan)


def restored(
    place: Place,
    records: Sequence[Record],
    look: Callable[[Any], None] = lambda _: None,
    seal: Any = None,
    *,
    offset: int = 100,
    low: int = 0,
) -> str:
    """Restore a partition from an attacker's records; return the result.

    Args:
        place: Where the case runs.
        records: The store's records.
        look: Called with the replay when its buckets are loaded.
        seal: The MAC keys of the records.
        offset: The group's committed offset; -1 for none.
        low: The oldest offset of the input that is retained.
    """
    rings = entry("stream_scorer.core.decision.observe", "PartitionRings")(_features(place))
    owned = {} if seal is None else {"seal": seal}
    owner = entry("stream_scorer.state.checkpoints.ownership", "Owner")(_GROUP, _TOPIC, **owned)
    source = _Input(offset, low)
    found = entry("stream_scorer.state.partitions.restorer", "Restoration")(
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


def _misfit(*, offset: int = 100, low: int = 0, **changed: Any) -> Callable[[Place], str]:
    """Restore from an intact bucket that does not fit the group, the input or the program."""
    return lambda place: restored(
        place, records_of(payload(ring()), **changed), offset=offset, low=low
    )


def _parts(*parts: Callable[[bytes], bytes] | None) -> Callable[[Place], str]:
    """Restore from records of one bucket; each part is a changed copy of the good record."""

    def run(place: Place) -> str:
        ((key, value),) = records_of(payload(ring()))
        first = (key or b"").rpartition(b"/")[0]
        return restored(
            place,
            [
                (b"%s/%d" % (first, part), change(value or b""))
                for part, change in enumerate(parts)
                if change is not None
            ],
        )

    return run


def _astray() -> bytes:
    """Return a bucket of two rings; the first one's number of events is damaged.

    A reader that ignores the damage and continues after four events reaches the second ring, which
    is intact and ends where the bucket ends.
    """
    import pyarrow as pa  # noqa: PLC0415 as the product

    names = [f"c-{number:05}" for number in range(20_000)]
    buckets = entry("stream_scorer.core.rings.buckets", "bucket_of")(pa.array(names))
    sound = entry("stream_scorer.core.rings.payload", "sound")
    for name, bucket in zip(names, buckets.tolist(), strict=True):
        after = ring(key=name.encode())
        head = 3 + len(ring(events=b""))
        events = b"\xff" * (8 * 4 - 1 - head)
        if bucket == _bucket():
            try:
                sound(payload(ring() + after, customers=2))
            except ValueError:
                continue  # it comes before the other
            return payload(ring(count=4, events=events) + after, customers=2)
    raise AssertionError("no customer of the same bucket comes later")


def _twice(place: Place) -> str:
    """Load two files of a backfill that hold the same customer."""
    rings = entry("stream_scorer.core.decision.observe", "PartitionRings")(_features(place)).of(0)
    rings.load(payload(ring()))
    try:
        rings.load(payload(ring()))
    except ValueError as error:
        return f"refused: {error}"
    return "loaded twice"


def _sampled(key: bytes, **changed: int) -> Callable[[Place], str]:
    """Restore a partition without buckets from a store that has one of another place."""

    def run(place: Place) -> str:
        ((_, value),) = records_of(payload(ring()))
        return restored(place, [(key, _header(**changed)(value or b""))])

    return run


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
        checksum = entry("stream_scorer.state.checkpoints.formats", "checksum_of")(data, rest)
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

_PLACES: Final = cases(
    "bucket", 5,
    ("a customer of another bucket", "buckets", _STOPS,
     lambda place: restored(place, records_of(payload(ring()), number=(_bucket() + 1) % 1_024))),
    ("a customer again in another bucket", "buckets", _STOPS, lambda place: restored(
         place,
         [
             *records_of(payload(ring())),
             *records_of(payload(ring()), number=(_bucket() + 7) % 1_024),
         ],
     )),
    ("a record of one byte", "buckets", _STOPS, _values(lambda _: b"S")),
    ("a header of 4 GB", "buckets", _STOPS, _values(lambda v: v[:6] + b"\xff" * 4 + v[10:]),
     "a header of 4294967295 bytes"),
    ("a header nested 100,000 deep", "buckets", _STOPS,
     _values(lambda _: struct.pack("<4sHII", b"SCKP", 2, 100_000, 0) + b"[" * 100_000),
     "a header of 100000 bytes"),
    ("a header in Latin-1", "buckets", _STOPS, _values(lambda v: v[:14] + b"\xe9" + v[15:])),
    ("an offset of 2^70", "buckets", _STOPS, _values(_header(offset=2**70))),
    ("a watermark of 2^70", "buckets", _STOPS, _values(_header(watermark=2**70))),
    ("a horizon of 10^30", "buckets", _STOPS, _values(_header(horizon=10**30))),
    ("a time of -2^80 since when it is complete", "buckets", _STOPS,
     _values(_header(since={"input": -(2**80)}))),
    ("10^9 parts", "buckets", _STOPS, _values(_header(parts=10**9))),
    ("10^15 bytes of payload", "buckets", _STOPS, _values(_header(bytes=10**15))),
    ("an offset that is true", "buckets", _STOPS, _values(_header(offset=True))),
    ("an offset after the committed one", "buckets", "(StateError|OffsetsError): ",
     _values(_header(offset=10_000)), "committed offset 100 is before it"),
    ("a key with a number of 5,000 digits", "buckets", "restored ", lambda place: restored(
         place, [(b"g/t/0/" + b"1" * 5_000 + b"/0", b"x"), *records_of(payload(ring()))]
     )),
    ("a key with Arabic digits", "buckets", r"restored \[\('c-1', 1\)\]", lambda place: restored(
         place,
         [("g/t/0/\u0663/0".encode(), b"x"), *records_of(payload(ring()))],
     )),
    ("a key that is not UTF-8", "buckets", r"restored \[\('c-1', 1\)\]",
     lambda place: restored(place, [(b"g/t/0/\xff/0", b"x"), *records_of(payload(ring()))])),
    ("another group's, where there is none of ours", "buckets", r"restored \[\]",
     _sampled(b"other/t/0/5/0", bucket=5)),
    ("one customer in two files of a backfill", "once", "refused: ", _twice,
     "a customer is in the rings already"),
    ("a good one", "buckets", r"restored \[\('c-1', 1\)\]", good),
)  # fmt: skip

_OTHER: Final = tuple(
    Case(f"bucket: {what}", 5, rule, _STOPS, run, words=words)
    for what, rule, words, run in (
        ("an event of an impossible time", "buckets", "an impossible time",
         _payload(lambda: payload(ring(events=varint(2**61) + varint(100) + b"\7" * 8)))),
        ("events whose numbers lead into the next ring", "buckets",
         "its lengths do not fit its size", _payload(_astray)),
        ("a newest time of 2^61", "buckets", "an impossible time",
         _payload(lambda: payload(ring(newest=varint(2**62))))),
        ("a record of another kind", "buckets", "does not begin as a checkpoint record",
         _values(lambda value: b"X" + value[1:])),
        ("a format of a later version", "buckets", "format 9 is not known",
         _values(lambda value: value[:4] + b"\x09\0" + value[6:])),
        ("a header that is cut off", "buckets", "the header is cut off",
         _values(lambda value: value[:50])),
        ("a header of another bucket", "buckets", "the header is another record's",
         _values(_header(bucket=3))),
        ("a checksum of another bucket", "buckets", "its checksum is 0x00000000",
         _values(lambda value: value[:10] + b"\0" * 4 + value[14:])),
        ("a part 1 without part 0", "buckets", "part 0 is missing", _parts(None, _header(part=1))),
        ("a part 1 of another dump", "buckets", "part 1 is of another dump",
         _parts(_header(parts=2), _header(parts=2, part=1, offset=80))),
        ("a bucket of another engine", "fits", "was written by engine 77,", _misfit(engine=77)),
        ("amounts in another currency", "fits", "holds amounts in USD/2", _misfit(unit="USD/2")),
        ("a bucket of another number of partitions", "fits", "the input had 8 partitions",
         _misfit(partitions=8)),
        ("a bucket where the group has no offset", "fits", "no committed offset, though buckets",
         _misfit(offset=-1)),
        ("a bucket whose input is gone", "fits", "needs the input from offset 90",
         _misfit(low=95)),
        ("another partition's bucket of another number of partitions", "fits",
         "the input had 8 partitions", _sampled(b"g/t/3/5/0", partition=3, bucket=5, partitions=8)),
    )
)  # fmt: skip

CASES: Final = (*_LENGTHS, *_PLACES, *_OTHER)
