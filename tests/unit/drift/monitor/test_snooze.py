"""A snooze makes alarms notes for a time; afterwards they count by their own severity again."""

from collections.abc import Mapping
from typing import Any

import pytest

from stream_scorer.drift.alarms.contract import Alarm, Severity
from stream_scorer.drift.monitor.events import event_of
from stream_scorer.drift.monitor.snapshots import continue_from, document_of, snapshot_of
from stream_scorer.drift.monitor.watch import DriftWatch
from stream_scorer.drift.operator.command import SNOOZE_MOST_MS, made
from stream_scorer.telemetry import DriftWatched, Event
from tests.support.drift.monitors import COMMAND, SUMMARY, Topics, events, restored, step, work
from tests.support.drift.synthetic import HOUR, START, Shift, lookup, summaries, watch

DRIFT = {60: Shift(score=1.6)}


def fold(
    state: DriftWatch, windows: int, shifts: Mapping[int, Shift] | None = None, *, first: int = 0
) -> list[Alarm]:
    stream = summaries(windows, shifts=shifts, first=first)
    return [alarm for summary, at in stream for alarm in state.update(summary, at)]


def snooze(state: DriftWatch, event: str, until: int, number: int = 0) -> list[Alarm]:
    return state.command(
        {"command_id": f"{number:032x}", "kind": "snooze", "event_id": event, "key_id": "ab",
         "until": until, "reason": "a planned migration"}
    )  # fmt: skip


def open_now(state: DriftWatch) -> dict[str, int]:
    return state.commands.open_by_severity(state)


@pytest.fixture
def paged() -> tuple[DriftWatch, str]:
    """Return a state with an open page, and its id."""
    state = watch()
    (page,) = [each for each in fold(state, 70, DRIFT) if each.severity is Severity.PAGE]
    return state, page.event_id


def test_a_snoozed_page_is_open_when_the_snooze_is_over() -> None:
    state = watch()
    fold(state, 58)
    snooze(state, "", state.detected_at + 20 * HOUR)
    found = fold(state, 15, DRIFT, first=58)
    (opened,) = [each for each in found if each.stream == "score/level@all"]
    assert event_of(opened)["severity"] == "note"
    assert event_of(opened)["snoozed"] is True
    assert open_now(state)["page"] == 0
    assert document_of(state, 0).snoozed == tuple(
        each.opened.episode for each in state.episodes.opened()
    )
    fold(state, 10, {0: Shift(score=1.6)}, first=73)
    assert open_now(state)["page"] == 1
    assert document_of(state, 0).snoozed == ()


def test_a_snooze_of_an_open_page_takes_it_away_for_its_time(paged: tuple[DriftWatch, str]) -> None:
    state, page = paged
    assert open_now(state)["page"] == 1
    (event,) = snooze(state, page, state.detected_at + 4 * HOUR)
    assert (event.change, event.episode, event.commander) == ("snoozed", page, "ab")
    assert open_now(state) == {"note": 1, "warn": len(state.episodes.opened()) - 1, "page": 0}
    later = continue_from(snapshot_of(state, 70), watch(), lookup)
    assert open_now(later) == open_now(state)
    fold(later, 5, {0: Shift(score=1.6)}, first=70)
    assert open_now(later)["page"] == 1
    later.episodes.close(page, 1, "back", 1)
    assert open_now(later)["page"] == 0


def test_a_snooze_of_a_fault_is_of_its_field_only() -> None:
    state = watch()
    one, both = Shift(missing={"f1": 0.3}), Shift(missing={"f1": 0.3, "f2": 0.3})
    (first,) = [each for each in fold(state, 62, {60: one}) if each.kind == "fault"]
    assert (first.stream, first.field) == ("missing", "f1")
    snooze(state, first.event_id, state.detected_at + 40 * HOUR)
    assert document_of(state, 0).snoozed == (first.event_id,)
    found = fold(state, 5, {0: both}, first=62)
    (other,) = [each for each in found if each.kind == "fault"]
    assert (other.field, other.snoozed) == ("f2", False)
    # The snoozed fault ends, and comes again: it is still snoozed.
    found = fold(state, 8, {0: Shift(), 70: one}, first=67)
    (again,) = [each for each in found if each.kind == "fault" and each.change == "opened"]
    assert (again.field, again.snoozed) == ("f1", True)


def test_a_snooze_of_all_alarms_is_an_event(paged: tuple[DriftWatch, str]) -> None:
    state, _ = paged
    until = state.detected_at + 4 * HOUR
    (event,) = snooze(state, "", until)
    assert (event.kind, event.change, event.commander) == ("snooze", "snoozed", "ab")
    assert (event.window_start, event.window_end) == (state.detected_at, until)
    assert document_of(state, 0).reasons == {event.event_id: "a planned migration"}
    kept = continue_from(snapshot_of(state, 70), watch(), lookup)
    assert kept.commands.reasons == state.commands.reasons
    assert snooze(state, "", until) == [], "a copy of the command has no effect"
    assert snooze(state, "", until, 1)[0].event_id != event.event_id


@pytest.mark.parametrize("early", [True, False])
def test_a_snooze_is_limited_by_kafka_time(early: bool) -> None:  # noqa: FBT001 one of two cases
    """The time of a command is chosen by whoever writes it."""
    state, end = watch(), 253_402_300_799_000
    if early:
        snooze(state, "", end)
    fold(state, 1)
    if not early:
        (event,) = snooze(state, "", end)
        assert event.window_end == state.commands.snooze_until
        assert state.commands.snooze_until == state.detected_at + SNOOZE_MOST_MS
    assert state.snoozed("fraud", "1", "score/level@all") is not early
    assert state.commands.snoozed(end - HOUR, "fraud", "1", "score/level@all") is early


@pytest.fixture
def topics() -> Topics:
    held = Topics()
    for number, (summary, at) in enumerate(summaries(80, shifts=DRIFT, parts=2)):
        held.summaries.append(SUMMARY.encode(summary))
        held.times.append(at - (HOUR // 2 if number % 2 == 0 else 0))
    return held


def watched(told: list[Event]) -> list[DriftWatched]:
    return [each for each in told if isinstance(each, DriftWatched)]


def test_the_end_of_a_snooze_is_told_at_once(topics: Topics) -> None:
    told: list[Event] = []
    monitor = restored(work(topics, told), 0)
    step(monitor, topics, 0, 140)
    (page,) = [each for each in events(topics) if each["severity"] == "page"]
    # Its end is in the middle of an hour, when no window closes.
    until = START + 71 * HOUR + HOUR // 4
    topics.commands.append(COMMAND.encode(made("snooze", page["event_id"], until, START, "", None)))
    step(monitor, topics, 140, 142)
    assert watched(told)[-1].open["page"] == 0
    before = len(watched(told))
    step(monitor, topics, 142, 143)
    (event,) = watched(told)[before:]
    assert (event.open["page"], event.closed) == (1, 0)


def test_a_restart_tells_the_open_alarms(topics: Topics) -> None:
    step(restored(work(topics), 0), topics, 0, 160)
    told: list[Event] = []
    monitor = restored(work(topics, told), 160)
    assert [(each.open["page"], each.closed) for each in watched(told)] == [(1, 0)]
    assert watched(told)[0].streams["alarmed"] >= 1
    monitor.revoked((0,))
    assert watched(told)[-1].open == {"note": 0, "warn": 0, "page": 0}


def test_commands_count_in_a_topic_that_was_created_again(topics: Topics) -> None:
    def snoozing(until: int) -> Any:
        return COMMAND.encode(made("snooze", "", until, START, "", None))

    told: list[Event] = []
    topics.commands += [snoozing(START + n * HOUR) for n in range(1, 4)]
    step(restored(work(topics), 0), topics, 0, 20)
    topics.commands[:] = [snoozing(START + 9 * HOUR)]
    monitor = restored(work(topics, told), 20)
    step(monitor, topics, 20, 21)
    assert monitor.watch.commands.snooze_until == START + 9 * HOUR
    assert [each.why for each in told if hasattr(each, "why") and each.why] == [
        "commands_created_again"
    ]
    after = restored(work(topics, told), 21)
    step(after, topics, 21, 22)
    assert after.watch.commands.offset == 1
    assert len(events(topics)) == 4
