"""``export`` writes folders that decide as the stream does, and refuses models that cannot."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.export.golden_rows import ExpectedRows
from stream_scorer.edge.files.export_folder import statement
from stream_scorer.edge.native import check
from stream_scorer.edge.native.check import differences, golden_arrays
from stream_scorer.edge.native.image import RESULT, ImageError, TableImage
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.security.keys import generate, key_id, read_private
from tests.layout.edge_arithmetic import NATIVE, rendered
from tests.support.edge.exported import LABEL, exported, store_of
from tests.support.models.bundle_cases import FEATURES, FRAUD, MODELS, ROWS, candidate

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("edge"))


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    out = store.parent / "c"
    exported(store, "c", out)
    return out


def test_the_c_folder_has_sources_tables_and_proof(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "LICENSE", "Makefile", "README.md", "arithmetic.h", "check_golden.c", "example.c",
        "export.json", "features.json", "golden.bin", "image.h", "policy.json",
        "stream_scorer_edge.c", "stream_scorer_edge.h", "tables.S", "tables.bin",
    }  # fmt: skip
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_the_export_names_model_and_files(store: Path, folder: Path) -> None:
    document = json.loads((folder / "export.json").read_text())
    manifest = load_bundle(store / "fraud" / "3.0.1").manifest
    assert document["model"] == LABEL == manifest.label
    assert document["content_hash"] == manifest.content_hash
    assert (document["engine"], document["abi"], document["target"]) == (3, 1, "c")
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "export.json"
    }
    assert document["files"] == hashes


def test_golden_rows_are_decided_alike_and_meet_everything(folder: Path) -> None:
    tables, golden = (folder / "tables.bin").read_bytes(), (folder / "golden.bin").read_bytes()
    rows, _, _, results = golden_arrays(golden)
    assert differences(tables, golden) == (len(rows), 0)
    assert set(results["outcome"].tolist()) == {0, 1, 2}
    assert set(results["segment"].tolist()) == {-1, 0, 1}
    assert np.isnan(rows).any()
    assert np.isposinf(rows).any()
    assert (np.signbit(rows) & (rows == 0)).any()


def test_golden_rows_are_on_every_cut_and_next_to_it(store: Path, folder: Path) -> None:
    rows = golden_arrays((folder / "golden.bin").read_bytes())[0]
    model = load_bundle(store / "fraud" / "3.0.1").predictor.model
    trees = model.parts[0].body  # type: ignore[union-attr]
    node = np.repeat(np.arange(len(trees.feature)), trees.cut_counts())  # type: ignore[union-attr]
    cuts, features = trees.cuts, trees.feature[node]  # type: ignore[union-attr]
    distinct = len(np.unique(np.column_stack([features, cuts]), axis=0))
    for wanted in (cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf)):
        met = [value in rows[:, feature] for feature, value in zip(features, wanted, strict=True)]
        assert sum(met) >= len(met) * min(1.0, 2_000 / distinct) * 0.9


def test_a_changed_table_or_golden_row_is_noticed(folder: Path) -> None:
    tables, golden = (folder / "tables.bin").read_bytes(), bytearray(
        (folder / "golden.bin").read_bytes()
    )  # fmt: skip
    golden[-40] ^= 1
    assert differences(tables, bytes(golden))[1] == 1


@pytest.mark.parametrize("length", [0, 63, 4_096, -64])
def test_golden_rows_that_are_not_whole_are_refused(folder: Path, length: int) -> None:
    tables, golden = ((folder / name).read_bytes() for name in ("tables.bin", "golden.bin"))
    with pytest.raises(ImageError, match="golden rows"):
        differences(tables, golden[:length])


def test_the_check_ends_with_a_line_for_files_it_cannot_compare(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path)])
    assert check.main() == 2
    (tmp_path / "tables.bin").write_bytes((folder / "tables.bin").read_bytes())
    other = ExpectedRows(
        np.zeros((1, 2)), np.zeros(1, np.int64), np.zeros((1, 0), np.uint16), np.zeros(1, RESULT)
    )
    (tmp_path / "golden.bin").write_bytes(other.as_bytes())
    assert check.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1] == f"{tmp_path}: golden rows of another model"


def test_the_feature_program_is_data(folder: Path) -> None:
    document = json.loads((folder / "features.json").read_text())
    names = [each["name"] for each in document["features"]]
    assert TableImage((folder / "tables.bin").read_bytes()).names == tuple(names)
    assert len(document["identities"]) == len(names)
    assert document["program"]["operations"]
    assert document["plan"]["lateness_ms"] == 3_600_000


def test_the_policy_is_told_in_words(folder: Path) -> None:
    document = json.loads((folder / "policy.json").read_text())
    assert document["default"] == {"review": 0.2, "block": 0.6}
    assert document["segments"][1] == {"review": 0.5, "block": 0.9}
    assert document["on_model_error"] == "BLOCK"
    assert document["fields"] == [
        {"name": "channel", "values": ["ECOM", "MOTO"]}, {"name": "country", "values": ["FR"]},
    ]  # fmt: skip


def test_the_python_folder_proves_itself_without_us(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "python"
    report = exported(store, "python", out)
    code = (
        "import sys; sys.modules['stream_scorer'] = sys.modules['numba'] = None; "
        "from stream_scorer_edge import check; sys.exit(check.main())"
    )
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", code, "."], cwd=out, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{report.golden_rows} golden rows, 0 differ\n", "")
    assert done.returncode == 0


def test_a_signature_is_of_this_export(store: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    exported(store, "c", tmp_path / "signed", key=key)
    document = json.loads((tmp_path / "signed" / "signature.json").read_text())
    assert document["key_id"] == key_id(key.public_key())
    signed = (tmp_path / "signed" / "export.json").read_bytes()
    signature = base64.b64decode(document["signature"])
    key.public_key().verify(signature, statement(signed))
    with pytest.raises(InvalidSignature):
        key.public_key().verify(signature, statement(signed + b" "))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs OpenSSL")
def test_the_guides_commands_check_a_signed_export(store: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "EDGE.md").read_text()
    (script,) = re.findall(r"^```\n(cd fraud-c\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exported(
        store, "python", tmp_path / "fraud-c", key=read_private(generate(tmp_path / "risk").private)
    )

    def checked() -> tuple[int, str]:
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 the guide's own commands
        return done.returncode, done.stdout

    assert checked() == (0, "Signature Verified Successfully\n")
    tables = tmp_path / "fraud-c" / "tables.bin"
    tables.write_bytes(tables.read_bytes() + b"x")
    code, out = checked()
    assert code != 0
    assert "tables.bin: FAILED" in out
    document = tmp_path / "fraud-c" / "export.json"
    document.write_text(document.read_text().replace("fraud:3.0.1", "fraud:3.0.2"))
    code, out = checked()
    assert (code, out) == (1, "Signature Verification Failure\n")


def test_another_engine_is_refused_with_the_fix(store: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"engine 1.*models upgrade fraud:1.0.1 --engine 3"):
        exported(store, "c", tmp_path / "out", reference="fraud:1.0.1")
    assert not (tmp_path / "out").exists()


def test_features_of_terminals_are_refused(store: Path, tmp_path: Path) -> None:
    features = (
        *FEATURES[:2],
        {"name": "AT", "kind": "count", "window": "7d", "key": "terminal_id", "delay": "7d"},
    )
    made = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD), "4.0.0")
    write_bundle(store, replace(made, features=features, engine=3), ROWS)
    with pytest.raises(EdgeError, match="terminals"):
        exported(store, "c", tmp_path / "out", reference="fraud:4.0.0")


def test_a_folder_that_exists_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists already"):
        exported(store, "c", tmp_path)


def test_an_unknown_target_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="known: c, wasm, python, onnx"):
        exported(store, "rust", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        exported(store, "c", tmp_path / "file" / "out")


@pytest.mark.parametrize("name", ["arithmetic.h", "arithmetic.py"])
def test_the_rendered_arithmetic_is_that_of_the_core(name: str) -> None:
    assert (NATIVE / name).read_text() == rendered()[name], "python -m tests.layout.edge_arithmetic"
