"""Updates over the air while the device decides: look, take, change over, or go back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from stream_scorer.edge.update.client import ReleaseClient
from stream_scorer.edge.update.opening import open_client
from stream_scorer.errors import EdgeUpdateError, SettingsError, StreamScorerError, UnavailableError
from stream_scorer.settings import Settings
from stream_scorer.telemetry import DeviceUpdated, Listener

_JITTER: Final = 0.3
"""Devices that were started together do not ask together."""

Reload = Callable[[], Awaitable[StreamScorerError | None]]
"""Changes over to the release in ``current``; returns why it cannot decide with it."""


async def follow_updates(settings: Settings, reload: Reload, listener: Listener) -> None:
    """Take the releases of the channel, until cancelled.

    What the repository offers does not end the device: it decides with the release that it has.

    Args:
        settings: The repository, and how often it is asked.
        reload: Changes over.
        listener: Notified of updates and of refused ones.

    Raises:
        SettingsError: The CA certificates cannot be read.
        StreamScorerError: The device cannot decide with a release that it took, nor with the one
            before.
    """
    client = open_client(settings)
    while True:
        label = ""
        try:
            label = await asyncio.to_thread(_taken, client)
        except StreamScorerError as error:
            listener(DeviceUpdated(_kind(error), str(error)))
        if label:
            await _change_over(client, reload, label, listener)
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 no secret
        await asyncio.sleep(settings.edge.update.check_seconds * spread)


def _taken(client: ReleaseClient) -> str:
    """Take a release if there is another one; return its label, empty if there is none."""
    release = client.check()
    if release is None:
        return ""
    client.install(release)
    return release.label


async def _change_over(
    client: ReleaseClient, reload: Reload, label: str, listener: Listener
) -> None:
    failure = await reload()
    if failure is None:
        listener(DeviceUpdated("", label))
        return
    await asyncio.to_thread(client.back)
    listener(DeviceUpdated(_kind(failure), f"{label}: {failure}"))
    before = await reload()
    if before is not None:
        raise before


def _kind(error: StreamScorerError) -> str:
    """Return the short name of an error, for the metric."""
    if isinstance(error, EdgeUpdateError):
        return str(getattr(error, "kind", "")) or "refused"
    if isinstance(error, SettingsError):
        return "settings"
    return "unavailable" if isinstance(error, UnavailableError) else "unfit"
