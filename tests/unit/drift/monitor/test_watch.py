"""Summaries become alarms: what moved, since when, and how urgent it is."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.monitor.version_watch import NO_REFERENCE
from stream_scorer.drift.monitor.watch import VERSIONS_MOST, DriftWatch
from tests.support.drift.synthetic import (
    FEATURES,
    HOUR,
    SEGMENTS,
    START,
    Shift,
    reference,
    summaries,
    watch,
)

CHANGE = 60
LONG = Shift(score=1.6)


def fold(
    state: DriftWatch, windows: int, shifts: dict[int, Shift] | None = None, **how: Any
) -> list[Alarm]:
    """Fold summaries; return all alarms."""
    return [
        alarm
        for summary, at in summaries(windows, shifts=shifts, **how)
        for alarm in state.update(summary, at)
    ]


def hour(time: int) -> float:
    return (time - START) / HOUR


def test_nothing_that_changes_gives_no_alarm() -> None:
    state = watch()
    assert fold(state, 500) == []
    assert (state.closed, state.untiled, state.late) == (500, 0, 0)


def test_a_change_of_the_score_pages_with_its_onset() -> None:
    found = fold(watch(), CHANGE + 30, {CHANGE: LONG})
    (page,) = (each for each in found if each.severity is Severity.PAGE)
    assert (page.stream, page.kind, page.change) == ("score/level@all", "drift", "opened")
    assert abs(hour(page.onset) - CHANGE) <= 3
    assert hour(page.window_end) - CHANGE <= 12
    assert page.before == pytest.approx(0.05, abs=0.003)
    assert page.after > page.before + page.delta
    assert page.onset_low <= page.onset <= page.onset_high <= page.window_end
    assert {each.segment for each in found} == {"all", *SEGMENTS}
    assert page.detected_at == page.window_end


def test_a_change_of_a_feature_explains_and_does_not_page() -> None:
    found = fold(watch(), CHANGE + 30, {CHANGE: Shift(features={"f3": 1.5})})
    assert {each.field for each in found} == {"f3"}
    assert {each.severity for each in found} == {Severity.NOTE}
    level = next(each for each in found if each.stream == "f3/level@all")
    assert level.labels[-2:] == ("missing", "out of range")
    assert len(level.labels) == len(level.before_counts) == len(level.after_counts) == 12
    # Events have moved from low bins to high ones.
    assert level.after_counts[0] < level.after_counts[9]


def test_a_move_of_everything_is_one_fleet_alarm() -> None:
    shift = Shift(score=1.5, features=dict.fromkeys(FEATURES, 0.7))
    found = fold(watch(), CHANGE + 190, {CHANGE: shift})
    assert [(each.kind, each.severity) for each in found] == [("fleet", Severity.PAGE)]
    assert dict(found[0].also)["score/level@all"] > 3
    assert abs(hour(found[0].onset) - CHANGE) <= 3


def test_a_fault_owns_the_alarms_of_its_field() -> None:
    shift = Shift(missing={"f1": 0.2}, score=1.6)
    found = fold(watch(), CHANGE + 30, {CHANGE: shift})
    fault = next(each for each in found if each.kind == "fault")
    assert (fault.stream, fault.field) == ("missing", "f1")
    assert hour(fault.window_end) == CHANGE + 1
    consequences = [each for each in found if each.consequence_of]
    assert {each.field for each in consequences} == {"f1"}
    assert {each.consequence_of for each in consequences} == {fault.event_id}
    assert {each.severity for each in consequences} == {Severity.NOTE}
    # A stream that does not derive from the field stays live.
    assert any(each.stream == "score/level@all" and not each.consequence_of for each in found)


def test_a_fault_that_is_over_leaves_its_streams_as_they_were() -> None:
    shifts = {CHANGE: Shift(missing={"f1": 0.3}), CHANGE + 60: Shift()}
    state = watch()
    found = fold(state, CHANGE + 200, shifts)
    over = [each for each in found if each.kind == "fault" and each.change == "closed"]
    assert len(over) == 1
    opened = [each for each in found if each.change == "opened"]
    assert {each.field for each in opened} == {"f1"}
    assert all(hour(each.window_end) <= CHANGE + 60 for each in opened)
    # What the fault explained is over with it.
    assert state.episodes.opened() == []


def test_two_changes_are_two_episodes() -> None:
    shifts = {CHANGE: Shift(score=1.6), CHANGE + 240: Shift(score=2.4)}
    found = fold(watch(), CHANGE + 300, shifts)
    opened = [each for each in found if each.stream == "score/level@all"]
    assert [abs(hour(each.onset) - at) <= 24 for each, at in zip(opened, shifts, strict=True)] == [
        True,
        True,
    ]
    assert opened[1].before == pytest.approx(0.05 * 1.6, rel=0.1)
    assert opened[0].episode != opened[1].episode


def test_a_stream_that_is_back_closes_its_episode() -> None:
    state = watch()
    found = fold(state, CHANGE + 120, {CHANGE: LONG, CHANGE + 40: Shift()})
    closed = [each for each in found if each.change == "closed"]
    assert {each.stream for each in closed} >= {"score/level@all"}
    assert state.episodes.opened() == []
    assert all(each.why == "back" for each in state.episodes.records.values())
    assert fold(state, 300, first=CHANGE + 120, seed=1) == []


def test_a_change_accepted_before_it_is_learned_becomes_usual() -> None:
    state = watch()
    found = fold(state, CHANGE + 12, {CHANGE: LONG})
    page = next(each for each in found if each.severity is Severity.PAGE)
    state.command(
        {
            "command_id": "1", "kind": "accept", "event_id": page.episode, "until": None, "at": 0,
            "reason": "", "key_id": "", "signature": b"",
        }
    )  # fmt: skip
    until = CHANGE + 150
    assert fold(state, until - CHANGE - 12, {0: LONG}, first=CHANGE + 12, seed=1) == []
    streams = next(iter(state.versions.values())).streams
    assert streams is not None
    number = [key.text for key in streams.keys].index("score/level@all")
    assert streams.base[:, number].mean() == pytest.approx(0.05 * 1.6, rel=0.03)
    # Its old mean is a change now.
    found = fold(state, 60, first=until, seed=2)
    again = [each for each in found if each.stream == "score/level@all"]
    assert [each.change for each in again] == ["opened"]
    assert abs(hour(again[0].onset) - until) <= 3


def test_a_version_that_decides_no_longer_closes_its_episodes() -> None:
    state = watch()
    fold(state, CHANGE + 20, {CHANGE: LONG})
    assert state.episodes.opened()
    found = fold(state, 40, {0: LONG}, first=CHANGE + 20, version="2")
    ended = [each for each in state.episodes.records.values() if each.opened.version == "1"]
    assert {each.why for each in ended} == {"version"}
    assert any(each.change == "closed" and each.version == "1" for each in found)


def test_a_new_version_is_not_blind_and_not_alarmed() -> None:
    state = watch()
    fold(state, 48)
    assert fold(state, 14 * 24, first=48, version="2", seed=4) == []
    streams = state.versions["fraud", "2"].streams
    assert streams is not None
    assert int(streams.since.max()) == START + 48 * HOUR


def test_a_version_without_a_reference_is_noted() -> None:
    state = watch(reference_of=lambda *_: None)
    assert fold(state, 30, {5: LONG}) == []
    found = state.versions["fraud", "1"]
    assert (found.streams, found.note) == (None, NO_REFERENCE)


def test_a_window_that_is_not_tiled_is_not_judged() -> None:
    state = watch()
    forged = list(summaries(CHANGE))
    gap = [dict(each["sources"][0]) for each, _ in forged]
    for number, (each, at) in enumerate(forged):
        source = gap[number] | {"first_offset": gap[number]["first_offset"] + 5_000 * (number > 30)}
        source["next_offset"] = source["first_offset"] + 1_000
        state.update({**each, "sources": [source]}, at)
    assert state.tiles.gaps == 1
    assert state.untiled == 1


def test_an_untiled_window_is_not_an_empty_hour() -> None:
    state, found = watch(), []
    for number, (summary, at) in enumerate(summaries(60)):
        if number == 30:
            (source,) = summary["sources"]
            source["first_offset"] -= 1
        found += state.update(summary, at)
    assert state.untiled == 1
    assert found == []


def test_the_volume_of_an_untiled_window_is_not_judged() -> None:
    state, found = watch(), []
    for number, (summary, at) in enumerate(summaries(60, parts=4)):
        # Three of the four summaries of an hour are missing.
        if number not in {121, 122, 123}:
            found += state.update(summary, at)
    # The gap also touches the window of the first summary after it.
    assert (state.tiles.gaps, state.untiled) == (1, 2)
    assert found == []


def test_deleted_summaries_are_not_empty_hours() -> None:
    state = watch()
    fold(state, 60)
    state.tiles.lost()
    assert fold(state, 40, first=80) == []
    assert state.untiled == 1


def test_hours_without_a_watched_version_are_not_empty() -> None:
    state = watch()
    fold(state, 30)
    state.versions["fraud", "1"].release()
    # The reference is not found for ten hours.
    for summary, at in summaries(10, first=30):
        state.update({**summary, "reference": "0" * 16}, at)
    assert fold(state, 10, first=40) == []


def test_a_far_timestamp_and_a_far_watermark_blind_nobody() -> None:
    year = 365 * 24 * HOUR
    plain = fold(watch(), CHANGE + 30, {CHANGE: LONG})
    state, found = watch(), []
    for number, (summary, at) in enumerate(summaries(CHANGE + 30, shifts={CHANGE: LONG})):
        if number == 20:
            (source,) = summary["sources"]
            far = source | {"watermark": at + year, "first_offset": source["next_offset"] - 1}
            source["next_offset"] -= 1
            forged = {**summary, "sources": [far], "windows": [], "arrivals": []}
            found += state.update(summary, at + 10 * year)
            found += state.update(forged, at)
        else:
            found += state.update(summary, at)
    assert [replace(each, also=()) for each in found] == [replace(each, also=()) for each in plain]


def test_a_stream_learns_until_its_histories_are_complete() -> None:
    state = watch()
    state.budget = replace(state.budget, history_from=START + 48 * HOUR)
    made = state.budget
    assert made.history_from is not None
    fold(state, 10)
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    assert (streams.learning_until == START).all()


def test_a_stream_that_learns_does_not_alarm() -> None:
    made = reference()
    slow = replace(made, fields=tuple(replace(each, reach_ms=100 * HOUR) for each in made.fields))
    state = watch(reference_of=lambda *_: slow)
    state.budget = replace(state.budget, history_from=None)
    found = fold(state, 90, {20: Shift(features={"f3": 1.5})})
    assert [each for each in found if each.kind != "fault"] == []
    streams = state.versions["fraud", "1"].streams
    assert streams is not None
    levels = [n for n, key in enumerate(streams.keys) if key.field == "f3"]
    assert (streams.since[levels] == 0).all()
    # What is usual then is compared with the reference as soon as it is learned.
    found = fold(state, 60, {0: Shift(features={"f3": 1.5})}, first=90)
    assert any(each.field == "f3" for each in found)


def test_other_segments_keep_the_streams_of_equal_names() -> None:
    state = watch()
    fold(state, 30)
    before = state.versions["fraud", "1"].streams
    assert before is not None
    seen = dict(zip(before.keys, before.seen.tolist(), strict=True))
    fold(state, 2, first=30, segments=("channel=web", "channel=new"))
    after = state.versions["fraud", "1"].streams
    assert after is not None
    assert after.segments == ("channel=web", "channel=new")
    counts = dict(zip(after.keys, after.seen.tolist(), strict=True))
    for key, count in counts.items():
        assert count == (seen[key] + 2 if key in seen else 2), key.text


def test_versions_that_are_not_updated_are_forgotten() -> None:
    state = watch()
    for number in range(VERSIONS_MOST + 5):
        fold(state, 1, first=2 * number, version=f"forged {number}")
        fold(state, 1, first=2 * number + 1, version="1")
    assert len(state.versions) == VERSIONS_MOST
    assert list(state.versions)[-1] == ("fraud", "1")
    assert ("fraud", "forged 5") not in state.versions


def test_alarms_do_not_depend_on_the_cut_into_summaries() -> None:
    whole = list(summaries(CHANGE + 20, shifts={CHANGE: LONG}, parts=1))
    state = watch()
    expected = [a for each, at in whole for a in state.update(each, at)]
    parts = watch()
    found = []
    for each, at in whole:
        (window,) = each["windows"]
        empty = {**each, "windows": [], "arrivals": []}
        middle = each["sources"][0]["first_offset"] + 400
        (source,) = each["sources"]
        for source_part, windows in (
            ({**source, "next_offset": middle, "watermark": window["start"] + 1}, [window]),
            ({**source, "first_offset": middle}, []),
        ):
            found += parts.update({**empty, "sources": [source_part], "windows": windows}, at)
    assert [replace(a, also=()) for a in found] == [replace(a, also=()) for a in expected]
    assert expected


def test_forged_bytes_change_nothing() -> None:
    state = watch()
    fold(state, 5)
    (each, at), *_ = summaries(1, first=5)
    broken = {**each, "windows": [{**each["windows"][0], "cells": b"\xff" * 12}]}
    closed, tiles = state.closed, state.tiles.document()
    with pytest.raises(ValueError, match="not valid"):
        state.update(broken, at)
    assert (state.closed, state.tiles.document()) == (closed, tiles)
    assert np.isfinite(state.detected_at)
