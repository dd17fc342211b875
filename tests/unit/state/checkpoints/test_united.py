"""A customer's rings in several payloads, as one sequence of events."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.state.checkpoints.ring_columns import CustomerColumns, united

rings = st.lists(st.integers(0, 9), min_size=1, max_size=6).map(sorted)


def columns(number: int, *customers: tuple[str, list[int]]) -> CustomerColumns:
    """Return a payload in which each event's amount identifies its payload and the event."""
    times = np.array([time for _, own in customers for time in own], np.int64)
    amounts = number * 1_000 + np.arange(len(times))
    return CustomerColumns(
        [name.encode() for name, _ in customers],
        np.cumsum([0, *(len(own) for _, own in customers)]),
        np.array([own[-1] for _, own in customers]), times, amounts,
        amounts.astype(np.uint64) + np.uint64(1 << 63), {"mcc": amounts + 7}, [], b"",
    )  # fmt: skip


@settings(deadline=None)
@given(rings, rings, rings, rings)
def test_events_come_by_time_then_by_ring(
    first: list[int], second: list[int], third: list[int], other: list[int]
) -> None:
    payloads = [
        columns(0, ("a", first), ("b", other)), columns(1, ("ü", other), ("a", second)),
        columns(2, ("a", third), ("ü", first)),
    ]  # fmt: skip
    found = united(payloads, [[(0, 0), (1, 1), (2, 0)], [(1, 0), (2, 1)]])
    whole = [
        (name, time, 1_000 * at + skip + row)
        for name, parts in (
            ("a", [(0, 0, first), (1, len(other), second), (2, 0, third)]),
            ("ü", [(1, 0, other), (2, len(third), first)]),
        )
        for time, at, row, skip in sorted(
            ((time, at, row, skip) for at, skip, own in parts for row, time in enumerate(own)),
            key=lambda each: each[:3],
        )
    ]
    assert (
        list(
            zip(
                found.customers.to_pylist(), found.time.tolist(), found.amount.tolist(), strict=True
            )
        )
        == whole
    )
    assert (found.hash == found.amount.astype(np.uint64) + np.uint64(1 << 63)).all()
    assert (found.fields["mcc"] == found.amount + 7).all()
