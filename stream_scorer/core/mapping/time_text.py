"""ISO 8601 times as milliseconds, one text at a time; columns are read by ``iso_time_kernels``."""

import numpy as np

from stream_scorer.core.mapping.iso_time_kernels import READ, read_times


def milliseconds_of(text: str) -> int | None:
    """Return a time with a UTC offset as ms since the epoch; None if the text is not such a time.

    >>> milliseconds_of("1970-01-01T00:00:01.5Z")
    1500
    >>> milliseconds_of("1970-01-01T00:00:01") is None
    True
    """
    data = np.frombuffer(text.encode(), np.uint8)
    times = np.zeros(1, np.int64)
    status = np.zeros(1, np.uint8)
    read_times(np.array([0, len(data)], np.int32), data, False, times, status)
    return int(times[0]) if status[0] == READ else None
