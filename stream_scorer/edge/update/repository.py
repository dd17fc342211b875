"""The repository that devices update from: a folder that any HTTPS server can serve.

::

    metadata/      what the roles have signed
    targets/channels/HASH.CHANNEL.json          the release of a channel
    targets/releases/NAME-VERSION-DIGEST/...    its files, each with its hash before its name
"""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tuf.api.metadata import TargetFile

from stream_scorer.durable_files import replace_file, sync_tree
from stream_scorer.edge.update.refusals import ROLES, ROOT, TARGETS, TIMESTAMP
from stream_scorer.edge.update.release import (
    CHANNEL,
    DOCUMENT,
    Release,
    channel_document,
    read_release,
)
from stream_scorer.edge.update.repository_metadata import (
    PUBLIC_MODE,
    RepositoryMetadata,
    RoleKeys,
)
from stream_scorer.errors import EdgeError, SettingsError

_CHANNELS: Final = "channels/"
_RELEASES: Final = "releases/"


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """What a repository states.

    Attributes:
        versions: By role.
        expires: By role, UTC.
        due: Roles that have to be signed again soon, or have expired.
        channels: The name of each channel's release.
    """

    versions: Mapping[str, int]
    expires: Mapping[str, datetime]
    due: tuple[str, ...]
    channels: Mapping[str, str]


class ReleaseStore:
    """A repository in a folder.

    Args:
        folder: It is served as it is.
        now: Returns the time, UTC.
    """

    def __init__(
        self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.folder = folder
        self._now = now

    def init(self, keys: RoleKeys) -> RepositoryState:
        """Make an empty repository.

        Args:
            keys: Of all roles.

        Raises:
            SettingsError: The folder has files, a key is missing, or two roles have the same.
            EdgeError: It cannot be written.
        """
        made = RepositoryMetadata.made(self._metadata, keys)
        with self._changing(new=True):
            self._metadata.mkdir()
            (self.folder / "targets").mkdir()
            made.publish_root(keys, self._now())
            made.publish({TARGETS}, keys, self._now())
        return self.state()

    def add(self, folder: Path, channel: str, keys: RoleKeys) -> Release:
        """Publish a release: the devices of a channel take it.

        Releases that no channel names are no longer listed. Their files stay, for devices that
        fetch them now.

        Args:
            folder: The release; the caller has verified it.
            channel: 1 to 64 letters, digits, dots, hyphens and underscores.
            keys: Of targets, snapshot and timestamp.

        Raises:
            SettingsError: It is not the folder of a release, or a key is missing or not the role's.
            EdgeError: The repository is damaged or cannot be written.
        """
        if CHANNEL.fullmatch(channel) is None:
            raise SettingsError(
                f"channel {channel!a}: is not a name",
                "use 1 to 64 letters, digits, dots, hyphens and underscores",
            )
        release = read_release(folder)
        with self._changing():
            metadata = RepositoryMetadata.read(self._metadata)
            targets = metadata.targets.signed.targets
            documents = {
                f"{_RELEASES}{release.name}/{DOCUMENT}": release.to_json(),
                f"{_CHANNELS}{channel}.json": channel_document(channel, release),
            }
            for path, data in documents.items():
                targets[path] = TargetFile.from_data(path, data, ["sha256"])
            for path, file in release.files.items():
                at = f"{_RELEASES}{release.name}/{path}"
                targets[at] = TargetFile(file.length, {"sha256": file.sha256}, at)
            targets[f"{_CHANNELS}{channel}.json"].unrecognized_fields = {
                "custom": {"release": release.name}
            }
            _drop_unnamed(targets)

            def write() -> None:
                for path, file in release.files.items():
                    data = (folder / path).read_bytes()
                    if hashlib.sha256(data).hexdigest() != file.sha256:
                        raise SettingsError(
                            f"{folder / path}: changed while it was published", "publish it again"
                        )
                    self._place(targets[f"{_RELEASES}{release.name}/{path}"], data)
                for path, data in documents.items():
                    self._place(targets[path], data)
                sync_tree(self.folder / "targets")

            metadata.publish({TARGETS}, keys, self._now(), write)
        return release

    def refresh(self, keys: RoleKeys) -> RepositoryState:
        """Sign the timestamp again, and what is due if its key is given.

        Args:
            keys: Of timestamp; also of snapshot, targets and root when they are due.

        Raises:
            SettingsError: A role has expired and its key is not given, or a key is not the role's.
            EdgeError: The repository is damaged or cannot be written.
        """
        with self._changing():
            metadata, now = RepositoryMetadata.read(self._metadata), self._now()
            due = metadata.due(now)
            for role in due:
                if metadata.of(role).expires <= now and role not in keys:
                    raise SettingsError(
                        f"repository: {role} has expired", f"give --{role}-key FILE"
                    )
            given = {role for role in due if role in keys}
            if ROOT in given:
                metadata.publish_root(keys, now)
            metadata.publish({*given, TIMESTAMP} - {ROOT}, keys, now)
        return self.state()

    def rotate(self, role: str, new: Ed25519PrivateKey, keys: RoleKeys) -> RepositoryState:
        """Give a role another key; the old one is no longer accepted.

        A device forgets the versions that it saw under the old key, so this also ends what a thief
        of the key has done. If it is interrupted, the same call completes it.

        Args:
            role: Its name.
            new: The new key.
            keys: Of root, as it was; and of the roles that name this one. Not needed for what an
                interrupted call has done.

        Raises:
            SettingsError: A key is missing, not the role's, or another role's.
            EdgeError: The repository is damaged or cannot be written.
        """
        if role not in ROLES:
            raise SettingsError(f"role {role!a}: is not known", f"name one of {', '.join(ROLES)}")
        with self._changing():
            metadata, now = RepositoryMetadata.read(self._metadata), self._now()
            after = {**keys, role: new}
            if metadata.replace_key(role, new):
                metadata.publish_root(after, now, keys if role == ROOT else None)
            if role != ROOT:
                metadata.publish({role}, after, now)
        return self.state()

    def state(self) -> RepositoryState:
        """Return what the repository states.

        Raises:
            EdgeError: It is damaged.
        """
        metadata = RepositoryMetadata.read(self._metadata)
        return RepositoryState(
            {role: metadata.of(role).version for role in ROLES},
            {role: metadata.of(role).expires for role in ROLES},
            tuple(metadata.due(self._now())),
            _channels(metadata.targets.signed.targets),
        )

    @property
    def _metadata(self) -> Path:
        return self.folder / "metadata"

    def _place(self, target: TargetFile, data: bytes) -> None:
        """Write a file under the name by which devices ask for it."""
        (place,) = (self.folder / "targets" / each for each in target.get_prefixed_paths())
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, data, PUBLIC_MODE)

    @contextmanager
    def _changing(self, *, new: bool = False) -> Iterator[None]:
        """Keep other processes from changing the repository.

        Raises:
            SettingsError: It is new, and the folder has files.
            EdgeError: It cannot be written.
        """
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=new)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if new and any(self.folder.iterdir()):
                    raise SettingsError(f"repository {self.folder}: has files", "name a new folder")
                yield
            finally:
                os.close(file)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> EdgeError:
        return EdgeError(
            f"repository {self.folder}: {error.strerror or error}", "let this user write it"
        )


def _channels(targets: Mapping[str, TargetFile]) -> dict[str, str]:
    """Return the name of each channel's release."""
    return {
        path.removeprefix(_CHANNELS).removesuffix(".json"): str(target.custom["release"])
        for path, target in sorted(targets.items())
        if path.startswith(_CHANNELS) and isinstance(target.custom, dict)
    }


def _drop_unnamed(targets: dict[str, TargetFile]) -> None:
    """Remove the files of releases that no channel names."""
    named = set(_channels(targets).values())
    for path in [each for each in targets if each.startswith(_RELEASES)]:
        if path.split("/")[1] not in named:
            del targets[path]
