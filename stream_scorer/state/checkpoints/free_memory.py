"""Give the memory that a restore needs only for a moment back to the system.

A restore reads as many bytes as the rings will take. They pass through the queues of its consumers,
each with a heap arena for its thread, and through pieces that are allocated between the rings.
glibc keeps freed memory at the top of an arena up to its trim threshold. It raises that threshold
to twice the largest block that was ever freed. With 100,000 customers, a third of the process's
memory was unused. After the restore this is right: the next batch needs the memory again.

Without glibc nothing is done, and the memory stays with the process.
"""

import ctypes
import sys
from functools import cache
from typing import Any

# From glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_EARLY, _LATE = 128 << 10, 2 * _LARGEST_MMAP_THRESHOLD


def release_early() -> bool:
    """From now on return memory freed at an arena's top; return whether glibc accepted."""
    return _keep_at_top(_EARLY)


def release_late() -> bool:
    """From now on keep freed memory, as glibc does after it has freed a large block."""
    return _keep_at_top(_LATE)


def give_back() -> bool:
    """Return the heap's free pages to the system; return whether the C library can do so."""
    trim = _function("malloc_trim")
    if trim is None:
        return False
    trim(0)
    return True


def _keep_at_top(size: int) -> bool:
    option = _function("mallopt")
    # Setting one threshold ends the automatic adjustment of both, so set both.
    return option is not None and bool(
        option(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and option(_TRIM_THRESHOLD, size)
    )


def _function(name: str) -> Any:
    """Return a function of the C library, or None if it does not exist."""
    return getattr(_library(), name, None) if sys.platform.startswith("linux") else None


@cache
def _library() -> ctypes.CDLL:
    """Return the C library; each object of ``CDLL`` has classes, which are cycles."""
    return ctypes.CDLL(None)
