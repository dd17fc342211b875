"""reference.json in a bundle: verified like every other file, in no hash of decisions, and used."""

import json
import shutil
from dataclasses import replace as replace_fields
from pathlib import Path

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.models.reference.build import build_reference
from stream_scorer.models.reference.format import digest_of, write_reference
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate, edit, replace
from tests.support.models.reference_rows import job_of, rows_of


@pytest.fixture(scope="module")
def reference() -> bytes:
    return write_reference(build_reference(rows_of(8), job_of()).reference)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, reference: bytes) -> Path:
    model = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD))
    store = tmp_path_factory.mktemp("store")
    return write_bundle(store, replace_fields(model, drift_reference=reference), ROWS)


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "fraud" / "1.0.0"))


def refusal(bundle: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_bundle(bundle)
    assert caught.value.fix
    return str(caught.value)


def test_a_model_has_the_fields_of_its_reference(bundle: Path, reference: bytes) -> None:
    loaded = load_bundle(bundle)
    assert loaded.reference is not None
    bins = loaded.model(Plan()).bins
    assert bins is not None
    assert bins.digest == digest_of(reference) == loaded.reference.digest
    assert [field.name for field in bins.fields] == [
        "score", "outcome", "amount", "currency", "AMOUNT", "COUNT", "NIGHT", "channel",
    ]  # fmt: skip


def test_a_bundle_without_a_reference_loads_as_before(tmp_path: Path) -> None:
    model = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD))
    loaded = load_bundle(write_bundle(tmp_path, model, ROWS))
    assert loaded.reference is None
    assert loaded.model(Plan()).bins is None


def test_the_content_hash_is_that_without_a_reference(bundle: Path, tmp_path: Path) -> None:
    model = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD))
    plain = load_bundle(write_bundle(tmp_path / "plain", model, ROWS)).manifest
    assert plain.content_hash == load_bundle(bundle).manifest.content_hash


def test_a_card_may_be_there_too(tmp_path: Path, reference: bytes) -> None:
    model = replace_fields(
        candidate(MODELS["decision_tree"].fit(ROWS, FRAUD)), drift_reference=reference,
        card={"card.md": b"# fraud", "card.png": b"picture"},
    )  # fmt: skip
    bundle = write_bundle(tmp_path, model, ROWS)
    assert load_bundle(bundle).reference is not None
    edit(bundle, lambda m: m["files"].pop("card.md"))
    assert "card.md with card.png or neither, and it may list reference.json" in refusal(bundle)


def test_an_altered_missing_or_unlisted_reference_is_refused(bundle: Path) -> None:
    path = bundle / "reference.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"eta":0.05', b'"eta":0.06'))
    assert "reference.json is not the file that the manifest names" in refusal(bundle)
    path.unlink()
    assert "reference.json is missing" in refusal(bundle)
    path.write_bytes(data)
    edit(bundle, lambda m: m["files"].pop("reference.json"))
    assert "reference.json is not in the manifest" in refusal(bundle)


def test_a_reference_of_another_version_is_refused(bundle: Path) -> None:
    data = json.loads((bundle / "reference.json").read_bytes()) | {"version": "2.0.0"}
    replace(bundle, "reference.json", json.dumps(data).encode())
    assert "reference.json is of fraud:2.0.0" in refusal(bundle)


def test_a_reference_of_a_further_feature_is_refused(bundle: Path) -> None:
    data = json.loads((bundle / "reference.json").read_bytes())
    data["fields"][4]["source"] = "feature:3"
    replace(bundle, "reference.json", json.dumps(data).encode())
    assert "reference.json: watches feature 3, the model has 3" in refusal(bundle)


def test_a_reference_of_more_than_four_mebibytes_is_refused(bundle: Path) -> None:
    replace(bundle, "reference.json", b" " * (4 * 1024 * 1024 + 1))
    assert "reference.json is larger than 4 MiB" in refusal(bundle)
