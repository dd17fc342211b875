"""Versions begin, stop, return and give way to others: what is watched, and what is forgotten."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.alarms.contract import Alarm
from stream_scorer.drift.alarms.family import ChangeFound
from stream_scorer.drift.alarms.fleet import Waiting
from stream_scorer.drift.monitor.snapshots import (
    LOST,
    continue_from,
    document_of,
    snapshot_of,
    versions_in,
)
from stream_scorer.drift.monitor.version_streams import StreamsOfVersion
from stream_scorer.drift.monitor.version_watch import (
    CROWDED,
    OTHER_WIDTH,
    RELEASED,
    WATCHED_MOST,
    too_many,
)
from stream_scorer.drift.monitor.watch import VERSIONS_MOST, DriftWatch
from stream_scorer.models.reference.contract import DriftReference
from tests.support.drift.synthetic import (
    DIGEST,
    HOUR,
    Shift,
    lookup,
    reference,
    summaries,
    watch,
)

SCORE = "score/level@all"
NEW = ("channel=new", "channel=other")


def fold(
    state: DriftWatch, windows: int, shifts: Mapping[int, Shift] | None = None, **how: Any
) -> list[Alarm]:
    stream = summaries(windows, shifts=shifts, **how)
    return [alarm for summary, at in stream for alarm in state.update(summary, at)]


def opened(found: list[Alarm], stream: str) -> list[Alarm]:
    return [each for each in found if each.change == "opened" and each.stream == stream]


def streams_of(state: DriftWatch, version: str = "1") -> StreamsOfVersion:
    found = state.versions["fraud", version].streams
    assert found is not None
    return found


def nothing(*_: str) -> None:
    return None


def test_the_twentieth_version_is_watched() -> None:
    state = watch()
    for number in range(20):
        fold(state, 30, first=30 * number, version=str(number))
    assert streams_of(state, "19").keys
    watched = [each for each in state.versions.values() if each.streams is not None]
    assert len(watched) == WATCHED_MOST
    assert state.versions["fraud", "0"].note == RELEASED
    # A released version begins again when it decides again.
    fold(state, 2, first=600, version="0")
    assert streams_of(state, "0").since.max() > 0


def test_a_crowd_of_versions_is_noted_and_watched_later() -> None:
    state = watch()
    for number in range(WATCHED_MOST + 1):
        fold(state, 1, first=number, version=str(number))
    last = state.versions["fraud", str(WATCHED_MOST)]
    assert (last.streams, last.note) == (None, CROWDED)
    fold(state, 25, first=WATCHED_MOST + 1, version=str(WATCHED_MOST))
    assert streams_of(state, str(WATCHED_MOST)).keys


def test_forged_names_do_not_take_the_place_of_streams() -> None:
    state = watch()
    fold(state, 5)
    for number in range(VERSIONS_MOST + 5):
        ((summary, at),) = summaries(1, first=5 + number)
        state.update({**summary, "model": f"forged {number}"}, at)
    assert len(state.versions) == VERSIONS_MOST
    assert streams_of(state).keys


def test_a_version_is_watched_again_once_its_reference_is_found() -> None:
    state = watch()
    fold(state, 80, {60: Shift(score=1.6)})
    state = continue_from(snapshot_of(state, 80), watch(reference_of=nothing), nothing)
    fold(state, 2, {0: Shift(score=1.6)}, first=80)
    assert state.versions["fraud", "1"].note == LOST
    assert state.episodes.opened()
    state = continue_from(snapshot_of(state, 82), watch(), lookup)
    found = fold(state, 2, {0: Shift(score=1.6)}, first=82)
    assert streams_of(state).keys
    assert state.versions["fraud", "1"].note == ""
    # Its streams begin again: the alarms of before would never be over.
    assert {each.change for each in found} == {"closed"}
    assert {each.why for each in state.episodes.records.values()} == {"reference"}
    again = fold(state, 30, {0: Shift(score=1.6)}, first=84)
    assert len(opened(again, SCORE)) == 1


def test_a_snapshot_needs_references_of_watched_versions_only() -> None:
    state = watch(reference_of=lambda m, v, d: lookup(m, v, d) if v == "1" else None)
    fold(state, 2)
    fold(state, 2, first=2, version="forged")
    assert versions_in(snapshot_of(state, 4)) == [("fraud", "1", DIGEST)]


def test_a_fault_of_a_version_that_returns_is_reported() -> None:
    state, gone = watch(), Shift(missing={"f1": 0.3})
    fold(state, 40, {20: gone})
    assert document_of(state, 0).faults
    fold(state, 60, first=40, version="2")
    assert not document_of(state, 0).faults
    (again,) = opened(fold(state, 100, {0: gone}, first=100), "missing")
    assert again.window_end == again.window_start + HOUR
    assert len(state.faults.open) == 1


def test_a_drift_of_a_version_that_returns_is_reported() -> None:
    state, drift = watch(), Shift(score=1.6)
    fold(state, 140, {60: drift})
    fold(state, 60, first=140, version="2")
    found = fold(state, 30, {0: drift}, first=200)
    assert opened(found, SCORE)
    assert any(each.opened.stream == SCORE for each in state.episodes.opened())


def test_what_was_accepted_stays_usual_when_a_version_returns() -> None:
    state, drift = watch(), Shift(score=1.6)
    page, *_ = opened(fold(state, 140, {60: drift}), SCORE)
    accept = {"command_id": "1", "kind": "accept", "event_id": page.episode, "until": None}
    state.command(accept | {"key_id": ""})
    number = [key.text for key in streams_of(state).keys].index(SCORE)
    usual = streams_of(state).base[:, number].copy()
    fold(state, 60, first=140, version="2")
    np.testing.assert_array_equal(streams_of(state).base[:, number], usual)
    assert streams_of(state).family.mean[number] == pytest.approx(usual.mean())
    assert opened(fold(state, 60, {0: drift}, first=200), SCORE) == []


def test_a_version_that_stopped_is_restored_as_such() -> None:
    state = watch()
    fold(state, 40, {20: Shift(missing={"f1": 0.3})})
    fold(state, 60, first=40, version="2")
    assert state.versions["fraud", "1"].gone
    assert state.versions["fraud", "1"].note == RELEASED
    again = continue_from(snapshot_of(state, 100), watch(), lookup)
    assert again.versions["fraud", "1"].gone
    fold(again, 1, first=100)
    assert not again.versions["fraud", "1"].gone
    assert again.versions["fraud", "1"].note == ""


def test_an_alarm_of_a_removed_segment_is_closed() -> None:
    state, drift = watch(), {60: Shift(score=1.6)}
    fold(state, 75, drift)
    removed = "score/level@channel=web"
    assert removed in {each.opened.stream for each in state.episodes.opened()}
    found = fold(state, 1, {0: Shift(score=1.6)}, first=75, segments=NEW)
    assert {each.stream for each in found if each.change == "closed"} == {removed}
    (record,) = (each for each in state.episodes.records.values() if each.opened.stream == removed)
    assert record.why == "segment"
    assert SCORE in {each.opened.stream for each in state.episodes.opened()}


def test_a_waiting_alarm_is_kept_when_segments_change() -> None:
    state = watch()
    fold(state, 3)
    streams = streams_of(state)
    texts = [key.text for key in streams.keys]
    names = ("score/level@channel=web", "score/level@channel=other", "f3/level@all")
    document = streams.waiting()
    document["found"] = [
        Waiting(
            ChangeFound(texts.index(name), 2, 0.1, 0.2, 5.0, "calibrated"), 0, HOUR, 9
        ).document()
        for name in names
    ]  # fmt: skip
    streams.load(streams.arrays(), streams.keys, streams.history, streams.learning_until, document)
    other = streams.with_segments(NEW, state.budget, state.first_start)
    kept = [other.keys[each[0]].text for each in other.waiting()["found"]]
    assert kept == list(names[1:])


@pytest.mark.parametrize("before", [0, 3])
def test_windows_of_another_width_are_not_judged(before: int) -> None:
    state = watch()
    fold(state, before)
    for summary, at in summaries(3, first=4):
        (window,) = summary["windows"]
        wide = {**window, "width_ms": 2 * HOUR}
        state.update({**summary, "windows": [wide]}, at)
    found = state.versions["fraud", "1"]
    assert found.note == OTHER_WIDTH
    assert (found.streams is None) == (not before)
    seen = 0 if found.streams is None else int(found.streams.seen.max())
    assert seen == before
    # Once the width is that of the reference, it is watched.
    fold(state, 3, first=8)
    assert state.versions["fraud", "1"].note == ""
    assert streams_of(state).seen.max() > before


def test_too_many_streams_are_noted_until_there_are_fewer() -> None:
    state = watch()
    count = len(reference().streams)
    state.budget = replace(state.budget, streams_most=count - 1)
    fold(state, 3)
    assert state.versions["fraud", "1"].note == too_many(count)
    # The share of a segment that the reference does not have is no stream.
    fold(state, 3, first=3, segments=NEW)
    assert streams_of(state).segments == NEW
    fold(state, 3, first=6)
    assert state.versions["fraud", "1"].note == too_many(count)


def test_another_reference_of_a_version_begins_its_streams() -> None:
    other = replace(reference(), digest="f" * 16)

    def known(model: str, version: str, digest: str) -> DriftReference | None:
        return other if digest == other.digest else lookup(model, version, digest)

    state = watch(reference_of=known)
    fold(state, 80, {60: Shift(score=1.6)})
    found = fold(state, 2, {0: Shift(score=1.6)}, first=80, named=other)
    assert {each.change for each in found} == {"closed"}
    assert state.episodes.opened() == []
    assert streams_of(state).reference.digest == other.digest


def test_a_restart_of_streams_empties_their_pools() -> None:
    state = watch()
    (summary, at), *_ = summaries(1, parts=4)
    source = summary["sources"][0] | {"watermark": summary["windows"][0]["start"] + HOUR}
    state.update({**summary, "sources": [source]}, at)
    streams = streams_of(state)
    some = np.zeros(len(streams.keys), np.bool_)
    some[0] = True
    held = streams.arrays()["pool_rows"].copy()
    assert held[:2].min() > 0
    streams.restart(some)
    assert streams.arrays()["pool_rows"].tolist() == [0, *held[1:].tolist()]


def test_a_version_that_stopped_is_not_learning() -> None:
    state = watch()
    fold(state, 40)
    since = streams_of(state).since.copy()
    assert since.max() > 0
    fold(state, 60, first=40, version="2")
    np.testing.assert_array_equal(streams_of(state).since, since)


def test_a_version_that_no_other_follows_is_not_over() -> None:
    """Another model decides on; this one has a pause."""
    state = watch()
    fold(state, 70, {60: Shift(score=1.6)})
    before = state.episodes.opened()
    assert before
    for summary, at in summaries(40, first=70):
        assert state.update({**summary, "model": "other"}, at) == []
    assert not state.versions["fraud", "1"].gone
    assert state.episodes.opened() == before
