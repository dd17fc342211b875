"""A fitted estimator as the source of a bundle: as data, and as a skops file."""

import zipfile
from typing import Any

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray

from stream_scorer.models.importing.imported import ModelSource
from stream_scorer.models.importing.scikit_learn.read import imported

Float64 = NDArray[np.float64]


def source_of(model: Any) -> ModelSource:
    """Return a fitted binary classifier, whose class 1 is fraud, as the source of a bundle.

    Raises:
        ModelError: It is not supported.
    """

    def scores(rows: Float64) -> Float64:
        found: Float64 = np.ascontiguousarray(model.predict_proba(rows)[:, 1])
        return found

    data = skops.io.dumps(model, compression=zipfile.ZIP_DEFLATED)
    return ModelSource(imported(model, sklearn.__version__), data, "skops", scores)
