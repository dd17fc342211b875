"""The handbook stream: its changes have the size that they should, and its gates can fail."""

import numpy as np
import pytest

from bench.drift_steps import handbook, handbook_city
from bench.drift_steps.handbook_changes import SIZE, more_fraud, other_categories
from bench.drift_steps.handbook_city import City, begin_of, decided, joined, partly
from stream_scorer.core.events.batch import DecisionBatch
from stream_scorer.drift.alarms.nulls import RELATIVE

CUSTOMERS = 300


@pytest.fixture(scope="module")
def small() -> tuple[City, DecisionBatch]:
    """A city, and the decisions of its first days after the reference."""
    batches = decided(handbook_city.transactions(1, 9, CUSTOMERS))
    one = handbook_city.referenced(1, batches)
    return one, joined([decisions for _, decisions in batches])


@pytest.mark.parametrize("times", [1, 2])
def test_more_frauds_move_the_mean_score_by_tolerances(
    small: tuple[City, DecisionBatch], times: int
) -> None:
    one, decisions = small
    random = np.random.default_rng(1)
    change = more_fraud(one, times)
    changed = [change(decisions, random) for _ in range(200)]
    grown = np.mean([each.score.mean() for each in changed]) - decisions.score.mean()
    assert grown / one.score == pytest.approx(times * SIZE * RELATIVE, rel=0.1)
    # The others are as they were, and the frauds happen when others do.
    assert changed[0].score[: len(decisions)].tolist() == decisions.score.tolist()
    added = changed[0].events.int64("event_time")[len(decisions) :]
    assert set(added.tolist()) <= set(decisions.events.int64("event_time").tolist())


def test_other_categories_change_no_score(small: tuple[City, DecisionBatch]) -> None:
    _, decisions = small
    changed = other_categories(decisions, np.random.default_rng(2))
    assert changed.score is decisions.score
    shares = [
        np.mean(np.asarray(each.events.records.column("mcc").to_pylist()) == "5812")
        for each in (decisions, changed)
    ]
    assert shares[1] - shares[0] == pytest.approx(0.25 * (1 - shares[0]), abs=0.03)


def test_a_change_begins_within_a_batch(small: tuple[City, DecisionBatch]) -> None:
    one, decisions = small
    since = begin_of(handbook_city.BEGIN + 5)
    changed = partly(more_fraud(one, 5), since, None)(decisions, np.random.default_rng(3))
    time = changed.events.int64("event_time")
    before = decisions.events.int64("event_time") < since
    assert (time < since).sum() == before.sum()
    assert (time >= since).sum() > (~before).sum()


def test_each_figure_that_misses_fails_the_handbook() -> None:
    good = {
        "recall": 0.95, "pages": 0.95, "false_alarms": 62, "false_allowed": 62,
        "harmless_pages": 0, "renamed_version_alarms": 0, "two_episodes": 2,
        "two_onset_errors": [[0.0, 1.0], [0.5, 0.9]],
    }  # fmt: skip
    assert handbook.gates(good) == []
    for name, bad in (
        ("recall", 0.94), ("pages", 0.9), ("false_alarms", 63), ("harmless_pages", 1),
        ("renamed_version_alarms", 1), ("two_episodes", 1),
        ("two_onset_errors", [[0.0, 1.1], [0.0, 0.0]]),
        ("two_onset_errors", [[0.0, None], [0.0, 0.0]]),
    ):  # fmt: skip
        assert len(handbook.gates(good | {name: bad})) == 1
