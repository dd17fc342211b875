"""``export --target device``: a release, its schemas, and what a device is provisioned with."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.device.release import DeviceRelease, load_release
from stream_scorer.edge.export.documents import signature_json
from stream_scorer.edge.export.state import ExportedState, export_state
from stream_scorer.edge.export.terminals import export_terminals
from stream_scorer.edge.files.export_folder import (
    EXPORT,
    KAFKA,
    RELEASE,
    SCHEMAS,
    SIGNATURE,
    STATE,
    TARGET,
    TERMINALS,
    upload_names,
)
from stream_scorer.edge.files.seed import StateSeed, TerminalRows
from stream_scorer.edge.update.gather_release import gather_release
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.bundles.same_bits import check_same_bits
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.deployment import plan_trust
from stream_scorer.registry.sources import open_registry
from stream_scorer.security.sealing import seal
from stream_scorer.settings import Settings

_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class DeviceExport:
    """What is exported for a device.

    Attributes:
        reference: NAME:VERSION of the bundle, or NAME for its highest version.
        out: The folder to write; it must not exist.
        plan: Plan file or folder; None: the plan next to the model's versions.
        key: Signs the export; None for an unsigned one.
        request: The device's request; None: the export is for any device, and has no state.
        customers: Ids of the customers whose histories it gets; None: no histories.
        terminal_rows: Whether it gets the history of terminals.
    """

    reference: str
    out: Path
    plan: Path | None = None
    key: Ed25519PrivateKey | None = None
    request: DeviceRequest | None = None
    customers: Sequence[str] | None = None
    terminal_rows: bool = False


@dataclass(frozen=True, slots=True)
class DeviceExportReport:
    """What was written.

    Attributes:
        model: NAME:VERSION.
        folder: The folder.
        files: How many files it has.
        state: The histories; None without any.
        terminals: The history of terminals; None without any.
        seconds: How long it took.
    """

    model: str
    folder: Path
    files: int
    state: ExportedState | None
    terminals: TerminalRows | None
    seconds: float


def export_device(settings: Settings, order: DeviceExport) -> DeviceExportReport:
    """Write the folder that ``edge install`` takes on the device.

    Args:
        settings: The store; for histories the cluster, too.
        order: What to export, and where to.

    Raises:
        EdgeError: The histories cannot serve the release, the request has no key for them, or the
            bundle is not one that a device can decide with.
        ModelError: The bundle is refused.
        SettingsError: The plan or the folder is refused.
        UnavailableError: The store or the broker does not answer.
    """
    started = time.monotonic()
    if order.out.exists():
        raise SettingsError(f"{order.out}: exists already", "name another --out")
    if order.customers is not None and (order.request is None or not order.request.sealing_key):
        raise EdgeError(
            "histories are sealed to one device, and there is no request with its key",
            "give --for DEVICE.request.json, which `edge init` wrote",
        )
    try:
        order.out.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=order.out.parent))
        try:
            report = _made(settings, order, making, started)
            making.chmod(0o755)
            making.rename(order.out)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    except OSError as error:
        raise SettingsError(
            f"{order.out}: cannot be written ({error.strerror or error})", "name another --out"
        ) from error
    return report


def _made(
    settings: Settings, order: DeviceExport, folder: Path, started: float
) -> DeviceExportReport:
    (folder / RELEASE).mkdir()
    gather_release(settings, order.reference, order.plan, folder / RELEASE)
    shutil.copytree(settings.registry.directory, folder / SCHEMAS, ignore=_no_folders)
    rows = _terminal_rows(settings, order, folder)
    release = _loaded(settings, folder, rows)
    check_same_bits(release.bundle.manifest)
    state = None
    if order.customers is not None and order.request is not None:
        device = order.request.device
        state = export_state(settings, device, order.customers, release.model.features)
        sealed = seal(state.seed.packed(), order.request.sealing_key, StateSeed.purpose(device))
        (folder / STATE).write_bytes(sealed)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }
    document: dict[str, Any] = {
        "format": _FORMAT, "target": TARGET, "model": release.label,
        "content_hash": release.content_hash.hex(), "engine": release.bundle.manifest.engine,
        "plan_sha256": release.plan_sha256.hex(),
        "device": "" if order.request is None else order.request.device,
        "terminals_watermark": None if rows is None else rows.watermark,
        KAFKA: upload_names(settings.kafka), "files": files,
    }  # fmt: skip
    export = (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
    (folder / EXPORT).write_bytes(export)
    if order.key is not None:
        (folder / SIGNATURE).write_bytes(signature_json(export, order.key))
    seconds = time.monotonic() - started
    return DeviceExportReport(release.label, order.out, len(files), state, rows, seconds)


def _terminal_rows(settings: Settings, order: DeviceExport, folder: Path) -> TerminalRows | None:
    """Write the history of terminals, if it is asked for."""
    if not order.terminal_rows:
        return None
    release = _loaded(settings, folder, _NO_ROWS)
    if not release.model.features.by_terminal:
        raise SettingsError(
            f"--terminal-rows: {release.label} has no features of terminals", "leave it out"
        )
    rows = export_terminals(
        settings, open_registry(settings.registry), release.plan,
        release.model.features.engine.delayed,
    )  # fmt: skip
    (folder / TERMINALS).write_bytes(rows.packed())
    return rows


def _loaded(settings: Settings, folder: Path, rows: TerminalRows | None) -> DeviceRelease:
    return load_release(
        folder / RELEASE, folder / SCHEMAS, trust_of(settings.models), plan_trust(settings),
        None if rows is None else rows.table(),
    )  # fmt: skip


def _no_folders(place: str, names: list[str]) -> set[str]:
    """Leave out all but the schemas and their list."""
    return {
        name for name in names
        if not (name.endswith(".avsc") or name == "registry.json") or Path(place, name).is_dir()
    }  # fmt: skip


_NO_ROWS: Final = TerminalRows.none()
