"""A checkpoint as the last version wrote it that knew format 1 alone, of a simulated input.

``state-format-1.xz`` is what commit 6a7c8ea's scorer, ``fraud:1.0.0``, had written when it was cut
off after 62 batches of 40 records of ``transactions(DAYS, CUSTOMERS)``: its buckets are as of many
offsets, and its input goes on behind them. Unpacked it is a line of JSON that says so, then the
newest record of each key: partition, bucket and part as uint16, length as uint32, and the value.
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
    """What was recorded.

    Attributes:
        days: Of how many simulated days the input was.
        customers: And of how many customers.
        committed: The group's offsets.
        values: By (partition, bucket, part), the record's value.
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
