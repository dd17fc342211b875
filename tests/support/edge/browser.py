"""The exported page in Debian's Chromium, without a network."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_scorer.edge.native.image import RESULT
from tests.support.edge.checked_programs import run

_TOLD = re.compile(
    r'<pre id="selftest" hidden="">(\d+) golden rows, (\d+) differ\n([0-9a-f]+)</pre>'
)


def self_test(page: Path, profile: Path) -> tuple[int, int, NDArray[np.void]]:
    """Let the page score its golden rows; return how many, how many differ, and RESULT[n].

    The browser resolves no name, so the page has what it needs or fails.

    Args:
        page: The page.
        profile: A folder for the browser's files; it must not exist.
    """
    code, out, err = run(
        page.parent, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=60000", f"{page.resolve().as_uri()}#selftest",
    )  # fmt: skip
    assert code == 0, err
    found = _TOLD.search(out)
    assert found, out[-2_000:]
    return int(found[1]), int(found[2]), np.frombuffer(bytes.fromhex(found[3]), RESULT)
