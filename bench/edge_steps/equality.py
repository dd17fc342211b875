"""Are the results of C, WebAssembly and numpy those of the stream, bit for bit?

Each model is scored by the stream's predictor, by the C kernel that gcc and clang compiled, by the
WebAssembly module in wasmtime and in Node, and by numpy. The rows are on every cut and on the
numbers next to it, and have missing, infinite, subnormal and signed zero values. Margins, scores
and outcomes are compared as bytes. A second process does the same on a C library that may not use
fused operations; its digests must be the same. That it is such a library is shown by its own
``exp``, whose last bits must differ from those of the first process.

``python -m bench.edge_steps.equality FOLDER`` prints the digests of saved models.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from bench.edge_steps.models import BOOSTING, BenchModel, rows_of, save, saved
from bench.harness.script import say
from stream_scorer.core.decision.policy import Thresholds
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.edge.export.golden_rows import cuts_of, results
from stream_scorer.edge.export.policy_image import policy_image
from stream_scorer.edge.export.table_image import image_of
from stream_scorer.edge.export.targets import MODULE, NATIVE, compiled_module
from stream_scorer.edge.native.check import as_results
from stream_scorer.edge.native.image import RESULT
from stream_scorer.edge.native.portable import ImageScorer
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.edge.native_library import NativeScorer, compiled
from tests.support.edge.wasm_scorer import WasmScorer

Float64 = NDArray[np.float64]

ROOT = Path(__file__).parents[2]
ROWS, ROWS_OF_OTHERS, ROWS_QUICK = 1_000_000, 200_000, 20_000
TARGETS = ("c", "c_clang", "wasm", "wasm_node", "python")
CPU = Path("/proc/cpuinfo")
NO_FUSED = "glibc.cpu.hwcaps=-FMA,-AVX2,-FMA4,-AVX2_Usable,-FMA_Usable"
POLICY = policy_image(Plan(), Thresholds(0.2, 0.6), Outcome.REVIEW)
_CHUNK = 100_000
_LIBRARY = "library.npy"
_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
import { Scorer } from "./scorer.mjs";
const scorer = await Scorer.open(readFileSync("stream_scorer_edge.wasm"), readFileSync("tables.bin"));
const rows = Uint8Array.from(readFileSync("rows.bin")).buffer;
writeFileSync("results.bin", scorer.results_of(new Float64Array(rows)));
"""  # noqa: E501 a script


def image(case: BenchModel) -> bytes:
    """Return the table image of a model."""
    return image_of(case.model, POLICY, tuple(f"f{n}" for n in range(case.model.feature_count)))


def stream_results(predictor: ScoringPredictor, rows: Float64) -> NDArray[np.void]:
    """Return RESULT[n], as the stream decides."""
    found = np.zeros(len(rows), RESULT)
    # If a model refuses one row, each row of its batch is scored alone.
    usable = np.isfinite(rows).all(axis=1)
    for chosen in (np.flatnonzero(usable), np.flatnonzero(~usable)):
        some = np.ascontiguousarray(rows[chosen])
        none = np.zeros((len(some), 0), np.uint16)
        found[chosen] = results(predictor, some, POLICY, (), np.zeros(len(some), np.int64), none)
    return found


class Contenders:
    """The targets, compiled once into a folder.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._libraries = {
            "c": compiled(folder, compiler="gcc"), "c_clang": compiled(folder, compiler="clang"),
        }  # fmt: skip
        self._module = compiled_module()
        (folder / MODULE).write_bytes(self._module)
        (folder / "scorer.mjs").write_bytes((NATIVE / "scorer.mjs").read_bytes())
        (folder / "score.mjs").write_text(_NODE)

    def results(self, target: str, tables: bytes, rows: Float64) -> NDArray[np.void]:
        """Return RESULT[n] of a target."""
        if target in self._libraries:
            return NativeScorer(self._libraries[target], tables).results(rows)
        if target == "wasm":
            return WasmScorer(self._module, tables).results(rows)
        if target == "python":
            return as_results(ImageScorer(tables).decide(rows))
        (self._folder / "tables.bin").write_bytes(tables)
        (self._folder / "rows.bin").write_bytes(rows.tobytes())
        subprocess.run(["node", "score.mjs"], cwd=self._folder, check=True)  # noqa: S607 Node
        return np.frombuffer((self._folder / "results.bin").read_bytes(), RESULT)


def compare(cases: Mapping[str, BenchModel], *, quick: bool) -> dict[str, Any]:
    """Return the number of rows, of equal rows by target, of cuts by model, and the digests.

    Each cut has three rows: on it, and on the numbers next to it.

    Args:
        cases: The models.
        quick: Fewer rows.
    """
    rows_of_all, equal = 0, dict.fromkeys(TARGETS, 0)
    digests: dict[str, dict[str, str]] = {}
    by_model: dict[str, int] = {}
    cuts = {name: len(cuts_of(case.model)) for name, case in cases.items()}
    with tempfile.TemporaryDirectory() as folder:
        contenders = Contenders(Path(folder))
        for name, case in cases.items():
            count = ROWS_QUICK if quick else ROWS if name == BOOSTING else ROWS_OF_OTHERS
            rows = rows_of(case, count)
            tables = image(case)
            predictor = ScoringPredictor(case.model, own_exponential=True)
            sums = {target: hashlib.sha256() for target in ("stream", *TARGETS)}
            for some in _chunks(rows):
                want = stream_results(predictor, some)
                sums["stream"].update(want.tobytes())
                for target in TARGETS:
                    found = contenders.results(target, tables, some)
                    sums[target].update(found.tobytes())
                    equal[target] += equal_rows(found, want)
            rows_of_all += len(rows)
            by_model[name] = len(rows)
            digests[name] = {target: digest.hexdigest() for target, digest in sums.items()}
            say(f"{name}: {len(rows):,} rows compared")
    return {
        "rows": rows_of_all, "equal": equal, "rows_of": by_model, "cuts_of": cuts,
        "digests": digests,
    }  # fmt: skip


def _chunks(rows: Float64) -> Iterator[Float64]:
    for first in range(0, len(rows), _CHUNK):
        yield rows[first : first + _CHUNK]


def equal_rows(found: NDArray[np.void], want: NDArray[np.void]) -> int:
    """Return how many rows have the same bytes."""
    size = RESULT.itemsize
    pairs = (np.ascontiguousarray(each).view("u1").reshape(-1, size) for each in (found, want))
    first, second = pairs
    return int((first == second).all(axis=1).sum())


class Unfused(NamedTuple):
    """What a process found whose C library may not use fused operations.

    Attributes:
        digests: Of all results, by model and target.
        library_differs: Of 1,000,000 scores by the C library's ``exp``, how many differ from those
            in this process. If none does, the other process proves nothing.
    """

    digests: dict[str, dict[str, str]]
    library_differs: int


def fuses() -> bool:
    """Whether this machine has fused operations, so that the C library has two variants."""
    flags = re.search(r"^flags\s*:(.*)$", CPU.read_text() if CPU.exists() else "", re.MULTILINE)
    return flags is not None and "fma" in flags[1].split()


def _library_scores() -> Float64:
    """Return 1,000,000 scores by the C library's ``exp``."""
    found: Float64 = special.expit(np.random.default_rng(12).uniform(-12, 12, 1_000_000))
    return found


def without_fused(cases: Mapping[str, BenchModel], *, quick: bool) -> Unfused:
    """Score the same rows in a process whose C library may not use fused operations.

    Args:
        cases: The models.
        quick: Fewer rows.
    """
    module = "bench.edge_steps.equality"
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), cases)
        command = [sys.executable, "-m", module, folder, *(["--quick"] * quick)]
        done = subprocess.run(  # noqa: S603 our own program
            command, cwd=ROOT, env=os.environ | {"GLIBC_TUNABLES": NO_FUSED},
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        there = np.load(Path(folder) / _LIBRARY)
    return Unfused(json.loads(done.stdout), int((there != _library_scores()).sum()))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    np.save(place / _LIBRARY, _library_scores())
    print(json.dumps(compare(saved(place), quick="--quick" in sys.argv)["digests"]))
