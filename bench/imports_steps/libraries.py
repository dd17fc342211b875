"""The versions of each library that are compared, and the Python that runs each."""

import os
import subprocess
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
version since Python 3.10, and scikit-learn too, so these are older minor ones."""

PYTHON = {"catboost": "3.10"}
"""The Python of a library's older versions, if they have no wheel for the one that runs this."""

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
    python = _interpreter(library)
    for name, pins in OLDER[library].items():
        lines = pins.replace(" ", "\n") + "\n"
        yield name, made(f"{library}-{name}", lines, "--no-deps", interpreter=python)


def _interpreter(library: str) -> str:
    """Return the Python for older versions of a library: this one, or one of the search path.

    Raises:
        SystemExit: It is not there.
    """
    if library not in PYTHON:
        return sys.executable
    version = PYTHON[library]
    # pyenv's own python3.10 starts only if this variable names the version.
    for further in ({}, {"PYENV_VERSION": version}):
        try:
            found = subprocess.run(  # noqa: S603 a Python of the search path
                [f"python{version}", "-c", "import sys; print(sys.executable)"],
                env={**os.environ, **further}, capture_output=True, text=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            continue
        return found.stdout.strip()
    raise SystemExit(f"{library}: its older versions need python{version} on the search path")
