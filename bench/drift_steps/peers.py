"""Evidently and NannyML in the suite, at their defaults, on one of its seeds.

Each runs with its own Python, from the hash-locked pins in ``bench/peers``; the first run installs
them below ``.venv-peers/``. How each reads a stream is in its script there. Neither has a setting
of its budget of false alarms over all streams, so there is no delay at our budget.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.drift_steps import suite
from bench.drift_steps.detectors import figures
from bench.drift_steps.judge import Verdict, judge
from bench.drift_steps.scenarios import cases, scenario
from bench.harness.script import say
from tests.matrix.environments import made
from tests.oip.peers.servers import ENVIRONMENTS

NAMES = ("evidently", "nannyml")
_HERE = Path(__file__).parents[1] / "peers"
_SILENT = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
"""Neither sends anything home."""


def measure(*, quick: bool) -> dict[str, Any]:
    """Return {name: figures as those of a detector}."""
    found = {}
    for name in NAMES:
        python = made(name, (_HERE / f"{name}.lock").read_text(), "--require-hashes",
                      below=ENVIRONMENTS)  # fmt: skip
        say(f"peers: {name} at its defaults")
        verdict = _verdict(name, python, last_only=quick)
        note = "at its defaults, on one seed; it has no budget over all streams"
        found[name] = figures(verdict) | {"note": note}
        say(f"peers: {name}: {found[name]}")
    return found


def _verdict(name: str, python: Path, *, last_only: bool) -> Verdict:
    total = Verdict()
    chosen = list(enumerate(cases()))
    for number, case in chosen[-1:] if last_only else chosen:
        values, onset = scenario(
            np.random.default_rng([suite.SEEDS[0], number]), case, steps=suite.STEPS
        )
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "values.npy"
            np.save(file, values)
            raised = _alarms(python, name, file)
        total.add(judge(raised, onset, suite.STEPS))
        say(f"peers: {name}: case {number + 1} of {len(chosen)}, {len(raised)} alarms")
    return total


def _alarms(python: Path, name: str, file: Path) -> list[tuple[int, int]]:
    ran = subprocess.run(  # noqa: S603 our own program
        [str(python), str(_HERE / f"{name}_suite.py"), str(file)], check=True, text=True,
        stdout=subprocess.PIPE, env=os.environ | _SILENT,
    )  # fmt: skip
    (raised,) = json.loads(ran.stdout.splitlines()[-1]).values()
    return [(int(step), int(stream)) for step, stream in raised]
