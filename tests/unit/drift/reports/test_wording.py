"""Every fault and every kind of event has words, and a row in the manual."""

import re
from pathlib import Path

import pytest

from stream_scorer.drift.alarms.contract import Severity
from stream_scorer.drift.quality.arrivals import SHARES
from stream_scorer.drift.reports.events import event_of
from stream_scorer.drift.reports.promises import calibrated_promise, guaranteed_promise
from stream_scorer.drift.reports.wording import asks, fault_text, headline, when
from stream_scorer.models.reference.stream_values import stream_keys
from tests.support.core.watched import bins_of
from tests.support.drift.documents import alarm

MANUAL = (Path(__file__).parents[4] / "docs" / "MONITORING.md").read_text()
FAULTS = ("unit_change", "schema_change", "missing", "new_value", "volume",
          *sorted({rule.name for rule in SHARES}))  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(FAULTS)))
def test_each_fault_has_words_and_a_row_in_the_manual(name: str) -> None:
    assert f"\n| `{name}` |" in MANUAL
    event = event_of(alarm(kind="fault", stream=name, field="amount", before=8.2, after=12.8))
    assert headline(event) != f"all events: {name}"
    assert len(asks(event)) > 20


def test_the_manual_names_no_other_fault() -> None:
    table = MANUAL[MANUAL.index("| fault | rule |") :].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(FAULTS)


def test_the_manual_names_each_measure() -> None:
    table = MANUAL[MANUAL.index("| stream | where | what |") :].split("\n\n")[0]
    for key in stream_keys(bins_of(1), ["channel=POS"]):
        if key.field in {"score", "outcome", "amount", "segment"} and "share" in key.measure:
            assert f"`{key.field}/{key.measure}`" in table
        else:
            assert f"{re.sub(':.*', ':VALUE', key.measure)}`" in table


@pytest.mark.parametrize(
    ("usual", "now", "factor"),
    [(8.2, 8.2 + 4.6, "times 100"), (8.2, 5.9, "times 1/10"), (8.2, 15.1, "times 1,000")],
)
def test_a_unit_is_told_as_a_factor(usual: float, now: float, factor: str) -> None:
    assert fault_text("unit_change", "amount", now, usual).endswith(factor)


def test_a_field_that_is_gone_is_named() -> None:
    assert "device" in fault_text("schema_change", "device", 1.0, 0.0)
    assert "device" not in fault_text("schema_change", None, 0.2, 0.0)


def test_the_answer_depends_on_what_moved() -> None:
    score, feature, fleet, owned, cause = (
        asks(event_of(alarm(**changed)))
        for changed in (
            {}, {"field": "hour", "severity": Severity.NOTE}, {"kind": "fleet"},
            {"consequence_of": "f" * 16}, {"field": "hour", "severity": Severity.WARN},
        )
    )  # fmt: skip
    assert len({score, feature, fleet, owned, cause}) == 5
    assert "No action now" in feature
    assert "today" in cause
    assert "f" * 16 in owned


def test_the_onset_has_its_range() -> None:
    assert when(event_of(alarm())) == (
        "since about 2023-11-14 22:00 UTC (between 2023-11-14 18:00 UTC and 2023-11-15 00:00 UTC)"
    )
    exact = alarm(onset_low=1_700_000_000_000, onset_high=1_700_000_000_000)
    assert when(event_of(exact)) == "since 2023-11-14 22:00 UTC"
    assert when(event_of(alarm(onset=0))).startswith("in the window from 2023-11-15 00:00 UTC")


def test_the_promises_have_numbers_and_no_discovery_rate() -> None:
    budget = {
        "false_alarm_days": 30.0, "guaranteed_windows": 1440.0, "calibrated_windows": 1500.0,
        "eta": 0.05, "window_ms": 3_600_000,
    }  # fmt: skip
    first, second = guaranteed_promise(budget), calibrated_promise(budget)
    assert "at least 1,440 windows (60 days)" in first
    assert "near 1,500 windows (62 days)" in second
    assert "about one false alarm of each model version in 30 days" in second
    assert "at most" not in second
    assert not re.search(r"FDR|false.discover", first + second, re.IGNORECASE)


def test_the_level_of_amounts_is_told_in_minor_units() -> None:
    event = event_of(
        alarm(stream="amount/level@all", field="amount", before=0.27395, after=0.27878)
    )
    assert headline(event).endswith("(typical amount 3,708 to 4,286 minor units)")
