"""Where the input begins: old events that are few are not its beginning.

Streams learn until their histories are complete, and that is counted from the beginning. One event
of two months ago must not end it.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

GAP_MOST_MS: Final = 7 * 24 * 3_600_000
"""What is before a gap of more than a week is not of the input."""
LEAST: Final = 100
"""A window with fewer events than this part of the largest one does not fill a gap."""


def first_of(windows: Iterable[tuple[int, int]]) -> int:
    """Return the start of the first window of the input, ms since the epoch.

    >>> day = 86_400_000
    >>> first_of([(0, 2), (60 * day, 400), (61 * day, 300)]) // day
    60

    Args:
        windows: Start and number of events of each known window, at least one.
    """
    events = Counter[int]()
    for start, count in windows:
        events[start] += count
    most = max(events.values())
    starts = sorted(start for start, count in events.items() if count * LEAST >= most)
    first = starts[0]
    for before, later in pairwise(starts):
        if later - before > GAP_MOST_MS:
            first = later
    return first
