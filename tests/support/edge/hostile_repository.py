"""A good repository of releases, its attackers, and a device that follows it.

Each attack is one change of what the server answers: :meth:`HostileRepository.honest` takes it
away. The attackers have what the attack needs: old files, the server, or a stolen key.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from stream_scorer.closing import Closing
from stream_scorer.edge.update.client import ReleaseClient, UpdateSource
from stream_scorer.edge.update.release import Release, read_release
from stream_scorer.edge.update.releases_folder import ReleasesFolder, Step, no_step
from stream_scorer.edge.update.repository import ReleaseStore
from tests.support.edge.update_site import UpdateSite

ROLES: Final = ("root", "targets", "snapshot", "timestamp")
TIMESTAMP: Final = "metadata/timestamp.json"
DAY: Final = timedelta(days=1)


def small_release(folder: Path, version: str, **files: bytes) -> Path:
    """Make the folder of a release that no program can load: for tests of how it comes."""
    bundle = folder / "fraud" / version
    bundle.mkdir(parents=True)
    (folder / "fraud" / "plan.toml").write_text("[plan]\n")
    (bundle / "manifest.json").write_text(f'{{"version": "{version}"}}')
    (bundle / "golden.json").write_text("{}")
    for name, data in files.items():
        (bundle / name).write_bytes(data)
    return folder


def accept_all(folder: Path, serving: Path | None) -> object:
    """Accept a release that is complete."""
    return read_release(folder), serving


class Device:
    """A device: its folder, and the client that a process of it has.

    Args:
        directory: Its folder.
        site: The server.
        root: The repository's first root.
    """

    def __init__(self, directory: Path, site: UpdateSite, root: Path) -> None:
        self.directory = directory
        self.site = site
        self.clock_back = 0.0
        self.verify: Callable[[Path, Path | None], object] = accept_all
        self.jump_most = 100_000
        self.client().trust(root)

    def client(self, step: Step = no_step, seconds: float = 10.0) -> ReleaseClient:
        """Return the client of a new process."""
        source = UpdateSource(self.site.url, "stable", self.site.ca, self.jump_most, seconds)
        releases = ReleasesFolder(self.directory, step)
        return ReleaseClient(source, releases, self.verify, lambda: now() - self.clock_back)

    def update(self, seconds: float = 10.0) -> str:
        """Update once; return the digest of the current release."""
        client = self.client(seconds=seconds)
        release = client.check()
        if release is not None:
            client.install(release)
        return self.current

    @property
    def current(self) -> str:
        """The digest of the current release, read from its files; empty if there is none."""
        link = self.directory / "current"
        if not link.exists():
            return ""
        digest = read_release(link.resolve()).digest
        assert link.resolve().name == digest
        return digest


class HostileRepository(Closing):
    """A repository, and what can be done to it.

    Args:
        folder: For all files.

    Attributes:
        store: The operator's view.
        site: The server's.
        keys: All private keys.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.keys = {role: Ed25519PrivateKey.generate() for role in ROLES}
        self.store = ReleaseStore(folder / "repository")
        self.store.init(self.keys)
        self.root = folder / "repository/metadata/1.root.json"
        self.site = UpdateSite(folder / "repository", folder)
        self._count = 0

    def close(self) -> None:
        """End the server."""
        self.site.close()

    def device(self, name: str = "device") -> Device:
        """Return a new device that follows the repository."""
        return Device(self._folder / name, self.site, self.root)

    def publish(self, channel: str = "stable", **files: bytes) -> Release:
        """Publish another release, as operators do."""
        self._count += 1
        folder = small_release(
            self._folder / f"release{self._count}", f"1.0.{self._count}", **files
        )
        return self.store.add(folder, channel, self.keys)

    def publish_again(self, release: Release) -> None:
        """Publish an earlier release."""
        number = release.label.rpartition(".")[2]
        self.store.add(self._folder / f"release{number}", "stable", self.keys)

    def honest(self) -> None:
        """End the attack."""
        self.site.replaced.clear()

    def file(self, name: str) -> bytes:
        """Return a file of the repository as it is now."""
        return (self.store.folder / name).read_bytes()

    def forged(
        self, role: str, change: Callable[[Any], None], key: Ed25519PrivateKey | None = None
    ) -> bytes:
        """Return the newest metadata of a role with a change, signed by a key or by the role's."""
        made: Metadata[Any] = Metadata.from_bytes(self.file(self.newest(role)))
        change(made.signed)
        signing = key or self.keys[role]
        made.sign(CryptoSigner(signing, SSlibKey.from_crypto(signing.public_key())))
        return made.to_bytes()

    def newest(self, role: str) -> str:
        """Return the path of the newest metadata of a role."""
        if role == "timestamp":
            return TIMESTAMP
        return f"metadata/{self.store.state().versions[role]}.{role}.json"

    def replace(self, role: str, change: Callable[[Any], None]) -> None:
        """Serve changed metadata of a role, and all that names them, signed by stolen keys."""
        data = self.forged(role, change)
        version = Metadata[Any].from_bytes(data).signed.version
        place = TIMESTAMP if role == "timestamp" else f"metadata/{version}.{role}.json"
        self.site.replaced[place] = data
        if role == "targets":

            def name_targets(snapshot: Snapshot) -> None:
                snapshot.meta["targets.json"] = MetaFile.from_data(version, data, ["sha256"])

            self.replace("snapshot", name_targets)
        if role == "snapshot":

            def name_snapshot(timestamp: Timestamp) -> None:
                timestamp.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])

            self.replace("timestamp", name_snapshot)

    def replace_target(self, path: str, data: bytes) -> None:
        """Serve another target, signed by stolen keys."""

        def name_target(targets: Targets) -> None:
            targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])
            (place,) = targets.targets[path].get_prefixed_paths()
            self.site.replaced[f"targets/{place}"] = data

        self.replace("targets", name_target)

    def place(self, path: str) -> str:
        """Return where a target is served."""
        targets: Metadata[Targets] = Metadata.from_bytes(self.file(self.newest("targets")))
        (place,) = targets.signed.targets[path].get_prefixed_paths()
        return f"targets/{place}"

    def forged_root(self, version: int, key: Ed25519PrivateKey) -> bytes:
        """Return a root that names a key for all roles, and that this key signs."""
        part = SSlibKey.from_crypto(key.public_key())
        root = Root(version, expires=datetime.now(UTC).replace(microsecond=0) + DAY)
        for role in ROLES:
            root.add_key(part, role)
        made = Metadata(root)
        made.sign(CryptoSigner(key, part))
        return made.to_bytes()


def now() -> float:
    """Return the seconds since the epoch."""
    return datetime.now(UTC).timestamp()


def yesterday(signed: Any) -> None:
    """Let metadata have expired."""
    signed.expires = datetime.now(UTC).replace(microsecond=0) - DAY
