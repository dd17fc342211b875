"""Free memory goes back to the system."""

import sys
from pathlib import Path

import pytest

from stream_scorer.state.heap import give_back


def _resident() -> int:
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) * 1_024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is done elsewhere")
def test_what_lies_free_between_what_is_kept_is_given_back() -> None:
    kept, passing = [], []
    for _ in range(2_000):
        passing.append(bytes(40_000))
        kept.append(bytes(1_000))
    passing.clear()
    before = _resident()
    if not give_back():
        pytest.skip("not glibc")
    assert before - _resident() > 40_000_000
    assert len(kept) == 2_000
