"""The last label in time of each transaction equals plain Python's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.terminals.columns import kept_until, last_in_time
from tests.support.effort import examples

SMALL = st.integers(0, 4)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(SMALL, st.integers(0, 9)), max_size=30),
    st.lists(st.tuples(SMALL, st.integers(-1, 10)), max_size=12),
)
def test_the_last_label_in_time_is_that_of_plain_python(
    labels: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    labels.sort()
    match, known = np.array(labels, np.int64).reshape(-1, 2).T
    asked, limit = np.array(wanted, np.int64).reshape(-1, 2).T
    found = last_in_time(match.astype(np.uint64), known, asked.astype(np.uint64), limit)
    expected = [
        max((at for at, (m, k) in enumerate(labels) if m == own and k <= most), default=-1)
        for own, most in wanted
    ]
    assert found.tolist() == expected


def test_a_label_from_the_end_of_time_stays_in_64_bits() -> None:
    assert (kept_until(np.array([2**63 - 1, 0])) > 0).all()
