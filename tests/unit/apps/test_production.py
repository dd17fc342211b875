"""Where a signature is required, nothing that scores takes a bundle without one."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stream_scorer.apps.bundle_watch import BundleWatch
from stream_scorer.apps.model_signing import sign
from stream_scorer.apps.scorer import Deployment, load_models, run_scorer
from stream_scorer.cli.main import main
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.keys import KeyPair, generate
from stream_scorer.settings import MODELS_DIRECTORY, Settings, load_settings
from tests.unit.apps.batch_cases import transactions
from tests.unit.apps.test_bundle_watch import Told


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return generate(tmp_path / "key")


@pytest.fixture
def production(tmp_path: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch) -> Settings:
    shutil.copytree(MODELS_DIRECTORY / "fraud", tmp_path / "store" / "fraud")
    for name, value in (
        ("DIRECTORY", str(tmp_path / "store")),
        ("REQUIRE_SIGNATURE", "true"),
        ("TRUSTED_KEYS", json.dumps({"release": str(keys.public)})),
        ("VERIFY_SECONDS", "0"),
    ):
        monkeypatch.setenv(f"STREAM_SCORER_MODELS__{name}", value)
    return load_settings({"kafka": {"bootstrap": "127.0.0.1:1"}})


def test_a_scorer_does_not_start(production: Settings) -> None:
    with pytest.raises(ModelError, match=r"fraud:1\.0\.0: is not signed"):
        run_scorer(production, Deployment("fraud:1.0.0"))


def test_a_version_that_is_warmed_must_be_signed_too(production: Settings, keys: KeyPair) -> None:
    sign(production, "fraud:1.0.0", keys.private, None, replace=False)
    loaded = load_models(production, Deployment("fraud:1.0.0"))
    assert str(loaded.bundles[0].seal.signer) == "release"
    with pytest.raises(ModelError, match=r"fraud:1\.1\.0: is not signed"):
        load_models(production, Deployment("fraud:1.0.0", warm="fraud:1.1.0"))


def test_a_batch_is_refused_and_then_taken(
    production: Settings,
    keys: KeyPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = transactions(days=3, customers=10)
    pq.write_table(table, tmp_path / "in.parquet")
    words = ["batch", str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"),
             "--model", "fraud:1.0.0"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 3
    assert "is not signed" in capsys.readouterr().err
    sign(production, "fraud:1.0.0", keys.private, None, replace=False)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == table.num_rows > 0


def test_a_signature_that_is_taken_away_is_told(
    production: Settings, keys: KeyPair, tmp_path: Path
) -> None:
    sign(production, "fraud:1.0.0", keys.private, None, replace=False)
    told = Told()
    with BundleWatch(0) as watch:
        for bundle in load_models(production, Deployment("fraud:1.0.0")).bundles:
            watch.add(bundle, told)
        watch.begin(told)
        assert told.next() == ("1.0.0", "start", "")
        watch.ask()
        assert told.next() == ("1.0.0", "signal", "")
        (tmp_path / "store" / "fraud" / "1.0.0" / "signature.json").unlink()
        watch.ask()
        assert "is not signed" in told.next()[2]


def test_a_signature_is_not_required_without_a_key_to_trust() -> None:
    with pytest.raises(SettingsError, match="would refuse every bundle"):
        load_settings({"models": {"require_signature": True}})
    with pytest.raises(SettingsError, match=r"models\.trusted_keys"):
        load_settings({"models": {"trusted_keys": {"a b": "x"}}})
