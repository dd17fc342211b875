"""Compiles a model with tl2cgen and times it: runs in tl2cgen's own environment.

``tl2cgen_script.py MODEL ROWS OUT`` reads a model of LightGBM and rows of numpy, writes margins to
OUT, and prints the seconds of the compilation and the nanoseconds of a row.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tl2cgen
import treelite

PASSES = 5


def main() -> None:
    model_file, rows_file, out = sys.argv[1:]
    model = treelite.frontend.load_lightgbm_model(model_file)
    rows = np.load(rows_file)
    with tempfile.TemporaryDirectory() as folder:
        library = str(Path(folder) / "model.so")
        started = time.perf_counter()
        tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={})
        seconds = time.perf_counter() - started
        predictor = tl2cgen.Predictor(library, nthread=1)
        matrix = tl2cgen.DMatrix(rows, dtype="float64")
        times = []
        for _ in range(PASSES):
            started = time.perf_counter()
            margins = predictor.predict(matrix, pred_margin=True)
            times.append(time.perf_counter() - started)
        size = Path(library).stat().st_size
    np.save(out, np.asarray(margins, np.float64).ravel())
    found = {
        "compile_seconds": round(seconds, 1),
        "ns": round(statistics.median(times) / len(rows) * 1e9, 1),
        "bytes": size,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
