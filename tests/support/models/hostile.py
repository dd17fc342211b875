"""Attacks on a signed bundle by a client with write access to its folder, each a function."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skops.io
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.ensemble import GradientBoostingClassifier

from stream_scorer.models.bundles import bundle_signature
from stream_scorer.models.bundles.bundle import read_manifest
from tests.support.models.bundle_cases import FRAUD, ROWS, Bomb, edit, replace
from tests.support.models.skops_schema import with_schema

Value = Any


@dataclass(frozen=True, slots=True)
class Scene:
    """A signed bundle ``fraud:1.0.0`` in a store of its own, beside a signed ``fraud:1.0.1``."""

    store: Path
    trusted: Ed25519PrivateKey
    stranger: Ed25519PrivateKey

    @property
    def bundle(self) -> Path:
        return self.store / "fraud" / "1.0.0"

    @property
    def other(self) -> Path:
        return self.store / "fraud" / "1.0.1"

    @property
    def bomb(self) -> Bomb:
        return Bomb(self.store / "fired")

    def seal(self, key: Ed25519PrivateKey | None = None, bundle: Path | None = None) -> None:
        """Sign as ``models sign`` does, without checking the content."""
        at = bundle or self.bundle
        data = (at / "manifest.json").read_bytes()
        signed = bundle_signature.sign(read_manifest(at), data, key or self.trusted)
        (at / "signature.json").write_bytes(signed)

    def document(self, **changes: Value) -> None:
        """Change the signature's file."""
        path = self.bundle / "signature.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


Deed = Callable[[Scene], object]


def flip(path: Path, at: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def then_signed(deed: Deed) -> Deed:
    def both(scene: Scene) -> None:
        deed(scene)
        scene.seal()

    return both


def manifest_says(path: str, value: Value) -> Deed:
    def change(manifest: dict[str, Any]) -> None:
        *groups, last = path.split("/")
        at: Any = manifest
        for group in groups:
            at = at[int(group)] if isinstance(at, list) else at[group]
        at[int(last) if isinstance(at, list) else last] = value

    return lambda scene: edit(scene.bundle, change)


def manifest_text(change: Callable[[str], str | bytes]) -> Deed:
    def write(scene: Scene) -> None:
        path = scene.bundle / "manifest.json"
        changed = change(path.read_text())
        path.write_bytes(changed.encode() if isinstance(changed, str) else changed)

    return write


def lists(name: str) -> Deed:
    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"].pop("model.skops")

    return lambda scene: edit(scene.bundle, change)


def model_is(make: Callable[[Scene], bytes]) -> Deed:
    return then_signed(lambda scene: replace(scene.bundle, "model.skops", make(scene)))


def members(change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> Deed:
    """Write the skops file again, each member as ``change`` returns it."""

    def make(scene: Scene) -> bytes:
        out = io.BytesIO()
        with (
            zipfile.ZipFile(scene.bundle / "model.skops") as whole,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as altered,
        ):
            for name in whole.namelist():
                for other, data in change(name, whole.read(name)):
                    altered.writestr(other, data)
        return out.getvalue()

    return model_is(make)


def added(name: str, data: bytes) -> Deed:
    return members(
        lambda member, old: [(member, old)] + ([(name, data)] if member == "schema.json" else [])
    )


def unknown_type(_: Scene) -> bytes:
    data = skops.io.dumps(GradientBoostingClassifier(n_estimators=2, init="zero").fit(ROWS, FRAUD))
    return with_schema(data, lambda old: old.replace(b'"GradientBoostingClassifier"', b'"Strange"'))


def joblib_of(scene: Scene) -> bytes:
    out = io.BytesIO()
    joblib.dump(scene.bomb, out, compress=3)
    return out.getvalue()


def objects(scene: Scene) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([scene.bomb], object), allow_pickle=True)
    return out.getvalue()


def large(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def elsewhere(name: str) -> Deed:
    def link(scene: Scene) -> None:
        (scene.bundle / name).rename(scene.store / name)
        (scene.bundle / name).symlink_to(scene.store / name)

    return link


def linked_folder(scene: Scene) -> None:
    scene.bundle.rename(scene.store / "elsewhere")
    scene.bundle.symlink_to(scene.store / "elsewhere")


def pipe(scene: Scene) -> None:
    (scene.bundle / "golden.json").unlink()
    os.mkfifo(scene.bundle / "golden.json")


def folder(scene: Scene) -> None:
    (scene.bundle / "golden.json").unlink()
    (scene.bundle / "golden.json").mkdir()


def instead(scene: Scene) -> None:
    shutil.rmtree(scene.bundle)
    shutil.copytree(scene.other, scene.bundle)


def replayed(scene: Scene) -> None:
    shutil.copy(scene.other / "signature.json", scene.bundle / "signature.json")


def replayed_by_name(scene: Scene) -> None:
    replayed(scene)
    scene.document(bundle="fraud:1.0.0")


def forged(scene: Scene) -> None:
    """Sign with a strange key and claim that it was the trusted one."""
    told = json.loads((scene.bundle / "signature.json").read_text())["key_id"]
    scene.seal(scene.stranger)
    scene.document(key_id=told)


def golden_off(scene: Scene) -> None:
    golden = json.loads((scene.bundle / "golden.json").read_text())
    golden["raw"][7] += 1e-9
    replace(scene.bundle, "golden.json", json.dumps(golden).encode())


def onnx(scene: Scene) -> None:
    (scene.bundle / "model.onnx").write_bytes(b"")
    (scene.bundle / "model.onnx.data").symlink_to("/etc/passwd")


def written(name: str, data: bytes = b"") -> Deed:
    return lambda scene: (scene.bundle / name).write_bytes(data)
