"""Give memory that is free back to the system after much of it was used for a moment.

A restore reads as many bytes as the rings will take, in pieces that lie between the rings in the
heap. glibc keeps what is freed there: with 100,000 customers a third of the process's memory was
nothing. Elsewhere than with glibc nothing is done, and nothing but memory is lost.
"""

import ctypes
import sys


def give_back() -> bool:
    """Return the heap's free pages to the system; tell whether that could be asked for."""
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return False
    trim(0)
    return True
