"""The states that labels and terminals' rows give to transactions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.core.labelling.contract import FRAUD, GENUINE, STATE_NAMES, UNKNOWN, UInt8


def states_of(records: pa.RecordBatch, flag: str = "is_fraud") -> UInt8:
    """Return uint8[n]: the state that each record gives; see ``labelling.contract``.

    If ``state`` is null, the flag decides. A state that this release does not know, because a newer
    one wrote it, is unknown, whatever the flag.

    Args:
        records: n records with the flag and, if they may state more, ``state``.
        flag: Name of the column that is true for a fraud.
    """
    fraud = np.asarray(records.column(flag).to_numpy(zero_copy_only=False), np.bool_)
    by_flag = np.where(fraud, np.uint8(FRAUD), np.uint8(GENUINE))
    if "state" not in records.schema.names:
        return by_flag
    stated = records.column("state")
    if stated.null_count == len(stated):
        return by_flag
    numbers = np.asarray(pc.index_in(stated, pa.array(STATE_NAMES)).fill_null(UNKNOWN), np.uint8)
    return np.where(np.asarray(stated.is_valid()), numbers, by_flag)
