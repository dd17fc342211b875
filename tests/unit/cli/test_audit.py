"""The ``audit`` commands; ``models`` records each action in the audit log before it happens."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.cli.main import main
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.security.audit import user
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.keys import generate
from stream_scorer.settings import MODELS_DIRECTORY, Audit


class Terminal:
    """Runs commands as a shell does."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.log, self.store = folder / "audit.log", folder / "store"
        self.patch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self.patch.setattr(sys, "argv", ["stream-scorer", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        told = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, told.out, told.err

    def document(self, *words: object) -> Any:
        code, out, err = self(*words, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAM_SCORER_AUDIT__PATH", str(tmp_path / "audit.log"))
    shutil.copytree(MODELS_DIRECTORY / "fraud" / "1.0.0", tmp_path / "store" / "fraud" / "1.0.0")
    return Terminal(tmp_path, monkeypatch, capsys)


def test_key_generation_and_model_signing_are_recorded(terminal: Terminal) -> None:
    made = terminal.document("models", "keygen", "--out", "k")
    sign = ("models", "sign", "fraud:1.0.0", "--key", "k", "--store", terminal.store)
    terminal.document(*sign)
    first, second = terminal.document("audit", "show")
    assert (first["action"], first["subject"], first["actor"]) == (
        "key.generate", made["key_id"], user(),
    )  # fmt: skip
    manifest = read_manifest(terminal.store / "fraud" / "1.0.0")
    assert (second["action"], second["subject"]) == ("model.sign", "fraud:1.0.0")
    assert second["details"]["key_id"] == made["key_id"]
    assert second["details"]["content_hash"] == manifest.content_hash
    found = terminal.document("audit", "verify", "--expect", first["hash"])
    assert (found["lines"], found["behind"], found["newest_hash"]) == (2, 1, second["hash"])
    only = terminal.document("audit", "show", "--action", "model", "--subject", "fraud:1.0.0")
    assert [each["number"] for each in only] == [2]
    assert terminal.document("audit", "show", "--action", "mod") == []
    assert [e["number"] for e in terminal.document("audit", "show", "--last", 1)] == [2]
    # A refusal is not an action.
    assert terminal(*sign)[0] == 3
    assert len(terminal.document("audit", "show")) == 2


def test_without_an_audit_record_nothing_is_signed(terminal: Terminal) -> None:
    terminal.document("models", "keygen", "--out", "k")
    terminal.log.write_bytes(terminal.log.read_bytes().replace(b"key.generate", b"key.borrowed"))
    code, _, error = terminal(
        "models", "sign", "fraud:1.0.0", "--key", "k", "--store", terminal.store
    )
    assert (code, error.count("\n")) == (12, 1)
    assert "its last line is not what its hash was taken of" in error
    assert not (terminal.store / "fraud" / "1.0.0" / "signature.json").exists()


def test_a_signature_that_failed_to_be_placed_is_recorded_too(terminal: Terminal) -> None:
    terminal.document("models", "keygen", "--out", "k")
    terminal.patch.setattr(Path, "replace", _full)
    code, _, _ = terminal("models", "sign", "fraud:1.0.0", "--key", "k", "--store", terminal.store)
    assert code == 3
    told = terminal.document("audit", "show", "--action", "model")
    assert [each["action"] for each in told] == ["model.sign", "model.sign.failed"]
    assert "No space left" in told[1]["details"]["why"]


def _full(self: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


def test_verify_names_the_altered_line_and_exits_with_code_12(terminal: Terminal) -> None:
    for name in "abc":
        terminal.document("models", "keygen", "--out", name)
    lines = terminal.log.read_bytes().splitlines(keepends=True)
    terminal.log.write_bytes(lines[0] + lines[2])
    code, out, err = terminal("audit", "verify", "--json")
    assert code == 12
    assert json.loads(out)["faults"] == [
        {"file": "audit.log", "line": 2, "what": "line 2 is missing before line 3"}
    ]
    assert err.startswith("stream-scorer: audit log: audit.log line 2: line 2 is missing")
    code, out, _ = terminal("audit", "verify")
    assert code == 12
    assert "line 2 is missing" in out


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("verify",), 2, "is not there"),
        (("show", "--file", "other.log"), 2, "other.log: is not there"),
        (("verify", "--expect", "abc"), 2, "--expect: 'abc' is not a hash"),
        (("verify", "--after", "A" * 64), 2, "is not a hash"),
    ],
)
def test_what_cannot_be_read_is_named(
    terminal: Terminal, words: tuple[str, ...], code: int, told: str
) -> None:
    left, _, error = terminal("audit", *words)
    assert (left, error.count("\n")) == (code, 1)
    assert told in error


def test_no_path_means_no_log(terminal: Terminal) -> None:
    terminal.patch.delenv("STREAM_SCORER_AUDIT__PATH")
    assert "set audit.path, or give --file" in terminal("audit", "verify")[2]
    terminal.document("models", "keygen", "--out", "k")
    assert not terminal.log.exists()


def test_lines_are_signed_with_the_set_key_and_checked(terminal: Terminal) -> None:
    made = generate(Path("audit-key"), b"phrase")
    terminal.patch.setenv("STREAM_SCORER_AUDIT__KEY", "audit-key")
    assert "is encrypted" in terminal("models", "keygen", "--out", "k")[2]
    terminal.patch.setenv("STREAM_SCORER_AUDIT__PASSPHRASE", "phrase")
    terminal.document("models", "keygen", "--out", "l")
    assert terminal.document("audit", "verify")["unknown"] == 1
    keys = json.dumps({"auditor": "audit-key.pub"})
    terminal.patch.setenv("STREAM_SCORER_AUDIT__TRUSTED_KEYS", keys)
    terminal.patch.setenv("STREAM_SCORER_AUDIT__REQUIRE_SIGNATURE", "true")
    assert terminal.document("audit", "verify")["signed"] == {"auditor": 1}
    assert terminal.document("audit", "show")[0]["key_id"] == made.key_id
    terminal.patch.delenv("STREAM_SCORER_AUDIT__PASSPHRASE")
    terminal.patch.delenv("STREAM_SCORER_AUDIT__KEY")
    terminal.document("models", "keygen", "--out", "m")
    code, _, error = terminal("audit", "verify")
    assert (code, "line 2 is not signed" in error) == (12, True)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"key": "k"}, "key without path would sign nothing"),
        ({"path": "log", "passphrase": "x"}, "passphrase without key would open nothing"),
        ({"require_signature": True}, "would refuse every line"),
        ({"rotate_bytes": 1_000}, "greater than or equal to 65536"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Audit(**values)


def test_a_log_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere is not a folder"):
        open_audit(Audit(path=tmp_path / "nowhere" / "audit.log"))


def test_other_packages_record_their_actions_by_one_call(tmp_path: Path) -> None:
    audit = open_audit(Audit(path=tmp_path / "audit.log"))
    audit.record("rollout.verdict", "fraud", {"e": 3.5}, "key:abc")
    assert b'"action":"rollout.verdict","actor":"key:abc"' in (tmp_path / "audit.log").read_bytes()
    open_audit(Audit()).record("rollout.verdict", "fraud")
