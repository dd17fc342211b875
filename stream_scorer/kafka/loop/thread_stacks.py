"""Where in the code a thread hangs."""

import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

_MOST_FRAMES = 40


def stack_of(pool: ThreadPoolExecutor) -> str:
    """Return the stack of a pool's only thread, innermost call last.

    A compiled kernel has no Python frames: the last line is the call that entered it.

    Args:
        pool: With one worker.

    Returns:
        One line per frame, such as ``core/rings/rings.py:161 fold``; empty without a thread.
    """
    frames = sys._current_frames()  # noqa: SLF001 the documented way to see another thread
    for thread in pool._threads:  # noqa: SLF001 the pool names its threads nowhere else
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            found = traceback.extract_stack(frame)[-_MOST_FRAMES:]
            return "\n".join(f"{each.filename}:{each.lineno} {each.name}" for each in found)
    return ""
