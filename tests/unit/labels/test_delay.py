"""The delay curve is unbiased although late reports are not seen yet, and equals statsmodels'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import SettingsError
from stream_scorer.labels.delay import DelayRange, FirstReports, delay_report
from stream_scorer.labels.delay_curve import DAY_MS, delay_curve


def simulated(
    seed: int, count: int = 40_000, mean: float = 20.0, days: float = 60.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return delays and ages in ms of the frauds that were reported by now."""
    numbers = np.random.default_rng(seed)
    age = numbers.uniform(0, days, count)
    delay = numbers.exponential(mean, count)
    seen = delay <= age
    return (np.rint(one[seen] * DAY_MS).astype(np.int64) for one in (delay, age))  # type: ignore[return-value]


def test_the_curve_corrects_for_what_is_not_seen_yet() -> None:
    delay, age = simulated(1)
    curve = delay_curve(delay, age)
    days = [5.0, 10.0, 20.0, 30.0, 45.0]
    # Identified up to the oldest age, 60 days: an exponential distribution, cut there.
    expected = (1 - np.exp(-np.array(days) / 20)) / (1 - np.exp(-3))
    assert curve.at(days) == pytest.approx(expected.tolist(), abs=0.02)
    naive = [(delay <= day * DAY_MS).mean() for day in days]
    assert naive[1] - curve.at(days)[1] > 0.1
    half = -20 * np.log(1 - 0.5 * (1 - np.exp(-3)))
    assert curve.days_for(0.5) == pytest.approx(half, rel=0.05)
    assert curve.at([0.0, 1_000.0]) == [0.0, 1.0]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=100, max_size=160),
)
def test_the_curve_is_that_of_statsmodels(pairs: list[tuple[int, int]]) -> None:
    duration = pytest.importorskip("statsmodels.duration.api")
    delay = np.array([first for first, _ in pairs]) * DAY_MS
    age = delay + np.array([more for _, more in pairs]) * DAY_MS
    curve = delay_curve(delay, age)
    # In reverse time: an entry is just before, so that a delay of the full age counts.
    end = 100.0
    found = duration.SurvfuncRight(
        end - delay / DAY_MS, np.ones(len(delay)), entry=end - age / DAY_MS - 0.5
    )
    # Its survival just after a reversed delay is the share of smaller delays.
    reversed_ = dict(zip((end - found.surv_times).round(6).tolist(), found.surv_prob, strict=True))
    for day, before in zip(curve.delay_ms / DAY_MS, np.append(0.0, curve.share[:-1]), strict=True):
        assert before == pytest.approx(reversed_[round(float(day), 6)], abs=1e-9)


def test_the_first_report_of_a_fraud_counts() -> None:
    reports = FirstReports()
    count = 200
    match = np.arange(count, dtype=np.uint64)
    event = np.arange(count) * DAY_MS
    reports.add(match, event, event + 30 * DAY_MS)
    reports.add(match, event, event + 3 * DAY_MS)
    # Dated before the transaction.
    reports.add(match[:100], event[:100], event[:100] - DAY_MS)
    curve = reports.curve(DelayRange(0, 150 * DAY_MS))
    assert curve.frauds == 150
    assert (curve.delay_ms / DAY_MS).tolist() == [0.0, 3.0]
    assert curve.share.tolist() == pytest.approx([100 / 150, 1.0])
    late = reports.curve(DelayRange(0, 400 * DAY_MS, as_of_ms=120 * DAY_MS))
    assert late.frauds == 118
    report = delay_report(curve)
    assert report["days_99"] == 3.0
    assert report["reported_by"]["1"] == pytest.approx(100 / 150, abs=1e-4)
    assert 'unlabelled = "mature"\nafter_days = 3.0' in report["plan"]


def test_too_few_frauds_are_refused() -> None:
    with pytest.raises(SettingsError, match="99 reported frauds, and a curve needs 100"):
        delay_curve(np.zeros(99, np.int64), np.ones(99, np.int64))
