"""The bytes of a bucket's file: its records, and behind them a checksum over all of it.

::

    record    length uint32, then so many bytes                     as many as there are
    checksum  8 uint32, "SCRC", CRC-32 uint32 of all before it      little-endian

So a record's header is covered as its payload is. Files from before there was a checksum end behind
their last record and are read as they are. A reader from then takes the checksum for one more
record, a part that no header counts, and passes it over: versions may change in either direction.
"""

import zlib
from collections.abc import Iterable

_LENGTH_BYTES = 4
_NAME = b"SCRC"
_HEAD = (len(_NAME) + _LENGTH_BYTES).to_bytes(_LENGTH_BYTES, "little") + _NAME
_TRAILER_BYTES = len(_HEAD) + 4
_RECORD = b"SCKP"
"""What each record begins with; see ``checkpoint``."""


def pack(values: Iterable[bytes]) -> bytes:
    """Return the file that holds some records; at least one.

    >>> unpack(pack([b"SCKP one", b"SCKP two"]))
    [b'SCKP one', b'SCKP two']
    """
    body = b"".join(len(value).to_bytes(_LENGTH_BYTES, "little") + value for value in values)
    return body + _HEAD + zlib.crc32(body).to_bytes(4, "little")


def unpack(data: bytes) -> list[bytes]:
    """Return the records of a file.

    Raises:
        ValueError: It is damaged or cut off.
    """
    if not data:
        raise ValueError("the file is empty")
    if data[-_TRAILER_BYTES:-4] == _HEAD:
        data, told = data[:-_TRAILER_BYTES], data[-4:]
        if zlib.crc32(data).to_bytes(4, "little") != told:
            raise ValueError("the file is damaged: the checksum does not match")
    values: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "little")
        value = data[start:at]
        if at > len(data) or not value.startswith(_RECORD):
            raise ValueError(f"the file is damaged or cut off in record {len(values)}")
        values.append(value)
    return values
