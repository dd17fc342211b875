"""Bundles of format 1 load as before: their skops file is read as hostile data."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust
from tests.support.models import skops_schema
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, Bomb, edit, replace
from tests.support.models.format_1 import write_format_1


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_format_1(tmp_path_factory.mktemp("store"), MODELS["hist_gradient_boosting"])


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "fraud" / "1.0.0"))


def refusal(bundle: Path, trusted: frozenset[str] = frozenset()) -> str:
    with pytest.raises(ModelError) as caught:
        load_bundle(bundle, Trust(types=trusted))
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.fix
    return message


@pytest.mark.parametrize("kind", [*MODELS, "centred only", "scaled only"])
def test_each_kind_loads_and_scores_as_the_trained_model(kind: str, tmp_path: Path) -> None:
    linear: dict[str, Any] = {
        "centred only": make_pipeline(StandardScaler(with_std=False), LogisticRegression()),
        "scaled only": make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
    }
    model = (MODELS | linear)[kind]
    loaded = load_bundle(write_format_1(tmp_path, model))
    expected = model.predict_proba(ROWS)[:, 1]
    difference = np.abs(loaded.predictor.scores(ROWS) - expected).max()
    assert difference <= (0.0 if kind in MODELS and kind != "logistic_regression" else 1e-12)


def test_a_pickle_in_place_of_the_model_is_refused_unread(bundle: Path, tmp_path: Path) -> None:
    replace(bundle, "model.skops", pickle.dumps(Bomb(tmp_path / "fired")))
    assert "not a skops file" in refusal(bundle)
    assert not (tmp_path / "fired").exists()


def _npy_with_objects(bomb: object) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([bomb], object), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["pickle member", "object array", "member in a folder"])
def test_payloads_inside_the_skops_file_are_refused(
    bundle: Path, tmp_path: Path, kind: str
) -> None:
    bomb = Bomb(tmp_path / "fired")
    out = io.BytesIO()
    with (
        zipfile.ZipFile(bundle / "model.skops") as whole,
        zipfile.ZipFile(out, "w") as altered,
    ):
        for name in whole.namelist():
            data = whole.read(name)
            if kind == "object array" and name.endswith(".npy"):
                data = _npy_with_objects(bomb)
            altered.writestr(name, data)
        if kind == "pickle member":
            altered.writestr("extra.pkl", pickle.dumps(bomb))
        if kind == "member in a folder":
            altered.writestr("../evil.json", b"{}")
    replace(bundle, "model.skops", out.getvalue())
    message = refusal(bundle)
    assert "holds" in message or "cannot be loaded" in message
    assert not (tmp_path / "fired").exists()


def test_types_are_trusted_by_the_configuration_alone(bundle: Path) -> None:
    boosted = GradientBoostingClassifier(n_estimators=2, init="zero").fit(ROWS, FRAUD)
    data = skops.io.dumps(boosted)
    strange = skops_schema.with_schema(
        data, lambda old: old.replace(b'"GradientBoostingClassifier"', b'"Strange"')
    )
    replace(bundle, "model.skops", strange)
    message = refusal(bundle)
    assert "not trusted" in message
    assert "sklearn.ensemble._gb.Strange" in message
    # If the configuration trusts it, loading still fails, because the type does not exist.
    assert "cannot be loaded" in refusal(bundle, frozenset({"sklearn.ensemble._gb.Strange"}))


def with_schema(bundle: Path, change: Callable[[Any], bytes]) -> None:
    """Write the bundle's model with another schema."""
    data = (bundle / "model.skops").read_bytes()
    replace(
        bundle, "model.skops", skops_schema.with_schema(data, lambda old: change(json.loads(old)))
    )


def test_a_parameter_that_cannot_be_shown_is_refused(bundle: Path) -> None:
    def change(schema: Any) -> bytes:
        schema["content"]["content"]["class_weight"] = {
            "__class__": "StandardScaler", "__module__": "sklearn.preprocessing._data",
            "__loader__": "ObjectNode",
        }  # fmt: skip
        return json.dumps(schema).encode()

    with_schema(bundle, change)
    assert "it does not hold what a fitted one does (AttributeError: " in refusal(bundle)


def test_a_large_schema_is_refused_before_it_is_parsed(bundle: Path) -> None:
    with_schema(bundle, lambda _: b'{"a":[' + b"{}," * 200_000 + b"{}]}")
    assert "model.skops cannot be loaded (ValueError: it holds more than 200000" in refusal(bundle)


def test_a_missing_parameter_has_its_default(bundle: Path) -> None:
    def change(schema: Any) -> bytes:
        del schema["content"]["content"]["class_weight"]
        return json.dumps(schema).encode()

    with_schema(bundle, change)
    assert load_bundle(bundle).manifest.parameters["class_weight"] is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ExtraTreesClassifier(n_estimators=2), "the model is a extra_trees"),
        (make_pipeline(MinMaxScaler(), LogisticRegression()), "format 1 have no such model"),
    ],
)
def test_kinds_that_format_1_does_not_have_are_refused(
    bundle: Path, model: Any, message: str
) -> None:
    replace(bundle, "model.skops", skops.io.dumps(model.fit(ROWS, FRAUD)))
    assert message in refusal(bundle)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("libraries/scikit_learn", "1.2.3", "made with scikit-learn 1.2.3, installed is"),
        ("files/", {"model.skops": "0" * 64}, "must list golden.json and model.skops"),
        ("parameters/max_iter", 500, "parameters are not the model's"),
        ("thresholds/review", 0.6, "content hash"),
        ("kind/", "random_forest", "the manifest states random_forest"),
        ("kind/", "svm", "the kind 'svm' is not one of"),
        ("format/", 2, "format 2 has an origin, and no libraries"),
    ],
)
def test_an_altered_manifest_is_refused(bundle: Path, path: str, value: Any, message: str) -> None:
    def change(manifest: dict[str, Any]) -> None:
        group, _, name = path.partition("/")
        if name:
            manifest[group][name] = value
        else:
            manifest[group] = value

    edit(bundle, change)
    assert message in refusal(bundle)
