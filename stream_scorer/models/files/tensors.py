"""The safetensors layout: named arrays in one file, without code and without a pickle.

A file is the length of its header (8 bytes, little-endian), the header (JSON), and the arrays, back
to back. The header has ``dtype``, ``shape`` and ``data_offsets`` of each array, and texts in
``__metadata__``. Here an array has one dimension. Each number in a header is compared with the size
of the file before anything is allocated by it.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.security.canonical_json import parse

HEADER_BYTES_MOST: Final = 1024 * 1024
ARRAYS_MOST: Final = 4096
NAME_LONGEST: Final = 100

_LENGTH: Final = struct.Struct("<Q")
_METADATA: Final = "__metadata__"
_KEYS: Final = {"dtype", "shape", "data_offsets"}
_TYPES: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.uint8),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}
_NAMES: Final = {"b1": "BOOL", "f8": "F64", "i4": "I32", "i8": "I64"}


def write(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the file of some arrays; equal arrays give equal bytes.

    Args:
        metadata: Texts.
        arrays: bool, float64, int32 or int64, each of one dimension.
    """
    # Each array begins at a multiple of its element's size: the largest elements come first.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    pieces, at = [], 0
    for name in order:
        array = arrays[name]
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype.str[1:]],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        pieces.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([_LENGTH.pack(len(text)), text, *pieces])


def read(data: bytes) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the metadata and the arrays of a file.

    Args:
        data: The file.

    Raises:
        ValueError: It is malformed; the message names the array.
    """
    header, start = _header(data)
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are not texts")
    if len(header) > ARRAYS_MOST:
        raise ValueError(f"it has more than {ARRAYS_MOST} arrays")
    found, past = {}, 0
    spans = {name: _judged(name, entry) for name, entry in header.items()}
    for name, (kind, begin, end) in sorted(spans.items(), key=lambda each: each[1][1:]):
        if begin != past:
            raise ValueError(f"array {name} does not begin where the previous one ends")
        if end > len(data) - start:
            raise ValueError(f"array {name} is longer than the file")
        past = end
        found[name] = _array(name, kind, data[start + begin : start + end])
    if past != len(data) - start:
        raise ValueError("it continues after its last array")
    return metadata, found


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return a file's header, and where its arrays begin."""
    if len(data) < _LENGTH.size:
        raise ValueError("it is shorter than the length of a header")
    (length,) = _LENGTH.unpack_from(data)
    if length > HEADER_BYTES_MOST:
        raise ValueError("its header is longer than 1 MiB")
    start = _LENGTH.size + length
    if start > len(data):
        raise ValueError("its header is longer than the file")
    try:
        return parse(data[_LENGTH.size : start]), start
    except ValueError as error:
        raise ValueError(f"its header: {error}") from None


def _judged(name: str, entry: Any) -> tuple[str, int, int]:
    """Return an array's type, begin and end, which agree with its shape."""
    if len(name) > NAME_LONGEST or not name.isascii() or not name.isprintable():
        raise ValueError("an array's name is too long or not plain")
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        raise ValueError(f"array {name} is not described by dtype, shape and data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise ValueError(f"array {name} has a type that is not one of {', '.join(_TYPES)}")
    if not _whole_numbers(shape, 1):
        raise ValueError(f"array {name} does not have a shape of one dimension")
    if not _whole_numbers(offsets, 2):
        raise ValueError(f"array {name} does not have two offsets")
    begin, end = offsets
    if end - begin != shape[0] * _TYPES[kind].itemsize:
        raise ValueError(f"array {name} does not have the length of its shape")
    return kind, begin, end


def _whole_numbers(values: Any, count: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(value) is int and value >= 0 for value in values)
    )


def _array(name: str, kind: str, data: bytes) -> NDArray[Any]:
    array = np.frombuffer(data, _TYPES[kind])
    if kind != "BOOL":
        return array.astype(array.dtype.newbyteorder("="))
    if array.size and array.max() > 1:
        raise ValueError(f"array {name} has a value that is neither true nor false")
    return array.astype(np.bool_)
