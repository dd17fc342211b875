"""Kernels with bounds checks: unit tests, seeded mutation, and a test that the checks find defects.

python -m tests.bounds [--quick] [--seconds N] [--seed N] [--only units|mutation|self-check]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_UNITS = (
    "tests/unit/codec/reading/test_differential.py", "tests/unit/codec/writing/test_encode.py",
    "tests/unit/codec/reading/test_hostile.py", "tests/unit/codec/reading/test_random_schemas.py",
    "tests/unit/codec/reading/test_decode_program.py", "tests/unit/codec/reading/test_mapped.py",
    "tests/unit/core", "tests/unit/state",
    "tests/unit/state/partitions/test_forged_buckets.py",
    "tests/unit/models/predictors/test_predictors.py", "tests/unit/models/predictors/test_trees.py",
    "tests/unit/models/predictors/test_kernels.py",
)  # fmt: skip


def _environment(first: Path) -> dict[str, str]:
    cache = _ROOT / ".bounds-cache"
    return os.environ | {
        "PYTHONPATH": f"{first}{os.pathsep}{_ROOT}",
        "STREAM_SCORER_BOUNDS_CACHE": os.environ.get("STREAM_SCORER_BOUNDS_CACHE") or str(cache),
        # The compiled code is checked, not fast, so it needs less optimisation.
        "NUMBA_OPT": "1",
    }


def _units() -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
               "tests.bounds.plugin", "--timeout", "1800", *_UNITS]  # fmt: skip
    return subprocess.run(command, env=_environment(_ROOT), cwd=_ROOT, check=False).returncode == 0  # noqa: S603 our own interpreter


def _mutated(seconds: float, seed: int, root: Path) -> tuple[bool, str]:
    """Run the mutation in a separate process; return whether it passed, and its last line."""
    command = [sys.executable, "-c", "from tests.bounds.__main__ import mutate; mutate()",
               str(seconds), str(seed)]  # fmt: skip
    done = subprocess.run(  # noqa: S603 our own interpreter
        command, env=_environment(root), cwd=root, check=False, capture_output=True, text=True
    )
    if done.returncode < 0:
        return False, f"finding: ended by {signal.Signals(-done.returncode).name}"
    words = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return done.returncode == 0, words[-1] if words else f"exit code {done.returncode}"


def mutate() -> None:
    """Try the cases; called in a separate process."""
    from tests.bounds import checking  # noqa: PLC0415 only this process compiles with checks

    checking.install()
    from tests.bounds import mutation  # noqa: PLC0415 imports kernels

    try:
        counts = mutation.run(float(sys.argv[1]), int(sys.argv[2]))
    except AssertionError as error:
        sys.stdout.write(f"finding: {error}\n")
        sys.exit(1)
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    sys.stdout.write(f"0 findings in {counts.total():,} cases: {told}\n")


def _self_check(seconds: float, seed: int) -> bool:
    from tests.bounds import mutants  # noqa: PLC0415 needed only here

    seen = True
    for mutant in mutants.chosen(seed):
        with tempfile.TemporaryDirectory() as folder:
            mutants.make(mutant, Path(folder))
            sound, told = _mutated(seconds, seed, Path(folder))
        noticed = not sound and told.startswith("finding: ")
        seen &= noticed
        sys.stdout.write(f"without {mutant.name}: {told if noticed else 'NOT NOTICED: ' + told}\n")
        sys.stdout.flush()
    return seen


def main() -> None:
    """Run the parts; the exit code is 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bounds", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="40 seconds of mutation alone")
    parser.add_argument("--seconds", type=float, default=600.0, help="of mutation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("units", "mutation", "self-check"))
    asked = parser.parse_args()
    only = "mutation" if asked.quick else asked.only
    began = time.monotonic()
    failed = []
    if only in (None, "units") and not _units():
        failed.append("units")
    if only in (None, "mutation"):
        sound, told = _mutated(40.0 if asked.quick else asked.seconds, asked.seed, _ROOT)
        sys.stdout.write(f"{told}\n")
        failed += [] if sound else ["mutation"]
    if only in (None, "self-check") and not _self_check(min(asked.seconds, 60.0), asked.seed):
        failed.append("self-check")
    sys.stdout.write(
        f"{time.monotonic() - began:.0f} s; failed: {', '.join(failed) or 'nothing'}\n"
    )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
