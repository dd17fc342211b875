"""The calibrated detector: shifts, relearning, second changes, restarts."""

import numpy as np
import pytest

from bench.drift_steps.scenarios import correlated
from stream_scorer.drift.detection.shifts import autoregression, shift_kernels
from stream_scorer.drift.detection.shifts.calibrated import (
    RELEARN,
    CalibratedDetector,
    FittedReference,
)
from stream_scorer.drift.detection.shifts.detector import MOST_STATE_BYTES, Detector
from stream_scorer.ports import Float64

STREAMS, REFERENCE = 20, 300
THRESHOLDS = np.full(STREAMS, 13.0)


def family(seed: int, steps: int, rho: float = 0.3) -> Float64:
    units = np.linspace(1, 50, STREAMS)
    return 100 + units * correlated(np.random.default_rng(seed), steps, STREAMS, rho)


def learned(values: Float64) -> FittedReference:
    centre, scale = values.mean(0), values.std(0)
    scale[scale == 0] = 1.0
    return FittedReference(centre, scale, autoregression.fit((values - centre) / scale))


def detector(values: Float64, relearn: int = RELEARN) -> CalibratedDetector:
    return CalibratedDetector(learned(values[:REFERENCE]), THRESHOLDS, relearn=relearn)


def alarms_of(watching: Detector, values: Float64) -> list[tuple[int, int]]:
    found = []
    for step, row in enumerate(values):
        found += [(step, int(stream)) for stream in watching.update(row).stream]
    return found


def test_a_family_without_a_change_is_silent() -> None:
    values = family(1, 2_300)
    assert alarms_of(detector(values), values[REFERENCE:]) == []


@pytest.mark.parametrize("sigmas", [-1.0, 1.0])
def test_a_shift_is_found_with_onset_and_size_in_its_units(sigmas: float) -> None:
    values = family(2, 1_200)
    size = sigmas * np.linspace(1, 50, STREAMS)[4]
    values[800:, 4] += size
    watching = detector(values)
    step = REFERENCE
    while not len(alarms := watching.update(values[step])):
        step += 1
    assert alarms.stream.tolist() == [4]
    assert 800 < step < 950
    assert abs(step + 1 - int(alarms.age[0]) - 800) < 25
    assert alarms.after[0] - alarms.before[0] == pytest.approx(size, rel=0.4)
    assert alarms.evidence[0] > THRESHOLDS[4]


def test_a_stream_learns_again_after_its_alarm() -> None:
    values = family(4, 2_000)
    values[800:, 4] += 2 * np.linspace(1, 50, STREAMS)[4]
    watching = detector(values)
    found = alarms_of(watching, values[REFERENCE:900])
    assert [stream for _, stream in found] == [4]
    assert 0 < watching.learning[4] <= RELEARN
    assert alarms_of(watching, values[900:]) == []
    assert watching.learning[4] == 0


def test_a_second_change_is_a_second_alarm() -> None:
    values = family(5, 2_500)
    unit = np.linspace(1, 50, STREAMS)[4]
    values[800:, 4] += 2 * unit
    values[1_700:, 4] += 2 * unit
    found = alarms_of(detector(values), values[REFERENCE:])
    assert [stream for _, stream in found] == [4, 4]
    assert 1_400 <= found[1][0] < 1_440


def test_a_second_change_is_found_while_the_first_is_learned() -> None:
    values = family(5, 1_200)
    unit = np.linspace(1, 50, STREAMS)[4]
    values[800:, 4] += 2 * unit
    values[900:, 4] += 4 * unit
    found = alarms_of(detector(values), values[REFERENCE:])
    assert [stream for _, stream in found] == [4, 4]
    assert 600 <= found[1][0] <= 615


def test_what_grows_after_an_alarm_is_one_alarm() -> None:
    values = family(5, 2_000)
    unit = np.linspace(1, 50, STREAMS)[4]
    values[800:, 4] += unit * np.minimum(np.arange(1_200) / 200, 3.0)
    assert [stream for _, stream in alarms_of(detector(values), values[REFERENCE:])] == [4]


def test_a_change_within_the_tolerance_is_not_reported() -> None:
    values = family(6, 4_000, 0.0)
    values[800:, 4] += 0.5 * np.linspace(1, 50, STREAMS)[4]
    reference = learned(values[:REFERENCE])
    allowing = CalibratedDetector(reference, THRESHOLDS, tolerance=0.5)
    exact = CalibratedDetector(reference, THRESHOLDS)
    assert alarms_of(allowing, values[REFERENCE:]) == []
    assert {stream for _, stream in alarms_of(exact, values[REFERENCE:])} == {4}


def test_a_restored_detector_continues_bit_for_bit() -> None:
    values = family(7, 1_500)
    values[700:, 4] += np.linspace(1, 50, STREAMS)[4]
    values[::7, 3] = np.nan
    values[:REFERENCE] = family(7, REFERENCE)
    whole, first, second = detector(values), detector(values), detector(values)
    expected = alarms_of(whole, values[REFERENCE:])
    found = alarms_of(first, values[REFERENCE:761])
    second.restore(first.snapshot())
    found += [(step + 761 - REFERENCE, s) for step, s in alarms_of(second, values[761:])]
    assert found == expected
    assert expected
    assert second.snapshot() == whole.snapshot()
    assert whole.state_bytes <= MOST_STATE_BYTES


def test_a_snapshot_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes is needed"):
        detector(family(8, REFERENCE)).restore(b"12345678")


def test_a_constant_stream_neither_alarms_nor_breaks() -> None:
    values = family(11, 700)
    values[:, 0] = 5.0
    watching = detector(values)
    assert watching.learning.sum() == 0
    found = alarms_of(watching, values[REFERENCE:])
    assert all(stream != 0 for _, stream in found)


@pytest.mark.parametrize(
    ("column", "number"),
    [(shift_kernels.COUNTS, 9.0), (shift_kernels.COUNTS, -1.0), (shift_kernels.COUNTS, 0.5),
     (shift_kernels.COUNTS, np.nan), (shift_kernels.LEARNING, 1e300)],
)  # fmt: skip
def test_an_impossible_snapshot_is_refused(column: int, number: float) -> None:
    watching = detector(family(15, REFERENCE))
    before = watching.snapshot()
    state = np.frombuffer(before).reshape(STREAMS, -1).copy()
    state[2, column] = number
    with pytest.raises(ValueError, match="not possible"):
        watching.restore(state.tobytes())
    assert watching.snapshot() == before


def test_wider_streams_keep_their_levels_and_need_more() -> None:
    values = family(14, 900)
    usual = values[:REFERENCE].mean(0)
    values[REFERENCE:] = usual + 2.5 * (values[REFERENCE:] - usual)
    plain, wide = detector(values), detector(values)
    wide.widen(np.full(STREAMS, 2.5))
    assert alarms_of(plain, values[REFERENCE:]) != []
    assert alarms_of(wide, values[REFERENCE:]) == []
    with pytest.raises(ValueError, match="must be positive"):
        wide.widen(np.zeros(STREAMS))


def test_observations_count_since_the_latest_reference() -> None:
    values = family(15, 500)
    watching = detector(values)
    assert watching.observations.tolist() == [REFERENCE - 1] * STREAMS
    assert alarms_of(watching, values[REFERENCE:]) == []
    assert watching.observations[:3].tolist() == [499] * 3
