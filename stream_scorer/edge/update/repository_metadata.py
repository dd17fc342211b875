"""The four roles of a repository: read, changed, signed, and written so that each step is valid.

========= ================ ========================================================
role      expires after    its key
========= ================ ========================================================
root      365 days         offline: names the keys of all roles
targets   90 days          offline: signs releases and channels
snapshot  7 days           where releases are published
timestamp 1 day            where ``edge publish refresh`` runs
========= ================ ========================================================

A file is written before the metadata that name it, and ``timestamp.json`` last: a device that reads
meanwhile sees the repository before or after a change. Each metadata file names the length and the
SHA-256 of the next.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp

from stream_scorer.durable_files import replace_file
from stream_scorer.edge.update.limits import METADATA_BYTES_MOST
from stream_scorer.edge.update.refusals import ROLES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from stream_scorer.errors import EdgeError, SettingsError

EXPIRY: Final[Mapping[str, timedelta]] = {
    ROOT: timedelta(days=365),
    TARGETS: timedelta(days=90),
    SNAPSHOT: timedelta(days=7),
    TIMESTAMP: timedelta(days=1),
}
PUBLIC_MODE: Final = 0o644
_LEFT: Final = 3
"""Metadata are due when less than a third of their time is left."""
_HASHES: Final = ["sha256"]
_NAMED: Final = "targets.json"
RoleKeys = Mapping[str, Ed25519PrivateKey]
"""The keys that a command was given, by role."""


@dataclass(slots=True)
class RepositoryMetadata:
    """The metadata of a repository.

    Attributes:
        folder: Where they are.
        root: The newest root, which names the keys of all roles.
        targets: Names the files.
        snapshot: Names the version of ``targets``.
        timestamp: Names the version of ``snapshot``.
    """

    folder: Path
    root: Metadata[Root]
    targets: Metadata[Targets]
    snapshot: Metadata[Snapshot]
    timestamp: Metadata[Timestamp]

    @classmethod
    def made(cls, folder: Path, keys: RoleKeys) -> "RepositoryMetadata":
        """Return the metadata of a new repository; nothing is signed or written yet.

        Raises:
            SettingsError: A key is missing, or two roles have the same.
        """
        parts = {role: _signer(keys, role).public_key for role in ROLES}
        if len({part.keyid for part in parts.values()}) != len(ROLES):
            raise SettingsError("repository: two roles have the same key", "make one for each")
        root = Root()
        for role, part in parts.items():
            root.add_key(part, role)
        # Each version rises by one when it is signed.
        root.version = 0
        new = (Metadata(Targets()), Metadata(Snapshot()), Metadata(Timestamp()))
        for each in new:
            each.signed.version = 0
        return cls(folder, Metadata(root), *new)

    @classmethod
    def read(cls, folder: Path) -> "RepositoryMetadata":
        """Read the metadata of a repository.

        Raises:
            EdgeError: It is not one, or is damaged.
        """
        roots = sorted(
            (int(number), path)
            for path in folder.glob(f"*.{ROOT}.json")
            if (number := path.name.partition(".")[0]).isdigit()
        )
        try:
            if not roots:
                raise FileNotFoundError(2, "has no root")
            root: Metadata[Root] = _metadata(roots[-1][1], Root)
            timestamp: Metadata[Timestamp] = _metadata(folder / f"{TIMESTAMP}.json", Timestamp)
            version = timestamp.signed.snapshot_meta.version
            snapshot: Metadata[Snapshot] = _metadata(
                folder / f"{version}.{SNAPSHOT}.json", Snapshot
            )
            version = snapshot.signed.meta[_NAMED].version
            targets: Metadata[Targets] = _metadata(folder / f"{version}.{TARGETS}.json", Targets)
        except (OSError, KeyError, RepositoryError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            raise EdgeError(
                f"repository {folder.parent}: {told}",
                "name a folder that `stream-scorer edge publish init` made",
            ) from error
        return cls(folder, root, targets, snapshot, timestamp)

    def of(self, role: str) -> Signed:
        """Return the content of a role's metadata."""
        found: Metadata[Any] = getattr(self, role)
        signed: Signed = found.signed
        return signed

    def due(self, now: datetime) -> list[str]:
        """Return the roles that have to be signed again soon, or have expired."""
        return [role for role in ROLES if self.of(role).expires - now < EXPIRY[role] / _LEFT]

    def publish_root(self, keys: RoleKeys, now: datetime, before: RoleKeys | None = None) -> None:
        """Sign the root as the next version, and write it.

        Args:
            keys: Has the key of the role root, as the new root names it.
            now: UTC.
            before: Has the key that the root before names, if it is another.

        Raises:
            SettingsError: A key is missing, or not the role's.
            OSError: The folder cannot be written.
        """
        signed = self.root.signed
        signed.version += 1
        signed.expires = _expiry(ROOT, now)
        self.root.sign(_signer(keys, ROOT))
        if before is not None:
            self.root.sign(_signer(before, ROOT), append=True)
        data = self._checked(ROOT, self.root)
        if signed.version > 1:
            # A device takes a root that the one before accepts, too.
            earlier = Metadata[Root].from_bytes(self._root(signed.version - 1).read_bytes())
            _accepted(earlier.signed, ROOT, self.root)
        replace_file(self._root(signed.version), data, PUBLIC_MODE)

    def publish(
        self, changed: Collection[str], keys: RoleKeys, now: datetime,
        write: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Sign the changed roles and those that name them, each as its next version; write them.

        Args:
            changed: Of targets, snapshot and timestamp.
            keys: Has the key of each of these roles, and of those that name them.
            now: UTC.
            write: Writes the files that the targets name, after all is known to be signed rightly.

        Raises:
            SettingsError: A key is missing, or not the role's.
            OSError: The folder cannot be written.
        """
        first = min(map(_ORDER.index, {*changed, TIMESTAMP}))
        ready: list[tuple[str, bytes]] = []
        for role in _ORDER[first:]:
            found: Metadata[Any] = getattr(self, role)
            found.signed.version += 1
            found.signed.expires = _expiry(role, now)
            found.sign(_signer(keys, role))
            data = self._checked(role, found)
            version = found.signed.version
            named = MetaFile.from_data(version, data, _HASHES)
            if role == TARGETS:
                self.snapshot.signed.meta[_NAMED] = named
            if role == SNAPSHOT:
                self.timestamp.signed.snapshot_meta = named
            prefix = "" if role == TIMESTAMP else f"{version}."
            ready.append((f"{prefix}{role}.json", data))
        write()
        for name, data in ready:
            replace_file(self.folder / name, data, PUBLIC_MODE)

    def replace_key(self, role: str, key: Ed25519PrivateKey) -> bool:
        """Make a key the only one of a role; return whether it was not.

        Raises:
            SettingsError: Another role has this key.
        """
        root, part = self.root.signed, public_part(key)
        others = {other for each in ROLES if each != role for other in root.roles[each].keyids}
        if part.keyid in others:
            raise SettingsError(f"repository: another role than {role} has this key", "make one")
        if root.roles[role].keyids == [part.keyid]:
            return False
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(part, role)
        return True

    def _root(self, version: int) -> Path:
        return self.folder / f"{version}.{ROOT}.json"

    def _checked(self, role: str, found: Metadata[Any]) -> bytes:
        """Return metadata as bytes that a device will accept."""
        _accepted(self.root.signed, role, found)
        data = found.to_bytes()
        if len(data) > METADATA_BYTES_MOST[role]:
            raise EdgeError(
                f"repository: {role} has {len(data):,} bytes, devices accept "
                f"{METADATA_BYTES_MOST[role]:,}",
                "let channels name fewer releases",
            )
        return data


_ORDER: Final = (TARGETS, SNAPSHOT, TIMESTAMP)
"""Each is named by the next."""


def public_part(key: Ed25519PrivateKey) -> SSlibKey:
    """Return the public part of a key as metadata have it."""
    return SSlibKey.from_crypto(key.public_key())


def _signer(keys: RoleKeys, role: str) -> CryptoSigner:
    if role not in keys:
        raise SettingsError(f"repository: the key of {role} is needed", f"give --{role}-key FILE")
    return CryptoSigner(keys[role], public_part(keys[role]))


def _accepted(root: Root, role: str, found: Metadata[Any]) -> None:
    """Refuse metadata that a root's keys have not signed."""
    try:
        root.verify_delegate(role, found.signed_bytes, found.signatures)
    except UnsignedMetadataError:
        raise SettingsError(
            f"repository: the given key is not that of {role}", "give the key that the root names"
        ) from None


def _expiry(role: str, now: datetime) -> datetime:
    return (now + EXPIRY[role]).replace(microsecond=0)


def _metadata(path: Path, kind: type[Signed]) -> Any:
    found: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    if not isinstance(found.signed, kind):
        raise RepositoryError(f"{path.name}: is not {kind.type}")
    return found
