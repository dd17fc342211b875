"""The document of ``drift explain``: distributions, history, consequences, answers."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.drift.alarms.contract import EpisodeState, Severity
from stream_scorer.drift.alarms.episodes import changed
from stream_scorer.drift.reports.events import event_of
from stream_scorer.drift.reports.explain import explanation_of
from stream_scorer.drift.reports.place import locate
from stream_scorer.drift.state.document import Episode, MonitorDocument
from stream_scorer.errors import SettingsError
from tests.support.drift.documents import alarm, document

EVENT = "0123456789abcdef"
COMMAND = "7" * 32
ANSWER = event_of(changed(alarm(), "acknowledged", COMMAND, 1_700_020_000_000)) | {
    "commander": "ann"
}
OTHER = alarm(
    event_id="bbbb000000000000", episode="bbbb000000000000", stream="hour/level@all", field="hour",
    consequence_of=EVENT,
)  # fmt: skip
EVENTS = [event_of(alarm()), ANSWER, event_of(OTHER)]


def answered() -> MonitorDocument:
    """Return a document in which the alarm is acknowledged and has a consequence."""
    acknowledged = Episode(alarm(), EpisodeState.ACKNOWLEDGED, 0, "", (COMMAND,))
    return replace(
        document(), episodes=(acknowledged, Episode(OTHER, EpisodeState.OPEN, 0, "", ()))
    )


@pytest.fixture
def explained() -> dict[str, Any]:
    return explanation_of(answered(), EVENTS, EVENT[:6], locate)


def test_it_is_json_without_nan(explained: dict[str, Any]) -> None:
    assert json.loads(json.dumps(explained, allow_nan=False)) == explained


def test_it_has_what_the_manual_names(explained: dict[str, Any]) -> None:
    assert explained["distribution"] == [
        {"label": "0.01", "before": 90, "after": 60},
        {"label": "0.1", "before": 10, "after": 40},
    ]
    assert len(explained["history"]) == 48
    assert explained["history"][-1]["start"] == "2023-11-15T00:00:00Z"
    assert explained["history"][0]["expected"] == pytest.approx(0.02)
    assert explained["onset"] == {
        "at": "2023-11-14T22:00:00Z", "low": "2023-11-14T18:00:00Z", "high": "2023-11-15T00:00:00Z",
    }  # fmt: skip
    assert explained["guaranteed"] == {"holds": True, "error": 0.5}
    assert explained["calibrated"] == {"error": 0.4}
    assert explained["patience"] == 720.0
    assert explained["also"] == [{"stream": "amount/level@channel=web", "effect": 1.5}]


def test_it_says_which_of_river_detectors_agree(explained: dict[str, Any]) -> None:
    assert explained["river"] == [
        {
            "detector": "adwin", "detected_at": "2023-11-15T00:00:00Z",
            "place": "2023-11-14T22:00:00Z", "size": 6.0,
        }
    ]  # fmt: skip


def test_bins_that_no_value_can_be_in_are_left_out() -> None:
    event = event_of(alarm(labels=("a", "-", "-"), before_counts=(1, 0, 0), after_counts=(1, 0, 2)))
    found = explanation_of(None, [event], EVENT)["distribution"]
    assert [each["label"] for each in found] == ["a", "-"]


def test_consequences_and_answers_belong_to_it(explained: dict[str, Any]) -> None:
    assert [each["stream"] for each in explained["consequences"]] == ["hour/level@all"]
    assert [(each["change"], each["commander"]) for each in explained["commands"]] == [
        ("acknowledged", "ann")
    ]


def test_the_reason_of_an_answer_is_told() -> None:
    reasons = {ANSWER["event_id"]: "asked upstream"}
    (answer,) = explanation_of(replace(answered(), reasons=reasons), EVENTS, EVENT)["commands"]
    assert answer["reason"] == "asked upstream"
    assert explanation_of(answered(), EVENTS, EVENT)["commands"][0]["reason"] is None


def test_an_alarm_is_as_urgent_as_it_is_now() -> None:
    snoozed = event_of(alarm(severity=Severity.NOTE, snoozed=True))
    found = explanation_of(document(), [snoozed], EVENT)
    assert (found["severity"], found["snoozed"]) == ("page", False)
    found = explanation_of(replace(document(), snoozed=(EVENT,)), [event_of(alarm())], EVENT)
    assert (found["severity"], found["snoozed"]) == ("note", True)


def test_an_old_event_needs_no_snapshot() -> None:
    explained = explanation_of(None, EVENTS, EVENT)
    assert explained["history"] == []
    assert explained["adwin"] is None
    assert explained["state"] == "acknowledged"


def test_an_event_of_the_snapshot_needs_no_topic() -> None:
    assert explanation_of(document(), [], EVENT)["state"] == "open"


def test_a_forged_event_does_not_change_what_the_state_says() -> None:
    forged = event_of(
        alarm(change="closed", before=9.0, severity=Severity.NOTE, episode="ffff000000000000")
    )
    for events in ([*EVENTS, forged], [forged]):
        found = explanation_of(document(), events, EVENT)
        assert (found["before"], found["change"], found["episode"]) == (0.02, "opened", EVENT)
        assert (found["severity"], found["state"]) == ("page", "open")


def test_what_the_state_does_not_have_is_not_listed() -> None:
    forged = [
        ANSWER | {"event_id": "c" * 16, "commander": "mallory"},
        ANSWER | {"commander": "mallory"},
        event_of(OTHER) | {"event_id": "d" * 16, "episode": "d" * 16, "stream": "forged"},
        event_of(OTHER) | {"event_id": EVENT[:8] + "f" * 8, "episode": EVENT[:8] + "f" * 8},
    ]
    found = explanation_of(answered(), [*EVENTS, *forged], EVENT[:6])
    assert [each["commander"] for each in found["commands"]] == ["ann"]
    assert [each["stream"] for each in found["consequences"]] == ["hour/level@all"]
    assert explanation_of(document(), [*EVENTS, *forged], EVENT)["commands"] == []


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(SettingsError, match="no event 'ffff'"):
        explanation_of(document(), EVENTS, "ffff")


def test_adwin_finds_the_place_of_a_step() -> None:
    random = np.random.default_rng(1)
    history = np.concatenate([random.normal(0.2, 0.01, 90), random.normal(0.3, 0.01, 78)])
    place, before, after = locate(history)
    assert abs(place - 90) <= 3
    assert before == pytest.approx(0.2, abs=0.01)
    assert after == pytest.approx(0.3, abs=0.01)


def test_adwin_gives_the_newest_of_two_changes() -> None:
    random = np.random.default_rng(2)
    history = np.repeat([0.2, 0.3, 0.15], 56) + random.normal(0, 0.02, 168)
    place, before, after = locate(history)
    assert abs(place - 112) <= 3
    assert before == pytest.approx(0.3, abs=0.02)
    assert after == pytest.approx(0.15, abs=0.02)


def test_adwin_finds_nothing_in_a_constant() -> None:
    assert locate(np.full(50, 0.25)) == (0, 0.25, 0.25)
