"""Which clock measures what: a suspended machine stops one of them.

On Linux, ``time.monotonic`` stands still while the machine is suspended, and the brokers' clocks do
not. So:

- **An age that a broker judges as well** counts suspension: how long a transaction has been open,
  how long a request was under way. :func:`since_boot`.
- **A wait of this process** does not: a retry, a heartbeat, the time in which a worker must report,
  the time in which the group's answer arrives. After a suspension everyone gets the rest of their
  time. ``time.monotonic``.
"""

import time
from collections.abc import Callable
from functools import partial

Clock = Callable[[], float]
"""Seconds since some moment; never goes back."""


def _since_boot() -> Clock:
    number = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None:
        return time.monotonic
    try:
        time.clock_gettime(number)
    except OSError:
        # Known to the library, not to the kernel.
        return time.monotonic
    return partial(time.clock_gettime, number)


since_boot: Clock = _since_boot()
"""Seconds that count suspension too; ``time.monotonic`` on platforms without such a clock."""
