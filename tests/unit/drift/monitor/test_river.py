"""River's detectors run in the monitor: they see each window, survive restarts, and are shown."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from stream_scorer.drift.alarms.contract import Severity
from stream_scorer.drift.alarms.family import ChangeFound, Family
from stream_scorer.drift.alarms.nulls import Float64
from stream_scorer.drift.alarms.river_streams import KEYS, RiverStreams
from stream_scorer.drift.detection.river.kept_values import KeptValues
from stream_scorer.drift.detection.river.registry import DETECTORS
from stream_scorer.drift.monitor.events import event_of
from stream_scorer.drift.monitor.snapshots import continue_from, snapshot_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.reports.events import event_of as shown_event
from stream_scorer.drift.reports.html import html_of
from stream_scorer.drift.reports.report import report_of
from stream_scorer.drift.reports.river import OUTSIDE, beyond_of, opinion_of
from stream_scorer.drift.reports.status import status_of
from stream_scorer.drift.state.document import MonitorDocument
from tests.support.drift.synthetic import HOUR, START, Shift, lookup, summaries, watch

CHANGE, WINDOWS = 110, 150
SCORE = "score/level@all"


def river_of(state: DriftWatch) -> RiverStreams:
    found = state.versions["fraud", "1"].river
    assert found is not None
    return found


@cache
def snapshots() -> tuple[bytes, bytes]:
    """Return the snapshots before the change and at the end."""
    state = watch()
    before = b""
    for number, each in enumerate(summaries(WINDOWS, shifts={CHANGE: Shift(score=1.4)})):
        if number == CHANGE:
            before = snapshot_of(state, number)
        state.update(*each)
    return before, snapshot_of(state, WINDOWS)


def test_each_detector_follows_each_stream() -> None:
    states = river_of(continue_from(snapshots()[0], watch(), lookup)).states()
    assert {each.stream for each in states} == {key.text for key in KEYS}
    assert {each.detector for each in states} == set(DETECTORS)
    assert len(states) == len(KEYS) * len(DETECTORS)
    quiet = [each for each in states if not each.detections]
    assert len(quiet) >= len(states) - 1
    assert all(START <= each.since <= START + HOUR for each in quiet)


def test_they_get_what_the_calibrated_detector_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Float64] = []
    update = Family._update_calibrated

    def seen(self: Family, values: Float64) -> list[ChangeFound]:
        got.append(values.copy())
        return update(self, values)

    monkeypatch.setattr(Family, "_update_calibrated", seen)
    state = watch()
    for each in summaries(30):
        state.update(*each)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    np.testing.assert_array_equal(streams.observed, got[-1])
    assert np.isfinite(streams.observed).any()


def test_a_version_that_begins_again_forgets_their_values() -> None:
    state = continue_from(snapshots()[1], watch(), lookup)
    version = state.versions["fraud", "1"]
    settings = [each.setting for each in river_of(state).states()]
    version.begin_again(state.budget, state.first_start)
    assert [each.setting for each in river_of(state).states()] == settings
    assert all(each.since == each.detections == 0 for each in river_of(state).states())
    version.release()
    assert version.river is None
    assert MonitorDocument.read(snapshot_of(state, WINDOWS)).versions[0].river == ()


def test_a_change_of_the_score_is_found_by_each() -> None:
    states = river_of(continue_from(snapshots()[1], watch(), lookup)).states()
    score = [each for each in states if each.stream == SCORE]
    assert all(each.detected_at > START + CHANGE * HOUR for each in score)
    (place,) = (each for each in score if each.place)
    assert place.detector == "adwin"
    assert abs(place.place - START - CHANGE * HOUR) <= 3 * HOUR
    assert place.size > 1


def test_the_alarm_says_which_of_them_agree() -> None:
    state = watch()
    alarms = [
        alarm
        for each in summaries(WINDOWS, shifts={CHANGE: Shift(score=1.25)})
        for alarm in state.update(*each)
    ]
    (page,) = (each for each in alarms if each.stream == SCORE and each.change == "opened")
    assert page.severity is Severity.PAGE
    assert page.river
    assert all(page.onset_low < each.detected_at <= page.window_end for each in page.river)
    record = event_of(page)["river"]
    assert {each["detector"] for each in record} <= set(DETECTORS)
    told = opinion_of(shown_event(page))
    assert all(each.detector in told for each in page.river)
    # A stream that they do not follow has no opinion of theirs.
    assert all(not each.river for each in alarms if each.segment != "all")


def test_their_detections_alone_are_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = {
        name: replace(each, measured=((1.0, {"adwin": 0.9, "kswin": 0.5}.get(name, 1.0)),))
        for name, each in DETECTORS.items()
    }
    monkeypatch.setattr(KeptValues.__init__, "__defaults__", (eager,))
    state = watch()
    alarms = [alarm for each in summaries(160) for alarm in state.update(*each)]
    assert sum(each.detections for each in river_of(state).states()) > 10
    assert alarms == []


def test_a_restart_changes_nothing() -> None:
    before, after = snapshots()
    state = continue_from(before, watch(), lookup)
    assert snapshot_of(state, CHANGE) == before
    windows = list(summaries(WINDOWS, shifts={CHANGE: Shift(score=1.4)}))[CHANGE:]
    for number, each in enumerate(windows, CHANGE):
        if number % 7 == 0:
            state = continue_from(snapshot_of(state, number), watch(), lookup)
        state.update(*each)
    assert snapshot_of(state, WINDOWS) == after


def test_a_state_of_an_earlier_release_begins_anew() -> None:
    river = river_of(continue_from(snapshots()[1], watch(), lookup))
    fresh = RiverStreams(720.0)
    fresh.load({"recent": river.arrays()["river_values"]})
    assert all(each.since == 0 for each in fresh.states())
    with pytest.raises(KeyError):
        fresh.load({"river_values": river.arrays()["river_values"]})


def test_every_registered_detector_is_shown() -> None:
    document = MonitorDocument.read(snapshots()[1])
    rows = status_of(document)["river"]
    assert {(each["stream"], each["detector"]) for each in rows} == {
        (key.text, name) for key in KEYS for name in DETECTORS
    }
    found = [each for each in rows if each["stream"] == SCORE]
    assert all(each["detected_at"] for each in found)
    page = html_of(report_of(document, [], 30))
    assert OUTSIDE.replace("'", "&#x27;") in page or OUTSIDE in page
    for name in DETECTORS:
        assert page.count(f"<td>{name}</td>") == len(KEYS)


def test_a_budget_beyond_the_measured_settings_is_named() -> None:
    document = MonitorDocument.read(snapshots()[1])
    assert beyond_of(status_of(document)["river"]) == []
    rare = replace(document.versions[0], river=RiverStreams(2_160.0).states())
    status = status_of(replace(document, versions=(rare,)))
    told = beyond_of(status["river"])
    assert told[0] == (
        "adwin of fraud:1: the budget wants 25,920 windows of a stream between two false "
        "detections. This is beyond the measured settings: about 21,053."
    )
    assert [line.split(": the")[0] for line in told] == [f"{name} of fraud:1" for name in DETECTORS]
    assert told[0] in html_of(report_of(replace(document, versions=(rare,)), [], 30))
    # A state of an earlier release does not tell.
    older = tuple(replace(each, wanted=0.0, run_length=0.0) for each in rare.river)
    status = status_of(replace(document, versions=(replace(rare, river=older),)))
    assert beyond_of(status["river"]) == []


def test_the_settings_share_the_budget() -> None:
    few, many = RiverStreams(72.0).states(), RiverStreams(7_200.0).states()
    assert [each.detector for each in few] == [each.detector for each in many]
    for name, each in DETECTORS.items():
        share = 72.0 * len(KEYS) * len(DETECTORS)
        expected = f"{each.option} {each.chosen(share)[1]:g}"
        assert {line.setting for line in few if line.detector == name} == {expected}
