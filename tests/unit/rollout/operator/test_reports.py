"""``status`` and ``history`` show the log's commands and what the partitions did with them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from stream_scorer.core.events.calendar import shown_time
from stream_scorer.rollout.operator.reports import (
    by_partition,
    entry_document,
    progress_document,
)
from stream_scorer.rollout.plan.rollout_state import RolloutState
from tests.support.rollout.scene import COLOURS, CONTROLLER, CONTROLLER_KEY, STRANGER, Writer

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def active(partition: int, offset: int, revision: int, **changed: Any) -> dict[str, Any]:
    return {
        "partition": partition, "offset": offset, "revision": revision, "status": "ACTIVE",
        "reason": "", "versions": {"champion": "fraud:0.1.0"}, "instance": "0", "at": NOW,
        **changed,
    }  # fmt: skip


def test_each_partition_shows_what_decides_there_and_refusals() -> None:
    rows = by_partition(
        [
            active(0, 10, 1), active(1, 5, 1), active(0, 90, 4),
            active(1, 70, 3, status="REFUSED", reason="warming"),
            active(1, 80, 4, status="REFUSED", reason="no such bundle", instance="7"),
            # A revision that decides is not shown as refused, whatever another instance reported
            # before.
            active(0, 80, 4, status="REFUSED", reason="not there yet"),
            active(9, 1, 4),
        ],
        [0, 1, 2], 4,
    )  # fmt: skip
    assert [(r["partition"], r["revision"], r["offset"], r["current"]) for r in rows] == [
        (0, 4, 90, True), (1, 1, 5, False), (2, None, None, False),
    ]  # fmt: skip
    assert [[each["reason"] for each in r["refused"]] for r in rows] == [
        [], ["warming", "no such bundle"], [],
    ]  # fmt: skip
    assert rows[1]["refused"][1]["instance"] == "7"
    assert rows[0]["since"] == NOW.isoformat()


def test_two_revisions_at_one_offset_leave_the_later() -> None:
    (row,) = by_partition([active(0, 10, 3), active(0, 10, 2)], [0], 3)
    assert (row["revision"], row["current"]) == (3, True)


def test_where_a_rollout_is() -> None:
    assert progress_document(RolloutState()) == {"phase": "empty"}
    writer = Writer()
    writer.start(
        controller={"key": CONTROLLER_KEY, "manual": ["promote"]}, effective_at=1_795_597_200_000,
        overrides=[{"field": "channel", "values": ["ATM"], "arm": "champion"}],
    )  # fmt: skip
    writer.accept("step", stage=1)
    writer.accept("verdict", CONTROLLER, guard="fast", verdict="CONTINUE", numbers={"look": 2.0})
    writer.accept("propose", CONTROLLER, kind="promote", body={"arm": "canary"}, reason="better")
    told = progress_document(writer.log.state)
    assert (told["phase"], told["stage"], told["revision"], told["plan_revision"]) == (
        "running", 1, 2, 1,
    )  # fmt: skip
    assert [(a["arm"], a["role"], a["share"]) for a in told["arms"]] == [
        ("champion", "decides", 0.9), ("canary", "decides", 0.05), ("control", "decides", 0.05),
    ]  # fmt: skip
    assert told["pending"] == {
        "proposal": 4, "kind": "promote", "what": "canary", "reason": "better",
    }  # fmt: skip
    assert told["verdicts"]["fast"]["numbers"] == {"look": 2.0}
    assert told["effective_at"] is None
    assert len(told["overrides"]) == 1
    writer.accept("approve", proposal=4)
    told = progress_document(writer.log.state)
    assert [(a["arm"], a["version"], a["role"], a["share"]) for a in told["arms"]] == [
        ("champion", "fraud:0.2.0", "decides", 1.0), ("previous", "fraud:0.1.0", "warm", 0.0),
    ]  # fmt: skip
    assert told["controller"]["key_id"] == writer.log.entries[2].signer.key_id  # type: ignore[union-attr]
    writer.accept("rollback")
    over = progress_document(writer.log.state)
    assert (over["phase"], over["stage"], over["overrides"], over["pending"]) == (
        "rolled back", 1, [], None,
    )  # fmt: skip


def test_the_idle_colour_is_warm() -> None:
    writer = Writer()
    writer.start(COLOURS)
    told = progress_document(writer.log.state)
    assert told["colour"] == "blue"
    assert [(a["arm"], a["role"]) for a in told["arms"]] == [
        ("champion", "decides"), ("green", "warm"),
    ]  # fmt: skip


def test_every_record_is_shown_with_signer_and_result() -> None:
    writer = Writer()
    records = [
        writer.start(),
        writer.give("step", STRANGER, stage=1),
        writer.give("step", stage=0, reason="down again"),
        writer.log.pass_over(3, "is no command: record: no value"),
    ]
    first, stranger, refused, none = map(entry_document, records)
    assert (first["signer"], first["accepted"], first["refused"]) == ("ann", True, None)
    assert first["what"].startswith(
        "try 0.2: canary, canary fraud:0.2.0, champion fraud:0.1.0, 1 %"
    )
    assert (stranger["signer"], stranger["accepted"]) == (None, False)
    assert stranger["refused"].startswith("is signed by an unknown key")
    assert (refused["what"], refused["reason"]) == ("stage 0", "down again")
    assert refused["refused"].startswith("a ramp only ascends")
    assert (none["offset"], none["kind"], none["accepted"]) == (3, None, False)


def test_the_texts_of_a_refused_record_are_cut() -> None:
    writer = Writer()
    writer.start()
    verdict = {"guard": "fast", "verdict": "CONTINUE", "reasons": ["x" * 500] * 9}
    long = writer.make("verdict", STRANGER, reason="y" * 2_000, **verdict)
    refused = entry_document(writer.take(replace(long, kind="k" * 10**6, key_id="i" * 10**6)))
    assert refused["refused"].startswith("is signed by an unknown key")
    assert all(len(each) <= 500 for each in refused.values() if isinstance(each, str))
    told = entry_document(writer.accept("verdict", reason="y" * 2_000, **verdict))
    assert (len(told["reason"]), len(told["what"])) == (2_000, 4_523)


def test_a_time_outside_of_the_calendar_is_printed_as_a_number() -> None:
    assert shown_time(0) == "1970-01-01T00:00:00.000+00:00"
    assert shown_time(2**63 - 1) == str(2**63 - 1)
