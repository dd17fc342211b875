"""``stream-scorer clients``: the key is printed once, and every change is recorded."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.security.api_keys import digest_of, key_id_of

KEY = re.compile(r"ssk_[0-9a-f]{12}_[0-9A-Za-z]{51}")


class Shell:
    """Runs commands over one clients file."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("STREAM_SCORER_AUDIT__PATH", str(folder / "audit.log"))
        monkeypatch.setenv("STREAM_SCORER_SERVING__ACCESS__CLIENTS_FILE", str(folder / "c.json"))

    def run(self, *words: str) -> Any:
        return CliRunner().invoke(app, ["clients", *words])

    def document(self, *words: str) -> Any:
        ran = self.run(*words, "--json")
        assert ran.exit_code == 0, ran.output
        return json.loads(ran.stdout)

    @property
    def actions(self) -> list[str]:
        lines = (self.folder / "audit.log").read_text().splitlines()
        return [json.loads(line)["action"] for line in lines]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(tmp_path, monkeypatch)


def test_a_key_is_printed_once(shell: Shell) -> None:
    added = shell.run("add", "shop", "--scope", "score", "--scope", "read")
    assert added.exit_code == 0
    (key,) = KEY.findall(added.stdout)
    assert "only now" in added.stdout
    listed = shell.run("list", "--wide").stdout + shell.run("list", "--json").stdout
    for text in (listed, *(path.read_text() for path in shell.folder.iterdir())):
        assert key not in text
        assert not KEY.search(text)
    assert digest_of(key).hex() in (shell.folder / "c.json").read_text()
    assert digest_of(key).hex() not in listed


def test_a_client_lives_from_add_to_remove(shell: Shell) -> None:
    first = shell.document(
        "add", "shop", "--scope", "score", "--rate", "5", "--burst", "9", "--quota", "100",
        "--expires", "2099-01-31", "--certificate-subject", "CN=shop",
    )  # fmt: skip
    second = shell.document("rotate", "shop", "--overlap", "1")
    assert key_id_of(first["key"]) == first["key_id"] != second["key_id"]
    shell.document("disable", "shop")
    (found,) = shell.document("list")
    assert found["disabled"]
    assert (found["rate_per_second"], found["burst"], found["quota_per_day"]) == (5.0, 9, 100)
    assert found["expires"] == "2099-01-31T00:00:00+00:00"
    assert found["certificate_subjects"] == ["CN=shop"]
    assert [key["id"] for key in found["keys"]] == [first["key_id"], second["key_id"]]
    assert not shell.document("disable", "shop", "--undo")["disabled"]
    shell.document("remove", "shop")
    assert shell.document("list") == []
    assert shell.actions == [
        "client.add", "client.rotate", "client.disable", "client.enable", "client.remove",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("add", "shop", "--scope", "root"),
        ("add", "shop", "--scope", "score", "--expires", "soon"),
        ("add", "shop", "--scope", "score", "--rate", "0"),
        ("add", "shop", "--scope", "score", "--rate", "nan"),
        ("add", "shop", "--scope", "score", "--without-key"),
        ("add", "a b", "--scope", "score"),
        ("rotate", "shop"),
        ("disable", "shop"),
        ("remove", "shop"),
    ],
)
def test_what_is_refused_changes_nothing(shell: Shell, words: tuple[str, ...]) -> None:
    ran = shell.run(*words)
    assert ran.exit_code
    assert getattr(ran.exception, "exit_code", 2) == 2
    assert not (shell.folder / "c.json").exists()
    assert not (shell.folder / "audit.log").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("a b", "'a b'"), ("a\n", r"'a\n'"), ("x" * 99, f"'{'x' * 64}...'")]
)
def test_a_wrong_name_is_named(shell: Shell, name: str, said: str) -> None:
    ran = shell.run("add", name, "--scope", "score")
    assert str(ran.exception).startswith(f"client {said}: is not a name")
    assert "letters, digits, dots, hyphens and underscores" in str(ran.exception)


def test_without_a_file_the_setting_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAM_SCORER_SERVING__ACCESS__CLIENTS_FILE")
    assert "serving.access.clients_file" in str(shell.run("list").exception)
    made = shell.document("add", "shop", "--scope", "score", "--file", str(shell.folder / "x"))
    assert made["client"] == "shop"
