"""``models upgrade``: a bundle of format 1 becomes one of format 2 with the same decisions."""

import json
from pathlib import Path

import numpy as np
import pytest

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.models.commands.validate import validate
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from tests.support.models.bundle_cases import MODELS, ROWS, candidate, edit
from tests.support.models.format_1 import write_format_1


def settings(store: Path) -> Settings:
    return Settings(models=Models(directory=store))


@pytest.mark.parametrize("kind", MODELS)
def test_each_kind_keeps_its_decisions(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]
    old = load_bundle(write_format_1(tmp_path, model))
    told = upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None)
    new = load_bundle(tmp_path / "fraud" / "1.0.1")
    assert (told["old"], told["new"]) == ("fraud:1.0.0", "fraud:1.0.1")
    assert told["golden_rows"] == told["golden_rows_with_the_same_bits"] > 0
    assert told["content_hash"] == new.manifest.content_hash != old.manifest.content_hash
    # It is the one that `train` gives the same model.
    trained = load_bundle(write_bundle(tmp_path / "trained", candidate(model), ROWS))
    assert new.manifest.content_hash == trained.manifest.content_hash
    assert new.predictor.scores(ROWS).tobytes() == old.predictor.scores(ROWS).tobytes()
    assert new.predictor.raw(ROWS).tobytes() == old.predictor.raw(ROWS).tobytes()
    for name in ("features", "thresholds", "on_model_error", "training", "kind", "parameters"):
        assert getattr(new.manifest, name) == getattr(old.manifest, name)
    folder = tmp_path / "fraud"
    original = (folder / "1.0.1" / "original.skops").read_bytes()
    assert original == (folder / "1.0.0" / "model.skops").read_bytes()
    assert validate(settings(tmp_path), "fraud:1.0.1").broken == ""


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_the_shipped_bundles_are_upgraded(version: str, tmp_path: Path) -> None:
    told = upgrade(settings(MODELS_DIRECTORY), f"fraud:{version}", "9.0.0", tmp_path)
    assert told["golden_rows_with_the_same_bits"] == told["golden_rows"] == 64
    new, old = tmp_path / "fraud" / "9.0.0", MODELS_DIRECTORY / "fraud" / version
    assert (new / "golden.json").read_bytes() == (old / "golden.json").read_bytes()
    loaded = load_bundle(new)
    before = load_bundle(old)
    rows = np.random.default_rng(0).exponential(50, (500, len(before.manifest.features)))
    assert loaded.predictor.scores(rows).tobytes() == before.predictor.scores(rows).tobytes()
    if (old / "card.md").exists():
        card = (new / "card.md").read_text()
        assert card.startswith("# fraud:9.0.0\n")
        assert (old / "card.md").read_text().splitlines()[1:] == card.splitlines()[1:]


@pytest.mark.parametrize(("old", "new"), [("1.0.0", "1.0.1"), ("1.1.0", "1.1.1")])
def test_the_shipped_bundles_of_format_2_are_such_upgrades(
    old: str, new: str, tmp_path: Path
) -> None:
    upgrade(settings(MODELS_DIRECTORY), f"fraud:{old}", new, tmp_path)
    found, expected = (
        {path.name: path.read_bytes() for path in (store / "fraud" / new).iterdir()}
        for store in (tmp_path, MODELS_DIRECTORY)
    )
    assert found == expected
    assert "model.safetensors" in found


def test_no_version_of_scikit_learn_is_needed_afterwards(tmp_path: Path) -> None:
    write_format_1(tmp_path, MODELS["decision_tree"])
    upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None)
    new = tmp_path / "fraud" / "1.0.1"
    edit(new, lambda m: m["origin"].update(version="0.99"))
    assert load_bundle(new).manifest.origin is not None


def test_what_cannot_be_upgraded_is_refused(tmp_path: Path) -> None:
    write_format_1(tmp_path, MODELS["decision_tree"])
    upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None)
    with pytest.raises(ModelError, match="is of format 2 already"):
        upgrade(settings(tmp_path), "fraud:1.0.1", "1.0.2", None)
    with pytest.raises(ModelError, match="exists already"):
        upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None)
    golden = tmp_path / "fraud" / "1.0.0" / "golden.json"
    rows = json.loads(golden.read_text())
    golden.write_text(json.dumps(rows | {"more": 1}))
    with pytest.raises(ModelError, match=r"golden\.json is not the file"):
        upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.3", None)
    at_url = Settings(models=Models(url=f"file://{MODELS_DIRECTORY}", cache=tmp_path / "cache"))
    with pytest.raises(SettingsError, match="the model store is at a URL"):
        upgrade(at_url, "fraud:1.0.0", "1.0.3", None)
    assert upgrade(at_url, "fraud:1.0.0", "1.0.3", tmp_path / "out")["new"] == "fraud:1.0.3"
