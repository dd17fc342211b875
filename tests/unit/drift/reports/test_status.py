"""The document of ``drift status`` has the state, the budget, and null for what is unknown."""

import json
from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.drift.alarms.contract import EpisodeState
from stream_scorer.drift.reports.status import status_of
from stream_scorer.drift.state.document import Episode, MonitorDocument
from tests.support.drift.documents import alarm, document


@pytest.fixture
def status() -> dict[str, Any]:
    return status_of(document())


def test_it_is_json_without_nan(status: dict[str, Any]) -> None:
    assert json.loads(json.dumps(status, allow_nan=False)) == status


def test_the_keys_are_those_of_the_manual(status: dict[str, Any]) -> None:
    assert set(status) == {
        "detected_at", "watermark", "budget", "versions", "streams", "open", "faults", "tiles",
        "late", "late_records", "snooze", "river",
    }  # fmt: skip
    assert {
        "false_alarm_days", "windows", "guaranteed_windows", "calibrated_windows", "eta",
        "patience",
    } <= set(status["budget"])  # fmt: skip
    assert {
        "model", "version", "stream", "state", "class", "learning_until", "mean", "value",
        "tolerance", "log_evidence", "share_of_budget", "since",
    } <= set(status["streams"][0])  # fmt: skip


def test_what_came_too_late_is_counted(status: dict[str, Any]) -> None:
    assert (status["late"], status["late_records"]) == (4, 6)


def test_each_stream_is_measured_against_its_share(status: dict[str, Any]) -> None:
    score, amount = status["streams"]
    assert (score["state"], score["class"]) == ("alarmed", "guaranteed")
    assert (amount["state"], amount["class"]) == ("watched", "not in the class: AR(1)")
    assert amount["value"] is None
    assert amount["log_evidence"] is None
    (version,) = status["versions"]
    assert version["streams"] == {"watched": 1, "learning": 0, "alarmed": 1}
    assert version["not_guaranteed"] == {"not in the class: AR(1)": 1}


def test_the_detector_that_is_nearer_to_an_alarm_counts(status: dict[str, Any]) -> None:
    score, amount = status["streams"]
    assert (score["of_guaranteed"], score["of_calibrated"]) == (0.25, 0.5)
    assert (amount["of_guaranteed"], amount["of_calibrated"]) == (None, 0.125)
    assert (score["of_threshold"], amount["of_threshold"]) == (0.5, 0.125)


def test_a_snoozed_alarm_is_a_note(status: dict[str, Any]) -> None:
    assert (status["open"][0]["severity"], status["open"][0]["snoozed"]) == ("page", False)
    (event,) = status_of(replace(document(), snoozed=("0123456789abcdef",)))["open"]
    assert (event["severity"], event["snoozed"]) == ("note", True)


def test_a_learning_stream_says_until_when() -> None:
    given = document()
    streams = replace(given.versions[0], state=given.versions[0].state * 0)
    status = status_of(replace(given, versions=(streams,)))
    assert status["streams"][0]["learning_until"] == "2023-11-15T00:00:00Z"
    assert status["versions"][0]["streams"]["learning"] == 2


def test_open_alarms_and_faults_are_there(status: dict[str, Any]) -> None:
    (event,) = status["open"]
    assert event["event_id"] == "0123456789abcdef"
    assert event["onset"] == "2023-11-14T22:00:00Z"
    assert (event["before"], event["after"], event["state"]) == (0.02, 0.05, "open")
    (fault,) = status["faults"]
    assert (fault["name"], fault["field"], fault["value"]) == ("missing", "country", 0.25)
    assert fault["evidence"] is None


def test_a_closed_episode_is_not_open() -> None:
    given: MonitorDocument = document()
    closed = Episode(alarm(), EpisodeState.CLOSED, 1, "back", ())
    assert status_of(replace(given, episodes=(closed,)))["open"] == []


def test_without_a_snapshot_nothing_is_claimed() -> None:
    status = status_of(None)
    assert status["budget"] is None
    assert status["streams"] == status["open"] == status["faults"] == []
    assert set(status) == set(status_of(document()))
