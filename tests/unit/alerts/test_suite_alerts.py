"""What a kind of the fault suite may and must fire; and the rules at a faster pace."""

import re

import pytest

from tests.faults.suite import kinds
from tests.faults.suite.alerts import LATE, PRIMARY, judge_alerts, late_share
from tests.faults.suite.registry import KINDS
from tests.faults.verifier.reader import Seen
from tests.support.lag.live_prometheus import COMPOSE, faster
from tests.support.triangle import alert_rules

SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for rule in alert_rules()}


def seen(partition: int, at: float) -> Seen:
    return Seen("decisions", partition, 0, None, None, (), 0, at)


def test_every_primary_alert_and_its_kind_exist() -> None:
    assert kinds.__all__
    assert PRIMARY.keys() <= KINDS.keys()
    assert {LATE, *PRIMARY.values()} - {""} <= SEVERITIES.keys()
    assert SEVERITIES[LATE] == "page"


def test_silence_of_more_than_a_second_is_late() -> None:
    steady = [seen(number % 2, 10 + number / 10) for number in range(100)]
    assert late_share(steady, 10.0) == 0.0
    assert late_share([], 0.0) == 0.0
    # Partition 1 has no decision for 4 s, so what came in 3 s of two times 10 s was late.
    gap = [each for each in steady if each.partition == 0 or not 13 < each.at < 17]
    assert late_share(gap, 10.0) == pytest.approx(3 / 20, rel=0.1)
    # What waits for the first decision is late, too.
    assert late_share([seen(0, 12.0), seen(0, 12.5)], 10.0) == pytest.approx(1 / 2.5)


@pytest.mark.parametrize(
    ("kind", "fired", "late", "wrong"),
    [
        ("sigterm", {LATE}, 0.2, ""),
        ("sigterm", {LATE, "GroupStopped"}, 0.2, ""),
        ("sigterm", set(), 0.2, "DecisionsLate did not fire"),
        ("sigterm", set(), 0.01, ""),
        ("sigterm", {LATE, "DataLost"}, 0.2, "DataLost paged"),
        ("malformed", {"DeadLetters"}, 0.0, ""),
        ("malformed", {"DeadLetters", LATE}, 0.0, "DecisionsLate paged"),
        ("malformed", set(), 0.0, "DeadLetters did not fire"),
        ("another_partitioner", {"DeadLetters"}, 0.0, ""),
        ("another_partitioner", {"RecordsUnaccounted"}, 0.0, "RecordsUnaccounted paged"),
        ("offset_out_of_range", {LATE}, 0.5, "DataLost did not fire"),
    ],
)
def test_what_fires_is_compared_with_what_should(
    kind: str, fired: set[str], late: float, wrong: str
) -> None:
    severities = {name: SEVERITIES[name] for name in fired}
    found = judge_alerts(kind, KINDS[kind].family, severities, late)
    assert found.wrong == wrong
    assert set(found.pages) | set(found.tickets) == fired


def test_only_windows_and_pending_times_get_shorter() -> None:
    for path in (COMPOSE / "prometheus" / "rules").glob("*.yaml"):
        text = path.read_text()
        fast = faster(text, 30)
        assert re.sub(r"(\[|for: )\d+ms", "", fast) == re.sub(r"(\[|for: )\d+[smhd]", "", text)
        assert len(re.findall(r"(?:\[|for: )\d+ms", fast)) >= 1
    assert faster("rate(x_rate5m[5m]) > 300\nfor: 1h", 30) == (
        "rate(x_rate5m[10000ms]) > 300\nfor: 120000ms"
    )
