"""An answer that the monitor would fold without an effect is refused before it is written."""

from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.drift.alarms.contract import EpisodeState
from stream_scorer.drift.reports.answers import knows, refuse_useless
from stream_scorer.drift.reports.events import event_of
from stream_scorer.drift.state.document import Episode, MonitorDocument
from stream_scorer.errors import RolloutError
from tests.support.drift.documents import HOUR, START, alarm, document

EVENT = "0123456789abcdef"
OPENED = event_of(alarm())


def change(name: str) -> dict[str, Any]:
    return event_of(alarm(event_id="aaaa000000000000", change=name))


def state(kind: EpisodeState) -> MonitorDocument:
    return replace(document(), episodes=(Episode(alarm(), kind, 0, "", ()),))


def test_an_alarm_that_is_newer_than_the_snapshot_is_not_known() -> None:
    assert knows(state(EpisodeState.OPEN), EVENT)
    assert not knows(document(), "aaaa000000000000")
    assert not knows(None, EVENT)


@pytest.mark.parametrize("kind", ["ack", "accept", "snooze"])
def test_an_open_alarm_can_be_answered(kind: str) -> None:
    refuse_useless(kind, EVENT, document(), [OPENED])
    refuse_useless(kind, EVENT, None, [OPENED])
    refuse_useless(kind, EVENT, document(), [])


@pytest.mark.parametrize("kind", ["ack", "accept", "snooze"])
def test_a_change_of_an_alarm_cannot_be_answered(kind: str) -> None:
    events = [OPENED, change("closed")]
    with pytest.raises(RolloutError, match=f"a change .closed. of the alarm {EVENT}"):
        refuse_useless(kind, "aaaa000000000000", document(), events)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ack", "acknowledged"), ("ack", "accepted"), ("ack", "closed"), ("accept", "accepted"),
     ("accept", "closed")],
)  # fmt: skip
def test_what_was_answered_by_the_topic_is_refused(kind: str, name: str) -> None:
    with pytest.raises(RolloutError, match=f"{EVENT} is {name} already"):
        refuse_useless(kind, EVENT, None, [OPENED, change(name)])


@pytest.mark.parametrize("kind", ["ack", "accept", "snooze"])
def test_forged_events_do_not_block_an_answer(kind: str) -> None:
    """The monitor's state says that the alarm is open."""
    forged = [change("closed"), change("accepted"), event_of(alarm(change="closed"))]
    refuse_useless(kind, EVENT, document(), [OPENED, *forged])
    refuse_useless(kind, EVENT, document(), forged)


def test_what_was_answered_by_the_state_is_refused() -> None:
    for kind, held in (("ack", EpisodeState.ACKNOWLEDGED), ("accept", EpisodeState.CLOSED)):
        with pytest.raises(RolloutError, match=f"is {held} already"):
            refuse_useless(kind, EVENT, state(held), [])
    refuse_useless("accept", EVENT, state(EpisodeState.ACKNOWLEDGED), [])
    refuse_useless("snooze", EVENT, state(EpisodeState.CLOSED), [])


def test_an_alarm_that_the_monitor_forgot_is_refused() -> None:
    empty = replace(document(), episodes=())
    old = event_of(alarm(detected_at=START))
    with pytest.raises(RolloutError, match="has forgotten"):
        refuse_useless("ack", EVENT, empty, [old])
    # The snapshot is older than the event.
    refuse_useless("ack", EVENT, empty, [event_of(alarm(detected_at=START + 9 * HOUR))])
