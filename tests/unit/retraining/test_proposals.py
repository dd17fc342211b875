"""The plans that a trainer makes are accepted by the log; what it reads decides when it trains."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer.drift.state.snapshot import pack
from stream_scorer.errors import StateError
from stream_scorer.retraining.rules.triggers import LossAlarm, MaturedDay
from stream_scorer.retraining.run import evidence
from stream_scorer.retraining.run.evidence import alarm_of, days_of, read_faults
from stream_scorer.retraining.run.proposals import ended, grant_refusal, proposal
from stream_scorer.security.keys import key_id
from stream_scorer.settings import Settings
from tests.support.drift.documents import document
from tests.support.rollout.grants import EXPIRES, TRAINER, Trained, provenance
from tests.support.rollout.scene import STRANGER

KEY = key_id(TRAINER.public_key())
DAY = 86_400_000


def propose(writer: Trained, label: str) -> str:
    origin = provenance(parent=writer.routing.versions["champion"].label)
    del origin["grant"]
    plan = proposal(writer.log.state, KEY, label, (0.0, 50.0), origin)
    return writer.give("plan", TRAINER, **plan.model_dump(mode="json")).refused


def test_its_plans_are_within_its_grant() -> None:
    writer = Trained()
    assert propose(writer, "fraud:0.2.0") == ""
    assert ended(writer.log.state, "fraud:0.2.0") == ""
    writer.accept("verdict", guard="slow", verdict="ROLL_BACK", reasons=["it costs more"])
    writer.accept("rollback")
    assert ended(writer.log.state, "fraud:0.2.0") == "rolled back: ROLL_BACK it costs more"
    writer.now = 9_000_000
    assert propose(writer, "fraud:0.3.0") == ""
    writer.accept("promote", arm="canary")
    assert ended(writer.log.state, "fraud:0.3.0") == "promoted"
    assert ended(writer.log.state, "fraud:0.2.0") == "an operator's rollout replaced it"


def test_it_knows_before_that_it_would_be_refused() -> None:
    writer = Trained()
    assert grant_refusal(writer.log.state, KEY, 5, 50.0) == ""
    other = key_id(STRANGER.public_key())
    assert "has no grant" in grant_refusal(writer.log.state, other, 5, 50.0)
    assert "expired" in grant_refusal(writer.log.state, KEY, EXPIRES, 50.0)
    assert "the ramp goes up to 51 %" in grant_refusal(writer.log.state, KEY, 5, 51.0)
    assert propose(writer, "fraud:0.2.0") == ""
    assert "lets a rollout begin from" in grant_refusal(writer.log.state, KEY, 1_000_001, 50.0)
    writer.accept("revoke", grant=2)
    assert "was revoked by number 4" in grant_refusal(writer.log.state, KEY, 5, 50.0)


def _day(number: int, **changed: Any) -> dict[str, Any]:
    end = datetime.fromtimestamp(number * DAY / 1_000, UTC)
    return {
        "kind": "DAY", "segment": "all", "model": "fraud", "end": end, "rows": 10, "frauds": 1,
        "sampled": 1, **changed,
    }  # fmt: skip


def test_days_are_of_all_versions_and_arms() -> None:
    records = [
        _day(3), _day(2, rows=5, sampled=2), _day(3, frauds=4), _day(4, kind="WEEK"),
        _day(4, model="other"), _day(4, segment="channel=web"),
    ]  # fmt: skip
    assert days_of(records, "fraud") == [MaturedDay(2 * DAY, 10, 1), MaturedDay(3 * DAY, 20, 5)]


def test_the_alarm_is_the_newest_of_the_champion() -> None:
    def event(number: int, **changed: Any) -> dict[str, Any]:
        onset = datetime.fromtimestamp(number * DAY / 1_000, UTC)
        return {
            "kind": "performance", "change": "opened", "segment": "all", "model": "fraud",
            "model_version": "1.0.0", "event_id": f"{number}", "onset": onset,
            "signal": "loss/day@all", "reference": 0.1, "estimate": 0.3, **changed,
        }  # fmt: skip

    records = [
        event(1), event(2), event(3, kind="drift"), event(4, change="closed"),
        event(5, segment="channel=web"), event(6, model_version="1.1.0"),
    ]  # fmt: skip
    assert alarm_of(records, "fraud:1.0.0") == LossAlarm(
        "2", 2 * DAY, "loss/day@all rose: 0.1 to 0.3"
    )
    assert alarm_of(records[2:4], "fraud:1.0.0") is None


def test_open_faults_are_those_of_the_newest_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = [None]
    monkeypatch.setattr(evidence, "newest_snapshot", lambda *_: found[0])
    # No monitor has run: nothing is known to be wrong.
    assert read_faults(Settings()) == ()
    found[0] = SimpleNamespace(data=pack(document().sections()))
    assert read_faults(Settings()) == ("missing country",)
    found[0] = SimpleNamespace(data=b"?")
    with pytest.raises(StateError, match="topic drift-state: "):
        read_faults(Settings())
