"""Measures equal those of scikit-learn, and their intervals cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.labelling.contract import FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.measures.contract import MaturedRows, WindowKey
from stream_scorer.performance.measures.measure import NAMES, Measuring, measure
from tests.oracle import performance as oracle

DAY = 86_400_000
KEY = WindowKey("fraud", "1", "champion", "all", 0, DAY)


def matured(rows: list[oracle.JoinedRow]) -> MaturedRows:
    """Return rows of the oracle as columns."""
    state = [UNKNOWN if r.fraud is None else FRAUD if r.fraud else GENUINE for r in rows]
    count = len(rows)
    return MaturedRows(
        np.zeros(count, np.int32), np.zeros(count, np.uint8), np.ones(count, np.uint64),
        np.array([r.score for r in rows], float), np.array([r.amount for r in rows], float),
        np.array([r.weight for r in rows], float),
        np.array([r.outcome for r in rows], np.uint8), np.array(state, np.uint8),
        np.array([r.card for r in rows], np.uint64), np.zeros(count, np.int32),
        np.zeros(count, np.bool_), np.zeros(count),
        np.array([r.event_time for r in rows], np.int64),
    )  # fmt: skip


ROWS = st.builds(
    oracle.JoinedRow,
    score=st.one_of(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.99, 1.0]), st.just(math.nan)),
    amount=st.floats(0, 1_000),
    weight=st.sampled_from([0.0, 1.0, 1.0, 20.0]),
    outcome=st.sampled_from([0, 1, 2]),
    fraud=st.sampled_from([True, False, False, None]),
    card=st.integers(0, 30).map(lambda n: n * 0x9E3779B97F4A7C15 % 2**64),
    event_time=st.integers(0, 3 * DAY - 1),
)


@given(st.lists(ROWS, max_size=60))
def test_each_measure_equals_the_oracle(rows: list[oracle.JoinedRow]) -> None:
    found = measure(matured(rows), KEY, Measuring(cards_per_day=5))
    expected = oracle.measures(rows, 5)
    assert set(found.values) == set(NAMES) == set(expected)
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name
    assert found.rows == len(rows) == found.frauds + found.genuine + found.unknown


def city(seed: int, count: int = 4_000) -> MaturedRows:
    """Return decisions of 400 customers; those of one customer are alike."""
    chance = np.random.default_rng(seed)
    card = chance.integers(0, 400, count)
    risky = chance.beta(1, 12, 400)[card]
    fraud = chance.random(count) < risky
    score = np.clip(0.5 * risky + 0.4 * fraud * chance.random(count), 0, 1)
    hashes = np.random.default_rng(9).integers(0, 2**63, 400).astype(np.uint64)[card]
    ones = np.ones(count)
    return MaturedRows(
        ones.astype(np.int32), ones.astype(np.uint8), ones.astype(np.uint64), score, 50 * ones,
        ones, np.where(score > 0.4, Outcome.BLOCK, Outcome.APPROVE).astype(np.uint8),
        np.where(fraud, FRAUD, GENUINE).astype(np.uint8), hashes, ones.astype(np.int32),
        ones > 2, ones * 0, chance.integers(0, DAY, count),
    )  # fmt: skip


def test_intervals_cover_what_is_true() -> None:
    names = ("average_precision", "brier", "value_recall", "block_precision", "cost_saved")
    found = [measure(city(seed), KEY, Measuring()) for seed in range(120)]
    for name in names:
        truth = float(np.mean([each.values[name] for each in found]))
        covered = [each.low[name] <= truth <= each.high[name] for each in found]
        assert np.mean(covered) >= 0.88, name


def test_no_interval_where_a_group_is_empty() -> None:
    few = city(1).take(np.arange(10))
    assert not measure(few, KEY, Measuring()).low


def test_a_sample_has_no_card_precision() -> None:
    whole, sampled = (measure(city(1), KEY, Measuring(), sampled=n) for n in (1, 2))
    assert math.isfinite(whole.values["card_precision"])
    assert math.isnan(sampled.values["card_precision"])
    assert sampled.sampled == 2


def test_blocked_rows_that_no_draw_reaches_are_outside() -> None:
    row = oracle.JoinedRow(0.9, 10.0, 1.0, 2, None, 1, 0)
    inside = oracle.JoinedRow(0.9, 10.0, 0.0, 2, None, 1, 0)
    found = measure(matured([row, inside, inside, inside]), KEY, Measuring())
    assert found.outside == 0.25
    assert found.unknown == 4
    assert found.effective == 0.0
