"""The last line of a process is in its journal, even if it ends before the journal is open."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def ended(folder: Path, *arguments: str, **variables: str) -> tuple[int, list[dict[str, Any]]]:
    """Run a command; return its exit code and the lines of the journal ``folder/journal``."""
    journal = folder / "journal"
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", "from stream_scorer.cli.main import main; main()", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={f"STREAM_SCORER_{name}": value for name, value in variables.items()},
    )  # fmt: skip
    assert done.stderr.startswith("stream-scorer: ")
    kept = journal.read_text().splitlines() if journal.exists() else []
    return done.returncode, [json.loads(line) for line in kept]


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        ("setting http.port", {"HTTP__PORT": "many"}),
        ("no such setting", {"HTP__PORT": "1"}),
        ("no Kafka cluster", {}),
        ("configuration nowhere.toml", {"CONFIG": "nowhere.toml"}),
    ],
)
def test_an_error_before_the_start_is_the_last_line(
    tmp_path: Path, said: str, variables: dict[str, str]
) -> None:
    journal = {"LOGGING__JOURNAL": str(tmp_path / "journal"), "KAFKA__INSTANCE": "7"}
    code, (line,) = ended(tmp_path, "run", **journal, **variables)
    assert (line["event"], line["process"], line["instance"]) == ("left", "scorer", "7")
    assert line["exit_code"] == code == 2
    assert said in line["error"]


def test_the_file_of_wrong_settings_names_the_journal(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        f'[logging]\njournal = "{tmp_path}/journal"\n[http]\nport = "many"\n'
    )
    code, (line,) = ended(tmp_path, "lag", "--serve", "--config", "s.toml")
    assert (line["process"], line["exit_code"], code) == ("lag", 2, 2)


def test_an_error_that_the_journal_has_is_not_there_twice(tmp_path: Path) -> None:
    journal = {"LOGGING__JOURNAL": str(tmp_path / "journal"), "HTTP__HOST": "192.0.2.1"}
    code, kept = ended(tmp_path, "lag", "--serve", "--bootstrap", "127.0.0.1:9", **journal)
    assert [line["event"] for line in kept] == ["began", "left"]
    assert (kept[-1]["exit_code"], code) == (2, 2)


@pytest.mark.parametrize("command", ["lag", "state"])
def test_a_command_that_is_no_process_keeps_nothing(tmp_path: Path, command: str) -> None:
    arguments = [command] if command == "lag" else [command, "inspect"]
    code, kept = ended(tmp_path, *arguments, LOGGING__JOURNAL=str(tmp_path / "journal"))
    assert (code, kept) == (2, [])
