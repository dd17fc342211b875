"""``make test-matrix``: tests whether other versions of the libraries change decisions.

Each pair of numpy and scikit-learn gets a separate environment under ``.venv-matrix/``. The other
libraries are those of ``requirements-run.lock``. In each environment, ``stream-scorer models
validate`` checks the golden rows of every bundle in the store. It prints a table, and one JSON
object as the last line. The exit code is 1 if a decision changes, a bundle is refused, or bits
differ under the bundle's own versions.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.matrix.environments import ROOT, made

LOCK = ROOT / "requirements-run.lock"
PAIRS = (("2.2.6", "1.6.1"), ("2.3.5", "1.7.2"), ("2.3.5", "1.8.0"))
"""Versions of numpy and scikit-learn, in addition to the current environment."""

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ \\;]+)(?: *;([^\\]*))?", re.MULTILINE)
_VARIED = frozenset({"numpy", "scikit-learn"})


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one bundle in one environment.

    Attributes:
        model: NAME:VERSION.
        numpy: Version.
        scikit_learn: Version.
        told: Output of ``models validate --json``; None if the bundle was refused.
        reason: Why it was refused or failed; empty otherwise.
    """

    model: str
    numpy: str
    scikit_learn: str
    told: dict[str, Any] | None
    reason: str

    @property
    def held(self) -> bool:
        """Whether the bundle passed."""
        return self.told is not None and bool(self.told["held"]) and not self.reason


def constraints(lock: str, numpy: str, scikit_learn: str) -> str:
    """Return pip's constraints: the lock's pins without hashes, and this pair.

    Args:
        lock: Text of a lock file.
        numpy: Version that replaces the lock's.
        scikit_learn: The same.
    """
    lines = [f"numpy=={numpy}", f"scikit-learn=={scikit_learn}"]
    for name, version, marker in _PIN.findall(lock):
        if name.lower() not in _VARIED:
            lines.append(f"{name}=={version}" + (f" ;{marker.rstrip()}" if marker else ""))
    return "\n".join(lines) + "\n"


def environment(numpy: str, scikit_learn: str) -> Path:
    """Make an environment, unless a complete one exists; return its Python."""
    # The pins are requirements, not only constraints: the lock has all that is needed to run.
    return made(
        f"numpy-{numpy}-scikit-learn-{scikit_learn}",
        constraints(LOCK.read_text(), numpy, scikit_learn),
    )


def ask(python: Path, model: str) -> Answer:
    """Validate a bundle with an environment's Python."""
    code = "from stream_scorer.cli.main import main; main()"
    asked = subprocess.run(  # noqa: S603 our own program
        [str(python), "-c", code, "models", "validate", model, "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    reason = asked.stderr.strip().splitlines()[-1] if asked.returncode else ""
    told = json.loads(asked.stdout) if asked.stdout.strip() else None
    return Answer(model, _version(python, "numpy"), _version(python, "scikit-learn"), told, reason)


def report(answers: list[Answer]) -> dict[str, Any]:
    """Return the last line: numbers of environments and bundles, and whether a decision changed."""
    return {
        "environments": len({(one.numpy, one.scikit_learn) for one in answers}),
        "numpy": sorted({one.numpy for one in answers}),
        "scikit_learn": sorted({one.scikit_learn for one in answers}),
        "bundles": sorted({one.model for one in answers}),
        "rows": sum(one.told["rows"] for one in answers if one.told),
        "flips": sum(one.told["flips"] for one in answers if one.told),
        "refused": [f"{one.model}: {one.reason}" for one in answers if not one.held],
    }


def table(answers: list[Answer]) -> list[str]:
    """Return one line for each bundle in each environment."""
    heading = f"{'numpy':8} {'scikit-learn':13} {'model':14} {'promise':10} "
    lines = [f"{heading}{'raw bits':>9} {'scores':>8} {'largest':>9} {'flips':>5}"]
    for one in answers:
        start = f"{one.numpy:8} {one.scikit_learn:13} {one.model:14}"
        if one.told is None:
            lines.append(f"{start} {one.reason}")
            continue
        told = one.told
        rows = told["rows"]
        lines.append(
            f"{start} {told['promise']:10} {told['raw_equal']:>4}/{rows:<4} "
            f"{told['scores_equal']:>4}/{rows:<3} {told['largest_difference']:9.1e} "
            f"{told['flips']:5}"
        )
    return lines


def models() -> list[str]:
    """Return the bundles in the store."""
    store = ROOT / "models"
    return sorted(
        f"{p.parent.parent.name}:{p.parent.name}" for p in store.glob("*/*/manifest.json")
    )


def _version(python: Path, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(  # noqa: S603 our own program
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> int:
    """Make the environments, validate each bundle in each, and print the results."""
    parser = argparse.ArgumentParser(prog="make test-matrix", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the oldest pair alone")
    pairs = PAIRS[:1] if parser.parse_args().quick else PAIRS
    pythons = [Path(sys.executable), *(environment(*pair) for pair in pairs)]
    answers = [ask(python, model) for python in pythons for model in models()]
    found = report(answers)
    sys.stdout.write("\n".join(table(answers)) + f"\n{json.dumps(found)}\n")
    return 1 if found["flips"] or found["refused"] else 0


if __name__ == "__main__":
    sys.exit(main())
