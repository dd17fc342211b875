"""A bundle is loaded only if it is complete, unaltered and trusted, and scores as at training."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import (
    RandomForestClassifier,
)
from sklearn.tree import DecisionTreeClassifier

from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.bundles.writer import new_directory, write_bundle
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.settings import MODELS_DIRECTORY
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate, edit, replace


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    return write_bundle(store, candidate(MODELS["hist_gradient_boosting"].fit(ROWS, FRAUD)), ROWS)


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


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_written_loads_and_scores_as_the_trained_model(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind].fit(ROWS, FRAUD)
    loaded = load_bundle(write_bundle(tmp_path, candidate(model), ROWS))
    assert loaded.manifest.kind == kind
    expected = model.predict_proba(ROWS)[:, 1]
    got = loaded.predictor.scores(ROWS)
    assert np.abs(got - expected).max() <= (1e-12 if kind == "logistic_regression" else 0.0)
    core = loaded.model(Plan())
    assert core.features.names == ("AMOUNT", "NIGHT", "COUNT")
    assert (core.thresholds.review, core.on_model_error) == (0.5, Outcome.REVIEW)


def test_the_content_hash_is_that_of_the_meaning(tmp_path: Path) -> None:
    def trained(model: Any, version: str) -> str:
        return load_bundle(
            write_bundle(tmp_path, candidate(model.fit(ROWS, FRAUD), version), ROWS)
        ).manifest.content_hash

    forest = RandomForestClassifier(n_estimators=3, random_state=0)
    first = trained(forest, "1.0.0")
    assert trained(RandomForestClassifier(n_estimators=3, random_state=0), "2.0.0") == first
    assert trained(RandomForestClassifier(n_estimators=3, random_state=1), "3.0.0") != first
    files = [path.read_bytes() for path in sorted(tmp_path.glob("*/*/model.safetensors"))]
    assert files[0] == files[1] != files[2]


def test_a_version_is_never_written_over(bundle: Path) -> None:
    with pytest.raises(ModelError, match="versions never change"):
        write_bundle(
            bundle.parent.parent, candidate(DecisionTreeClassifier().fit(ROWS, FRAUD)), ROWS
        )


@pytest.mark.parametrize(
    ("name", "version"),
    [("../fraud", "1.0.0"), ("Fraud", "1.0.0"), ("fraud", "1.0"), ("fraud", "../1.0.0")],
)
def test_malformed_names_and_versions_are_refused(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a"):
        new_directory(tmp_path, name, version)


def test_an_interrupted_write_leaves_no_part_of_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, data: bytes) -> int:
        raise OSError(28, f"No space left for {len(data)} bytes")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match="No space"):
        write_bundle(tmp_path, candidate(DecisionTreeClassifier().fit(ROWS, FRAUD)), ROWS)
    assert [path.name for path in tmp_path.rglob("*")] == ["fraud"]


@pytest.mark.parametrize("name", ["model.safetensors", "original.skops", "golden.json"])
def test_an_altered_file_is_refused_before_it_is_read(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    assert "sha256 differs" in refusal(bundle)


def test_missing_and_extra_files_are_refused(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("hello")
    assert "notes.txt is not in the manifest" in refusal(bundle)
    (bundle / "notes.txt").unlink()
    (bundle / "golden.json").unlink()
    assert "golden.json is missing" in refusal(bundle)


def test_a_card_is_verified_like_everything_else(tmp_path: Path) -> None:
    model = DecisionTreeClassifier(max_depth=2).fit(ROWS, FRAUD)
    card = {"card.md": b"# good", "card.png": b"picture"}
    bundle = write_bundle(tmp_path, replace_fields(candidate(model), card=card), ROWS)
    files = {"model.safetensors", "original.skops", "golden.json", *card}
    assert set(load_bundle(bundle).manifest.files) == files
    (bundle / "card.md").write_bytes(b"# best")
    assert "card.md is not the file that the manifest names" in refusal(bundle)
    (bundle / "card.md").unlink()
    assert "card.md is missing" in refusal(bundle)
    edit(bundle, lambda m: m["files"].pop("card.md"))
    assert "card.md with card.png or neither" in refusal(bundle)
    edit(bundle, lambda m: m["files"].pop("card.png"))
    assert "card.png is not in the manifest" in refusal(bundle)


def test_the_card_is_not_part_of_the_content(tmp_path: Path) -> None:
    bare = candidate(DecisionTreeClassifier(max_depth=2).fit(ROWS, FRAUD))
    card = {"card.md": b"# good", "card.png": b"picture"}
    told = replace_fields(bare, version="1.0.1", card=card)
    hashes = {
        load_bundle(write_bundle(tmp_path, made, ROWS)).manifest.content_hash
        for made in (bare, told)
    }
    assert len(hashes) == 1


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "MODEL.PICKLE"])
def test_pickle_and_joblib_files_are_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"")
    assert "pickle or joblib" in refusal(bundle)


def test_links_are_refused(bundle: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.safetensors"
    (bundle / "model.safetensors").rename(elsewhere)
    (bundle / "model.safetensors").symlink_to(elsewhere)
    assert "is a link, not a regular file" in refusal(bundle)
    (bundle / "manifest.json").rename(tmp_path / "manifest.json")
    (bundle / "manifest.json").symlink_to(tmp_path / "manifest.json")
    assert "is a link" in refusal(bundle)


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        *groups, last = path.split("/")
        at: Any = manifest
        for group in groups:
            at = at[int(group)] if isinstance(at, list) else at[group]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 1, "format 1 has libraries, and no origin"),
        ("format", 3, "format: Input should be 1 or 2"),
        ("libraries", {"scikit_learn": "", "skops": "", "numpy": ""}, "format 2 has an origin"),
        ("origin", None, "format 2 has an origin"),
        ("origin/library", "torch", "origin.library: Input should be"),
        ("origin/file", "../original.skops", "'../original.skops' is not a file of scikit_learn"),
        ("origin/file", "original.txt", "'original.txt' is not a file of scikit_learn"),
        ("origin/version", "1" * 201, "origin.version: String should have at most"),
        ("engine", 99, "feature engine 99"),
        ("files", {"../model.skops": "0" * 64}, "files"),
        ("files", {"model.skops": "0" * 64}, "must list golden.json and model.safetensors and"),
        ("thresholds/review", 0.95, "0 < review <= block <= 1"),
        ("thresholds/review", 0.6, "content hash"),
        ("on_model_error", "APPROVE", "content hash"),
        ("on_model_error", "IGNORE", "on_model_error"),
        ("features/2/window", "8d", "content hash"),
        ("kind", "Support vectors", "kind"),
        ("version", "1.0", "version"),
        ("name", "../fraud", "name"),
        ("surprise", 1, "surprise: Extra inputs"),
        ("content_hash", "0" * 64, "content hash"),
    ],
)
def test_an_altered_manifest_is_refused_by_field(
    bundle: Path, path: str, value: Any, message: str
) -> None:
    edit(bundle, _set(path, value))
    assert message in refusal(bundle)


def test_an_invalid_manifest_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "manifest.json").write_text("[1")
    assert "manifest.json" in refusal(bundle)
    assert "cannot be read" in refusal(tmp_path / "nowhere")


def _golden(bundle: Path) -> dict[str, NDArray[np.float64]]:
    return {k: np.array(v) for k, v in json.loads((bundle / "golden.json").read_text()).items()}


@pytest.mark.parametrize("name", ["scores", "raw"])
def test_a_golden_score_that_is_off_is_refused(bundle: Path, name: str) -> None:
    golden = _golden(bundle)
    golden[name][7] = np.nextafter(golden[name][7], 2) if name == "raw" else golden[name][7] + 1e-14
    replace(bundle, "golden.json", json.dumps({k: v.tolist() for k, v in golden.items()}).encode())
    assert "golden vectors: a" in refusal(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        '{"features": [], "scores": [], "raw": []}',
        '{"features": [[0, 0, 0]], "scores": [NaN], "raw": [0]}',
    ],
)
def test_an_invalid_golden_file_is_refused(bundle: Path, text: str) -> None:
    replace(bundle, "golden.json", text.encode())
    assert "not a golden file" in refusal(bundle)


def test_the_store_finds_the_highest_version_as_numbers(bundle: Path) -> None:
    store = bundle.parent.parent
    for version in ("1.10.0", "1.9.0"):
        copied = Path(shutil.copytree(bundle, bundle.parent / version))
        edit(copied, _set("version", version))
    assert [b.version for b in FolderStore(store).bundles()] == ["1.0.0", "1.9.0", "1.10.0"]
    assert find(FolderStore(store), "fraud").shown == str(bundle.parent / "1.10.0")
    assert find(FolderStore(store), "fraud:1.9.0").shown == str(bundle.parent / "1.9.0")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("fraud:9.9.9", "there are: fraud:1.0.0"),
        ("other", "there are: fraud:1.0.0"),
        ("../fraud", "not a reference"),
        ("fraud:latest", "not a reference"),
    ],
)
def test_the_store_names_what_it_has(bundle: Path, reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        find(FolderStore(bundle.parent.parent), reference)


def test_a_bundle_in_the_wrong_place_is_refused(bundle: Path) -> None:
    bundle.rename(bundle.parent / "2.0.0")
    with pytest.raises(ModelError, match=r"calls itself fraud:1\.0\.0"):
        load_bundle(find(FolderStore(bundle.parent.parent), "fraud"))


def test_an_invalid_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such directory"):
        find(FolderStore(tmp_path / "nowhere"), "fraud")


@pytest.mark.parametrize(
    ("version", "features"), [("1.0.0", 9), ("1.0.1", 9), ("1.1.0", 21), ("1.1.1", 21)]
)
def test_the_shipped_bundles_load(version: str, features: int) -> None:
    directory = MODELS_DIRECTORY / "fraud" / version
    loaded = load_bundle(find(FolderStore(MODELS_DIRECTORY), f"fraud:{version}"))
    assert loaded.predictor.feature_count == features
    assert sum(path.stat().st_size for path in directory.iterdir()) < 1_000_000
