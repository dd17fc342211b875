"""File descriptors: each connection takes one, and a server without a free one accepts no client.

Granian's listener for TLS does not recover from that: it accepts nothing more, even when
descriptors are free again. Connections whose TLS handshake is unfinished do not count among
``serving.connections_max``, so a client can take all descriptors. The process then ends, to be
started again.
"""

import os
import resource
import time
from collections.abc import Callable
from typing import Final

from stream_scorer.errors import SettingsError, UnavailableError

EXHAUSTED_SECONDS: Final = 15.0
"""For this long no descriptor may be free; an unfinished TLS handshake ends after 10 seconds."""
_OWN: Final = 256
"""Descriptors for everything but connections: topics, logs, probes, gRPC's polling."""
_WANTED: Final = 65_536


def allow_descriptors(connections: int) -> None:
    """Raise the process's limit as far as it may, up to 65,536 and room for all connections.

    Args:
        connections: ``serving.connections_max``.

    Raises:
        SettingsError: The limit is below what the connections need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OWN
    wanted = max(_WANTED, needed)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if most < needed:
        raise SettingsError(
            f"serving.connections_max {connections}: the process may open only {most} files",
            f"raise its limit (ulimit -n) to {needed} or more, or lower the setting",
        )
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class DescriptorWatch:
    """Notices when no descriptor has been free for too long.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None

    def check(self) -> None:
        """Look whether a descriptor is free.

        Raises:
            UnavailableError: None has been free at any call for :data:`EXHAUSTED_SECONDS`.
        """
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            now = self._clock()
            if self._since is None:
                self._since = now
            if now - self._since >= EXHAUSTED_SECONDS:
                raise UnavailableError(
                    f"no file descriptor has been free for {EXHAUSTED_SECONDS:.0f} s",
                    "start the process again, and limit connections in front of it",
                ) from None
        else:
            self._since = None
