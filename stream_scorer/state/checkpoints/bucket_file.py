"""The bytes of a bucket's file: its records, then a checksum if the records have none.

::

    record    length uint32, then so many bytes                     one or more
    checksum  8 uint32, "SCRC", CRC-32 uint32 of all before it      little-endian; format 1 only

Records of format 2 contain the checksum of their bucket; see ``formats``. Those of format 1 cover
only their payload, so the file's checksum covers their headers. Files of versions that wrote no
file checksum end after their last record, and are still read. Those versions read the checksum as
one more record, a part that no header counts, and skip it. So upgrades and downgrades both work.
"""

import zlib
from collections.abc import Sequence

from stream_scorer.state.checkpoints.formats import covers_itself
from stream_scorer.state.checkpoints.record_mac import bare

_LENGTH_BYTES = 4
_NAME = b"SCRC"
_CHECKSUM_BYTES = len(_NAME) + 4
_RECORD = b"SCKP"
"""The first bytes of each record; see ``formats``."""


def pack(values: Sequence[bytes]) -> bytes:
    """Return the file that holds the given records; at least one.

    >>> unpack(pack([b"SCKP one", b"SCKP two"]))
    [b'SCKP one', b'SCKP two']
    """
    body = b"".join(_behind_its_length(value) for value in values)
    if all(covers_itself(bare(value)) for value in values):
        return body
    return body + _behind_its_length(_NAME + zlib.crc32(body).to_bytes(4, "little"))


def _behind_its_length(value: bytes) -> bytes:
    return len(value).to_bytes(_LENGTH_BYTES, "little") + value


def unpack(data: bytes) -> list[bytes]:
    """Return the records of a file. Those of format 2 are checked later, per bucket.

    Raises:
        ValueError: The file is damaged or truncated.
    """
    if not data:
        raise ValueError("the file is empty")
    values: list[bytes] = []
    at = 0
    while at < len(data):
        before, start = at, at + _LENGTH_BYTES
        at = start + int.from_bytes(data[before:start], "little")
        value = data[start:at]
        if at == len(data) and len(value) == _CHECKSUM_BYTES and value.startswith(_NAME):
            found = zlib.crc32(memoryview(data)[:before])
            if not values or found.to_bytes(4, "little") != value[len(_NAME) :]:
                raise ValueError("the file is damaged: the checksum does not match")
        elif at > len(data) or not bare(value).startswith(_RECORD):
            raise ValueError(f"the file is damaged or cut off in record {len(values)}")
        else:
            values.append(value)
    return values
