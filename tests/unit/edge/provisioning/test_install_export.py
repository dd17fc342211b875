"""An export is installed only on the device that it is for, and as an operator signed it."""

import base64
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.device.state import LOG
from stream_scorer.edge.export.device_folder import DeviceExport, export_device
from stream_scorer.edge.files.export_folder import EXPORT, SIGNATURE, STATE, upload_names
from stream_scorer.edge.run.install import install
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.settings import Settings, load_settings
from tests.support.device.device_command import PLAN, device_store
from tests.support.device.device_world import DEVICE


@dataclass(frozen=True)
class Exports:
    """Signed exports: for any device, and for another one."""

    folder: Path
    operator: Ed25519PrivateKey

    def copied(self, name: str, out: Path) -> Path:
        """Return a copy of one, which a test may change."""
        return Path(shutil.copytree(self.folder / name, out))

    def settings(self, folder: Path, **more: Any) -> Settings:
        """Return the settings of a device that trusts the operator."""
        public = self.operator.public_key().public_bytes_raw()
        edge = {"directory": folder, "device": DEVICE} | {
            "trusted_keys": {"risk": base64.b64encode(public).decode()}
        }  # fmt: skip
        return Settings(**{"edge": edge} | more)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    made = Exports(tmp_path_factory.mktemp("exports"), Ed25519PrivateKey.generate())
    store = device_store(made.folder / "store", "1.0.2")
    settings = load_settings({"models": {"directory": str(store)}})
    for name, request in (("any", None), ("other", DeviceRequest("till-18", bytes(32)))):
        order = DeviceExport("fraud:1.0.2", made.folder / name, PLAN, made.operator, request)
        export_device(settings, order)
    return made


def test_a_signed_export_becomes_the_devices_release(exports: Exports, tmp_path: Path) -> None:
    settings = exports.settings(tmp_path / "device")
    made = install(settings, exports.folder / "any")
    assert (made.model, made.state, made.terminals_watermark) == ("fraud:1.0.2", False, None)
    assert (tmp_path / "device" / "current").resolve().name == made.digest
    told = json.loads((tmp_path / "device" / EXPORT).read_bytes())
    assert told["kafka"] == upload_names(settings.kafka)
    assert install(settings, exports.folder / "any") == made


def test_histories_are_for_a_device_without_one(exports: Exports, tmp_path: Path) -> None:
    export, device = exports.copied("any", tmp_path / "export"), tmp_path / "device"
    settings = Settings(edge={"directory": device, "device": DEVICE})
    (export / STATE).write_bytes(b"sealed")
    with pytest.raises(EdgeError, match="is not what was exported"):
        install(settings, export)
    document = json.loads((export / EXPORT).read_bytes())
    document["files"][STATE] = hashlib.sha256(b"sealed").hexdigest()
    (export / EXPORT).write_text(json.dumps(document))
    assert install(settings, export).state
    assert (device / STATE).read_bytes() == b"sealed"
    (device / STATE).unlink()
    (device / LOG).write_bytes(b"has decided")
    assert not install(settings, export).state
    assert not (device / STATE).exists()


@pytest.mark.parametrize("named", [{"device": []}, {"device": None}, {"files": []}])
def test_a_document_of_another_form_is_refused(
    exports: Exports, tmp_path: Path, named: dict[str, Any]
) -> None:
    export = exports.copied("any", tmp_path / "export")
    document = json.loads((export / EXPORT).read_bytes()) | named
    (export / EXPORT).write_text(json.dumps(document))
    with pytest.raises(EdgeError, match="is not an export for a device"):
        install(Settings(edge={"directory": tmp_path / "device", "device": DEVICE}), export)


@pytest.mark.parametrize("change", ["unsigned", "stranger", "altered", "more", "device", "link"])
def test_any_other_export_is_refused(exports: Exports, tmp_path: Path, change: str) -> None:
    export = exports.copied("other" if change == "device" else "any", tmp_path / "export")
    settings = exports.settings(tmp_path / "device")
    why = "signed by an unknown key"
    if change == "unsigned":
        (export / SIGNATURE).unlink()
        why = "signature.json: cannot be read"
    elif change == "stranger":
        settings = Exports(tmp_path, Ed25519PrivateKey.generate()).settings(tmp_path / "device")
    elif change == "altered":
        (export / EXPORT).write_bytes((export / EXPORT).read_bytes() + b" ")
        why = "is not what risk signed"
    elif change == "more":
        (export / "release" / "more").write_text("")
        why = "'release/more' is not what was exported"
    elif change == "device":
        why = "is for device 'till-18', not till-17"
    else:
        plan = export / "release" / "fraud" / "plan.toml"
        plan.rename(tmp_path / "plan.toml")
        plan.symlink_to(tmp_path / "plan.toml")
        why = "is not a regular file"
    with pytest.raises(EdgeError, match=why):
        install(settings, export)
    assert not (tmp_path / "device" / "current").exists()


def test_production_needs_an_operators_key(exports: Exports, tmp_path: Path) -> None:
    settings = Settings(mode="production", edge={"directory": tmp_path, "device": DEVICE})
    with pytest.raises(SettingsError, match=r"edge\.trusted_keys: is empty"):
        install(settings, exports.folder / "any")
