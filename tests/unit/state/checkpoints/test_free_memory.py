"""Free memory is returned to the operating system."""

import subprocess
import sys

import pytest

# In a separate process, because memory that other tests freed would be reused first.
_PROGRAM = """
from pathlib import Path
from stream_scorer.state.checkpoints.free_memory import give_back

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1_024

kept, passing = [], []
for _ in range(2_000):
    passing.append(b"x" * 40_000)
    kept.append(b"y" * 1_000)
passing.clear()
before = resident()
give_back()
print(before - resident(), len(kept))
"""

# A thread allocates from its own arena. A large block that was freed before has raised the
# threshold up to which the arena keeps free memory.
_THREAD = """
import sys, threading
from pathlib import Path
from stream_scorer.state.checkpoints.free_memory import give_back, release_early, release_late

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1_024

def work():
    parts = [b"x" * 40_000 for _ in range(1_000)]

del [bytearray(30_000_000)][:]
for change in (release_early, release_late):
    assert change()
    before = resident()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    give_back()
    print(resident() - before)
"""


def _said(program: str) -> list[int]:
    done = subprocess.run(  # noqa: S603 this interpreter and a text above
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done elsewhere")
def test_a_threads_freed_arena_top_is_returned_early_or_late() -> None:
    early, late = _said(_THREAD)
    assert early < 10_000_000, (early, late)
    assert late > 30_000_000, (early, late)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done elsewhere")
def test_free_memory_between_kept_objects_is_returned() -> None:
    freed, kept = _said(_PROGRAM)
    assert freed > 40_000_000, (freed, kept)
    assert kept == 2_000
