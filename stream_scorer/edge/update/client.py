"""Updates over the air: what a device fetches, verifies and takes, or refuses.

The TUF client (``tuf.ngclient``) verifies the metadata. Around it are what it leaves to its users:
durable versions, a clock that went back, limits of time, and files that are swapped in one step.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from stream_scorer.durable_files import PRIVATE, rename, replace_file, sync_tree
from stream_scorer.edge.settings.device import EdgeUpdates
from stream_scorer.edge.update.fetcher import START_SECONDS, LimitedFetcher
from stream_scorer.edge.update.limits import DOCUMENT_BYTES_MOST, METADATA_BYTES_MOST
from stream_scorer.edge.update.refusals import (
    ROOT,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    UpdateAlteredError,
    UpdateEndlessDataError,
    UpdateMalformedError,
    refused,
)
from stream_scorer.edge.update.release import (
    DOCUMENT,
    Release,
    differences,
    read_channel,
)
from stream_scorer.edge.update.releases_folder import ReleasesFolder
from stream_scorer.edge.update.versions import VersionsFile
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.serving.access.https_fetch import tls_context

_ROTATIONS_MOST: Final = 256
Verify = Callable[[Path, Path | None], object]
"""Verifies the release in a folder, for the rings of the release in another one, if there is one.

Raises :class:`UpdateRefusedError`.
"""


@dataclass(frozen=True, slots=True)
class UpdateSource:
    """Where updates come from, and the limits.

    Attributes:
        url: https URL of the repository.
        channel: The channel whose release is taken.
        ca: CA certificates; None: the system's.
        jump_most: Most by which a version of metadata may rise.
        start_seconds: Time limit of each file, without what its bytes may take.
    """

    url: str
    channel: str
    ca: Path | None
    jump_most: int
    start_seconds: float = START_SECONDS

    @classmethod
    def of(cls, updates: EdgeUpdates) -> "UpdateSource":
        """Return the source in the settings.

        Raises:
            SettingsError: They name none.
        """
        if not updates.url:
            raise SettingsError("setting edge.update.url: is empty", "name the repository's URL")
        return cls(updates.url, updates.channel, updates.ca, updates.version_jump_most)


class ReleaseClient:
    """Takes releases from a repository. It is used by one thread, and never by one that scores.

    Args:
        source: The repository.
        releases: The device's releases.
        verify: Verifies a release before it is taken.
        clock: Seconds since the epoch.

    Raises:
        SettingsError: The CA certificates cannot be read.
    """

    def __init__(
        self,
        source: UpdateSource,
        releases: ReleasesFolder,
        verify: Verify,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._releases = releases
        self._verify = verify
        self._clock = clock
        self._context = tls_context(source.ca)
        self._folder = releases.directory / "update"
        self._metadata = self._folder / "metadata"
        self._updater: Updater | None = None
        self._versions: VersionsFile | None = None
        self._now = 0.0
        self._fetcher: LimitedFetcher | None = None

    def trust(self, root: Path) -> None:
        """Note the root of the repository that this device trusts first, once.

        Args:
            root: A ``N.root.json``, which came to the device by a trusted way.

        Raises:
            SettingsError: It cannot be read, is not a root, or another one is noted already.
            EdgeError: Another process updates the device, or its files cannot be written.
        """
        data = _root(root)
        with self._releases.locked(), refused(lambda: "root"):
            path = self._folder / "root.json"
            if path.exists() and path.read_bytes() != data:
                raise SettingsError(
                    f"{path}: another root is trusted already",
                    "follow rotations by updating; for another repository, provision again",
                )
            self._folder.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, data, PRIVATE)

    def check(self) -> Release | None:
        """Return the release of the channel; None if the device has it, or went back from it.

        Raises:
            UpdateRefusedError: What the repository offers is refused.
            UnavailableError: It does not answer.
            SettingsError: There is no such channel, or no root is trusted yet.
            EdgeError: Another process updates the device, or its files cannot be read or written.
        """
        with self._releases.locked(), refused(self._asked_for):
            updater = self._refreshed()
            info = updater.get_targetinfo(f"channels/{self._source.channel}.json")
            if info is None:
                raise SettingsError(
                    f"setting edge.update.channel: the repository has no channel "
                    f"{self._source.channel!r}",
                    "name another, or publish to it: edge publish add",
                )
            name, digest = self._channel(self._document(updater, info))
            current, denied = self._releases.current(), self._releases.denied()
            found = None
            if digest != denied and (not current or current.name != digest):
                found = self._release(updater, name, digest)
            self._accept()
            if denied and digest != denied:
                self._releases.allow()
            self._updater = updater
            return found

    def install(self, release: Release) -> Path:
        """Fetch, verify and take a release; return its folder.

        Whenever the process ends, ``current`` is the release before or this one, complete.

        Args:
            release: From the last :meth:`check` of this client.

        Raises:
            UpdateRefusedError: A file, or the release, is refused; the device keeps its release.
            UnavailableError: The repository does not answer.
            EdgeError: Another process updates the device, or its disk is full.
        """
        if self._updater is None:
            raise ValueError("install() takes the release that check() returned")
        with self._releases.locked(), refused(self._asked_for):
            current, folder = self._releases.current(), self._releases.folder(release.digest)
            if folder.is_dir() and not differences(folder, release):
                self._verify(folder, current)
            else:
                incoming = self._releases.make_room(release.size)
                self._fetch(self._updater, release, incoming)
                self._verify(incoming, current)
                self._releases.keep(release.digest)
            return self._releases.switch(release.digest)

    def back(self) -> Path:
        """Return to the release before, and do not take the present one again; return its folder.

        The present release is denied until the channel names another one.

        Raises:
            UpdateRefusedError: The release before is not accepted any more.
            EdgeError: There is no release before, or the files cannot be written.
        """
        with self._releases.locked(), refused(lambda: "the release before"):
            current, previous = self._releases.current(), self._releases.previous()
            if current is None or previous is None or current == previous:
                raise EdgeError(
                    f"{self._releases.directory}: there is no release before this one",
                    "publish another release, or provision the device again",
                )
            self._verify(previous, previous)
            self._releases.deny(current.name)
            return self._releases.switch(previous.name)

    def _asked_for(self) -> str:
        return self._fetcher.asked_for if self._fetcher else "metadata"

    def _refreshed(self) -> Updater:
        """Return a TUF client whose metadata are new, verified and noted durably."""
        self._updater = None
        try:
            root = (self._folder / "root.json").read_bytes()
        except FileNotFoundError:
            raise SettingsError(
                f"{self._folder}/root.json: is missing",
                "name the repository's root: stream-scorer edge update --root FILE",
            ) from None
        # What a refused check has fetched leaves no trace: else a thief of a key could leave
        # metadata here that keep the operator's of the same version away.
        checked, scratch = self._folder / "checked", self._folder / "scratch"
        for folder in (checked, scratch):
            shutil.rmtree(folder, ignore_errors=True)
        kept = self._metadata.is_dir()
        if kept:
            shutil.copytree(self._metadata, checked, symlinks=True)
        for folder in (checked, scratch):
            folder.mkdir(mode=0o700, exist_ok=True)
        for role in (TIMESTAMP, SNAPSHOT):
            # Versions are judged by our file, which knows under which keys they were accepted.
            (checked / f"{role}.json").unlink(missing_ok=True)
        versions = VersionsFile(
            self._folder / "versions.json", checked, self._source.jump_most, expected=kept
        )
        self._versions, self._now = versions, self._clock()
        versions.refuse_clock(self._now)
        self._fetcher = LimitedFetcher(
            self._context, scratch, versions.admit, self._source.start_seconds
        )
        base = self._source.url.rstrip("/")
        updater = Updater(
            str(checked),
            f"{base}/metadata/",
            str(scratch),
            f"{base}/targets/",
            fetcher=self._fetcher,
            config=UpdaterConfig(
                max_root_rotations=_ROTATIONS_MOST,
                max_delegations=0,
                root_max_length=METADATA_BYTES_MOST[ROOT],
                timestamp_max_length=METADATA_BYTES_MOST[TIMESTAMP],
                snapshot_max_length=METADATA_BYTES_MOST[SNAPSHOT],
                targets_max_length=METADATA_BYTES_MOST[TARGETS],
            ),
            bootstrap=root,
        )
        updater.refresh()
        versions.refuse_older()
        return updater

    def _accept(self) -> None:
        """Note the metadata of this check durably, and keep them."""
        checked = self._folder / "checked"
        sync_tree(checked)
        if self._versions is not None:
            self._versions.settle(self._now)
        # If the process ends here, the versions are noted, and the metadata are fetched again.
        shutil.rmtree(self._metadata, ignore_errors=True)
        rename(checked, self._metadata)

    def _document(self, updater: Updater, info: TargetFile) -> bytes:
        if info.length > DOCUMENT_BYTES_MOST:
            raise UpdateEndlessDataError(f"{info.path}: has {info.length} bytes")
        return Path(updater.download_target(info)).read_bytes()

    def _channel(self, data: bytes) -> tuple[str, str]:
        try:
            return read_channel(data, self._source.channel)
        except ValueError as error:
            raise UpdateMalformedError(f"channel {self._source.channel}: {error}") from error

    def _release(self, updater: Updater, name: str, digest: str) -> Release:
        info = updater.get_targetinfo(f"releases/{name}/{DOCUMENT}")
        if info is None:
            raise UpdateMalformedError(f"release {name}: is not in the repository")
        try:
            found = Release.from_json(self._document(updater, info))
        except ValueError as error:
            raise UpdateMalformedError(f"release {name}: {error}") from error
        if (found.digest, found.name) != (digest, name):
            raise UpdateAlteredError(f"release {name}: is not the one that the channel names")
        for path in found.files:
            self._target(updater, found, path)
        return found

    def _target(self, updater: Updater, release: Release, path: str) -> TargetFile:
        """Return a file of a release, as the targets name it."""
        file, info = release.files[path], updater.get_targetinfo(f"releases/{release.name}/{path}")
        if info is None:
            raise UpdateMalformedError(f"release {release.name}: has no {path}")
        if (info.length, info.hashes.get("sha256")) != (file.length, file.sha256):
            raise UpdateAlteredError(f"release {release.name}: {path} is another file")
        return info

    def _fetch(self, updater: Updater, release: Release, incoming: Path) -> None:
        for path in release.files:
            info = self._target(updater, release, path)
            updater.download_target(info, str(incoming / path))


def _root(path: Path) -> bytes:
    """Return the bytes of a root that signs itself."""
    try:
        data = path.read_bytes()
        found = Metadata[Root].from_bytes(data)
        found.signed.verify_delegate(ROOT, found.signed_bytes, found.signatures)
    except (OSError, RepositoryError, AttributeError) as error:
        told = error.strerror if isinstance(error, OSError) else "is not the root of a repository"
        raise SettingsError(f"--root {path}: {told}", "name a metadata/N.root.json") from error
    return data
