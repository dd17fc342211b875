"""Which of its partition's 1,024 buckets a customer's history is in; checkpoints store buckets."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.kernels.hashing import BUCKET_SHIFT, BUCKETS

__all__ = ["BUCKETS", "bucket_of"]


def bucket_of(customer_id: pa.Array) -> NDArray[np.int32]:
    """Return int32[n], each customer's bucket: the top ten bits of the hash of the id.

    Args:
        customer_id: n strings.
    """
    hashes = hashes_of(customer_id)
    return (hashes >> BUCKET_SHIFT).astype(np.int32)
