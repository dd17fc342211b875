"""The versions of each library that are compared, and the Python that runs each."""

import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tests.matrix.__main__ import environment
from tests.matrix.environments import made

NUMPY = "numpy==1.26.4"
_SCIPY = "scipy==1.15.3"
_OF_PANDAS = "pandas==2.3.3 python-dateutil==2.9.0.post0 pytz==2025.2 six==1.17.0 tzdata==2025.2"

PACKAGES = {
    "xgboost": "xgboost-cpu", "lightgbm": "lightgbm", "catboost": "catboost",
    "scikit_learn": "scikit-learn",
}  # fmt: skip
"""The distribution of each library that the tests install: its newest version."""

OLDER = {
    "xgboost": {
        "2.1.4": f"xgboost-cpu==2.1.4 {NUMPY} {_SCIPY}",
        "1.7.6": f"xgboost==1.7.6 {NUMPY} {_SCIPY}",
    },
    "lightgbm": {
        "3.3.5": f"lightgbm==3.3.5 {NUMPY} {_SCIPY}",
        "2.3.1": f"lightgbm==2.3.1 {NUMPY} {_SCIPY}",
    },
    "catboost": {
        "1.1.1": f"catboost==1.1.1 {NUMPY} {_SCIPY} {_OF_PANDAS}",
        "1.0.6": f"catboost==1.0.6 {NUMPY} {_SCIPY} {_OF_PANDAS}",
    },
}
"""All packages of the environments of two older major versions. CatBoost has had only one major
version for this Python, and scikit-learn too, so these are older minor ones."""

SCIKIT_LEARN = {"1.7.2": "2.3.5", "1.6.1": "2.2.6"}
"""numpy for each older version of scikit-learn; the environments are those of the tests' matrix."""

ORACLES = {
    "xgboost": 'inplace_predict(float64, predict_type="margin"), nthread=1',
    "lightgbm": "predict(raw_score=True, num_threads=1), of the file and of the trained booster",
    "catboost": 'predict(prediction_type="RawFormulaVal", thread_count=1), of the trained model',
    "scikit_learn": "decision_function of boosting, else predict_proba, n_jobs=1",
}


def versions(library: str, *, quick: bool) -> Iterator[tuple[str, Path]]:
    """Yield each version of a library with its Python: the installed one, then the older ones.

    Args:
        library: One of :data:`PACKAGES`.
        quick: Only the installed one.
    """
    yield version(PACKAGES[library]), Path(sys.executable)
    if quick:
        return
    if library == "scikit_learn":
        for name, numpy in SCIKIT_LEARN.items():
            yield name, environment(numpy, name)
        return
    for name, pins in OLDER[library].items():
        yield name, made(f"{library}-{name}", pins.replace(" ", "\n") + "\n", "--no-deps")
