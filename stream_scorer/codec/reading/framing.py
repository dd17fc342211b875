"""The kernel that reads the headers of Confluent-framed payloads.

It keeps the GIL: at 3 ns a payload it is too short to release it.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.codec.reading.opcodes import EMPTY, FRAMING, OVERSIZE
from stream_scorer.core.kernels.compiled import brief
from stream_scorer.ports import Int64

Bytes = NDArray[np.uint8]

_HEADER: Final = 5


@brief
def frames(
    data: Bytes, offsets: Int64, record_max: int, status: Bytes, ids: Int64
) -> tuple[int, bool]:
    """Read the headers of n payloads.

    Args:
        data: All payloads.
        offsets: int64[n + 1], where each payload begins.
        record_max: Maximum bytes of a payload.
        status: uint8[n], written: 0, EMPTY, OVERSIZE or FRAMING.
        ids: int64[n], written: the schema ids; -1 for a bad payload.

    Returns:
        (number of bad payloads, whether all good ones have the same id).
    """
    bad = 0
    uniform = True
    first = np.int64(-1)
    for row in range(len(status)):
        start = offsets[row]
        size = offsets[row + 1] - start
        ids[row] = -1
        status[row] = 0
        if size == 0:
            status[row] = EMPTY
        elif size > record_max:
            status[row] = OVERSIZE
        elif size < _HEADER or data[start] != 0:
            status[row] = FRAMING
        if status[row] != 0:
            bad += 1
            continue
        number = np.int64(0)
        for k in range(1, _HEADER):
            number = (number << 8) | np.int64(data[start + k])
        ids[row] = number
        if first < 0:
            first = number
        elif number != first:
            uniform = False
    return bad, uniform
