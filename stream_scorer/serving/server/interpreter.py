"""The interpreter of a server: its event loop comes first."""

import gc
import sys
from typing import Final

LOOP_WAITS_SECONDS: Final = 0.001
"""How long another thread may run on while the event loop is due; Python's default is 5 ms."""
COLLECTED_AFTER: Final = 20_000
"""New objects after which cycles are looked for; Python's default is 700."""


def prefer_the_loop() -> None:
    """Let the event loop interrupt other threads sooner, and the collector interrupt it less.

    Threads that read topics run Python for some milliseconds at a time. A request has a part of its
    latency there. Requests leave hardly any cycles, so a look for them finds nothing, usually.

    What has been loaded stays: the collector does not look at it any longer.
    """
    sys.setswitchinterval(LOOP_WAITS_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *gc.get_threshold()[1:])
