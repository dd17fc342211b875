"""Bundles of format 1, as earlier releases wrote them."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops
import skops.io
from numpy.typing import NDArray

from stream_scorer.core.features.engines import FIRST_ENGINE
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.bundle import Libraries, Manifest, content_hash_1
from stream_scorer.models.importing.scikit_learn.convert import predictor_for
from stream_scorer.models.importing.scikit_learn.format_1 import arrays_of
from stream_scorer.models.importing.scikit_learn.read import kind_of, parameters_of
from tests.support.models.bundle_cases import FRAUD, ROWS, candidate

Float64 = NDArray[np.float64]


def write_format_1(
    store: Path, model: Any, version: str = "1.0.0", card: Mapping[str, bytes] | None = None
) -> Path:
    """Fit a model and write it as ``fraud`` to a store; return the bundle's directory."""
    model.fit(ROWS, FRAUD)
    made = candidate(model, version)
    predictor = predictor_for(model)
    probes = golden.choose(ROWS, predictor.scores(ROWS))
    scores = np.ascontiguousarray(model.predict_proba(probes)[:, 1])
    files = {
        "model.skops": skops.io.dumps(model, compression=zipfile.ZIP_DEFLATED),
        "golden.json": golden.write(probes, scores, predictor),
        **(card or {}),
    }
    meaning: dict[str, Any] = {
        "kind": kind_of(model), "engine": FIRST_ENGINE, "features": made.features,
        "thresholds": made.thresholds, "on_model_error": made.on_model_error,
        "parameters": parameters_of(model),
    }  # fmt: skip
    manifest = Manifest(
        format=1, name=made.name, version=version, **meaning,
        libraries=Libraries(
            scikit_learn=sklearn.__version__, skops=skops.__version__, numpy=np.__version__
        ),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())},
        content_hash=content_hash_1(**meaning, arrays=arrays_of(predictor.model, model)),
        training=made.training,
    )  # fmt: skip
    files["manifest.json"] = manifest.model_dump_json(indent=2, exclude={"origin"}).encode()
    directory = store / made.name / version
    directory.mkdir(parents=True)
    for name, data in files.items():
        (directory / name).write_bytes(data)
    return directory
