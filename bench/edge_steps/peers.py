"""tl2cgen and m2cgen, which compile trees to nested conditions in C, next to our constant kernel.

They run in separate environments below ``.venv-matrix/``. All score the same rows with a model that
LightGBM trained. Times are those of a batch, without Python in between, and the seconds are those
from the model's file to a library that can be loaded. One that takes more than five minutes is
stopped.
"""

import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.edge_steps.equality import image
from bench.edge_steps.models import FEATURES, BenchModel
from bench.harness.script import say
from bench.imports_steps.model_files import read_scoring_model
from bench.imports_steps.speed import data, lightgbm_texts
from stream_scorer.models.importing.imported import ImportOptions
from tests.matrix.environments import made
from tests.support.edge.native_library import NativeScorer, compiled


class Peer(NamedTuple):
    """A tool.

    Attributes:
        pins: Of its environment.
        result: What its script writes, a field of our results.
    """

    pins: str
    result: str


PEERS = {
    "tl2cgen": Peer(
        "numpy==1.26.4\npackaging==24.2\nscipy==1.15.3\ntl2cgen==1.0.0\ntreelite==4.1.2\n", "margin"
    ),
    "m2cgen": Peer(
        "joblib==1.4.2\nlightgbm==4.6.0\nm2cgen==0.10.0\nnumpy==1.26.4\nscikit-learn==1.6.1\n"
        "scipy==1.15.3\nthreadpoolctl==3.5.0\n",
        "score",
    ),
}
OURS = "ours"
ROWS, PASSES, SECONDS_MOST = 20_000, 5, 300


def ours(file: Path, rows: NDArray[np.float64]) -> tuple[dict[str, Any], NDArray[np.void]]:
    """Return our numbers and results, from a model's file."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        tables = image(BenchModel(read_scoring_model(file, ImportOptions()), rows))
        library = compiled(Path(folder))
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    scorer = NativeScorer(library, tables)
    results = scorer.results(rows)
    times = []
    for _ in range(PASSES):
        started = time.perf_counter()
        scorer.again()
        times.append(time.perf_counter() - started)
    return {
        "compile_seconds": round(seconds, 1),
        "ns": round(statistics.median(times) / len(rows) * 1e9, 1),
        "bytes": size + len(tables),
    }, results


def peer(name: str, folder: Path, results: NDArray[np.void]) -> dict[str, Any]:
    """Return the numbers of a tool, and of how many rows its results differ.

    Args:
        name: A key of ``PEERS``.
        folder: It has ``model.txt`` and ``rows.npy``.
        results: Ours.
    """
    python = made(f"{name}-peer", PEERS[name].pins, "--no-deps")
    out = folder / "results.npy"
    script = Path(__file__).with_name(f"{name}_script.py")
    command = [str(python), str(script), str(folder / "model.txt"), str(folder / "rows.npy")]
    out.unlink(missing_ok=True)
    with subprocess.Popen(  # noqa: S603 our own program
        [*command, str(out)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            text, _ = process.communicate(timeout=SECONDS_MOST)
        except subprocess.TimeoutExpired:
            # Also its compiler.
            os.killpg(process.pid, signal.SIGKILL)
            return {"stopped_after_seconds": SECONDS_MOST}
    if process.returncode:
        return {"failed_with_code": process.returncode}
    told: dict[str, Any] = json.loads(text.splitlines()[-1])
    differ = int((np.load(out) != results[PEERS[name].result]).sum())
    return told | {"rows": len(results), "rows_that_differ": differ}


def measure_peers(*, quick: bool) -> dict[str, Any]:
    """Return the numbers of the tools and of us, by tool and number of trees."""
    counts = (10,) if quick else (100, 1_000)
    rows = data(FEATURES, ROWS)[0]
    found: dict[str, Any] = {name: {} for name in (OURS, *PEERS)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "rows.npy", rows)
        for trees, text in lightgbm_texts(counts, FEATURES, num_leaves=31).items():
            label = f"{trees:,} trees"
            (folder / "model.txt").write_text(text)
            found[OURS][label], results = ours(folder / "model.txt", rows)
            for name in PEERS:
                found[name][label] = peer(name, folder, results)
                say(f"{name}, {label}: {found[name][label]}")
    return found
