"""Errors follow from the evidence, and nearness is that of the detector that would fire."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stream_scorer.drift.alarms.evidence import calibrated_error, guaranteed_error, nearness
from stream_scorer.drift.alarms.family import GUARANTEED_SHARE, ChangeFound, Family
from stream_scorer.drift.monitor.watch import DriftWatch
from tests.support.drift.synthetic import Shift, summaries, watch

F = 720.0


@pytest.fixture(scope="module")
def state() -> DriftWatch:
    made = watch()
    for summary, at in summaries(60):
        made.update(summary, at)
    return made


@pytest.fixture(scope="module")
def family(state: DriftWatch) -> Family:
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    return streams.family


def found(family: Family, **changed: object) -> ChangeFound:
    stream = int(np.flatnonzero(family.nulls.guaranteed)[0])
    given = ChangeFound(stream, 5, 0.05, 0.08, 0.0, "e_detector")
    return replace(given, **changed)  # type: ignore[arg-type]


def needed(family: Family, each: ChangeFound) -> float:
    """Return the evidence, a logarithm, that an alarm of the guaranteed detector needs."""
    members = family.nulls.guaranteed
    share = family.nulls.share[each.stream] / family.nulls.share[members].sum()
    return math.log(F / GUARANTEED_SHARE / share)


def test_more_evidence_is_a_smaller_guaranteed_error(family: Family) -> None:
    each = found(family)
    at = needed(family, each)
    assert guaranteed_error(family, replace(each, log_evidence=at)) == pytest.approx(0.1)
    ten = guaranteed_error(family, replace(each, log_evidence=at + math.log(10)))
    assert ten == pytest.approx(0.01)
    # All streams together reached the threshold, and this one not by itself.
    assert guaranteed_error(family, replace(each, log_evidence=at - 2)) == pytest.approx(0.1)
    assert guaranteed_error(family, replace(each, detector="calibrated")) is None


def test_more_evidence_is_a_smaller_calibrated_error(family: Family) -> None:
    each = found(family)
    assert calibrated_error(family, each) is None
    least = float(family._calibrated.thresholds[each.stream])
    at = calibrated_error(family, replace(each, calibrated=least))
    errors = [
        calibrated_error(family, replace(each, calibrated=least + more)) or 0.0
        for more in (0.5, 2.0, 6.0, 1e6)
    ]
    assert at == pytest.approx(0.9)
    assert sorted(errors, reverse=True) == errors
    assert 0.54 < errors[0] < 0.9
    assert 0.0 < errors[2] < 0.018
    assert errors[3] >= 0.0


def test_an_alarm_is_near_before_it_is_raised() -> None:
    state = watch()
    course: list[tuple[float, float]] = []
    for summary, at in summaries(80, shifts={60: Shift(score=1.25)}):
        streams = state.versions["fraud", "1"].streams if state.versions else None
        if streams is not None:
            number = [key.text for key in streams.keys].index("score/level@all")
            guaranteed, calibrated = nearness(streams.family)
            course.append((float(guaranteed[number]), float(calibrated[number])))
        if any(each.stream == "score/level@all" for each in state.update(summary, at)):
            break
    else:
        pytest.fail("the change was not found")
    assert all(0 <= each <= 1 for pair in course for each in pair)
    assert max(max(pair) for pair in course[:50]) < 0.6
    assert max(course[-1]) > 0.6, "the window before the alarm shows that it is near"


def test_streams_without_a_guaranteed_detector_have_none(family: Family) -> None:
    guaranteed, calibrated = nearness(family)
    assert (np.isnan(guaranteed) == ~family.nulls.guaranteed).all()
    assert np.isfinite(calibrated).all()


def test_the_class_of_a_stream_does_not_depend_on_what_fired() -> None:
    state, found = watch(), []
    features = {f"f{n}": 1.25 for n in range(3)}
    for summary, at in summaries(130, shifts={60: Shift(score=1.3, features=features)}):
        found += state.update(summary, at)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    inside = {key.text for key, why in zip(streams.keys, streams.nulls.classes, strict=True)
              if not why}  # fmt: skip
    first = {each.stream: each for each in reversed(found) if each.change == "opened"}
    for each in first.values():
        assert each.guaranteed == (each.stream in inside)
        if each.detector == "e_detector":
            assert each.guaranteed_error is not None
            assert 0 < each.guaranteed_error <= 0.1
        else:
            assert each.guaranteed_error is None
            assert each.calibrated_error is not None
            assert 0 < each.calibrated_error <= 0.9
    assert any(each.guaranteed and each.detector == "calibrated" for each in first.values())
    assert len({each.calibrated_error for each in first.values()}) > 1
