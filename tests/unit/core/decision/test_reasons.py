"""Reasons are the largest positive contributions, in a fixed order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from stream_scorer.core.decision.reasons import top_reasons

NAMES = ("a", "b", "c", "d", "e")


@given(
    arrays(np.float64, st.tuples(st.integers(0, 8), st.just(5)), elements=st.floats(-2, 2)),
    st.integers(1, 6),
)
def test_the_vectorised_answer_is_the_plain_one(
    contributions: NDArray[np.float64], count: int
) -> None:
    expected = [
        tuple(NAMES[j] for j in sorted(range(5), key=lambda j: (-row[j], j)) if row[j] > 0)[:count]
        for row in contributions.tolist()
    ]
    assert top_reasons(contributions, NAMES, count) == expected


def test_ties_keep_manifest_order_and_zero_is_not_a_reason() -> None:
    rows = np.array([[0.5, 0.0, 0.5, 0.9, 0.5], [0.0, -0.0, -1.0, 0.0, 0.0]])
    assert top_reasons(rows, NAMES) == [("d", "a", "c"), ()]


def test_ties_among_many_features_keep_manifest_order() -> None:
    names = tuple(f"f{j}" for j in range(200))
    assert top_reasons(np.ones((1, 200)), names, 200) == [names]


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 names"):
        top_reasons(np.zeros((1, 5)), ("a", "b", "c"))
