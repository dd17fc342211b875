"""The guaranteed detector: its accounting is exact, its band holds, and it finds changes."""

import numpy as np
import pytest

from stream_scorer.drift.detection.shifts import e_kernels
from stream_scorer.drift.detection.shifts.e_detector import EDetector
from stream_scorer.ports import Float64

RUN_LENGTH = 500.0


def stream(seed: int, steps: int, streams: int, mean: float = 0.5) -> Float64:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.1, (steps, streams)), 0, 1)


def fixed_band(streams: int) -> Float64:
    return np.array([[0.48] * streams, [0.52] * streams])


def evidence_of(detector: EDetector) -> Float64:
    return detector._state[:, : e_kernels.LOW]


def first_alarm(detector: EDetector, values: Float64) -> tuple[int, int] | None:
    for step, row in enumerate(values):
        alarms = detector.update(row)
        if len(alarms):
            return step, int(alarms.stream[0])
    return None


def test_evidence_without_a_change_grows_by_one_per_step_at_most() -> None:
    # Fair coins have the greatest spread that [0, 1] allows.
    streams, steps = 4_000, 20
    detector = EDetector(np.full((2, streams), 0.5), 1e9)
    coins = np.random.default_rng(1).integers(0, 2, (steps, streams)).astype(float)
    for row in coins:
        detector.update(row)
    evidence = detector._state[:, e_kernels.CUSUM : e_kernels.CUSUM + e_kernels.CELLS].mean(1)
    error = evidence.std() / np.sqrt(streams)
    assert 1 < evidence.mean() < steps + 4 * error
    assert error < 2


def test_no_alarm_in_four_run_lengths_without_a_change() -> None:
    detector = EDetector(fixed_band(20), RUN_LENGTH)
    assert first_alarm(detector, stream(2, int(4 * RUN_LENGTH), 20)) is None


@pytest.mark.parametrize("mean", [0.4, 0.6])
def test_a_change_is_found_with_its_onset_and_size(mean: float) -> None:
    values = stream(3, 300, 20)
    values[200:, 7] += 2 * (mean - 0.5)
    detector = EDetector(fixed_band(20), RUN_LENGTH)
    step = 0
    while not len(alarms := detector.update(values[step])):
        step += 1
    assert alarms.stream.tolist() == [7]
    assert 200 < step < 260
    assert abs(step + 1 - int(alarms.age[0]) - 200) < 15
    assert alarms.after[0] == pytest.approx(2 * mean - 0.5, abs=0.05)
    assert alarms.before[0] == pytest.approx(0.5)
    assert alarms.evidence[0] >= RUN_LENGTH


def test_a_small_change_of_all_is_one_alarm_that_resets_all() -> None:
    values = stream(4, 800, 100, 0.56)
    detector = EDetector(fixed_band(100), 1e6)
    rows = iter(values)
    while not len(alarms := detector.update(next(rows))):
        pass
    assert len(alarms) == 1
    assert not evidence_of(detector).any()


def test_weights_decide_how_much_evidence_is_needed() -> None:
    values = stream(5, 200, 2)
    values += 0.1
    heavy = EDetector(fixed_band(2), 1e6, weights=np.array([100.0, 1.0]))
    found = first_alarm(heavy, np.clip(values, 0, 1))
    assert found is not None
    assert found[1] == 0


def test_a_missing_value_changes_nothing() -> None:
    detector = EDetector(fixed_band(2), RUN_LENGTH)
    detector.update(np.array([0.5, 0.6]))
    before = detector.snapshot()
    assert len(detector.update(np.array([np.nan, np.nan]))) == 0
    assert detector.snapshot() == before


def test_a_restored_detector_continues_bit_for_bit() -> None:
    values = stream(6, 200, 5, 0.53)
    whole, first = EDetector(fixed_band(5), RUN_LENGTH), EDetector(fixed_band(5), RUN_LENGTH)
    for row in values:
        whole.update(row)
    for row in values[:77]:
        first.update(row)
    second = EDetector(fixed_band(5), RUN_LENGTH)
    second.restore(first.snapshot())
    for row in values[77:]:
        second.update(row)
    assert second.snapshot() == whole.snapshot()


@pytest.mark.parametrize("value", [-0.1, 1.1, np.inf])
def test_a_value_outside_the_class_is_refused(value: float) -> None:
    detector = EDetector(fixed_band(1), RUN_LENGTH)
    with pytest.raises(ValueError, match="from 0 to 1"):
        detector.update(np.array([value]))
    assert not evidence_of(detector).any()


@pytest.mark.parametrize("null", [[[0.0], [0.5]], [[0.5], [1.0]], [[0.6], [0.5]]])
def test_a_band_that_is_empty_or_too_wide_is_refused(null: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="band"):
        EDetector(np.array(null), RUN_LENGTH)


def test_weights_must_be_positive() -> None:
    with pytest.raises(ValueError, match="weights"):
        EDetector(fixed_band(2), RUN_LENGTH, weights=np.array([1.0, 0.0]))


@pytest.mark.parametrize(("column", "number"), [(0, -1.0), (0, np.nan), (e_kernels.HIGH, 1.0)])
def test_an_impossible_snapshot_is_refused(column: int, number: float) -> None:
    detector = EDetector(fixed_band(2), RUN_LENGTH)
    before = detector.snapshot()
    state = np.frombuffer(before).reshape(2, -1).copy()
    state[1, column] = number
    with pytest.raises(ValueError, match="not possible"):
        detector.restore(state.tobytes())
    assert detector.snapshot() == before
