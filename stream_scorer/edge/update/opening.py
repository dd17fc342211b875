"""The client of updates that the settings name."""

from functools import partial
from pathlib import Path

from stream_scorer.edge.update.client import ReleaseClient, UpdateSource
from stream_scorer.edge.update.releases_folder import ReleasesFolder
from stream_scorer.edge.update.verify_release import VerifiedRelease, verify_release
from stream_scorer.settings import Settings


def open_client(settings: Settings) -> ReleaseClient:
    """Return the client; nothing is fetched yet.

    Raises:
        SettingsError: ``edge.update.url`` is empty, or the CA certificates cannot be read.
    """
    releases = ReleasesFolder(settings.edge.directory)
    return ReleaseClient(
        UpdateSource.of(settings.edge.update), releases, partial(_verify, settings)
    )


def _verify(settings: Settings, folder: Path, serving: Path | None) -> VerifiedRelease:
    return verify_release(folder, settings, serving)
