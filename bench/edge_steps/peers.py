"""tl2cgen, which compiles trees to nested conditions in C, next to our constant kernel.

It runs in a separate environment below ``.venv-matrix/``. Both score the same rows with a model
that LightGBM trained. Its times are those of a batch, without Python in between.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.edge_steps.equality import image
from bench.edge_steps.models import FEATURES, BenchModel
from bench.imports_steps.model_files import read_scoring_model
from bench.imports_steps.speed import data, lightgbm_texts
from stream_scorer.models.importing.imported import ImportOptions
from tests.matrix.environments import made
from tests.support.edge.native_library import NativeScorer, compiled

PINS = "numpy==1.26.4\npackaging==24.2\nscipy==1.15.3\ntl2cgen==1.0.0\ntreelite==4.1.2\n"
ROWS = 20_000
_SCRIPT = Path(__file__).with_name("tl2cgen_script.py")


def measure_peers(*, quick: bool) -> dict[str, Any]:
    """Return tl2cgen's times, size and differences by number of trees."""
    python = made("tl2cgen-1.0.0", PINS, "--no-deps")
    counts = (10,) if quick else (100, 1_000)
    rows = data(FEATURES, ROWS)[0]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = compiled(folder)
        np.save(folder / "rows.npy", rows)
        for trees, text in lightgbm_texts(counts, FEATURES, num_leaves=31).items():
            file, out = folder / "model.txt", folder / "margins.npy"
            file.write_text(text)
            command = [str(python), str(_SCRIPT), str(file), str(folder / "rows.npy"), str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 our own program
            model = read_scoring_model(file, ImportOptions())
            ours = NativeScorer(library, image(BenchModel(model, rows))).results(rows)["margin"]
            differ = int((np.load(out) != ours).sum())
            told = json.loads(done.stdout.splitlines()[-1])
            found[f"{trees:,} trees"] = told | {"rows": ROWS, "margins_that_differ": differ}
    return found
