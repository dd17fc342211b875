"""Gives the blocks of an Avro container file to fastavro inflated, each within a limit of bytes.

fastavro inflates a block completely, and a block of some kilobytes can become gigabytes. So the
blocks are inflated here, and fastavro reads a container that is not compressed.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import fastavro

BLOCK_MOST: Final = 64 << 20
"""Maximum number of bytes of an inflated block."""

_XZ_MEMORY: Final = 2 * BLOCK_MOST
_READ_BYTES: Final = 1 << 20
_LONG_BYTES: Final = 10
_CODEC: Final = "avro.codec"
_LONG: Final[Any] = fastavro.parse_schema("long")
HEADER: Final[Any] = fastavro.parse_schema(
    {
        "type": "record",
        "name": "org.apache.avro.file.Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
        ],
    }
)
"""The header of a container file, by the Avro specification."""


class InflatedContainer:
    """A container file as a stream without compression; a codec of another library is kept.

    Args:
        header: What the file has there; its metadata may have been changed.
        stream: The file after its header.
    """

    def __init__(self, header: dict[str, Any], stream: BinaryIO) -> None:
        codec = header["meta"].get(_CODEC, b"null").decode(errors="replace")
        self._rest: BinaryIO | None = None
        self._parts: Iterator[bytes] = iter(())
        if codec in _CODECS:
            header = {**header, "meta": {**header["meta"], _CODEC: b"null"}}
            self._parts = _blocks(stream, _CODECS[codec], header["sync"])
        else:
            self._rest = stream
        self._ready = io.BytesIO()
        fastavro.schemaless_writer(self._ready, HEADER, header)
        self._ready.seek(0)

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end.

        Raises:
            ValueError: The next block is incomplete, or inflates to more than ``BLOCK_MOST``.
        """
        data = self._ready.read(size)
        if data or not size:
            return data
        if self._rest is not None:
            return self._rest.read(size)
        for part in self._parts:
            if part:
                self._ready = io.BytesIO(part)
                return self._ready.read(size)
        return b""


def _blocks(stream: BinaryIO, inflate: Callable[[bytes], bytes], sync: bytes) -> Iterator[bytes]:
    """Yield the parts of each block without compression: counts, records, sync marker."""
    while first := stream.read(1):
        count = _long(first, stream)
        size = _long(stream.read(1), stream)
        data = inflate(_exactly(size, stream))
        head = io.BytesIO()
        for number in (count, len(data)):
            fastavro.schemaless_writer(head, _LONG, number)
        yield head.getvalue()
        yield data
        marker = stream.read(len(sync))
        if marker != sync:
            raise ValueError("expected sync marker not found")
        yield marker


def _long(first: bytes, stream: BinaryIO) -> int:
    # Never an EOFError: fastavro takes one between two blocks for the end of the file.
    data = first
    while data and data[-1] & 0x80 and len(data) < _LONG_BYTES:
        more = stream.read(1)
        if not more:
            break
        data += more
    if not data or data[-1] & 0x80:
        raise ValueError("a block has no count or size")
    number = sum((byte & 0x7F) << 7 * at for at, byte in enumerate(data))
    return (number >> 1) ^ -(number & 1)


def _exactly(size: int, stream: BinaryIO) -> bytes:
    if size < 0:
        raise ValueError(f"a block has the size {size}")
    # In parts: the size may be invented.
    parts = []
    while size and (part := stream.read(min(size, _READ_BYTES))):
        parts.append(part)
        size -= len(part)
    if size:
        raise ValueError(f"a block has {size} bytes too few")
    return b"".join(parts)


def _within_limit(data: bytes) -> bytes:
    if len(data) > BLOCK_MOST:
        raise ValueError(f"a block inflates to more than {BLOCK_MOST:,} bytes")
    return data


def _deflated(data: bytes) -> bytes:
    return _within_limit(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, BLOCK_MOST + 1))


def _inflated(start: Callable[[], Any], data: bytes) -> bytes:
    """Return the text of one stream or of several, one after the other."""
    found = b""
    while data:
        one = start()
        try:
            found += one.decompress(data, BLOCK_MOST + 1 - len(found))
        except (OSError, lzma.LZMAError):
            # As Python's own functions: bytes after the last stream are ignored.
            if found:
                break
            raise
        _within_limit(found)
        if not one.eof:
            raise ValueError("a block ends inside its compressed data")
        data = one.unused_data
    return found


_CODECS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "null": lambda data: data,
    "deflate": _deflated,
    "bzip2": lambda data: _inflated(bz2.BZ2Decompressor, data),
    "xz": lambda data: _inflated(lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), data),
}
