"""What a kind of the fault suite may and must fire; and the rules at a faster pace."""

import re

import pytest

from tests.faults.suite import kinds
from tests.faults.suite.alerts import (
    LATE,
    PRIMARY,
    UNMEASURED,
    Delays,
    delays_of,
    judge_alerts,
)
from tests.faults.suite.registry import KINDS
from tests.faults.verifier.payloads import Outcome
from tests.faults.verifier.reader import Seen
from tests.support.lag.live_prometheus import COMPOSE, faster
from tests.support.triangle import alert_rules

SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for rule in alert_rules()}


def waited(partition: int, offset: int, at: float) -> Outcome:
    seen = Seen("decisions", partition, offset, None, None, (), 0, at)
    return Outcome(seen, (partition, offset))


def test_every_primary_alert_and_its_kind_exist() -> None:
    assert kinds.__all__
    assert PRIMARY.keys() <= KINDS.keys()
    assert {LATE, *PRIMARY.values()} - {""} <= SEVERITIES.keys()
    assert SEVERITIES[LATE] == "page"


def test_the_wait_of_each_record_counts() -> None:
    appended = {(0, number): 10.0 + number for number in range(5)}
    waits = (0.2, 0.8, 1.2, 4.0, 0.1)
    outcomes = [waited(0, number, 10.0 + number + wait) for number, wait in enumerate(waits)]
    unknown = waited(3, 0, 99.0)  # of a record that was deleted since
    assert delays_of([*outcomes, unknown], appended, 0.0) == Delays(5, 1, 3, 4.0)
    assert delays_of(outcomes, appended, 11.5) == Delays(3, 1, 2, 4.0)
    assert delays_of([], appended, 0.0) == Delays()


NONE = Delays(1_000, 0, 0, 0.2)
SOME = Delays(1_000, 12, 60, 2.0)
MANY = Delays(1_000, 200, 250, 8.0)
MOST = Delays(1_000, 300, 350, 8.0)


@pytest.mark.parametrize(
    ("kind", "fired", "delays", "wrong"),
    [
        ("sigterm", {LATE}, MANY, ""),
        ("sigterm", {LATE, "GroupStopped"}, MANY, ""),
        ("sigterm", set(), MANY, "DecisionsLate did not fire"),
        ("sigterm", set(), SOME, ""),
        ("sigterm", {LATE, "DataLost"}, MANY, "DataLost paged"),
        ("malformed", {"DeadLetters"}, NONE, ""),
        ("malformed", {"DeadLetters", LATE}, NONE, "DecisionsLate paged"),
        ("malformed", set(), NONE, "DeadLetters did not fire"),
        ("malformed", {"DeadLetters", LATE}, SOME, ""),
        ("all_brokers_down", set(), MANY, ""),  # perhaps they waited in the producer
        ("all_brokers_down", {LATE}, NONE, "DecisionsLate paged"),
        ("all_brokers_down", set(), MOST, "DecisionsLate did not fire"),
        ("all_brokers_down", {UNMEASURED}, MOST, ""),
        ("sigterm", {UNMEASURED}, MOST, "DecisionsLate did not fire"),
        # Recorded runs.
        ("all_brokers_down", {LATE, UNMEASURED}, Delays(26_184, 22_540, 22_674, 76.69), ""),
        ("leader_killed", {LATE, UNMEASURED}, Delays(7_781, 2_798, 3_109, 10.76), ""),
        ("rolling_broker_restart", {LATE}, Delays(10_940, 160, 896, 2.32), ""),
        ("broker_restart", set(), Delays(6_982, 0, 0, 0.36), ""),
        ("leader_moved", set(), Delays(5_032, 0, 90, 0.73), ""),
        ("another_partitioner", {"DeadLetters"}, NONE, ""),
        ("another_partitioner", {"RecordsUnaccounted"}, NONE, "RecordsUnaccounted paged"),
        ("offset_out_of_range", {LATE}, MANY, "DataLost did not fire"),
    ],
)
def test_what_fires_is_compared_with_what_should(
    kind: str, fired: set[str], delays: Delays, wrong: str
) -> None:
    severities = {name: SEVERITIES[name] for name in fired}
    found = judge_alerts(kind, KINDS[kind].family, severities, delays)
    assert found.wrong == wrong
    assert set(found.pages) | set(found.tickets) == fired


def test_only_windows_and_pending_times_get_shorter() -> None:
    for path in (COMPOSE / "prometheus" / "rules").glob("*.yaml"):
        text = path.read_text()
        fast = faster(text, 30)
        assert re.sub(r"(\[|for: |offset )\d+ms", "", fast) == re.sub(
            r"(\[|for: |offset )\d+[smhd]", "", text
        )
        assert len(re.findall(r"(?:\[|for: )\d+ms", fast)) >= 1
    assert faster("rate(x_rate5m[5m]) > (y offset 1d)\nfor: 1h", 30) == (
        "rate(x_rate5m[10000ms]) > (y offset 2880000ms)\nfor: 120000ms"
    )
