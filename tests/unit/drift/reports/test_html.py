"""The page is self-contained, escapes everything, and has each part of the report."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from stream_scorer.core.summaries.summary_layout import StreamKey
from stream_scorer.drift.alarms.contract import EpisodeState
from stream_scorer.drift.alarms.river_streams import RiverState
from stream_scorer.drift.monitor.alarm_making import snooze_event
from stream_scorer.drift.reports.charts import histogram, line_chart, meter
from stream_scorer.drift.reports.events import event_of
from stream_scorer.drift.reports.html import html_of
from stream_scorer.drift.reports.report import report_of
from stream_scorer.drift.state.document import Episode, MonitorDocument, OpenFault
from tests.support.drift.documents import HOUR, START, alarm, document

HOSTILE = "\"><script>alert(1)</script><img src=x onerror='a()'>\x1b]52;c;a\x07\u202e"
VOID = {"meta"}


class _Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _report(given: MonitorDocument | None) -> dict[str, Any]:
    return report_of(given, [event_of(alarm())], 30)


@pytest.fixture
def text() -> str:
    return html_of(_report(document()))


def test_it_needs_nothing_else(text: str) -> None:
    page = _Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert "url(" not in text
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text


def test_its_policy_allows_its_style_sheet_only(text: str) -> None:
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert style is not None
    assert policy is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{digest}&#x27;" in policy[1]
    assert policy[1].startswith("default-src &#x27;none&#x27;")


def test_hostile_texts_are_escaped() -> None:
    given = document()
    hostile = alarm(
        stream=HOSTILE, field=HOSTILE, segment=HOSTILE, model=HOSTILE, version=HOSTILE,
        detector=HOSTILE, labels=(HOSTILE, HOSTILE), also=((HOSTILE, 1.0),), kind=HOSTILE,
        change=HOSTILE, consequence_of=HOSTILE,
    )  # fmt: skip
    streams = replace(
        given.versions[0], model=HOSTILE, version=HOSTILE, note=HOSTILE,
        keys=(StreamKey(HOSTILE, HOSTILE, HOSTILE), StreamKey("score", "level", "all")),
        classes=(HOSTILE, HOSTILE),
        river=(RiverState(HOSTILE, HOSTILE, HOSTILE, 0, 0, 0, 0, 0.0, 2.0, 1.0),),
    )  # fmt: skip
    fault = replace(given.faults[0].fault, name=HOSTILE, field=HOSTILE, segment=HOSTILE)
    spoiled = replace(
        given, versions=(streams,), faults=(OpenFault(HOSTILE, HOSTILE, HOSTILE, fault),),
        episodes=(Episode(hostile, EpisodeState.OPEN, 0, "", (HOSTILE,)),),
    )  # fmt: skip
    event = event_of(hostile) | {"commander": HOSTILE, "severity": HOSTILE}
    other = event_of(alarm(event_id="b" * 16)) | {"commander": HOSTILE}
    report = report_of(spoiled, [event, other], 30)
    assert report["open"][0]["severity"] == "page"
    assert HOSTILE in {each["severity"] for each in report["events"]}
    text = html_of(report)
    page = _Page(text)
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "<script" not in text


def test_each_part_is_there(text: str) -> None:
    words = " ".join(_Page(text).texts)
    for part in (
        "Open alarms", "Data quality", "Score, outcomes, amounts", "Budget of false alarms",
        "Every stream against its budget", "score/level@all", "amount/level@channel=web",
        "rose from 0.02 to 0.05", "since about 2023-11-14 22:00 UTC", "onset Nov 14 22:00",
        "25 % of the values of country are missing, 1 % is usual", "1,440 windows (60 days)",
        "not in the class: AR(1)",
        "false alarms expected within the patience, guaranteed at most 0.5",
    ):  # fmt: skip
        assert part in words, part


def test_the_charts_are_valid_svg(text: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(charts) == 2 + 1 + 2, "course and distribution of the alarm; score; two meters"
    for chart in charts:
        assert ET.fromstring(chart).tag == "svg"  # noqa: S314 it is of our own making


def test_the_same_numbers_are_the_json() -> None:
    report = _report(document())
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["lines"][0]["onsets"][0]["at"] == report["open"][0]["onset"]["at"]


def test_a_monitor_without_a_snapshot_has_a_page() -> None:
    words = " ".join(_Page(html_of(_report(None))).texts)
    assert "has not written a snapshot" in words


def test_old_events_are_left_out() -> None:
    old = event_of(alarm(event_id="cccc000000000000", detected_at=1_600_000_000_000))
    assert [e["event_id"] for e in report_of(document(), [old], 30)["events"]] == []
    assert len(report_of(document(), [old], 3_650)["events"]) == 1


def test_pages_come_first_and_consequences_last() -> None:
    given = document()
    alarms = [
        alarm(event_id="1" * 16, episode="1" * 16, severity="note"),
        alarm(event_id="2" * 16, episode="2" * 16, consequence_of="f" * 16),
        alarm(event_id="3" * 16, episode="3" * 16),
    ]
    made = [replace(each, severity=type(given.episodes[0].opened.severity)(each.severity))
            for each in alarms]  # fmt: skip
    episodes = tuple(Episode(each, EpisodeState.OPEN, 0, "", ()) for each in made)
    report = report_of(replace(given, episodes=episodes), [], 30)
    assert [each["event_id"][0] for each in report["open"]] == ["3", "1", "2"]


@pytest.mark.parametrize("value", [0.0, 1e-300, 5e8, -3.0])
def test_a_flat_line_is_drawn(value: float) -> None:
    points = [
        {"start": f"2023-11-14T{hour:02}:00:00Z", "value": value, "expected": None}
        for hour in range(3)
    ]
    drawn = line_chart(points, None)
    assert "nan" not in drawn
    assert "inf" not in drawn
    ET.fromstring(drawn)  # noqa: S314 it is of our own making


def test_an_onset_outside_of_the_history_is_not_marked() -> None:
    points = [{"start": "2023-11-14T00:00:00Z", "value": 1.0, "expected": 1.0}] * 2
    mark = {"at": "2022-11-14T00:00:00Z", "low": None, "high": None, "severity": "page"}
    assert "onset" not in line_chart(points, 0.1, [mark])
    assert "onset" in line_chart(points, 0.1, [mark | {"at": "2023-11-14T00:00:00Z"}])


def test_a_histogram_shows_shares() -> None:
    drawn = histogram([{"label": "a", "before": 30, "after": 1}, {"label": "b", "before": 10,
                       "after": 3}])  # fmt: skip
    assert re.findall(r"<title>(\w: [\d.]+ % \w+)</title>", drawn) == [
        "a: 75.0 % before", "a: 25.0 % after", "b: 25.0 % before", "b: 75.0 % after",
    ]  # fmt: skip
    assert "no distribution" in histogram([])


def test_a_meter_is_full_at_the_threshold() -> None:
    assert 'class="full" width="80.0"' in meter(1.2)
    assert 'class="low" width="40.0"' in meter(0.5)
    assert "svg" not in meter(None)


def test_a_snooze_of_all_alarms_is_a_line_of_it() -> None:
    snoozed = event_of(snooze_event(START + 9 * HOUR, START + 2 * HOUR, "0" * 32))
    report = report_of(document(), [event_of(alarm()), snoozed], 30)
    assert [each["segment"] for each in report["events"]] == ["all", "all"]
    assert "All alarms are notes for a time" in _Page(html_of(report)).texts
