"""Columns that kernels read, always read-only.

numba compiles a kernel for read-only arrays and again for writable ones. Arrow decides by a
column's buffers which of the two numpy gives: the same column is read-only as it is decoded, and
writable once some of its rows were taken.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T", bound=np.generic)


def read_only(array: NDArray[_T]) -> NDArray[_T]:
    """Return a read-only view of an array of any shape; the array itself is unchanged."""
    view: NDArray[Any] = array.view()
    view.flags.writeable = False
    return view
