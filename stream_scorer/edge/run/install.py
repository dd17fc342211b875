"""``edge install``: an export becomes the device's release, its schemas and its first history."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.durable_files import PRIVATE, replace_file, sync_tree
from stream_scorer.edge.device.release import load_release
from stream_scorer.edge.device.state import LOG
from stream_scorer.edge.files.export_folder import (
    EXPORT,
    RELEASE,
    SCHEMAS,
    STATE,
    TERMINALS,
    verified_export,
)
from stream_scorer.edge.files.seed import TerminalRows
from stream_scorer.edge.run.keys import named_device
from stream_scorer.edge.update.release import read_release
from stream_scorer.edge.update.releases_folder import ReleasesFolder
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.deployment import plan_trust
from stream_scorer.registry.sources import INDEX
from stream_scorer.security.keys import read_trusted
from stream_scorer.settings import PRODUCTION, Settings


@dataclass(frozen=True, slots=True)
class InstalledExport:
    """What was installed.

    Attributes:
        model: NAME:VERSION.
        digest: Digest of the release.
        state: Whether the device will begin with histories that came with it; one that has decided
            before keeps its own.
        terminals_watermark: Up to which event time the history of terminals goes, ms; None without.
    """

    model: str
    digest: str
    state: bool
    terminals_watermark: int | None


def install(settings: Settings, folder: Path) -> InstalledExport:
    """Verify an export and install it; whenever the process ends, the release is complete.

    Args:
        settings: The device, and whose exports and bundles are accepted.
        folder: The export.

    Raises:
        EdgeError: The export is refused, is for another device, or the disk is full.
        ModelError: The bundle is refused.
        SettingsError: A setting is wrong.
    """
    device, directory = named_device(settings), settings.edge.directory
    trusted = read_trusted(settings.edge.trusted_keys, "edge.trusted_keys")
    if settings.mode == PRODUCTION and not trusted:
        raise SettingsError(
            "mode is production: edge.trusted_keys: is empty: unsigned exports are installed",
            "name the operators' public keys",
        )
    document = verified_export(folder, trusted)
    if document["device"] not in {"", device}:
        raise EdgeError(
            f"{folder}: is for device {document['device']!a}, not {device}",
            "export it for this device",
        )
    rows = _terminals(folder)
    release = load_release(
        folder / RELEASE, folder / SCHEMAS, trust_of(settings.models), plan_trust(settings),
        None if rows is None else rows.table(),
    )  # fmt: skip
    releases = ReleasesFolder(directory)
    named = read_release(folder / RELEASE)
    begins = (folder / STATE).exists() and not (directory / LOG).exists()
    try:
        with releases.locked():
            incoming = releases.make_room(2 * named.size)
            _copy(folder / SCHEMAS, directory / SCHEMAS)
            for name, wanted in ((TERMINALS, rows is not None), (STATE, begins)):
                if wanted:
                    replace_file(directory / name, (folder / name).read_bytes(), PRIVATE)
            shutil.copytree(folder / RELEASE, incoming, dirs_exist_ok=True)
            replace_file(directory / EXPORT, (folder / EXPORT).read_bytes(), PRIVATE)
            releases.keep(named.digest)
            releases.switch(named.digest)
    except OSError as error:
        raise EdgeError(
            f"edge.directory {directory}: {error.strerror or error}", "check the disk"
        ) from error
    watermark = None if rows is None else rows.watermark
    return InstalledExport(release.label, named.digest, begins, watermark)


def _terminals(folder: Path) -> TerminalRows | None:
    path = folder / TERMINALS
    return TerminalRows.unpacked(path.read_bytes()) if path.exists() else None


def _copy(source: Path, target: Path) -> None:
    """Replace a folder; a schema never changes, so a mixture of both serves, too."""
    target.mkdir(exist_ok=True)
    # Their list last: it names only files that are there.
    for path in sorted(source.iterdir(), key=lambda each: (each.name == INDEX, each.name)):
        replace_file(target / path.name, path.read_bytes(), PRIVATE)
    sync_tree(target)
