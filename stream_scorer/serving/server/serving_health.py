"""Whether the API is alive and ready; ``observability.endpoint`` serves the answer."""

import threading
import time
from collections.abc import Callable
from typing import Final

from stream_scorer.serving.server.compose import Composition
from stream_scorer.telemetry import Event, Stopping

HEARTBEAT_SECONDS: Final = 10.0
"""An event loop that does nothing for this long is not live, seconds."""


class ServingHealth:
    """A listener that holds the conditions of liveness and readiness.

    Ready: the server listens, is not stopping, and each of its parts can work. Load is not a
    condition: if it were, all gateways would leave the balancer at the same moment.

    Args:
        composition: Its parts have conditions.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, composition: Composition, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._composition = composition
        self._clock = clock
        self._beat = clock()
        self._lock = threading.Lock()
        self._listening = False
        self._stopping = ""

    def heartbeat(self) -> None:
        """Note that the event loop makes progress."""
        self._beat = self._clock()

    def listening(self) -> None:
        """Note that clients can connect."""
        self._listening = True

    def __call__(self, event: Event) -> None:
        """Note that the process was asked to stop."""
        if isinstance(event, Stopping):
            with self._lock:
                self._stopping = event.cause

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last heartbeat."""
        return self._clock() - self._beat

    @property
    def live(self) -> bool:
        """Whether the event loop made progress within :data:`HEARTBEAT_SECONDS`."""
        return self.silent_seconds <= HEARTBEAT_SECONDS

    def reasons(self) -> list[str]:
        """Return why the process is not ready; empty when it is."""
        with self._lock:
            reasons = [f"stopping: {self._stopping}"] if self._stopping else []
        if not self._listening:
            reasons.append("the server does not listen yet")
        else:
            try:
                reasons += self._composition.reasons()
            except Exception as error:  # noqa: BLE001 the process ends by it, elsewhere
                reasons.append(f"{type(error).__name__}: {error}")
        if not self.live:
            reasons.append(f"no progress for {self.silent_seconds:.0f} s")
        return reasons

    def degraded(self) -> list[str]:
        """Return what works only in part; empty if there is none."""
        return self._composition.degraded() if self._listening else []
