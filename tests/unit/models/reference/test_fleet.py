"""The median of all streams: of which streams it is, and how it varies."""

import numpy as np
import pytest

from stream_scorer.models.reference.build import build_reference
from stream_scorer.models.reference.fleet import STREAMS_LEAST, fleet_of, median_of
from tests.support.models.reference_rows import job_of, rows_of

WINDOWS, STREAMS = 1_000, 40


def test_the_median_is_of_levels_that_were_observed() -> None:
    level = np.array([True] * STREAMS_LEAST + [False, False])
    standard = np.array([*range(STREAMS_LEAST), 99.0, np.nan])
    assert median_of(standard, level) == 3.5
    standard[0] = np.nan
    assert np.isnan(median_of(standard, level))


@pytest.mark.parametrize(("rho", "scale"), [(0.0, 0.2), (0.6, 0.79), (1.0, 1.0)])
def test_a_median_varies_by_what_streams_have_in_common(rho: float, scale: float) -> None:
    random = np.random.default_rng(1)
    common, own = random.normal(size=(WINDOWS, 1)), random.normal(size=(WINDOWS, STREAMS))
    standard = np.sqrt(rho) * common + np.sqrt(1 - rho) * own
    found = fleet_of(standard, np.ones(STREAMS, np.bool_))
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=0.1)
    assert abs(found.phi) < 0.1
    assert found.windows == WINDOWS


def test_few_windows_say_nothing_of_a_median() -> None:
    standard = np.random.default_rng(1).normal(size=(60, STREAMS))
    level = np.ones(STREAMS, np.bool_)
    assert fleet_of(standard, level) is not None
    standard[:20, STREAMS_LEAST - 1 :] = np.nan
    assert fleet_of(standard, level) is None


def test_a_reference_knows_how_its_median_varies() -> None:
    job = job_of(("channel=web", "channel=other"))
    found = build_reference(rows_of(8, 420, segments=2), job).reference.fleet
    assert found is not None
    assert found.windows > 100
    # Streams of all events and of their segments have half of the events in common.
    assert 0.2 < found.scale < 0.7
