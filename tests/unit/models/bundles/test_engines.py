"""Engine 3: probabilities with the same bits on every machine, next to those of older bundles."""

import json
import sys
from dataclasses import replace as with_changes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from stream_scorer.cli.main import main
from stream_scorer.core.arithmetic.exponential import expit_all
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.engines import ENGINES
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import FeatureSpec
from stream_scorer.models.bundles.loader import load_bundle, models_of
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.commands.upgrade import upgrade
from stream_scorer.models.commands.validate import refuse_broken, validate
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.settings import MODELS_DIRECTORY, Models, Settings
from tests.support.models import onnx_bundles
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate, edit, replace
from tests.support.models.format_1 import write_format_1

Float64 = NDArray[np.float64]
HISTOGRAM = "hist_gradient_boosting"
RISK: FeatureSpec = {
    "name": "COUNT", "kind": "risk", "key": "terminal_id", "delay": "7d", "window": "7d"
}  # fmt: skip


def written(store: Path, kind: str = HISTOGRAM, version: str = "1.0.0", engine: int = 3) -> Path:
    made = candidate(MODELS[kind].fit(ROWS, FRAUD), version)
    return write_bundle(store, with_changes(made, engine=engine), ROWS)


def settings(store: Path) -> Settings:
    return Settings(models=Models(directory=store))


def golden_of(bundle: Path) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads((bundle / "golden.json").read_text())
    return rows


def many_rows() -> Float64:
    return np.random.default_rng(9).normal(0, 1, (20_000, 3))


@pytest.mark.parametrize("kind", MODELS)
def test_the_golden_rows_have_our_own_bits(kind: str, tmp_path: Path) -> None:
    loaded = load_bundle(written(tmp_path, kind))
    rows = golden_of(tmp_path / "fraud" / "1.0.0")
    scores = loaded.predictor.scores(np.array(rows["features"]))
    assert scores.tolist() == rows["scores"]
    assert (loaded.manifest.engine, loaded.manifest.format) == (3, 2)
    # Near the library's, too: an error of the conversion is found when it is written.
    theirs = MODELS[kind].predict_proba(np.array(rows["features"]))[:, 1]
    assert np.abs(scores - theirs).max() <= 1e-12


def test_both_arithmetics_score_in_one_process(tmp_path: Path) -> None:
    one, three = (load_bundle(written(tmp_path, version=f"1.0.{n}", engine=n)) for n in (1, 3))
    rows = many_rows()
    margins = one.predictor.raw(rows)
    assert three.predictor.raw(rows).tobytes() == margins.tobytes()
    for _ in range(2):
        assert one.predictor.scores(rows).tobytes() == special.expit(margins).tobytes()
        ours = margins.copy()
        expit_all(ours)
        assert three.predictor.scores(rows).tobytes() == ours.tobytes()
    first, second = models_of((one, three), Plan())
    assert (first.features.version, second.features.version) == (1, 3)
    assert first.features.engine is second.features.engine
    assert first.features.identities == second.features.identities


def off(bundle: Path, name: str, row: int = 7) -> None:
    rows = golden_of(bundle)
    rows[name][row] = float(np.nextafter(rows[name][row], 9))
    replace(bundle, "golden.json", json.dumps(rows).encode())


@pytest.mark.parametrize("kind", [HISTOGRAM, "logistic_regression"])
@pytest.mark.parametrize("name", ["scores", "raw"])
def test_one_bit_in_a_golden_row_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    bundle = written(tmp_path, kind)
    off(bundle, name)
    with pytest.raises(ModelError, match=r"golden vectors: a (raw )?score is off by") as caught:
        load_bundle(bundle)
    assert "the same bits on every machine" in str(caught.value.fix)


def test_engine_1_takes_another_librarys_last_bit(tmp_path: Path) -> None:
    bundle = written(tmp_path, engine=1)
    off(bundle, "scores")
    load_bundle(bundle)


def test_validation_asks_for_equal_scores(tmp_path: Path) -> None:
    bundle = written(tmp_path)
    found = validate(settings(tmp_path), "fraud:1.0.0")
    assert (found.exact, found.broken, found.scores_equal) == (True, "", found.rows)
    off(bundle, "scores")
    with pytest.raises(ModelError, match="1 of 64 golden rows have other bits"):
        refuse_broken(validate(settings(tmp_path), "fraud:1.0.0"))
    off(written(tmp_path, version="1.0.1", engine=1), "scores")
    assert validate(settings(tmp_path), "fraud:1.0.1").broken == ""


def test_a_conversion_that_scores_otherwise_is_not_written(tmp_path: Path) -> None:
    made = candidate(MODELS[HISTOGRAM].fit(ROWS, FRAUD))
    theirs = made.source.scores
    assert theirs is not None
    source = with_changes(made.source, scores=lambda rows: theirs(rows) + 1e-13)
    with pytest.raises(ModelError, match="golden vectors: a score is off by"):
        write_bundle(tmp_path, with_changes(made, source=source, engine=3), ROWS)
    assert not (tmp_path / "fraud").exists()


def test_an_onnx_model_cannot_have_it(tmp_path: Path) -> None:
    bundle = onnx_bundles.write(tmp_path)
    with pytest.raises(ModelError, match="is an ONNX model"):
        upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None, 3)
    edit(bundle, lambda m: m.update(engine=3))
    with pytest.raises(ModelError, match="content hash"):
        load_bundle(bundle)


@pytest.mark.parametrize("kind", MODELS)
def test_an_upgrade_keeps_all_but_the_arithmetic(kind: str, tmp_path: Path) -> None:
    old = load_bundle(written(tmp_path, kind, engine=1))
    told = upgrade(settings(tmp_path), "fraud:1.0.0", "1.1.0", None, 3)
    new = load_bundle(tmp_path / "fraud" / "1.1.0")
    assert (told["engine"], told["old"], told["new"]) == (3, "fraud:1.0.0", "fraud:1.1.0")
    assert told["content_hash"] == new.manifest.content_hash != old.manifest.content_hash
    # It is the one that `train --engine 3` gives the same model.
    trained = load_bundle(written(tmp_path / "trained", kind))
    assert new.manifest.content_hash == trained.manifest.content_hash
    assert new.predictor.scores(ROWS).tobytes() == trained.predictor.scores(ROWS).tobytes()
    for name in ("features", "thresholds", "on_model_error", "training", "kind", "origin"):
        assert getattr(new.manifest, name) == getattr(old.manifest, name)
    rows = np.array(golden_of(tmp_path / "fraud" / "1.0.0")["features"])
    before, after = old.predictor.scores(rows), new.predictor.scores(rows)
    assert told["golden_rows"] == len(rows)
    assert told["golden_rows_with_the_same_bits"] == int((before == after).sum())
    assert told["largest_difference"] == np.abs(before - after).max() < 1e-15
    assert told["golden_rows_with_another_outcome"] == 0
    with pytest.raises(ModelError, match="has engine 3 already"):
        upgrade(settings(tmp_path), "fraud:1.1.0", "1.2.0", None, 3)
    back = upgrade(settings(tmp_path), "fraud:1.1.0", "1.2.0", None, 1)
    assert back["content_hash"] == old.manifest.content_hash


def test_a_bundle_of_format_1_is_upgraded_to_both(tmp_path: Path) -> None:
    write_format_1(tmp_path, MODELS[HISTOGRAM].fit(ROWS, FRAUD))
    told = upgrade(settings(tmp_path), "fraud:1.0.0", "1.0.1", None, 3)
    new = load_bundle(tmp_path / "fraud" / "1.0.1")
    trained = load_bundle(written(tmp_path / "trained"))
    assert (new.manifest.engine, new.manifest.format) == (3, 2)
    assert told["content_hash"] == trained.manifest.content_hash


def test_changed_outcomes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A threshold between the two probabilities of a row."""
    written(tmp_path, engine=1)
    ours = ScoringPredictor.scores

    def lower(predictor: ScoringPredictor, features: Float64) -> Float64:
        found = ours(predictor, features)
        return np.minimum(found, np.nextafter(0.5, 0)) if predictor.own_exponential else found

    monkeypatch.setattr(ScoringPredictor, "scores", lower)
    monkeypatch.setattr(golden, "check_library", lambda *_: None)
    told = upgrade(settings(tmp_path), "fraud:1.0.0", "1.1.0", None, 3)
    scores = np.array(golden_of(tmp_path / "fraud" / "1.0.0")["scores"])
    assert told["golden_rows_with_another_outcome"] == int((scores >= 0.5).sum()) > 0


def test_the_shipped_bundle_is_upgraded_with_its_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models", "upgrade", "fraud:1.0.1", "--engine", "3", "--version", "9.0.0", "--out",
             str(tmp_path), "--json"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["stream-scorer", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["golden_rows"], told["golden_rows_with_another_outcome"]) == (64, 0)
    new, old = tmp_path / "fraud" / "9.0.0", MODELS_DIRECTORY / "fraud" / "1.0.1"
    assert load_bundle(new).manifest.engine == 3
    expected = (old / "card.md").read_text().replace("fraud:1.0.1", "fraud:9.0.0", 1)
    assert (new / "card.md").read_text() == expected.replace("(engine 1)", "(engine 3)")
    assert (new / "model.safetensors").read_bytes() == (old / "model.safetensors").read_bytes()


def test_an_upgrade_never_changes_a_feature(tmp_path: Path) -> None:
    """Under a label policy, a risk of engine 1 is not the one that the model has learned from."""
    made = candidate(MODELS[HISTOGRAM].fit(ROWS, FRAUD))
    features = (*made.features[:2], RISK)
    for number in (1, 2):
        version = f"{number}.0.0"
        each = with_changes(made, engine=number, features=features, version=version)
        write_bundle(tmp_path, each, ROWS)
    with pytest.raises(ModelError, match="COUNT: a risk of terminals means something else"):
        upgrade(settings(tmp_path), "fraud:1.0.0", "1.1.0", None, 3)
    told = upgrade(settings(tmp_path), "fraud:2.0.0", "2.1.0", None, 3)
    assert told["engine"] == 3
    with pytest.raises(ModelError, match="engine 4: not an engine"):
        upgrade(settings(tmp_path), "fraud:2.0.0", "2.2.0", None, 4)


def test_engine_numbers_are_never_reused() -> None:
    """Old bundles and decisions name them."""
    told = [(n, meaning.features, meaning.own_exponential) for n, meaning in ENGINES.items()]
    assert told[:3] == [(1, 1, False), (2, 2, False), (3, 2, True)]
