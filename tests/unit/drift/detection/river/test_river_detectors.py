"""River's detectors behind our interface: the same alarms as River's, also after a restart."""

from typing import Any

import numpy as np
import pytest
from river import drift
from river.drift import binary

from stream_scorer.drift.detection.river.adapter import RiverDetector
from stream_scorer.drift.detection.river.adwin import HORIZON, AdwinDetector
from stream_scorer.drift.detection.river.page_hinkley import PageHinkleyDetector
from stream_scorer.drift.detection.river.registry import DETECTORS
from stream_scorer.drift.detection.shifts.detector import MOST_STATE_BYTES, Detector
from stream_scorer.ports import Float64

STEPS, CHANGE = 400, 250
RIVERS: dict[str, Any] = {
    "page_hinkley": drift.PageHinkley, "adwin": drift.ADWIN, "ddm": binary.DDM,
    "eddm": binary.EDDM, "fhddm": binary.FHDDM, "hddm": binary.HDDMA,
}  # fmt: skip
NAMES = [*RIVERS, "kswin"]


def values_for(name: str) -> Float64:
    generator = np.random.default_rng(1)
    late = np.arange(STEPS)[:, None] >= CHANGE
    if name.endswith("dm"):
        return (generator.random((STEPS, 2)) < np.where(late, 0.6, 0.1)).astype(float)
    return generator.standard_normal((STEPS, 2)) + 3.0 * late


def alarms_of(detector: Detector, values: Float64) -> list[tuple[int, int]]:
    return [
        (step, int(stream))
        for step, row in enumerate(values)
        for stream in detector.update(row).stream
    ]


@pytest.mark.parametrize("name", RIVERS)
def test_alarms_are_those_of_river(name: str) -> None:
    values = values_for(name)
    options = {"bounded": False} if name == "adwin" else {}
    made: Any = DETECTORS[name]
    found = alarms_of(made(2, **options), values)
    expected = []
    rivers = [RIVERS[name](), RIVERS[name]()]
    for step, row in enumerate(values.tolist()):
        for stream, value in enumerate(row):
            rivers[stream].update(1 - value if name == "fhddm" else value)
            if rivers[stream].drift_detected:
                expected.append((step, stream))
    assert found == expected
    assert any(step >= CHANGE for step, _ in found)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_detector_continues_bit_for_bit(name: str) -> None:
    values = values_for(name)
    made: Any = DETECTORS[name]
    whole, first, second = made(2), made(2), made(2)
    expected = alarms_of(whole, values)
    found = alarms_of(first, values[:237])
    second.restore(first.snapshot())
    found += [(step + 237, stream) for step, stream in alarms_of(second, values[237:])]
    assert found == expected
    assert expected
    assert second.snapshot() == whole.snapshot()
    assert whole.state_bytes <= MOST_STATE_BYTES


def test_a_missing_value_is_not_passed_on() -> None:
    detector = PageHinkleyDetector(1)
    detector.update(np.array([1.0]))
    before = detector.snapshot()
    assert len(detector.update(np.array([np.nan]))) == 0
    assert detector.snapshot() == before


def test_an_unbounded_adwin_has_no_snapshot() -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        AdwinDetector(1, bounded=False).snapshot()


@pytest.mark.parametrize("count", [-1.0, HORIZON + 1.0, 0.5, np.nan])
def test_an_impossible_snapshot_of_adwin_is_refused(count: float) -> None:
    state = np.zeros((1, HORIZON + 1))
    state[0, 0] = count
    with pytest.raises(ValueError, match="not possible"):
        AdwinDetector(1).restore(state.tobytes())


def test_options_reach_river() -> None:
    values = values_for("page_hinkley")
    assert alarms_of(PageHinkleyDetector(2, threshold=1e6), values) == []


def test_a_detector_with_too_many_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="numbers"):
        RiverDetector(1, drift.PageHinkley, 2)


def test_every_detector_is_registered_once() -> None:
    assert len(set(DETECTORS.values())) == len(DETECTORS) == 9
