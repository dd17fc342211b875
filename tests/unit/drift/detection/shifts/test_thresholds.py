"""Thresholds: interpolated, longer for longer run lengths, and about right where they are used."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.drift_thresholds.simulation import Tail, simulate
from stream_scorer.drift.detection.shifts import thresholds
from stream_scorer.drift.detection.shifts.thresholds import BLOCK, look_up, seasonal_excess

TABLE = json.loads(Path(thresholds.__file__).with_name("thresholds.json").read_text())


def one(phi: float, length: float, run_length: float) -> float:
    return float(look_up(np.array([phi]), np.array([length]), run_length)[0])


def test_a_longer_run_length_needs_more_evidence() -> None:
    levels = [one(0.5, 300, run_length) for run_length in (1e5, 1e6, 1e7)]
    assert levels[0] + 1 < levels[1] < levels[2] - 1


def test_a_longer_reference_needs_less_evidence() -> None:
    levels = [one(0.5, length, 1e6) for length in (200, 300, 1_000, 15_000, 1e9)]
    assert levels[0] > levels[1] + 0.5 > levels[2] + 1
    assert levels[3] == pytest.approx(levels[4])


def test_a_grid_point_is_looked_up_exactly() -> None:
    phi, length = TABLE["phi"].index(0.5), TABLE["length"].index(1_000)
    expected = Tail(*TABLE["tails"][phi][length]).threshold(1e6)
    assert one(0.5, 1_000, 1e6) == pytest.approx(expected)


def test_each_stream_has_its_own_run_length() -> None:
    both = look_up(np.full(2, 0.5), np.full(2, 1_000.0), np.array([1e5, 1e6]))
    assert both.tolist() == [one(0.5, 1_000, 1e5), one(0.5, 1_000, 1e6)]


def test_a_negative_correlation_takes_the_lowest_tabulated() -> None:
    assert one(-0.4, 300, 1e5) == one(TABLE["phi"][0], 300, 1e5)


@pytest.mark.parametrize(("phi", "length"), [(0.99, 1_000), (0.5, 150)])
def test_what_is_not_tabulated_is_refused(phi: float, length: float) -> None:
    with pytest.raises(ValueError, match=r"tabulated|effective length"):
        one(phi, length, 1e5)


def test_every_tail_is_steep() -> None:
    scales = np.array(TABLE["tails"])[..., 2]
    assert (scales > 0.7).all()
    assert (scales[:, -1] < 1.3).all()


def test_the_table_agrees_with_a_small_simulation() -> None:
    highest = simulate(np.full(200, 0.5), 1_000, 4_000, np.random.default_rng(2))
    # A run length of ten blocks: about a tenth of them pass.
    share = float((highest > one(0.5, 1_000, 40 * BLOCK)).mean())
    assert share == pytest.approx(1 / 40, abs=0.015)


def test_a_season_of_fewer_weeks_raises_a_threshold_more() -> None:
    weeks = np.array([1.0, 2.0, 4.0, 12.0, 26.0, 52.0, np.inf])
    excess = seasonal_excess(np.full(len(weeks), 0.5), weeks)
    assert (np.diff(excess) < 0).all()
    assert excess[0] == pytest.approx(2 * excess[1])
    assert excess[-1] == 0.0
    table = TABLE["excess"][TABLE["phi"].index(0.5)]
    assert excess[3] == pytest.approx(table[TABLE["weeks"].index(12)])


def test_the_error_of_a_season_passes_thresholds_more_often() -> None:
    # Of a reference of two weeks, on the same noise; with the excess as often as without a season.
    phi, length = 0.5, 2 * 168
    without, seasonal = (
        simulate(np.full(300, phi), length, 4_000, np.random.default_rng(4), seasonal=seasonal)
        for seasonal in (False, True)
    )
    threshold = one(phi, length, 20 * BLOCK)
    share = (without > threshold).mean()
    raised = threshold * (1 + seasonal_excess(np.array([phi]), np.array([2.0]))[0])
    assert (seasonal > threshold).mean() > 1.3 * share
    assert (seasonal > raised).mean() == pytest.approx(share, rel=0.35)
