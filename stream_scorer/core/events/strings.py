"""Arrow string columns as numpy arrays, and as 64-bit hashes."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.read_only import read_only
from stream_scorer.core.kernels.hashing import hash_strings


def string_views(strings: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return an Arrow string column as (offsets int32[n+1], data uint8[]).

    Both are read-only, and neither is a copy.
    """
    _, offsets, data = strings.buffers()
    ends, texts = np.zeros(1, np.int32), np.empty(0, np.uint8)
    if offsets is not None:
        ends = np.frombuffer(offsets, np.int32)
        ends = ends[strings.offset : strings.offset + len(strings) + 1]
        texts = np.frombuffer(data, np.uint8) if data is not None else texts
    return read_only(ends), read_only(texts)


def hashes_of(strings: pa.Array) -> NDArray[np.uint64]:
    """Return uint64[n], a hash of each string (:mod:`~stream_scorer.core.kernels.hashing`)."""
    hashes: NDArray[np.uint64] = hash_strings(*string_views(strings))
    return hashes
