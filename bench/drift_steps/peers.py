"""Evidently and NannyML in the suite, at their defaults, on one of its seeds.

Each runs with its own Python, from the hash-locked pins in ``bench/peers``; the first run installs
them below ``.venv-peers/``. How each reads a stream is in its script there. Neither has a setting
of its budget of false alarms over all streams, so there is no delay at our budget.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
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
                      "--no-deps", below=ENVIRONMENTS)  # fmt: skip
        say(f"peers: {name} at its defaults")
        verdict = _verdict(name, python, last_only=quick)
        note = "at its defaults, on one seed; it has no budget over all streams"
        found[name] = figures(verdict) | {"note": note}
        say(f"peers: {name}: {found[name]}")
    return found


def _verdict(name: str, python: Path, *, last_only: bool) -> Verdict:
    total = Verdict()
    chosen = list(enumerate(cases()))[-1 if last_only else 0 :]
    with tempfile.TemporaryDirectory() as folder:
        onsets, files = [], []
        for number, case in chosen:
            generator = np.random.default_rng([suite.SEEDS[0], number])
            values, onset = scenario(generator, case, steps=suite.STEPS)
            files.append(Path(folder) / f"{number}.npy")
            np.save(files[-1], values)
            onsets.append(onset)
        for raised, onset in zip(_alarms(python, name, files), onsets, strict=True):
            total.add(judge(raised, onset, suite.STEPS))
            say(f"peers: {name}: {len(raised)} alarms in a scenario")
    return total


def _alarms(python: Path, name: str, files: list[Path]) -> Iterator[list[tuple[int, int]]]:
    command = [str(python), "-W", "ignore", str(_HERE / f"{name}_suite.py"), *map(str, files)]
    with subprocess.Popen(  # noqa: S603 our own program
        command, text=True, stdout=subprocess.PIPE, env=os.environ | _SILENT
    ) as process:
        for line in process.stdout or ():
            yield [(int(step), int(stream)) for step, stream in json.loads(line)]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
