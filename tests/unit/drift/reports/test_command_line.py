"""``drift``: which documents are printed, what is written, and what is given to the monitor."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from stream_scorer.cli import drift, options
from stream_scorer.cli.main import app
from stream_scorer.drift.alarms.river_streams import RiverStreams
from stream_scorer.drift.reports.events import event_of
from stream_scorer.drift.reports.page import write_html
from stream_scorer.drift.reports.report import report_of
from stream_scorer.errors import RolloutError, SettingsError
from stream_scorer.settings import Settings
from tests.support.drift.documents import alarm, document

EVENT = "0123456789abcdef"
GIVEN = {"command": "c" * 32, "kind": "ack", "event": EVENT}


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Let the commands see a monitor's state without a cluster; return what they give it."""
    monkeypatch.setattr(options, "connected_settings", lambda *_: Settings())
    monkeypatch.setattr(drift, "read_monitor", lambda _: document())
    monkeypatch.setattr(drift, "read_events", lambda _: ([event_of(alarm())], 3))
    monkeypatch.setattr(drift, "read_performance", lambda _: [])
    given = mock.Mock(return_value=GIVEN)
    monkeypatch.setattr(drift, "give", given)
    return given


def _run(*words: str, error: type[BaseException] | None = None) -> Result:
    done = CliRunner().invoke(app, ["drift", *words], env={"COLUMNS": "80"})
    if error is None:
        assert done.exit_code == 0, done.exception
    else:
        assert isinstance(done.exception, error), done.output
    return done


@pytest.mark.usefixtures("give")
def test_the_state_is_one_json_document() -> None:
    status = json.loads(_run("status", "--json").stdout)
    assert status["open"][0]["event_id"] == EVENT
    assert status["budget"]["false_alarm_days"] == 30.0


@pytest.mark.usefixtures("give")
def test_it_says_what_of_river_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = document()
    rare = replace(shown.versions[0], river=RiverStreams(2_160.0).states())
    monkeypatch.setattr(drift, "read_monitor", lambda _: replace(shown, versions=(rare,)))
    printed = " ".join(_run("status").stdout.split())
    assert "beyond the measured settings: about 12,500." in printed


@pytest.mark.usefixtures("give")
def test_wide_shows_every_stream_in_a_line() -> None:
    printed = _run("status", "--wide").stdout
    assert any("amount/level@channel=web" in line and "AR(1)" in line
               for line in printed.splitlines())  # fmt: skip
    assert "AR(1)" in printed


def test_without_a_snapshot_the_fix_is_named(
    give: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "read_monitor", lambda _: None)
    assert "stream-scorer monitor" in _run("status").stdout
    assert json.loads(_run("status", "--json").stdout)["streams"] == []
    give.assert_not_called()


@pytest.mark.usefixtures("give")
def test_an_event_is_explained_by_its_first_digits() -> None:
    explained = json.loads(_run("explain", "01234", "--json").stdout)
    assert explained["event_id"] == EVENT
    assert explained["distribution"][1] == {"label": "0.1", "before": 10, "after": 40}
    assert "no event" in str(_run("explain", "ffff", error=SettingsError).exception)


@pytest.mark.usefixtures("give")
def test_a_report_is_a_page_and_the_same_numbers(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = _run("report", "--html", str(page), "--json", "--days", "7")
    assert json.loads(done.stdout)["days"] == 7
    assert page.read_text().startswith("<!doctype html>")
    assert page.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [page], "no temporary file stays"
    assert "3 records cannot be read as drift events" in done.stderr
    assert "1 of 1 open alarms explained" in done.stderr


@pytest.mark.usefixtures("give")
def test_a_report_needs_a_place(tmp_path: Path) -> None:
    error = _run("report", error=SettingsError).exception
    assert "--html" in str(error)
    error = _run("report", "--html", str(tmp_path / "no" / "r.html"), error=SettingsError).exception
    assert "No such file" in str(error)


def test_a_failed_write_leaves_the_old_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "r.html"
    page.write_text("old")
    report = report_of(document(), [], 30)

    def fail(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(SettingsError, match="No space left"):
        write_html(page, report)
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("kind", ["ack", "accept"])
def test_an_answer_names_the_complete_event(give: mock.Mock, kind: str) -> None:
    _run(kind, "01234", "--reason", "seen")
    ((_, given, event, until, reason, key),) = [call.args for call in give.call_args_list]
    assert (given, event, until, reason, key) == (kind, EVENT, None, "seen", None)


def test_an_answer_to_an_unknown_event_is_refused(give: mock.Mock) -> None:
    _run("ack", "ffff", error=SettingsError)
    give.assert_not_called()


def test_an_answer_without_an_effect_is_not_written(
    give: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = event_of(alarm(event_id="aaaa000000000000", change="accepted"))
    monkeypatch.setattr(drift, "read_events", lambda _: ([event_of(alarm()), closed], 0))
    # What the monitor's state has open cannot be closed by a record of the topic.
    _run("ack", EVENT)
    give.reset_mock()
    monkeypatch.setattr(drift, "read_monitor", lambda _: replace(document(), episodes=()))
    assert "is accepted already" in str(_run("ack", EVENT, error=RolloutError).exception)
    give.assert_not_called()


def test_the_end_of_a_snooze_is_printed_as_a_time(give: mock.Mock) -> None:
    give.return_value = GIVEN | {"until": 1_795_942_272_909}
    assert "2026-11-29 08:51 UTC" in _run("snooze", "--until", "2d").stdout
    assert (
        json.loads(_run("snooze", "--until", "2d", "--json").stdout)["until"] == 1_795_942_272_909
    )


def test_a_snooze_is_of_one_event_or_of_all(give: mock.Mock) -> None:
    _run("snooze", "--until", "2d")
    _run("snooze", "0123", "--until", "2d")
    assert [call.args[2] for call in give.call_args_list] == ["", EVENT]
    assert all(call.args[3] > 0 for call in give.call_args_list)
    _run("snooze", "--until", "yesterday", error=SettingsError)
    assert give.call_count == 2


def test_a_command_is_signed_by_the_operators_key(
    give: mock.Mock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = object()
    monkeypatch.setattr("stream_scorer.cli.options.read_private", mock.Mock(return_value=signer))
    _run("ack", EVENT, "--key", str(tmp_path / "ann"))
    assert give.call_args.args[5] is signer


@pytest.mark.usefixtures("give")
@pytest.mark.parametrize("kind", ["webhook", "log"])
def test_a_sink_runs_on_the_settings(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = mock.Mock()
    monkeypatch.setattr("stream_scorer.drift.sinks.process.run_sink", run)
    _run("sink", kind)
    assert [call.args[1] for call in run.call_args_list] == [kind]
    assert CliRunner().invoke(app, ["drift", "sink", "pager"]).exit_code == 2
