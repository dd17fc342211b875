"""A checkpoint of a simulated input, written by the last version that knew only format 1.

``state-format-1.xz`` was written by the scorer of commit 6a7c8ea with ``fraud:1.0.0``. It was
stopped after 62 batches of 40 records of ``transactions(DAYS, CUSTOMERS)``. So its buckets have
many different labels, and its input continues after them. Unpacked, it is a line of JSON with these
facts, and then the newest record of each key: partition, bucket and part as uint16, length as
uint32, and the value.
"""

import json
import lzma
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stream_scorer.state.checkpoints.formats import Record
from stream_scorer.state.checkpoints.ownership import Owner

_FILE = Path(__file__).with_name("state-format-1.xz")
_PLACE = struct.Struct("<HHHI")


@dataclass(frozen=True, slots=True)
class Recorded:
    """The recording.

    Attributes:
        days: Number of simulated days of the input.
        customers: Number of customers of the input.
        committed: The group's offsets.
        values: The record's value by (partition, bucket, part).
    """

    days: int
    customers: int
    committed: dict[int, int]
    values: dict[tuple[int, int, int], bytes]

    def records(self, owner: Owner, partition: int) -> list[Record]:
        """Return a partition's records under another group's and topic's keys."""
        return [(owner.key(*at), value) for at, value in self.values.items() if at[0] == partition]


@cache
def recorded() -> Recorded:
    """Read the recording."""
    line, _, data = lzma.decompress(_FILE.read_bytes()).partition(b"\n")
    told = json.loads(line)
    values, at = {}, 0
    while at < len(data):
        *place, length = _PLACE.unpack_from(data, at)
        at += _PLACE.size
        values[place[0], place[1], place[2]] = data[at : at + length]
        at += length
    committed = {int(partition): offset for partition, offset in told["committed"].items()}
    return Recorded(told["days"], told["customers"], committed, values)
