"""A trainer's bundle is loaded only as its accepted plan names it, and every other one is not."""

from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import GATE, MANIFEST, read_manifest
from stream_scorer.models.bundles.bundle_signature import SIGNATURE, sign
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import GrantedBundle, Trust
from tests.support.models.noise_bundles import AMOUNT, STORED, write
from tests.support.models.trained_bundles import retrained
from tests.support.rollout.grants import OTHER, TRAINER
from tests.support.rollout.scene import OPERATOR, STRANGER, trusted

LABEL = "fraud:0.2.0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path, "0.1.0", (AMOUNT, STORED))
    return tmp_path


@pytest.fixture
def granted(store: Path) -> GrantedBundle:
    return retrained(store, store / "fraud" / "0.1.0", "0.2.0", TRAINER)


STRICT = Trust(keys=trusted("ann", OPERATOR), required=True)


def test_only_a_grant_makes_it_loadable(store: Path, granted: GrantedBundle) -> None:
    bundle = store / "fraud" / "0.2.0"
    with pytest.raises(ModelError, match="by an unknown key"):
        load_bundle(bundle, STRICT)
    loaded = load_bundle(bundle, STRICT.with_granted({LABEL: granted}))
    assert loaded.seal.signer is not None
    assert loaded.seal.signer.name == "trainer"
    assert loaded.manifest.lineage_parent is not None
    # The right is for one version, not for the key.
    other = retrained(store, store / "fraud" / "0.1.0", "0.3.0", TRAINER)
    with pytest.raises(ModelError, match="by an unknown key"):
        load_bundle(store / "fraud" / "0.3.0", STRICT.with_granted({LABEL: granted}))
    assert other.label == "fraud:0.3.0"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"manifest_sha256": OTHER}, "manifest.json"),
        ({"feature_set": OTHER}, "feature set"),
        ({"gate_sha256": OTHER}, "gate.json"),
        ({"parent": "fraud:0.0.9"}, "parent"),
        ({"parent_content": OTHER}, "parent"),
        ({"dataset_sha256": OTHER}, "dataset"),
    ],
)
def test_another_bundle_than_the_plans_is_refused(
    store: Path, granted: GrantedBundle, changed: dict[str, Any], what: str
) -> None:
    fields = {name: getattr(granted, name) for name in GrantedBundle.__dataclass_fields__}
    right = GrantedBundle(**(fields | changed))
    # Also where unsigned bundles are accepted.
    for trust in (STRICT, Trust()):
        with pytest.raises(ModelError, match=f"its {what} is not the one that the trainer's plan"):
            load_bundle(store / "fraud" / "0.2.0", trust.with_granted({LABEL: right}))


@pytest.mark.parametrize("trust", [STRICT, Trust()])
def test_a_foreign_or_missing_signature_is_refused(
    store: Path, granted: GrantedBundle, trust: Trust
) -> None:
    bundle = store / "fraud" / "0.2.0"
    trust = trust.with_granted({LABEL: granted})
    manifest, data = read_manifest(bundle), (bundle / MANIFEST).read_bytes()
    for key in (STRANGER, OPERATOR):
        (bundle / SIGNATURE).write_bytes(sign(manifest, data, key))
        with pytest.raises(ModelError, match="by an unknown key") as refused:
            load_bundle(bundle, trust)
        assert "grant 2 trusts its trainer's key alone" in str(refused.value)
    (bundle / SIGNATURE).unlink()
    with pytest.raises(ModelError, match="is not signed"):
        load_bundle(bundle, trust)


def test_a_changed_gate_report_is_refused(store: Path, granted: GrantedBundle) -> None:
    bundle = store / "fraud" / "0.2.0"
    (bundle / GATE).write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"gate\.json is not the file that the manifest names"):
        load_bundle(bundle, STRICT.with_granted({LABEL: granted}))
    (bundle / GATE).unlink()
    with pytest.raises(ModelError, match=r"gate\.json is missing"):
        load_bundle(bundle, STRICT.with_granted({LABEL: granted}))


def test_feature_sets_differ_by_order_and_declaration(store: Path) -> None:
    write(store, "0.4.0", (STORED, AMOUNT))
    write(store, "0.5.0", (AMOUNT, STORED))
    first, turned, same = (
        read_manifest(store / "fraud" / version) for version in ("0.1.0", "0.4.0", "0.5.0")
    )
    assert first.feature_set == same.feature_set != turned.feature_set
    assert "lineage_parent" not in (store / "fraud" / "0.1.0" / MANIFEST).read_text()
