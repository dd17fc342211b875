"""Compiles a model with m2cgen and times it: runs in m2cgen's own environment.

``m2cgen_script.py MODEL ROWS OUT`` reads a model of LightGBM and rows of numpy, writes scores to
OUT, and prints the seconds of the compilation and the nanoseconds of a row.
"""

import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import lightgbm
import m2cgen
import numpy as np

PASSES = 5
_LOOP = """
void score_rows(double *rows, long count, long width, double *out) {
    double both[2];
    for (long i = 0; i < count; i++) {
        score(rows + i * width, both);
        out[i] = both[1];
    }
}
"""


def c_text(model_file: str) -> str:
    """Return the generated source and a loop over rows."""
    model: Any = lightgbm.LGBMClassifier()
    model._Booster = lightgbm.Booster(model_file=model_file)  # noqa: SLF001 it reads estimators only
    model._n_classes = 2  # noqa: SLF001 the same
    model.fitted_ = True
    return str(m2cgen.export_to_c(model)) + _LOOP


def main() -> None:
    model_file, rows_file, out = sys.argv[1:]
    rows = np.ascontiguousarray(np.load(rows_file), np.float64)
    found = np.empty(len(rows))
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "model.c", Path(folder) / "model.so"
        started = time.perf_counter()
        source.write_text(c_text(model_file))
        command = ["gcc", "-O3", "-shared", "-fPIC", str(source), "-lm", "-o", str(library)]
        subprocess.run(command, check=True)  # noqa: S603 a compiler
        seconds = time.perf_counter() - started
        call = ctypes.CDLL(str(library)).score_rows
        pointer = ctypes.c_void_p
        call.argtypes, call.restype = [pointer, ctypes.c_long, ctypes.c_long, pointer], None
        times = []
        for _ in range(PASSES):
            started = time.perf_counter()
            call(rows.ctypes.data, len(rows), rows.shape[1], found.ctypes.data)
            times.append(time.perf_counter() - started)
        size = library.stat().st_size
    np.save(out, found)
    print(json.dumps({
        "compile_seconds": round(seconds, 1),
        "ns": round(statistics.median(times) / len(rows) * 1e9, 1),
        "bytes": size,
    }))  # fmt: skip


if __name__ == "__main__":
    # The generator calls itself for each part of an expression.
    sys.setrecursionlimit(1 << 20)
    threading.stack_size(1 << 29)
    worker = threading.Thread(target=main)
    worker.start()
    worker.join()
    sys.exit(not Path(sys.argv[3]).exists())
