"""Which clock is used for what: only one of them stops while the machine is suspended.

On Linux, ``time.monotonic`` stops while the machine is suspended; the brokers' clocks do not. So:

- **An age that a broker measures, too,** includes suspension: the age of a transaction, the
  duration of a request. :func:`since_boot`.
- **A wait of this process** does not: a retry, a heartbeat, the time in which a worker must report,
  the time in which the group's answer arrives. After a suspension, each has the rest of its time.
  ``time.monotonic``.
- **A time that is compared with timestamps of records** is since the epoch, but must not step when
  the machine's clock is set: ages would jump. :func:`steady_epoch_seconds`.
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

_EPOCH_OFFSET = time.time() - since_boot()


def steady_epoch_seconds() -> float:
    """Return the seconds since the epoch, by the clock as it was set when the process began."""
    return _EPOCH_OFFSET + since_boot()


def machine_seconds(steady: float) -> float:
    """Return a time by the machine's clock as it is set now, for readers of other clocks.

    Args:
        steady: Of :func:`steady_epoch_seconds`.
    """
    return time.time() - (steady_epoch_seconds() - steady)
