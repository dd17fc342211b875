"""What a restore needs for a moment goes back to the system.

A restore reads as many bytes as the rings will take: into the queues of its consumers, each
with an arena of the heap for its thread, and in pieces that lie between the rings. glibc keeps what
is freed there. At the top of an arena it keeps up to its trim threshold, which it raises by itself
to twice the largest block that was ever freed; with 100,000 customers a third of the process's
memory was nothing. Later that is right: what a batch needs, the next one needs again.

Elsewhere than with glibc nothing is done, and nothing but memory is lost.
"""

import ctypes
import sys
from typing import Any

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_EARLY, _LATE = 128 << 10, 2 * _LARGEST_MMAP_THRESHOLD


def release_early() -> bool:
    """From now on give back what is freed at an arena's top; tell whether that could be asked."""
    return _keep_at_top(_EARLY)


def release_late() -> bool:
    """From now on keep what is freed, as glibc does by itself after a large block was freed."""
    return _keep_at_top(_LATE)


def give_back() -> bool:
    """Return the heap's free pages to the system; tell whether that could be asked for."""
    trim = _function("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


def _keep_at_top(size: int) -> bool:
    option = _function("mallopt")
    # Whoever sets one threshold sets the other, or it stays where it happens to be.
    return option is not None and bool(
        option(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and option(_TRIM_THRESHOLD, size)
    )


def _function(name: str) -> Any:
    """Return a function of the C library, or None where there is none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
