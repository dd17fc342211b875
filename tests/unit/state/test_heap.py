"""Free memory goes back to the system."""

import subprocess
import sys

import pytest

# In a process of its own: what other tests left free in the heap would be taken first.
_PROGRAM = """
from pathlib import Path
from stream_scorer.state.heap import give_back

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done elsewhere")
def test_what_lies_free_between_what_is_kept_is_given_back() -> None:
    said = subprocess.run(  # noqa: S603 this interpreter and the text above
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True
    ).stdout.split()
    freed, kept = map(int, said)
    assert freed > 40_000_000, said
    assert kept == 2_000
