"""Every hostile bundle is refused with its reason, and nothing in it is executed."""

import base64
import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.ensemble import HistGradientBoostingClassifier

from stream_scorer.cli.main import main
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle, verify_again
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.stores.deployment import Deployment, load_models
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.settings import load_settings
from tests.support.models.bundle_cases import FRAUD, ROWS, candidate
from tests.support.models.format_1 import write_format_1
from tests.support.models.hostile import Deed, Scene
from tests.support.models.hostile_table import HOSTILE, HOSTILE_2

DOCUMENT = Path(__file__).parents[4] / "docs" / "MODELS.md"


def scene_in(store: Path, write: Callable[[Path, Any, str], Path]) -> Scene:
    """Return two signed versions of different models."""
    scene = Scene(store, Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate())
    for version, iterations in (("1.0.0", 5), ("1.0.1", 6)):
        model = HistGradientBoostingClassifier(max_iter=iterations, random_state=0)
        scene.seal(bundle=write(store, model.fit(ROWS, FRAUD), version))
    return scene


def write_format_2(store: Path, model: Any, version: str) -> Path:
    return write_bundle(store, candidate(model, version), ROWS)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_in(tmp_path_factory.mktemp("store"), write_format_1)


@pytest.fixture(scope="module")
def signed_2(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return scene_in(tmp_path_factory.mktemp("store"), write_format_2)


def copied(signed: Scene, store: Path) -> Scene:
    shutil.copytree(signed.store, store)
    return Scene(store, signed.trusted, signed.stranger)


@pytest.fixture
def scene(signed: Scene, tmp_path: Path) -> Scene:
    return copied(signed, tmp_path / "store")


@pytest.fixture
def trust(signed: Scene) -> Trust:
    key = signed.trusted.public_key()
    return Trust(keys={key_id(key): TrustedKey("release", key)}, required=True)


@pytest.fixture
def production(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    raw = scene.trusted.public_key().public_bytes_raw()
    config = tmp_path / "production.toml"
    config.write_text(
        f'[models]\ndirectory = "{scene.store}"\nrequire_signature = true\n'
        f'[models.trusted_keys]\nrelease = "{base64.b64encode(raw).decode()}"\n'
    )
    monkeypatch.setenv("STREAM_SCORER_CONFIG", str(config))
    return monkeypatch


def test_untouched_it_is_loaded(
    scene: Scene, production: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    production.setattr(sys, "argv", ["stream-scorer", "models", "verify", "fraud:1.0.0", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["signature"], told["signed_by"]) == (
        "fraud:1.0.0", "trusted", "release",
    )  # fmt: skip


@pytest.mark.parametrize(("deed", "why"), [pytest.param(d, w, id=n) for n, d, w in HOSTILE])
def test_each_is_refused_in_one_line(
    deed: Deed,
    why: str,
    scene: Scene,
    production: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile warns of this test's own changes
        deed(scene)
    production.setattr(sys, "argv", ["stream-scorer", "models", "verify", "fraud:1.0.0"])
    with pytest.raises(SystemExit) as left:
        main()
    line = capsys.readouterr().err
    assert left.value.code == 3
    assert why in line
    assert line.startswith(("stream-scorer: bundle ", "stream-scorer: model "))
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert not (scene.store / "fired").exists()
    with pytest.raises(ModelError):
        load_models(load_settings(), Deployment("fraud:1.0.0", warm="fraud:1.0.1"))


@pytest.mark.parametrize(("deed", "why"), [pytest.param(d, w, id=n) for n, d, w in HOSTILE_2])
def test_each_of_format_2_is_refused(deed: Deed, why: str, signed_2: Scene, tmp_path: Path) -> None:
    scene = copied(signed_2, tmp_path / "store")
    key = scene.trusted.public_key()
    trust = Trust(keys={key_id(key): TrustedKey("release", key)}, required=True)
    folder = LocalFolder(scene.bundle, "fraud:1.0.0")
    bundle = load_bundle(folder, trust)
    deed(scene)
    with pytest.raises(ModelError) as refused:
        load_bundle(folder, trust)
    assert why in str(refused.value)
    assert str(refused.value).startswith("bundle ")
    assert str(refused.value).isprintable()
    with pytest.raises(ModelError):
        verify_again(bundle)
    assert not (scene.store / "fired").exists()


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        # Packing it takes seven seconds; the test above also refuses it at a start.
        pytest.param(d, w, id=n, marks=[pytest.mark.thorough] if "1 GiB" in n else [])
        for n, d, w in HOSTILE
    ],
)
def test_a_running_scorer_keeps_its_copy_and_reports_each_attack(
    deed: Deed, why: str, scene: Scene, trust: Trust
) -> None:
    bundle = load_bundle(LocalFolder(scene.bundle, "fraud:1.0.0"), trust)
    verify_again(bundle)
    scores = bundle.predictor.scores(ROWS)
    deed(scene)
    with pytest.raises(ModelError) as refused:
        verify_again(bundle)
    assert "\n" not in str(refused.value)
    assert not (scene.store / "fired").exists()
    assert (bundle.predictor.scores(ROWS) == scores).all()


def test_the_document_has_this_very_table() -> None:
    text = DOCUMENT.read_text()
    section = re.search(r"^## What is refused\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    rows = [line for line in section[1].splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {what} | `{why}` |" for what, _, why in (*HOSTILE, *HOSTILE_2)]
    assert len({what for what, _, _ in HOSTILE}) == len(HOSTILE) >= 15
