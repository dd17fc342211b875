"""What a short reference says of a stream is nearer to what it says of similar ones."""

import numpy as np
import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.nulls import Nulls, nulls_of
from stream_scorer.drift.alarms.stream_thresholds import thresholds_of
from stream_scorer.models.reference.bands import spread_of
from stream_scorer.models.reference.contract import FleetReference, Season, StreamReference

STREAMS, WINDOWS, SCALE = 60, 300, 0.02
FLAT = Season(np.zeros(24), np.zeros(7), np.empty(0), 8.0, 0.0)
APART = FleetReference(0.16, 0.5, WINDOWS)
"""The median of so many streams that have nothing in common."""


def nulls(phi: np.ndarray, scale: np.ndarray, fleet: FleetReference | None = APART) -> Nulls:
    """Return the nulls of simulated references of autoregressions."""
    random = np.random.default_rng(4)
    values = random.normal(size=(WINDOWS, STREAMS))
    for at in range(1, WINDOWS):
        values[at] = phi * values[at - 1] + np.sqrt(1 - phi**2) * values[at]
    streams = []
    for number in range(STREAMS):
        found, correlation = spread_of(scale[number] * values[:, number])
        key = StreamKey(f"f{number}", "level", "all")
        streams.append(
            StreamReference(
                key, 0.5, 0.499, 0.501, found, correlation, WINDOWS, 80_000, FLAT, ""
            )
        )  # fmt: skip
    return nulls_of(streams, 0.5, fleet)


def test_equal_streams_share_what_they_are() -> None:
    even = np.full(STREAMS, 0.5)
    alone, together = (nulls(even, even * SCALE, fleet) for fleet in (None, APART))
    # The standard error of each is 0.05.
    assert together.phi[:-1].std() < 0.02
    assert together.phi[:-1].mean() == pytest.approx(0.5, abs=0.02)
    scale = (together.noise * together.scale)[:-1]
    assert scale.std() < 0.4 * together.scale[:-1].std()
    assert (together.length[:-1] > 5 * WINDOWS).all()
    run_length = np.full(STREAMS + 1, 1e6)
    need, less = (thresholds_of(each, run_length)[:-1].mean() for each in (alone, together))
    assert less < 0.9 * need
    # What is known of the mean is not more.
    assert (together.windows == alone.windows).all()


def test_streams_that_move_together_are_one() -> None:
    even = np.full(STREAMS, 0.5)
    for fleet in (None, FleetReference(1.0, 0.5, WINDOWS)):
        assert nulls(even, even * SCALE, fleet).length[:-1].tolist() == [WINDOWS] * STREAMS
    some = nulls(even, even * SCALE, FleetReference(0.77, 0.5, WINDOWS))
    assert (some.length[:-1] < 1.5 * WINDOWS).all()


def test_different_streams_keep_what_is_theirs() -> None:
    random = np.random.default_rng(6)
    phi, scale = random.uniform(0, 0.9, STREAMS), SCALE * random.uniform(0.2, 1, STREAMS)
    found = nulls(phi, scale)
    assert np.abs(found.phi[:-1] - phi).mean() < 0.05
    assert np.abs(found.noise[:-1] - 1).max() < 0.1
    assert (found.length[:-1] < 1.3 * WINDOWS).all()
