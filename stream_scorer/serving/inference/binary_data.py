"""The binary tensor data extension: tensors after the JSON object, little-endian, row-major."""

import re
import struct
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.serving.inference.data_types import DataType
from stream_scorer.serving.inference.refusals import invalid

Float64 = NDArray[np.float64]

EXTENSION: Final = "binary_tensor_data"
"""Name of the extension in the server's metadata."""
HEADER: Final = "inference-header-content-length"
"""The HTTP header with the length of the JSON object, in bytes."""
_LENGTH: Final = re.compile(r"[0-9]{1,12}")
_NOTHING: Final = memoryview(b"")
_PREFIX: Final = struct.Struct("<I")


def split_body(body: bytes, header: str | None) -> tuple[bytes | memoryview, memoryview]:
    """Return the JSON object of a body, and what comes after it.

    Args:
        body: Complete.
        header: Value of the header; None: the complete body is JSON.

    Raises:
        InferenceRefused: The header is not a length within the body.
    """
    if header is None:
        return body, _NOTHING
    if _LENGTH.fullmatch(header) is None or int(header) > len(body):
        raise invalid("Inference-Header-Content-Length is not a length within the body")
    length = int(header)
    view = memoryview(body)
    return view[:length], view[length:]


def binary_values(data: memoryview | bytes, kind: DataType, count: int) -> Float64:
    """Return float64[count] of a tensor's binary data.

    Args:
        data: All of its bytes.
        kind: Its data type.
        count: Number of elements of its shape.

    Raises:
        InferenceRefused: The length does not fit the shape, or an element is not valid.
    """
    if len(data) != count * kind.stored.itemsize:
        raise invalid(
            f"{len(data)} bytes of data, but the shape has {count} elements of {kind.name}"
        )
    return kind.from_binary(data)


def binary_texts(texts: Iterable[bytes]) -> bytes:
    r"""Return the binary data of a BYTES tensor: before each element its length, as uint32.

    >>> binary_texts([b"BLOCK"])
    b'\x05\x00\x00\x00BLOCK'
    """
    return b"".join(_PREFIX.pack(len(text)) + text for text in texts)
