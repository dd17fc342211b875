"""Which segment is named when only a part of the amounts is in another unit."""

import math

import numpy as np
import pytest

from stream_scorer.drift.quality.pooled_window import LEAST_ROWS, Pool, PooledWindow
from stream_scorer.drift.quality.reference_view import ReferenceView
from stream_scorer.drift.quality.unit_change import powers_of_ten, unit_change
from tests.support.drift.watched_stream import MONDAY, WatchedStream

USUAL = 8.2


@pytest.fixture(scope="module")
def view() -> ReferenceView:
    return ReferenceView(WatchedStream(1).reference(days=2))


def _named(view: ReferenceView, **factors: float) -> list[str]:
    """Return the segments that are named if the mean logarithms moved by these factors."""
    names = tuple(name.replace("_", "=") for name in factors)
    shift = np.log(list(factors.values()))
    empty = np.zeros((len(names), 1), np.int64)
    every, rows = np.ones(len(names), np.bool_), np.full(len(names), 1_000)
    window = PooledWindow(
        0, 1, names, every, every, rows,
        USUAL + shift, np.full(len(names), USUAL), empty, empty, rows, shift,
    )  # fmt: skip
    return [each.segment for each in unit_change(window, view)]


def test_a_mixture_is_not_taken_for_another_unit(view: ReferenceView) -> None:
    mixed = {"all": 10, "channel_pos": 1.01, "channel_web": 100, "country_DE": 10, "country_FR": 10}
    assert _named(view, **mixed) == ["channel=web"]


def test_all_events_are_named_if_every_segment_moved_alike(view: ReferenceView) -> None:
    assert _named(view, all=100, channel_pos=100, channel_web=100) == ["all"]


def test_a_mixture_without_a_separating_segment_is_drift(view: ReferenceView) -> None:
    assert _named(view, all=30, country_DE=30, country_FR=30) == []
    assert _named(view, all=10, country_DE=20, country_FR=5) == []


def test_the_dimension_that_separates_best_is_named(view: ReferenceView) -> None:
    moved = {"all": 4, "channel_pos": 1.01, "channel_web": 100, "country_DE": 2, "country_FR": 10}
    assert _named(view, **moved) == ["channel=web"]


def test_bands_of_amounts_separate_nothing(view: ReferenceView) -> None:
    bands = {"all": 100, "amount<20": 1, "amount>=20": 10}
    assert _named(view, **bands) == ["all"]


@pytest.mark.parametrize("factor", [2, 1.5, 3, 8, 50, 1e7, 1 / 2])
def test_other_factors_are_no_unit(factor: float) -> None:
    assert powers_of_ten(np.log([factor]), np.array([0.01])).tolist() == [0]


@pytest.mark.parametrize("power", [-6, -2, -1, 1, 2, 3, 6])
def test_powers_of_ten_are_units(power: int) -> None:
    shift = np.array([power * math.log(10)])
    assert powers_of_ten(shift, np.array([0.1])).tolist() == [power]
    assert powers_of_ten(shift * 1.049, np.array([0.1])).tolist() == [power]
    assert powers_of_ten(shift, np.array([abs(power) * 0.6])).tolist() == [0], "not certain"


def test_an_unknown_mean_is_not_judged() -> None:
    assert powers_of_ten(np.array([np.nan, 4.6]), np.array([0.1, np.nan])).tolist() == [0, 0]


def test_a_sum_that_does_not_fit_begins_the_pool_again() -> None:
    stream = WatchedStream(1, rate=LEAST_ROWS // 4)
    view, pool = ReferenceView(stream.reference(days=2)), Pool()
    window = stream.window(MONDAY)
    for _ in range(2):
        window.log_sum[:] = 2**62
        found = pool.add(window, view)
        assert (found.log_amount[0] > 0, found.rows[0] < LEAST_ROWS) == (True, True)
