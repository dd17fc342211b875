"""The states of published rows of terminals."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN

_STATES: Final = ("GENUINE", "FRAUD", "UNKNOWN")


def row_states(records: pa.RecordBatch) -> NDArray[np.uint8]:
    """Return uint8[n]: the states of rows; see ``labelling.contract``.

    Args:
        records: n rows with ``fraud`` and ``state``; a null state is by ``fraud``.
    """
    fraud = np.asarray(records.column("fraud").to_numpy(zero_copy_only=False), np.bool_)
    plain = np.where(fraud, np.uint8(FRAUD), np.uint8(GENUINE))
    told = records.column("state")
    if told.null_count == len(told):
        return plain
    codes = np.asarray(pc.index_in(told, pa.array(_STATES)).fill_null(UNKNOWN), np.uint8)
    valid = np.asarray(told.is_valid().to_numpy(zero_copy_only=False), np.bool_)
    return np.where(valid, codes, plain)
