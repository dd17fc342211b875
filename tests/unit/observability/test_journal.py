"""The journal answers what a process did, in single JSON lines."""

import json
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stream_scorer import telemetry as events
from stream_scorer.errors import FencedError, SettingsError
from stream_scorer.observability.journal import ProcessJournal, process_began, settings_digest
from stream_scorer.settings import Kafka, Settings


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_keeps_starts_assignments_revisions_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    settings = Settings(kafka=Kafka(bootstrap="b:1"))
    journal = ProcessJournal(path, "scorer", "2")
    journal(process_began("scorer", "g", "2", settings))
    journal(events.ModelVerified("fraud", "1.0.0", "start", content_hash="ab", signer="ci"))
    journal(events.PartitionsAssigned((0, 3)))
    journal(events.BatchCommitted(5, {"APPROVE": 5}, "fraud", "1.0.0"))
    journal(events.DependencyUnavailable("registry", "timed out"))
    journal(events.Stopping("SIGTERM"))
    journal.left(None)
    journal.close()
    found = lines(path)
    names = [each["event"] for each in found]
    assert names == [
        "began", "model_verified", "assigned", "dependency_unavailable", "stopping", "left",
    ]  # fmt: skip
    assert all(each["level"] == "info" and each["timestamp"] for each in found)
    assert {(each["process"], each["instance"]) for each in found} == {("scorer", "2")}
    assert found[0]["settings"] == settings_digest(settings)
    assert found[1]["content_hash"] == "ab"
    assert found[2]["partitions"] == [0, 3]
    assert found[-1]["exit_code"] == 0


def test_the_last_line_has_the_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for error in (
        FencedError("a newer one", "do not restart it"),
        ValueError("odd"),
        SystemExit(3),
    ):
        journal = ProcessJournal(path, "scorer", "2")
        journal.left(error)
        journal.close()
    assert [each["exit_code"] for each in lines(path)] == [FencedError.exit_code, 1, 3]
    assert "a newer one" in lines(path)[0]["error"]
    assert lines(path)[1]["error"] == "ValueError: odd"


def test_a_failure_that_lasts_has_one_line_in_ten_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, clock = tmp_path / "journal.jsonl", [10.0]
    replaced = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr("stream_scorer.observability.journal.time", replaced)
    failed = events.LagFailed("no answer")
    with ProcessJournal(path, "lag", "0") as journal:
        journal(failed)
        journal(failed)
        journal(events.LagFailed("no registry", "reconciliation"))
        for _ in range(4):
            clock[0] += 150.25
            journal(failed)
        clock[0] += 301.0
        journal(failed)
        down = events.DependencyUnavailable("registry", "timed out")
        for event in (down, down, events.DependencyBack("registry"), down):
            journal(event)
    assert [(each["event"], each.get("what", "")) for each in lines(path)] == [
        ("lag_not_observed", "look"), ("lag_not_observed", "reconciliation"),
        ("lag_not_observed", "look"), ("lag_not_observed", "look"), ("dependency_unavailable", ""),
        ("dependency_back", ""), ("dependency_unavailable", ""),
    ]  # fmt: skip


def append(path: Path, instance: str) -> None:
    with ProcessJournal(path, "scorer", instance) as journal:
        for _ in range(50):
            journal(events.PartitionsAssigned(tuple(range(5_000))))


def test_only_a_refused_file_has_a_line_of_a_check_each_minute(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = ProcessJournal(path, "scorer", "2")
    for refusal in ("", "", "model.skops: has changed", "model.skops: has changed", "", "gone"):
        journal(events.ModelVerified("fraud", "1.0.0", "time", refusal))
    journal(events.ModelVerified("fraud", "1.0.0", "signal"))
    journal.close()
    kept = [(each["cause"], each["refusal"]) for each in lines(path)]
    assert kept == [("time", "model.skops: has changed"), ("time", "gone"), ("signal", "")]


def test_processes_that_share_a_file_keep_each_others_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    context = get_context("spawn")
    children = [context.Process(target=append, args=(path, str(number))) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    found = [each["instance"] for each in lines(path)]
    assert sorted(found) == sorted([str(number) for number in range(4)] * 50)


def test_without_a_file_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    journal = ProcessJournal(None, "scorer", "2")
    journal(events.Stopping("SIGTERM"))
    journal.left(None)
    journal.close()
    assert capsys.readouterr() == ("", "")


def test_it_writes_to_standard_output_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    journal = ProcessJournal(Path("-"), "scorer", "2")
    journal(events.Stopping("SIGTERM"))
    journal.close()
    print("still open")  # noqa: T201 standard output is not closed
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["cause"] == "SIGTERM"
    assert second == "still open"


def test_a_full_disk_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    journal = ProcessJournal(Path("/dev/full"), "scorer", "2")
    journal(events.Stopping("SIGTERM"))
    journal(events.PartitionsAssigned((0, 3)))
    journal.left(FencedError("a newer one", "do not restart it"))
    journal.close()
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"]) == ("journal_not_written", "warning")
    assert "No space left on device" in found["error"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"logging\.journal"):
        ProcessJournal(tmp_path / "nowhere" / "journal.jsonl", "scorer", "2")


def test_a_secret_changes_no_digest_and_is_not_in_it(tmp_path: Path) -> None:
    first = Settings.model_validate({"kafka": {"bootstrap": "b:1", "password": "hunter2hunter2"}})
    second = Settings.model_validate({"kafka": {"bootstrap": "b:1", "password": "correct horse"}})
    third = Settings.model_validate({"kafka": {"bootstrap": "c:1", "password": "correct horse"}})
    assert settings_digest(first) == settings_digest(second) != settings_digest(third)
    path = tmp_path / "journal.jsonl"
    with ProcessJournal(path, "scorer", "2") as journal:
        journal(process_began("scorer", "g", "2", first))
    assert "hunter2" not in path.read_text()
