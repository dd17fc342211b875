"""Arrow string columns as numpy arrays, and as 64-bit hashes."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.kernels.hashing import hash_strings


def string_views(strings: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return an Arrow string column as (offsets int32[n+1], data uint8[]), without a copy."""
    _, offsets, data = strings.buffers()
    if offsets is None:
        return np.zeros(1, np.int32), np.empty(0, np.uint8)
    view = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    return view, np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)


def hashes_of(strings: pa.Array) -> NDArray[np.uint64]:
    """Return uint64[n], a hash of each string (:mod:`~stream_scorer.core.kernels.hashing`)."""
    hashes: NDArray[np.uint64] = hash_strings(*string_views(strings))
    return hashes
