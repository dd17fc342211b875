"""A read at the start of a process, which waits for the registry for some seconds.

The registry's client finds out that the registry fails for one schema id only if it asks several
times over several seconds. A process that ended at the first failure would never find out.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.kafka.loop.work_interface import Outage
from stream_scorer.ports import Paused
from stream_scorer.telemetry import Listener

_PATIENCE_SECONDS = 30.0
_RETRY_SECONDS = 1.0

Found = TypeVar("Found")


def read_patiently(
    read: Callable[[], Found],
    listener: Listener = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Return what ``read`` returns; repeat it while the registry fails, for 30 s.

    Args:
        read: Reads our own records; when it is repeated, it continues with those that it has read.
        listener: Notified when the registry fails, and when it answers again.
        clock: Seconds; only differences count.
        sleep: Waits for some seconds.

    Raises:
        RegistryUnavailableError: It still fails after that time.
    """
    outage = Outage(listener)
    until = clock() + _PATIENCE_SECONDS
    while True:
        try:
            found = read()
        except RegistryUnavailableError as error:
            if clock() >= until:
                raise
            outage.begin(Paused("registry", str(error)))
            sleep(_RETRY_SECONDS)
        else:
            outage.end()
            return found
