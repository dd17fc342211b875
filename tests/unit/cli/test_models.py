"""The ``models`` commands: output, refusals, and exit codes."""

import json
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.cli.main import main
from stream_scorer.models.bundles.bundle import read_manifest
from stream_scorer.settings import MODELS_DIRECTORY


class Terminal:
    """Runs commands as a shell does."""

    def __init__(
        self,
        store: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.store, self.patch, self._capsys = store, monkeypatch, capsys

    def models(self, *words: object) -> tuple[int, str, str]:
        """Return exit code, output and error of a ``models`` command for the store."""
        where = () if words[0] == "keygen" else ("--store", str(self.store))
        self.patch.setattr(sys, "argv", ["stream-scorer", "models", *map(str, words), *where])
        with pytest.raises(SystemExit) as left:
            main()
        told = self._capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, told.out, told.err

    def document(self, *words: object) -> Any:
        code, out, err = self.models(*words, "--json")
        assert (code, err) == (0, "")
        assert out.count("\n") == 1
        return json.loads(out)

    def refusal(self, *words: object, code: int = 3) -> str:
        left, out, err = self.models(*words)
        assert (left, out) == (code, "")
        assert err.startswith("stream-scorer: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "store"
    shutil.copytree(MODELS_DIRECTORY / "fraud", store / "fraud")
    return Terminal(store, monkeypatch, capsys)


@pytest.fixture
def key(terminal: Terminal, tmp_path: Path) -> Path:
    terminal.document("keygen", "--out", tmp_path / "k")
    return tmp_path / "k"


def production(terminal: Terminal, **keys: Path) -> None:
    told = {name: str(path) + ".pub" for name, path in keys.items()}
    terminal.patch.setenv("STREAM_SCORER_MODELS__TRUSTED_KEYS", json.dumps(told))
    terminal.patch.setenv("STREAM_SCORER_MODELS__REQUIRE_SIGNATURE", "true")


def test_from_a_key_to_a_bundle_that_production_accepts(terminal: Terminal, key: Path) -> None:
    before = read_manifest(terminal.store / "fraud" / "1.0.0")
    files = {path: path.read_bytes() for path in (terminal.store / "fraud" / "1.0.0").iterdir()}
    assert terminal.document("verify", "fraud:1.0.0")["signature"] == "none"
    told = terminal.document("sign", "fraud:1.0.0", "--key", key)
    assert (told["model"], told["trusted_as"]) == ("fraud:1.0.0", None)
    # The only change is a new signature that every user can read.
    signature = terminal.store / "fraud" / "1.0.0" / "signature.json"
    assert stat.S_IMODE(signature.stat().st_mode) == 0o644
    assert set(signature.parent.iterdir()) - set(files) == {signature}
    assert {path: path.read_bytes() for path in files} == files
    assert sorted(p.name for p in (terminal.store / "fraud").glob(".*")) == []
    stranger = terminal.document("verify", "fraud:1.0.0")
    assert (stranger["signature"], stranger["key_id"]) == ("unknown key", told["key_id"])
    production(terminal, release=key)
    told = terminal.document("verify", "fraud:1.0.0")
    assert (told["signature"], told["signed_by"]) == ("trusted", "release")
    assert told["content_hash"] == before.content_hash
    assert "is not signed" in terminal.refusal("verify", "fraud:1.1.0")
    assert "is not signed" in terminal.refusal("validate", "fraud:1.1.0")
    assert "is not signed" in terminal.refusal("show", "fraud:1.1.0")
    assert "is not signed" in terminal.refusal("diff", "fraud:1.0.0", "fraud:1.1.0")


def test_keys_are_rotated_by_signing_again(terminal: Terminal, key: Path, tmp_path: Path) -> None:
    terminal.document("sign", "fraud:1.0.0", "--key", key)
    terminal.document("keygen", "--out", tmp_path / "new")
    assert "signed already" in terminal.refusal("sign", "fraud:1.0.0", "--key", tmp_path / "new")
    production(terminal, new=tmp_path / "new")
    assert "unknown key" in terminal.refusal("verify", "fraud:1.0.0")
    told = terminal.document("sign", "fraud:1.0.0", "--key", tmp_path / "new", "--replace")
    assert told["trusted_as"] == "new"
    assert terminal.document("verify", "fraud:1.0.0")["signed_by"] == "new"
    production(terminal, old=key, new=tmp_path / "new")
    assert terminal.document("verify", "fraud:1.0.0")["signed_by"] == "new"


def test_an_encrypted_key_reads_its_passphrase_from_file_or_env(
    terminal: Terminal, tmp_path: Path
) -> None:
    (tmp_path / "p").write_text("correct horse\n")
    made = terminal.document("keygen", "--out", tmp_path / "k", "--passphrase-file", tmp_path / "p")
    assert made["encrypted"]
    sign = ("sign", "fraud:1.0.0", "--key", tmp_path / "k")
    assert "is encrypted" in terminal.refusal(*sign, code=2)
    terminal.document(*sign, "--passphrase-file", tmp_path / "p")
    terminal.patch.setenv("STREAM_SCORER_KEY_PASSPHRASE", "wrong")
    assert "another passphrase" in terminal.refusal(*sign, "--replace", code=2)
    terminal.patch.setenv("STREAM_SCORER_KEY_PASSPHRASE", "correct horse")
    terminal.document(*sign, "--replace")
    terminal.patch.setenv("STREAM_SCORER_KEY_PASSPHRASE", "")
    assert "is empty" in terminal.refusal(*sign, "--replace", code=2)


def test_an_incomplete_bundle_is_not_signed(terminal: Terminal, key: Path) -> None:
    (terminal.store / "fraud" / "1.0.0" / "golden.json").write_text("{}")
    assert "golden.json is not" in terminal.refusal("sign", "fraud:1.0.0", "--key", key)
    assert not (terminal.store / "fraud" / "1.0.0" / "signature.json").exists()
    assert "names no version" in terminal.refusal("sign", "fraud", "--key", key)
    key.chmod(0o644)
    assert "chmod 600" in terminal.refusal("sign", "fraud:1.1.0", "--key", key, code=2)


def test_a_pair_is_never_written_over(terminal: Terminal, key: Path) -> None:
    assert "exists already" in terminal.refusal("keygen", "--out", key, code=2)


def test_the_list_names_signers_contents_and_what_is_refused(terminal: Terminal, key: Path) -> None:
    terminal.document("sign", "fraud:1.1.0", "--key", key)
    (terminal.store / "fraud" / "1.0.0" / "more").touch()
    shutil.copytree(terminal.store / "fraud" / "1.1.0", terminal.store / "fraud" / "1.1.2")
    terminal.patch.setenv("STREAM_SCORER_MODELS__TRUSTED_KEYS", json.dumps({"ann": f"{key}.pub"}))
    broken, plain, signed, _, moved = terminal.document("list")
    manifest = read_manifest(terminal.store / "fraud" / "1.1.0")
    assert "more is not in the manifest" in broken["refused"]
    assert "calls itself fraud:1.1.0" in moved["refused"]
    assert (plain["version"], plain["refused"]) == ("1.0.1", None)
    assert signed["refused"] is None
    assert (signed["name"], signed["version"]) == ("fraud", "1.1.0")
    assert (signed["signature"], signed["signed_by"]) == ("trusted", "ann")
    assert signed["content_hash"] == manifest.content_hash
    assert (signed["trained_at"], signed["trained_on"]) == (None, "2018-05-08:2018-07-24")
    code, out, _ = terminal.models("list")
    assert code == 0
    assert "fraud:1.0.0" in out
    assert "ann" in out


def test_show_prints_the_entire_manifest(terminal: Terminal) -> None:
    told = terminal.document("show", "fraud")
    manifest = json.loads((terminal.store / "fraud" / "1.1.1" / "manifest.json").read_text())
    shown = told["manifest"]
    for key, value in manifest.items():
        if key != "training":
            assert shown[key] == value
    assert shown["training"]["test"]["auc"] == manifest["training"]["test"]["auc"]
    assert told["signature"] == "none"
    code, out, _ = terminal.models("show", "fraud:1.0.0")
    assert code == 0
    assert "passthrough" in out
    assert "thresholds.review" in out


def test_diff_prints_only_what_differs(terminal: Terminal) -> None:
    told = terminal.document("diff", "fraud:1.0.0", "fraud:1.1.0")
    old, new = (
        json.loads((terminal.store / "fraud" / version / "manifest.json").read_text())
        for version in ("1.0.0", "1.1.0")
    )
    assert not told["same_decisions"]
    names = [[feature["name"] for feature in one["features"]] for one in (old, new)]
    assert told["features"]["added"] == [name for name in names[1] if name not in names[0]]
    assert (told["features"]["removed"], told["features"]["changed"]) == ([], [])
    assert told["thresholds"]["block"] == [old["thresholds"]["block"], new["thresholds"]["block"]]
    assert told["metrics"]["test.auc"] == [
        one["training"]["test"]["auc"] for one in (old, new)
    ]  # fmt: skip
    assert told["training"]["train.first_day"] == ["2018-07-25", "2018-05-08"]
    assert told["libraries"] == {}
    assert told["parameters"]["max_leaf_nodes"] == [31, 15]
    assert told["bundle"]["version"] == ["1.0.0", "1.1.0"]
    back = terminal.document("diff", "fraud:1.1.0", "fraud:1.0.0")
    assert back["features"]["removed"] == told["features"]["added"]
    same = terminal.document("diff", "fraud:1.0.0", "fraud:1.0.0")
    assert same["same_decisions"]
    assert not any(
        same[group]
        for group in ("thresholds", "parameters", "metrics", "training", "libraries", "bundle")
    )
    code, out, _ = terminal.models("diff", "fraud:1.0.0", "fraud:1.1.0")
    assert code == 0
    assert "added" in out


def test_validate_holds_bits_under_the_bundles_own_libraries(terminal: Terminal) -> None:
    told = terminal.document("validate", "fraud:1.1.0")
    assert (told["promise"], told["held"], told["flips"]) == ("bits", True, 0)
    assert told["rows"] == told["raw_equal"] == 64
    assert told["made_with"].items() <= told["installed"].items()


def test_a_named_store_folder_overrides_a_store_url(terminal: Terminal) -> None:
    terminal.patch.setenv("STREAM_SCORER_MODELS__URL", "nowhere://x/y")
    assert terminal.document("verify", "fraud:1.0.0")["model"] == "fraud:1.0.0"


@pytest.mark.parametrize("command", ["show", "verify", "validate"])
def test_a_bundle_that_is_not_there_is_named(command: str, terminal: Terminal) -> None:
    assert "fraud:9.9.9: not in" in terminal.refusal(command, "fraud:9.9.9")
