"""Bundles are found, verified and refused in the same way in every store."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.core.events.plan import parse_plan
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles import bundle_signature
from stream_scorer.models.bundles.bundle import parse_manifest
from stream_scorer.models.bundles.loader import load_bundle, verify_again
from stream_scorer.models.bundles.trust import Trust
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import Deployment, load_models
from stream_scorer.models.stores.remote import open_store
from stream_scorer.security.keys import TrustedKey, key_id
from stream_scorer.settings import MODELS_DIRECTORY, Settings
from tests.support.contract.object_store import object_store
from tests.support.models.stores import KINDS, Shelves

KEY = Ed25519PrivateKey.generate()
TRUST = Trust(
    keys={key_id(KEY.public_key()): TrustedKey("release", KEY.public_key())}, required=True
)


@pytest.fixture(params=[*KINDS, "s3"])
def shelves(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shelves]:
    if request.param != "s3":
        yield Shelves(request.param, tmp_path)
        return
    with object_store(monkeypatch):
        yield Shelves("s3", tmp_path)


def sign(shelves: Shelves, version: str = "1.0.0") -> None:
    data = shelves.read(f"fraud/{version}/manifest.json")
    manifest = parse_manifest(data, "here")
    shelves.write(f"fraud/{version}/signature.json", bundle_signature.sign(manifest, data, KEY))


def flip(shelves: Shelves, name: str) -> None:
    data = bytearray(shelves.read(name))
    data[len(data) // 2] ^= 1
    shelves.write(name, bytes(data))


def test_what_is_there_is_listed_and_the_highest_is_found(shelves: Shelves) -> None:
    shelves.write("fraud/1.10.0/manifest.json", b"{}")
    shelves.write("fraud/.making-x/manifest.json", b"{}")
    shelves.write("fraud/1.2.0/notes.txt", b"no bundle")
    store = open_store(shelves.models)
    versions = ("1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.10.0")
    assert [b.label for b in store.bundles()] == [f"fraud:{version}" for version in versions]
    assert find(store, "fraud").shown.endswith("/fraud/1.10.0")
    with pytest.raises(ModelError, match=r"there are: fraud:1\.0\.0, fraud:1\.0\.1, "):
        find(store, "fraud:9.9.9")


def test_a_stored_bundle_scores_as_from_its_folder(shelves: Shelves) -> None:
    loaded = load_models(Settings(models=shelves.models), Deployment("fraud:1.1.0"))
    expected = load_bundle(MODELS_DIRECTORY / "fraud" / "1.1.0")
    assert loaded.plan == parse_plan((MODELS_DIRECTORY / "fraud" / "plan.toml").read_text())
    rows = np.random.default_rng(1).normal(50, 30, (100, 21))
    got = loaded.bundles[0].predictor.scores(rows)
    assert (got == expected.predictor.scores(rows)).all()


def test_a_policy_next_to_the_plan_is_part_of_it(shelves: Shelves) -> None:
    shelves.write("fraud/policy.toml", b"[default]\nreview = 0.2\nblock = 0.7\n")
    loaded = load_models(Settings(models=shelves.models), Deployment("fraud:1.0.0"))
    assert loaded.plan.policy == {"default": {"review": 0.2, "block": 0.7}}
    shelves.write("fraud/policy.toml", b"on_timeout = 'LATER'")
    with pytest.raises(SettingsError, match="policy: on_timeout: must be APPROVE"):
        load_models(Settings(models=shelves.models), Deployment("fraud:1.0.0"))


def test_without_a_plan_one_has_to_be_named(shelves: Shelves) -> None:
    shelves.remove("fraud/plan.toml")
    with pytest.raises(SettingsError, match=r"plan .*fraud/plan\.toml: .*--plan"):
        load_models(Settings(models=shelves.models), Deployment("fraud"))
    shelves.write("fraud/plan.toml", b"\xff")
    with pytest.raises(SettingsError, match=r"plan\.toml: 'utf-8'"):
        load_models(Settings(models=shelves.models), Deployment("fraud"))


def move(shelves: Shelves) -> None:
    """Replace a version by another signed version."""
    for name in ("manifest.json", "golden.json", "model.skops", "signature.json"):
        shelves.write(f"fraud/1.0.9/{name}", shelves.read(f"fraud/1.0.0/{name}"))


DAMAGE: list[tuple[str, Callable[[Shelves], object]]] = [
    ("model.skops is not the file", lambda s: flip(s, "fraud/1.0.0/model.skops")),
    ("golden.json is missing", lambda s: s.remove("fraud/1.0.0/golden.json")),
    ("notes.txt is not in the manifest", lambda s: s.write("fraud/1.0.0/notes.txt", b"")),
    ("is not signed", lambda s: s.remove("fraud/1.0.0/signature.json")),
    (
        "is not a signature by release|signature.json",
        lambda s: flip(s, "fraud/1.0.0/signature.json"),
    ),
    ("calls itself fraud:1.0.0", move),
    ("manifest.json", lambda s: s.remove("fraud/1.0.0/manifest.json")),
    ("larger than 1 MiB", lambda s: s.write("fraud/1.0.0/manifest.json", b" " * (2 << 20))),
]  # fmt: skip


@pytest.mark.parametrize(("why", "damage"), DAMAGE)
def test_damage_is_refused_at_a_start_and_again(
    shelves: Shelves, why: str, damage: Callable[[Shelves], object]
) -> None:
    sign(shelves)
    store = open_store(shelves.models)
    folder = find(store, "fraud:1.0.0")
    bundle = load_bundle(folder, TRUST)
    assert str(bundle.seal.signer) == "release"
    verify_again(bundle)
    damage(shelves)
    if "calls itself" in why:
        folder = find(store, "fraud:1.0.9")
    else:
        with pytest.raises(ModelError, match=why):
            verify_again(bundle)
    if "model.skops" in why and folder.shown.startswith(("memory", "s3")):
        # The cache has a correct copy; a machine without one gets the damaged file.
        load_bundle(folder, TRUST)
        for kept in shelves.cache.iterdir():
            kept.unlink()
    with pytest.raises(ModelError, match=why):
        load_bundle(folder, TRUST)
