"""``export --target device`` writes what a device installs, or refuses the model."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.device.release import load_release
from stream_scorer.edge.export.device_folder import (
    DeviceExport,
    DeviceExportReport,
    export_device,
)
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.security.keys import key_id
from tests.support.edge.exported import LABEL, settings_of, store_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("edge"))


def made(store: Path, out: Path, reference: str = LABEL, **order: Any) -> DeviceExportReport:
    return export_device(settings_of(store), DeviceExport(reference, out, **order))


def test_a_device_gets_a_release_and_its_schemas(store: Path, tmp_path: Path) -> None:
    key, out = Ed25519PrivateKey.generate(), tmp_path / "new" / "till-1"
    report = made(store, out, key=key)
    document = json.loads((out / "export.json").read_text())
    assert (document["model"], document["target"], document["device"]) == (LABEL, "device", "")
    hashes = {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("export.json", "signature.json")
    }
    assert document["files"] == hashes
    assert report.files == len(hashes)
    assert json.loads((out / "signature.json").read_text())["key_id"] == key_id(key.public_key())
    release = load_release(out / "release", out / "schemas", trust_of(settings_of(store).models))
    assert release.label == LABEL
    assert release.content_hash.hex() == document["content_hash"]
    assert release.plan_sha256.hex() == document["plan_sha256"]


def test_what_a_device_cannot_decide_with_is_refused(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(EdgeError, match=r"engine 1.*models upgrade fraud:1.0.1 --engine 3"):
        made(store, out, "fraud:1.0.1")
    with pytest.raises(EdgeError, match=r"features of terminals.*--terminal-rows"):
        made(store, out, "fraud:1.1.1")
    with pytest.raises(SettingsError, match="has no features of terminals"):
        made(store, out, terminal_rows=True)
    # Histories need a device that can open them.
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for request in (None, DeviceRequest("till-1", public)):
        with pytest.raises(EdgeError, match="sealed to one device"):
            made(store, out, customers=["c1"], request=request)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists already"):
        made(store, tmp_path)
