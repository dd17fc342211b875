"""Which genuine transactions are kept: by a hash of their ids, the same ones in every build."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.terminals.profile_kernels import mixed

Bool = NDArray[np.bool_]

_SALT: Final = int.from_bytes(b"dataset\0", "little")
_RANGE: Final = 2.0**64


def sampled(transaction_id: pa.Array, share: float) -> Bool:
    """Return bool[n]: which transactions are kept.

    A larger share keeps what a smaller one keeps.

    Args:
        transaction_id: n texts.
        share: In (0, 1].
    """
    if share >= 1:
        return np.ones(len(transaction_id), np.bool_)
    salt = np.full(len(transaction_id), _SALT, np.int64)
    hashes = mixed(hashes_of(transaction_id), salt)
    kept: Bool = hashes < np.uint64(share * _RANGE)
    return kept
