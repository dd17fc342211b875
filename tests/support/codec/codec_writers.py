"""The decoder's preparation for a writer's schema."""

from typing import Any

import numpy as np

from stream_scorer.codec.reading.decode import ColumnDecoder


def writer_of(decoder: ColumnDecoder, schema_id: int) -> Any:
    """Return a decoder's preparation for an id, or why it has none."""
    return decoder._writers_of([(schema_id, np.arange(1))], budgeted=False)[schema_id]
