"""64-bit hashes of strings."""

import numpy as np

from stream_scorer.core.kernels.compiled import allocating, inlined

BUCKETS = 1024
"""A customer's bucket is the top ten bits of the hash of its id."""

BUCKET_SHIFT = np.uint64(54)


@inlined
def hash_bytes(data, start, end):
    """64-bit FNV-1a with the finaliser of MurmurHash3, so that all bits are well mixed."""
    h = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        h = (h ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xC4CEB9FE1A85EC53)
    h ^= h >> np.uint64(33)
    return h


@allocating
def hash_strings(offsets, data):
    """Return uint64[n]: a hash of each string of an Arrow column (offsets int32[n+1], data)."""
    n = len(offsets) - 1
    out = np.empty(n, np.uint64)
    for i in range(n):
        out[i] = hash_bytes(data, offsets[i], offsets[i + 1])
    return out
