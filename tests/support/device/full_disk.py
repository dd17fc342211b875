"""A device on a disk of its own, until the disk is full, and after its rows were uploaded.

``python -m tests.support.device.full_disk FOLDER RELEASE`` mounts the disk, which other processes
do not see, and prints a report in JSON. It runs in a mount namespace: see ``on_small_disk``.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from stream_scorer.edge.claims.chain import chained
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.device.scorer import DeviceRefused, DeviceScorer
from stream_scorer.edge.device.state import DeviceState
from tests.support.device.device_world import DEVICE, content, device_world, record

_SIZE: Final = "3m"
_SECONDS: Final = 120.0
_NAMESPACE: Final = ("unshare", "--user", "--map-root-user", "--mount")


def on_small_disk(folder: Path, release: Path) -> dict[str, Any] | None:
    """Return the report of a device in a folder with 3 MB; None where that cannot be mounted."""
    try:
        probe = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False)  # noqa: S603 fixed words
    except FileNotFoundError:
        return None
    if probe.returncode:
        return None
    words = [*_NAMESPACE, sys.executable, "-m", "tests.support.device.full_disk"]
    done = subprocess.run(  # noqa: S603 our module
        [*words, str(folder), str(release)], capture_output=True, check=False, timeout=_SECONDS
    )
    assert done.returncode == 0, done.stderr.decode()
    return dict(json.loads(done.stdout))


def fill(scorer: DeviceScorer, first: int) -> tuple[int, str]:
    """Decide until a transaction is refused; return its number, and why."""
    number = first
    while True:
        try:
            scorer.decide(record(number))
        except DeviceRefused as error:
            return number, error.kind
        number += 1


def uploaded(state: DeviceState) -> list[int]:
    """Delete all rows of the outbox, as after an upload; return their numbers."""
    rows = [each.row for each in state.outbox.first(1_000_000)]
    progress = EdgeProgress(rows[-1].sequence, chained(rows[-1].previous, DEVICE, rows[-1]))
    state.outbox.delete_through(progress)
    return [row.sequence for row in rows]


def filled(folder: Path, release: Path) -> dict[str, Any]:
    """Fill the disk twice; return what was found."""
    world = device_world(folder / "device", release)
    state = world.state()
    with world.scorer(state) as scorer:
        first, why = fill(scorer, 0)
        before = content(state.history)
        again = fill(scorer, first)
        unchanged = content(state.history) == before
        rows = uploaded(state)
        second, why_then = fill(scorer, first)
    # It starts with a full disk, and has all rows.
    state = world.state()
    with world.scorer(state) as scorer:
        reached = state.history.sequence
        rows += uploaded(state)
        scorer.decide(record(second))
    state = world.state()
    rows += uploaded(state)
    state.close()
    return {
        "refused": [why, again[1], why_then], "unchanged": again[0] == first and unchanged,
        "decided": [first, second - first], "sequence": reached, "uploaded": rows,
    }  # fmt: skip


def main() -> None:
    """Mount the disk, and print the report."""
    folder, release = map(Path, sys.argv[1:])
    words = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", str(folder)]
    subprocess.run(words, check=True)  # noqa: S603 a folder of a test
    sys.stdout.write(json.dumps(filled(folder, release)))


if __name__ == "__main__":
    main()
