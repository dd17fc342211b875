"""What is published of windows and warnings, and how the drift report shows it."""

import json

import numpy as np

from stream_scorer.drift.reports.events import event_of_record, window_of_record
from stream_scorer.drift.reports.html import html_of
from stream_scorer.drift.reports.report import report_of
from stream_scorer.drift.reports.wording import asks, errors, headline
from stream_scorer.performance.measures.contract import MaturedRows, WindowKey
from stream_scorer.performance.measures.measure import NAMES, Measuring, measure
from stream_scorer.performance.process.records import loss_record, warning_event, window_record
from stream_scorer.performance.warning.contract import DayLoss, LossReference, Warned
from tests.support.performance.published import DAY_MS, EVENT, FILES, START, WINDOW
from tests.unit.performance.test_measures import city

HOSTILE = "<script>alert(1)</script>"
REFERENCE = LossReference(0.005, 0.006, 0.1, 0.001, 28, 200.0)


def key(version: str = "1.0.0", days: int = 1) -> WindowKey:
    return WindowKey("fraud", version, "champion", "all", START, START + days * DAY_MS)


def window(kind: str, rows: MaturedRows, version: str = "1.0.0") -> dict[str, object]:
    """Return a published window, decoded again."""
    measured = measure(rows, key(version), Measuring())
    fields = window_record(measured, kind, "genuine", START, {"ddm": "stable"})
    return dict(WINDOW.decode(WINDOW.encode(fields), FILES))


def loss(day: int) -> dict[str, object]:
    """Return a published loss, decoded again."""
    start = START + day * DAY_MS
    days = WindowKey("fraud", "1.0.0", "all", "all", start, start + DAY_MS)
    found = DayLoss(days, 1_000, 0.004 + day / 1_000, float("nan"), 0, 0)
    fields = loss_record(found, {"guaranteed": 0.5, "gaussian": 1.5}, "genuine", START)
    return dict(WINDOW.decode(WINDOW.encode(fields), FILES))


def warned(klass: str = "gaussian") -> dict[str, object]:
    """Return a published warning, decoded again."""
    given = Warned(key(), 9.5, klass, START, 0.02, 0.0005)
    fields = warning_event(given, REFERENCE, 0.0125, START)
    return dict(EVENT.decode(EVENT.encode(fields), FILES))


def test_a_published_window_has_all_measures() -> None:
    found = window_of_record(window("DAY", city(1)))
    assert set(found["measures"]) == set(NAMES)
    precision = found["measures"]["average_precision"]
    assert 0 < precision["low"] < precision["value"] < precision["high"] < 1
    assert len(found["calibration"]) == 10
    assert found["rows"] == found["frauds"] + found["genuine"]


def test_what_is_not_defined_is_null() -> None:
    none = city(1)
    none = none.take(none.state == 0)
    found = window_of_record(window("DAY", none))
    assert found["measures"]["average_precision"]["value"] is None
    assert found["measures"]["average_precision"]["low"] is None


def test_a_warning_is_a_drift_event() -> None:
    found = event_of_record(warned())
    assert (found["kind"], found["severity"], found["detector"]) == (
        "performance", "page", "e-process:gaussian",
    )  # fmt: skip
    assert "rose from 0.005 to 0.02" in headline(found)
    assert "train a new version" in asks(found)
    explained = {
        "kind": "performance",
        "guaranteed": {"holds": found["guaranteed"], "error": found["guaranteed_error"]},
        "calibrated": {"error": found["calibrated_error"]},
    }
    assert errors(explained) == ("not in the class", "0.0125")
    sure = event_of_record(warned("guaranteed"))
    assert sure["guaranteed"]
    assert sure["guaranteed_error"] == 0.0125
    # Whatever the class is, the same window gives the same event.
    assert sure["event_id"] == found["event_id"]


def test_the_report_shows_the_newest_windows() -> None:
    records = [
        window("DAY", city(1)), loss(0), window("DAY", city(2)), window("WEEK", city(3)), loss(1),
        window("DAY", city(4), HOSTILE),
    ]  # fmt: skip
    told = [window_of_record(each) for each in records]
    report = report_of(None, [event_of_record(warned())], 30, performance=told)
    shown = report["performance"]
    kinds = [(each["model_version"], each["kind"]) for each in shown["windows"]]
    assert kinds == [("1.0.0", "DAY"), ("1.0.0", "WEEK"), (HOSTILE, "DAY")]
    assert shown["windows"][0] == told[2]
    assert [each["loss"] for each in shown["losses"][0]["days"]] == [0.004, 0.005]
    json.dumps(report, allow_nan=False)
    page = html_of(report)
    assert "Performance by matured labels" in page
    assert "average precision" in page
    assert "Cost per decision" in page
    assert HOSTILE not in page


def test_a_report_without_performance_says_what_measures_it() -> None:
    assert "stream-scorer performance measures them" in html_of(report_of(None, [], 30))


def test_a_column_is_a_probability() -> None:
    shares = np.array([each["fraud_share"] for each in window_of_record(
        window("DAY", city(1)))["calibration"] if each["weight"]])  # fmt: skip
    assert ((shares >= 0) & (shares <= 1)).all()
