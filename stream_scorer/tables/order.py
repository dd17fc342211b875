"""The order that files must have: rows that would be late in the stream are refused."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.events.calendar import shown_time
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import SettingsError

Int64 = NDArray[np.int64]


def refuse_disorder(
    time: Int64, plan: Plan, named: Callable[[int], str], what: str, before: int = 0
) -> int:
    """Refuse rows whose event time is before an earlier row's by more than the plan's lateness.

    Args:
        time: int64[n], event times of accepted rows in their order, ms; at least one.
        plan: Gives the lateness.
        named: Returns the name of the row at an index, for the error.
        what: What the error asks to sort: the input, the data.
        before: Newest event time of the rows before these, ms.

    Returns:
        The newest event time of all, ms.

    Raises:
        SettingsError: Names the first such row.
    """
    newest = np.maximum.accumulate(np.maximum(time, before))
    late = time < newest - plan.lateness_ms
    if late.any():
        row = int(np.argmax(late))
        behind = int(newest[row] - time[row]) / 1_000
        told = shown_time(int(time[row]), "seconds")
        raise SettingsError(
            f"{named(row)}: its event_time {told} is {behind:,.0f} s before an earlier row's, "
            f"more than the plan's lateness of {plan.lateness_ms / 1_000:,.0f} s",
            f"sort {what}, or give --sort",
        )
    return int(newest[-1])
