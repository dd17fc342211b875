"""How urgent an alarm is depends on what moved."""

from dataclasses import replace

import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import Severity
from stream_scorer.drift.alarms.severity import (
    fault_severity,
    fleet_severity,
    is_trigger,
    severity_of,
)
from stream_scorer.drift.quality.contract import QualityFault

NOTE, WARN, PAGE = Severity.NOTE, Severity.WARN, Severity.PAGE


@pytest.mark.parametrize(
    ("key", "calm", "worried"),
    [
        (("score", "level", "all"), PAGE, PAGE),
        (("outcome", "share:BLOCK", "all"), PAGE, PAGE),
        (("score", "level", "channel=web"), WARN, WARN),
        (("outcome", "share:REVIEW", "channel=web"), WARN, WARN),
        (("score", "missing", "all"), NOTE, WARN),
        (("amount", "level", "all"), NOTE, WARN),
        (("f1", "unseen", "all"), NOTE, WARN),
        (("segment", "share", "channel=web"), NOTE, WARN),
    ],
)
def test_decisions_page_and_features_explain(
    key: tuple[str, str, str], calm: Severity, worried: Severity
) -> None:
    assert severity_of(StreamKey(*key), trigger_open=False) is calm
    assert severity_of(StreamKey(*key), trigger_open=True) is worried


def test_a_fleet_alarm_pages_if_decisions_moved() -> None:
    feature, score = StreamKey("f1", "level", "all"), StreamKey("score", "level", "all")
    assert fleet_severity([feature]) is WARN
    assert fleet_severity([feature, score]) is PAGE
    assert is_trigger(score)
    assert not is_trigger(feature)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("schema_change", 0.5, PAGE), ("unit_change", 4.6, PAGE), ("missing", 0.2, PAGE),
        ("volume", 0.0, WARN), ("volume", 30.0, WARN), ("lateness", 0.2, WARN),
        ("duplicates", 0.1, WARN), ("rejects", 0.1, WARN), ("new_value", 0.1, WARN),
    ],
)  # fmt: skip
def test_a_fault_pages_if_decisions_cannot_be_right(
    name: str, value: float, expected: Severity
) -> None:
    fault = QualityFault(name, "", "all", 0, 1, 0.5, 0.1, 5.0, open=True)
    assert fault_severity(replace(fault, value=value)) is expected
