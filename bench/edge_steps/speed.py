"""How fast is a single row, and does every row take the same time?

- C: single rows in a loop, median of the passes, by bench/edge_steps/timing.c.
- Ours: the stream's kernel and exponential function on single rows, in a compiled loop.
- WebAssembly: single rows in the kernel's own loop, in wasmtime.
- Spread: each row is timed alone several times, and its least time counts, because the scheduler
  adds to some of them. The largest of these is divided by their median.
"""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.edge_steps.equality import image
from bench.edge_steps.models import BOOSTING, BenchModel, rows_of
from bench.harness.script import missed
from stream_scorer.core.arithmetic.exponential import expit
from stream_scorer.core.kernels.compiled import allocating
from stream_scorer.edge.export.targets import NATIVE, compiled_module
from stream_scorer.models.predictors import leaf_kernels, leaf_masks
from stream_scorer.models.predictors.parts import LinearWeights
from tests.support.edge.native_library import FLAGS
from tests.support.edge.wasm_scorer import WasmScorer

Float64 = NDArray[np.float64]

C_MOST, WASM_MOST, SPREAD_MOST = 1.2, 3.0, 3.0
ROWS, REPEATS = 100_000, 5
_TIMING = Path(__file__).parent / "timing.c"


@allocating
def _single_rows(rows, columns, cuts, places, groups, used, table, leaves, baseline, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 numba types them
    """Score rows one after another, each as a batch of one."""
    for row in range(len(rows)):
        one = out[row : row + 1]
        leaf_kernels.sums(
            rows[row : row + 1], columns, cuts, places, groups, used, table, leaves, baseline, one
        )
        out[row] = expit(out[row])


def ours(case: BenchModel, rows: Float64) -> float:
    """Return the nanoseconds of a single row of our own kernel."""
    trees = case.model.parts[0].body
    if isinstance(trees, LinearWeights):
        raise TypeError("the model has no trees")
    masks = leaf_masks.build(trees)
    if masks is None:
        raise TypeError("the trees are too large for masks")
    tables, out = masks.arguments(), np.empty(len(rows))
    _single_rows(rows[:10], *tables, out[:10])
    return _median(lambda: _single_rows(rows, *tables, out), len(rows))


def wasm(case: BenchModel, rows: Float64) -> float:
    """Return the nanoseconds of a single row in wasmtime, without the copying of rows."""
    scorer = WasmScorer(compiled_module(), image(case))
    scorer.results(rows[:4_096])
    return _median(scorer.again, 4_096)


def _median(run: Any, rows: int) -> float:
    """Return the median of the nanoseconds of a row over the repeats."""
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter_ns()
        run()
        found.append((time.perf_counter_ns() - started) / rows)
    return statistics.median(found)


def measure_speed(case: BenchModel, *, quick: bool) -> dict[str, Any]:
    """Return the nanoseconds of a row by contender, and the spread of C.

    Args:
        case: Boosted trees whose tables are masks.
        quick: Fewer rows.
    """
    rows = rows_of(case, ROWS)[-(ROWS // 10 if quick else ROWS) :]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tables.bin").write_bytes(image(case))
        (folder / "rows.bin").write_bytes(np.ascontiguousarray(rows).tobytes())
        program = str(folder / "timing")
        sources = [str(_TIMING), str(NATIVE / "stream_scorer_edge.c")]
        subprocess.run(  # noqa: S603 a compiler, on our sources
            ["gcc", *FLAGS, f"-I{NATIVE}", *sources, "-o", program], check=True  # noqa: S607 the same
        )  # fmt: skip
        done = subprocess.run(  # noqa: S603 our own program
            [program, "tables.bin", "rows.bin", str(len(rows)), str(REPEATS)],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
    in_loop, median, nearly_all, most = map(float, done.stdout.split())
    return {
        "model": BOOSTING,
        "ns_per_score": {
            "c": in_loop,
            "ours": round(ours(case, rows), 1),
            "wasm": round(wasm(case, rows), 1),
        },
        "alone_ns": {"median": median, "99.9 %": nearly_all, "most": most},
        "max_to_median": round(most / median, 2),
    }


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each missed gate."""
    times = document["ns_per_score"]
    return missed(
        ("C takes {} of our own kernel's time", round(times["c"] / times["ours"], 2), "<=", C_MOST),
        (
            "WebAssembly takes {} of our own kernel's time",
            round(times["wasm"] / times["ours"], 2), "<=", WASM_MOST,
        ),
        ("the slowest row takes {} of the median", document["max_to_median"], "<=", SPREAD_MOST),
    )  # fmt: skip
