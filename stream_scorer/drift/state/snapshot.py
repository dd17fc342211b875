"""A snapshot: named sections of bytes with an index and a digest, and sections of arrays.

It is compressed: histories and evidence repeat much. It contains no pickle: reading one runs no
code, whoever has written it, and expands to a limited size.
"""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from stream_scorer.security.canonical_json import canonical, parse

SNAPSHOT_MOST: Final = 64 << 20
"""Maximum size of a snapshot in bytes, before and after it is expanded."""
_MAGIC: Final = b"SSDRIFT2"
_DIGEST: Final = 32
_LENGTH: Final = 4
_LEVEL: Final = 1
"""The fastest compression."""
_SECTIONS_MOST: Final = 1_000
_ARRAYS_MOST: Final = 100
_AXES_MOST: Final = 3
_TYPES: Final = ("|b1", "|u1", "<i4", "<i8", "<f2", "<f4", "<f8")


def pack(sections: Mapping[str, bytes]) -> bytes:
    """Return a snapshot: magic bytes, sha256 of what follows, and that, compressed by zlib.

    It expands to the length of the index, the index, and the sections.

    Raises:
        ValueError: More than :data:`SNAPSHOT_MOST` bytes.
    """
    names = sorted(sections)
    index = canonical({"sections": [[name, len(sections[name])] for name in names]})
    body = b"".join(
        [len(index).to_bytes(_LENGTH, "little"), index, *(sections[name] for name in names)]
    )
    if len(body) > SNAPSHOT_MOST:
        raise ValueError(f"a snapshot has {len(body)} bytes, at most {SNAPSHOT_MOST} are allowed")
    packed = zlib.compress(body, _LEVEL)
    return _MAGIC + hashlib.sha256(packed).digest() + packed


def unpack(data: bytes) -> dict[str, bytes]:
    """Return a snapshot's sections.

    Raises:
        ValueError: It is not a complete snapshot; the message says why.
    """
    begin = len(_MAGIC) + _DIGEST
    if len(data) > SNAPSHOT_MOST:
        raise ValueError(f"a snapshot has more than {SNAPSHOT_MOST} bytes")
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("is not a snapshot of the monitor, or has another format")
    if hashlib.sha256(data[begin:]).digest() != data[len(_MAGIC) : begin]:
        raise ValueError("a snapshot's digest differs")
    body = _expanded(data[begin:])
    length = int.from_bytes(body[:_LENGTH], "little")
    index = parse(body[_LENGTH : _LENGTH + length])
    position = _LENGTH + length
    sections = {}
    for name, size in _pairs(index.get("sections")):
        sections[name] = body[position : position + size]
        position += size
    if position != len(body):
        raise ValueError("a snapshot's index and its size differ")
    return sections


def _expanded(packed: bytes) -> bytes:
    expander = zlib.decompressobj()
    try:
        body = expander.decompress(packed, SNAPSHOT_MOST)
    except zlib.error as error:
        raise ValueError("a snapshot's compressed bytes are invalid") from error
    if expander.unconsumed_tail:
        raise ValueError(f"a snapshot expands to more than {SNAPSHOT_MOST} bytes")
    if not expander.eof or expander.unused_data:
        raise ValueError("a snapshot's compressed bytes do not end where it ends")
    return body


def _pairs(entries: Any) -> list[tuple[str, int]]:
    if not isinstance(entries, list) or len(entries) > _SECTIONS_MOST:
        raise ValueError("a snapshot's index is not a list of sections")
    for each in entries:
        if not (isinstance(each, list) and len(each) == 2):  # noqa: PLR2004 name and size
            raise ValueError("a snapshot's index has an entry without name and size")
        name, size = each
        if not (isinstance(name, str) and type(size) is int and 0 <= size <= SNAPSHOT_MOST):
            raise ValueError("a snapshot's index has an invalid entry")
    return [(name, size) for name, size in entries]


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as one section: index, then little-endian values.

    Args:
        arrays: At most 100 arrays of uint8, int32, int64, float32 or float64, of at most 3 axes.
    """
    little = {
        name: np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        for name, value in sorted(arrays.items())
    }
    index = canonical(
        {"arrays": [[name, each.dtype.str, list(each.shape)] for name, each in little.items()]}
    )
    values = [each.tobytes() for each in little.values()]
    return b"".join([len(index).to_bytes(_LENGTH, "little"), index, *values])


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a section; they can be changed.

    Raises:
        ValueError: The section is not one of arrays, or is not complete.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    entries = parse(data[_LENGTH : _LENGTH + length]).get("arrays")
    if not isinstance(entries, list) or len(entries) > _ARRAYS_MOST:
        raise ValueError("a section's index is not a list of arrays")
    position = _LENGTH + length
    arrays = {}
    for entry in entries:
        name, kind, shape = _described(entry)
        count = int(np.prod(shape, dtype=object)) if shape else 1
        size = count * np.dtype(kind).itemsize
        if size > len(data) - position:
            raise ValueError(f"a section ends before its array {name!r}")
        values = np.frombuffer(data, kind, count, position)
        arrays[name] = values.reshape(shape).astype(np.dtype(kind).newbyteorder("="))
        position += size
    if position != len(data):
        raise ValueError("a section has bytes after its arrays")
    return arrays


def _described(entry: Any) -> tuple[str, str, tuple[int, ...]]:
    if not (isinstance(entry, list) and len(entry) == 3):  # noqa: PLR2004 name, type and shape
        raise ValueError("an array has no name, type and shape")
    name, kind, shape = entry
    if not isinstance(name, str) or kind not in _TYPES or not isinstance(shape, list):
        raise ValueError("an array has an invalid name, type or shape")
    if len(shape) > _AXES_MOST or not all(type(n) is int and 0 <= n < 1 << 31 for n in shape):
        raise ValueError(f"the array {name!r} has an invalid shape")
    return name, kind, tuple(shape)
