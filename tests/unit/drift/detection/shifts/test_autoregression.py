"""Autoregressions are found again in what they made, and shrunk no further than chance allows."""

import numpy as np
import pytest

from bench.drift_steps.scenarios import autoregressive
from stream_scorer.drift.detection.shifts import autoregression
from stream_scorer.ports import Float64

STEPS = 300


def test_equal_streams_are_shrunk_to_one_estimate() -> None:
    values = autoregressive(np.random.default_rng(1), STEPS, 100)
    plain = autoregression.fit(values, shrink=False)
    shrunk = autoregression.fit(values)
    assert abs(shrunk.phi.mean() - 0.5) < 0.015
    assert shrunk.phi.std() < 0.25 * plain.phi.std()
    assert abs(shrunk.sigma / np.sqrt(0.75) - 1).max() < 0.06
    assert (plain.length == STEPS).all()
    assert (shrunk.length > 5 * STEPS).all()


def test_different_streams_keep_their_own_estimates() -> None:
    generator = np.random.default_rng(2)
    slow = autoregressive(generator, STEPS, 50, 0.9)
    quick = autoregressive(generator, STEPS, 50, 0.1)
    fitted = autoregression.fit(np.hstack([slow, 10 * quick]))
    assert abs(fitted.phi[:50].mean() - 0.9) < 0.03
    assert abs(fitted.phi[50:].mean() - 0.1) < 0.03
    assert (fitted.length < 1.2 * STEPS).all()


def test_deviations_are_shrunk_in_their_original_units() -> None:
    # A division by the sample's own deviation hides how much the estimates differ by chance.
    values = autoregressive(np.random.default_rng(3), STEPS, 100)
    scale = values.std(0)
    fitted = autoregression.fit(values / scale, unit=scale)
    assert abs(fitted.sigma * scale / np.sqrt(0.75) - 1).max() < 0.06


def test_innovations_are_summed_up() -> None:
    values = autoregressive(np.random.default_rng(4), STEPS, 3)
    fitted = autoregression.fit(values)
    expected = (values[1:] - fitted.phi * values[:-1]).sum(0) / fitted.sigma
    assert fitted.total == pytest.approx(expected)
    assert (fitted.count == STEPS - 1).all()
    assert (fitted.last == values[-1]).all()


def test_a_constant_stream_has_a_deviation_of_one() -> None:
    values = autoregressive(np.random.default_rng(5), STEPS, 4)
    values[:, 2] = 7.0
    fitted = autoregression.fit(values)
    assert fitted.sigma[2] == 1
    assert np.isfinite(fitted.total).all()


@pytest.mark.parametrize("values", [np.zeros((49, 1)), np.full((100, 1), np.nan)])
def test_a_short_or_broken_reference_is_refused(values: Float64) -> None:
    with pytest.raises(ValueError, match="reference"):
        autoregression.fit(values)


def test_a_fit_of_more_numbers_than_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        autoregression.fit(np.ones((100, 1)), fitted=60.0)


def test_values_after_a_fitted_season_vary_more() -> None:
    values = autoregressive(np.random.default_rng(6), STEPS, 3)
    plain = autoregression.fit(values, shrink=False)
    seasonal = autoregression.fit(values, shrink=False, fitted=31.0, added=30.0)
    expected = (STEPS - 2) / (STEPS - 32) * (1 + 30 / STEPS)
    assert (seasonal.sigma / plain.sigma) ** 2 == pytest.approx(np.full(3, expected))
