"""A change while another one, a fleet's change or a fault is open."""

from collections.abc import Mapping

import numpy as np
import pytest

from stream_scorer.drift.alarms import episodes
from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.monitor.watch import DriftWatch
from tests.support.drift.synthetic import FEATURES, HOUR, START, Shift, summaries, watch

SCORE = "score/level@all"
LOWER = dict.fromkeys(FEATURES, 0.7)


def fold(
    state: DriftWatch, windows: int, shifts: Mapping[int, Shift], *, first: int = 0
) -> list[Alarm]:
    stream = summaries(windows, shifts=shifts, first=first)
    return [alarm for summary, at in stream for alarm in state.update(summary, at)]


def opened(found: list[Alarm], stream: str) -> list[Alarm]:
    return [each for each in found if each.change == "opened" and each.stream == stream]


def hour(time: int) -> int:
    return (time - START) // HOUR


def test_a_second_change_within_two_days_is_reported() -> None:
    shifts = {60: Shift(score=1.6), 75: Shift(score=4.0)}
    found = opened(fold(watch(), 300, shifts), SCORE)
    assert len(found) == 2
    assert hour(found[1].window_end) <= 75 + 10
    assert abs(hour(found[1].onset) - 75) <= 3


def test_what_grows_after_an_alarm_is_reported() -> None:
    """Each step is too small for a second alarm, but their sum is not."""
    steps = {70 + 6 * n: Shift(score=1.6 + 0.1 * n) for n in range(1, 11)}
    state = watch()
    found = opened(fold(state, 300, {60: Shift(score=1.6)} | steps), SCORE)
    assert len(found) >= 2
    assert abs(found[-1].after / 0.05 - 2.6) < 0.2


def test_a_change_of_the_score_after_a_fleet_alarm_pages() -> None:
    shifts = {60: Shift(score=1.5, features=LOWER), 120: Shift(score=4.5, features=LOWER)}
    (found,) = opened(fold(watch(), 400, shifts), SCORE)
    assert found.severity is Severity.PAGE
    assert hour(found.window_end) <= 120 + 10


def test_an_episode_that_makes_room_has_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows the events knows which episodes are open."""
    monkeypatch.setattr(episodes, "EPISODES_MOST", 1)
    shifts = {60: Shift(score=1.6), 75: Shift(score=4.0), 150: Shift(missing={"f1": 0.2})}
    state = watch()
    found = fold(state, 200, shifts)
    names: dict[str, set[str]] = {"opened": set(), "closed": set()}
    for each in found:
        names[each.change].add(each.episode)
    assert {each.kind for each in found if each.change == "opened"} >= {"drift", "fault"}
    assert len(names["opened"]) > len(state.episodes.records) == 1
    assert names["opened"] - names["closed"] == {
        each.opened.episode for each in state.episodes.opened()
    }


def test_a_fleet_that_returns_is_one_event() -> None:
    for back in (72, 100, 200):
        state = watch()
        found = fold(state, 400, {60: Shift(score=1.5, features=LOWER), back: Shift()})
        assert [(each.kind, each.change) for each in found] == [
            ("fleet", "opened"), ("fleet", "closed"),
        ]  # fmt: skip
        (end,) = {each.ended for each in state.episodes.records.values()}
        assert hour(end) <= back + 12


def test_the_fleet_has_a_median_while_its_streams_relearn() -> None:
    state = watch()
    fold(state, 100, {60: Shift(score=1.5, features=LOWER)})
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    assert (streams.family.learning > 0).sum() > 8
    newest = streams.history.residual[-1, -30:]
    assert np.isfinite(newest).all()
    assert np.abs(newest).min() > 1


def test_an_accepted_mean_is_of_more_than_one_window() -> None:
    state = watch()
    (page,) = opened(fold(state, 65, {60: Shift(score=1.6)}), SCORE)
    state.command({"command_id": "0" * 32, "kind": "accept", "event_id": page.episode,
                   "until": None, "key_id": ""})  # fmt: skip
    fold(state, 100, {0: Shift(score=1.6)}, first=65)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    number = [key.text for key in streams.keys].index(SCORE)
    width = streams.family.high[number] - streams.family.low[number]
    assert width < 2 * streams.nulls.scale[number]


def test_a_drift_that_ends_during_a_fault_is_closed() -> None:
    shifts = {60: Shift(features={"f1": 1.6}), 200: Shift(missing={"f1": 0.3}), 220: Shift()}
    state = watch()
    fold(state, 700, shifts)
    assert state.episodes.opened() == []


def test_a_fault_does_not_report_an_open_drift_again() -> None:
    drift = {"f1": 1.6}
    for begin in (75, 200):
        shifts = {
            60: Shift(features=drift), begin: Shift(features=drift, missing={"f1": 0.3}),
            begin + 20: Shift(features=drift),
        }  # fmt: skip
        state = watch()
        assert len(opened(fold(state, 400, shifts), "f1/level@all")) == 1
        assert "f1/level@all" in {each.opened.stream for each in state.episodes.opened()}


def test_a_fault_within_another_does_not_end_what_that_holds() -> None:
    drift, missing = 1.0, {"amount": 0.3}
    unit = float(np.log(10))
    shifts = {
        60: Shift(log_amount=drift), 200: Shift(log_amount=drift, missing=missing),
        220: Shift(log_amount=unit, missing=missing),
        240: Shift(log_amount=drift, missing=missing), 260: Shift(log_amount=drift),
    }  # fmt: skip
    found = fold(watch(), 400, shifts)
    faults = [(each.stream, each.change) for each in found if each.kind == "fault"]
    assert faults == [
        ("missing", "opened"), ("unit_change", "opened"), ("unit_change", "closed"),
        ("missing", "closed"),
    ]  # fmt: skip
    level = opened(found, "amount/level@all")
    assert len([each for each in level if not each.consequence_of]) == 1


def test_after_a_fault_a_stream_without_a_change_has_none() -> None:
    state = watch()
    found = fold(state, 62, {40: Shift(missing={"f1": 0.3}), 60: Shift()})
    assert found[-1].change == "closed"
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    assert streams.after.max() == -1
