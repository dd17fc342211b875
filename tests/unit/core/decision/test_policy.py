"""Thresholds are inclusive, ordered and validated."""

import doctest

import numpy as np
import pytest

from stream_scorer.core.decision import policy
from stream_scorer.core.decision.policy import Thresholds, decide
from stream_scorer.core.events.batch import Outcome


def test_a_score_on_a_threshold_reaches_it() -> None:
    scores = np.array([np.nextafter(0.5, 0), 0.5, np.nextafter(0.8, 0), 0.8, 1.0, 0.0])
    outcome = decide(scores, Thresholds(review=0.5, block=0.8))
    assert outcome.dtype == np.uint8
    assert [Outcome(o).name for o in outcome] == [
        "APPROVE", "REVIEW", "REVIEW", "BLOCK", "BLOCK", "APPROVE",
    ]  # fmt: skip


def test_equal_thresholds_review_nothing() -> None:
    assert decide(np.array([0.5, 0.4]), Thresholds(0.5, 0.5)).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("review", "block"),
    [(0.0, 0.5), (0.6, 0.5), (0.5, 1.1), (-1.0, 0.5), (float("nan"), 0.5), (0.5, float("nan"))],
)
def test_thresholds_out_of_order_are_refused(review: float, block: float) -> None:
    with pytest.raises(ValueError, match="0 < review <= block <= 1"):
        Thresholds(review, block)


def test_the_examples_run() -> None:
    assert doctest.testmod(policy).failed == 0
