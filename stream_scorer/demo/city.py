"""The simulated city of the demo: days that its model knows, and the days that the demo sends.

The simulator begins with no compromised terminal and compromises two a day, each for 28 days. So
the number of compromised terminals rises for 28 days; then it stays. The days that are sent are
long after that, so nothing rises while they are sent.
"""

from functools import cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from stream_scorer.simulator import simulate

DAY_MS: Final = 86_400_000
KNOWN_DAYS: Final = 136
"""Days up to the last one on which the shipped model was judged, 2018-08-14."""
SENT_MOST: Final = 28
"""Days that can be sent."""


def known_days() -> pa.Table:
    """Return the transactions of the days on which the shipped model was fitted and judged."""
    return _days(0, KNOWN_DAYS)


def sent_days(days: int) -> pa.Table:
    """Return the transactions of the days after them.

    Args:
        days: How many.

    Raises:
        ValueError: More than :data:`SENT_MOST`.
    """
    if days > SENT_MOST:
        raise ValueError(f"{days} days; at most {SENT_MOST} can be sent")
    return _days(KNOWN_DAYS, KNOWN_DAYS + days)


@cache
def _city() -> pa.Table:
    """Return all days. The frauds of the last ones depend on where the simulation ends."""
    return simulate(KNOWN_DAYS + SENT_MOST)


def _days(first: int, end: int) -> pa.Table:
    rows = _city()
    times = rows["event_time"].cast(pa.int64())
    begin = times[0].as_py() // DAY_MS * DAY_MS
    bounds = [pa.scalar(begin + day * DAY_MS) for day in (first, end)]
    return rows.filter(pc.and_(pc.greater_equal(times, bounds[0]), pc.less(times, bounds[1])))
