"""How fast is a single row, and does every row take the same time?

- C: single rows in a loop of the kernel's shared library.
- Ours: the stream's kernel and exponential function on single rows, in a compiled loop.
- WebAssembly: single rows in the kernel's own loop, in wasmtime, without the copying of rows.
- Spread: each row is timed alone several times, and its least time counts, because the scheduler
  adds to some of them. The largest of these is divided by their median. See timing.c.

All score the same rows, in interleaved rounds, so that what else the machine does meets each of
them; and by the time of the thread on the processor. The ratios are medians of the rounds' ratios,
and times are medians.
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
from bench.harness.rounds import measure
from bench.harness.script import missed
from stream_scorer.core.arithmetic.exponential import expit
from stream_scorer.core.kernels.compiled import allocating
from stream_scorer.edge.export.targets import NATIVE, compiled_module
from stream_scorer.models.predictors import leaf_kernels, leaf_masks
from stream_scorer.models.predictors.parts import LinearWeights
from tests.support.edge.native_library import FLAGS, NativeScorer, compiled
from tests.support.edge.wasm_scorer import AT_ONCE, WasmScorer

Float64 = NDArray[np.float64]

C_MOST, WASM_MOST, SPREAD_MOST = 1.2, 3.0, 3.0
ROUNDS, PASSES, SPREAD_ROWS, REPEATS = 31, 5, 100_000, 11
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


def tables_of(case: BenchModel) -> tuple[Any, ...]:
    """Return the tables of the stream's kernel.

    Raises:
        TypeError: The model is not of trees that have masks.
    """
    trees = case.model.parts[0].body
    masks = None if isinstance(trees, LinearWeights) else leaf_masks.build(trees)
    if masks is None:
        raise TypeError("a model of small trees is needed")
    return masks.arguments()


def nanoseconds(case: BenchModel, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return the nanoseconds of a single row in each round, by contender.

    Raises:
        SystemExit: The contenders have other scores.
    """
    rows = rows_of(case, SPREAD_ROWS)[-AT_ONCE:]
    tables, scores = tables_of(case), np.empty(len(rows))
    data = image(case)
    c, wasm = NativeScorer(compiled(folder), data), WasmScorer(compiled_module(), data)

    def ours() -> None:
        for _ in range(PASSES):
            _single_rows(rows, *tables, scores)

    def native() -> None:
        for _ in range(PASSES):
            c.again()

    def web() -> None:
        for _ in range(PASSES):
            wasm.again()

    ours()
    for scorer in (c, wasm):
        if scorer.results(rows)["score"].tobytes() != scores.tobytes():
            raise SystemExit(f"{type(scorer).__name__} has other scores")
    seconds = measure({"c": native, "ours": ours, "wasm": web}, rounds, time.thread_time)
    each = len(rows) * PASSES
    return {name: [one / each * 1e9 for one in found] for name, found in seconds.items()}


def spread(case: BenchModel, folder: Path, count: int) -> tuple[float, float, float]:
    """Return the nanoseconds of rows that C scores alone: median, 99.9 % point and maximum."""
    (folder / "tables.bin").write_bytes(image(case))
    (folder / "rows.bin").write_bytes(rows_of(case, count)[-count:].tobytes())
    program = str(folder / "timing")
    sources = [str(_TIMING), str(NATIVE / "stream_scorer_edge.c")]
    subprocess.run(  # noqa: S603 a compiler, on our sources
        ["gcc", *FLAGS, f"-I{NATIVE}", *sources, "-o", program], check=True  # noqa: S607 the same
    )  # fmt: skip
    done = subprocess.run(  # noqa: S603 our own program
        [program, "tables.bin", "rows.bin", str(count), str(REPEATS)],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    median, nearly_all, most = map(float, done.stdout.split())
    return median, nearly_all, most


def measure_speed(case: BenchModel, *, quick: bool) -> dict[str, Any]:
    """Return the nanoseconds of a row by contender, and the spread of C.

    Args:
        case: Boosted trees whose tables are masks.
        quick: Fewer rows and rounds.
    """
    with tempfile.TemporaryDirectory() as name:
        times = nanoseconds(case, Path(name), 5 if quick else ROUNDS)
        alone = spread(case, Path(name), SPREAD_ROWS // 10 if quick else SPREAD_ROWS)
    ratios = {
        name: statistics.median(one / own for one, own in zip(found, times["ours"], strict=True))
        for name, found in times.items()
    }
    return {
        "model": BOOSTING,
        "ns_per_score": {
            name: round(statistics.median(found), 1) for name, found in times.items()
        },
        "times_ours": {name: round(ratios[name], 3) for name in ("c", "wasm")},
        "alone_ns": dict(zip(("median", "99.9 %", "most"), alone, strict=True)),
        "max_to_median": round(alone[2] / alone[0], 2),
    }  # fmt: skip


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each missed gate."""
    ratios = document["times_ours"]
    return missed(
        ("C takes {} of our own kernel's time", ratios["c"], "<=", C_MOST),
        ("WebAssembly takes {} of our own kernel's time", ratios["wasm"], "<=", WASM_MOST),
        ("the slowest row takes {} of the median", document["max_to_median"], "<=", SPREAD_MOST),
    )
