"""The rows of a batch by partition."""

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.kernels.columns import by_partition

Int64 = NDArray[np.int64]


def rows_by(partition: NDArray[np.int32]) -> list[tuple[int, Int64]]:
    """Return the rows of each partition that has any, in arrival order, partitions ascending."""
    if not len(partition):
        return []
    rows, begins = by_partition(partition)
    own = np.flatnonzero(begins[1:] > begins[:-1])
    spans = zip(own.tolist(), begins[own].tolist(), begins[own + 1].tolist(), strict=True)
    return [(number, rows[begin:end]) for number, begin, end in spans]
