"""An episode is opened, acknowledged and closed, each with one event."""

from dataclasses import replace

import pytest

from stream_scorer.drift.alarms.contract import EpisodeState, Severity
from stream_scorer.drift.alarms.episodes import (
    EPISODES_MOST,
    Episodes,
    changed,
    event_id,
)
from tests.support.drift.documents import alarm


@pytest.fixture
def book() -> Episodes:
    made = Episodes()
    made.open(alarm())
    return made


NAME = alarm().episode


def test_an_acknowledged_episode_is_still_open(book: Episodes) -> None:
    event = book.acknowledge(NAME, "c1", 99)
    assert event is not None
    assert (event.change, event.episode, event.detected_at) == ("acknowledged", NAME, 99)
    assert event.event_id != NAME
    assert event.severity is Severity.NOTE
    assert [each.state for each in book.opened()] == [EpisodeState.ACKNOWLEDGED]
    assert book.acknowledge(NAME, "c2", 100) is None
    assert book.records[NAME].commands == ("c1",)


@pytest.mark.parametrize(("why", "change"), [("accepted", "accepted"), ("back", "closed")])
def test_a_closed_episode_stays_closed(book: Episodes, why: str, change: str) -> None:
    event = book.close(NAME, 7, why, 99)
    assert event is not None
    assert event.change == change
    assert book.opened() == []
    assert (book.records[NAME].ended, book.records[NAME].why) == (7, why)
    assert book.close(NAME, 8, "back", 100) is None
    assert book.acknowledge(NAME, "c", 100) is None


@pytest.mark.parametrize("why", ["accepted", "back"])
def test_an_episode_knows_the_events_of_its_changes(book: Episodes, why: str) -> None:
    """A report tells them from forged ones."""
    made = [
        book.acknowledge(NAME, "c1", 5), book.snooze(NAME, "c2", 6),
        book.close(NAME, 7, why, 9, "c3" if why == "accepted" else ""),
    ]  # fmt: skip
    names = {each.event_id for each in made if each is not None}
    assert len(names) == 3
    assert names <= book.records[NAME].changes()
    forged = event_id("fraud", "2", "drift", "score/level@all", 1, "acknowledged", "c1")
    assert not {forged, NAME} & book.records[NAME].changes()


def test_a_snooze_leaves_an_episode_as_it_is(book: Episodes) -> None:
    event = book.snooze(NAME, "c1", 99)
    assert event is not None
    assert (event.change, event.episode, event.detected_at) == ("snoozed", NAME, 99)
    assert book.records[NAME].state is EpisodeState.OPEN
    assert book.records[NAME].commands == ("c1",)


def test_unknown_episodes_have_no_effect(book: Episodes) -> None:
    assert book.snooze("0" * 16, "c", 1) is None
    assert book.acknowledge("0" * 16, "c", 1) is None
    assert book.close("0" * 16, 1, "back", 1) is None
    assert book.find("0" * 16) is None


def test_the_episodes_of_a_version_are_closed_together(book: Episodes) -> None:
    book.open(alarm(event_id="b", episode="b", stream="fleet"))
    closed = book.close_all(5, "version", 9, lambda opened: opened.version == "2")
    assert [each.episode for each in closed] == [NAME, "b"]


def test_the_oldest_episodes_make_room_and_closed_ones_first(book: Episodes) -> None:
    for number in range(EPISODES_MOST - 1):
        book.open(alarm(event_id=f"{number}", episode=f"{number}"))
    book.close("5", 1, "back", 1)
    assert book.open(alarm(event_id="new", episode="new")) == []
    assert len(book.records) == EPISODES_MOST
    assert "5" not in book.records
    (event,) = book.open(alarm(event_id="newer", episode="newer", window_end=77, detected_at=88))
    assert NAME not in book.records
    assert (event.episode, event.change, event.detected_at) == (NAME, "closed", 88)
    assert event == changed(alarm(), "closed", "77", 88)
    assert book.close(NAME, 99, "back", 99) is None


def test_faults_make_room_last(book: Episodes) -> None:
    (first,) = book.records
    book.records[first] = replace(book.records[first], opened=alarm(kind="fault"))
    for number in range(EPISODES_MOST):
        book.open(alarm(event_id=f"{number}", episode=f"{number}"))
    assert first in book.records
    assert "0" not in book.records


def test_copies_are_separate(book: Episodes) -> None:
    copied = book.copy()
    book.close(NAME, 1, "back", 1)
    assert copied.records[NAME].is_open


def test_an_events_id_depends_on_what_it_says() -> None:
    first = event_id("m", "1", "drift", "s", 5, "opened")
    assert first == event_id("m", "1", "drift", "s", 5, "opened")
    others = {
        event_id("m", "1", "drift", "s", 5, "closed"),
        event_id("m", "1", "drift", "s", 6, "opened"),
        event_id("m", "2", "drift", "s", 5, "opened"),
        event_id("m", "1", "fleet", "s", 5, "opened"),
        event_id("m", "1", "drift", "s", 5, "opened", "x"), first,
    }  # fmt: skip
    assert len(others) == 6
    assert {len(each) for each in others} == {16}
