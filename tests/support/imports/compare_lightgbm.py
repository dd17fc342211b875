"""Compares cases that another version of LightGBM wrote, see ``lightgbm_models``::

    python -m tests.support.imports.compare_lightgbm FOLDER

prints a line for each case that differs or is refused, and a summary; the exit code is 1 if there
is such a case.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.importing.lightgbm.read import read_lightgbm
from stream_scorer.models.predictors.predictors import ScoringPredictor
from tests.support.imports.lightgbm_cases import Case, read


@dataclass(frozen=True)
class Comparison:
    """How an imported model compares with LightGBM.

    Attributes:
        rows: Number of rows.
        unequal: Rows whose margins have other bits than those of the loaded or trained booster.
        ulps: The largest distance of two probabilities, in float64 steps.
    """

    rows: int
    unequal: int
    ulps: int


def _steps(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return int64[n]: distances in float64 steps of numbers of the same sign."""
    return np.abs(a.view(np.int64) - b.view(np.int64))


def compare(case: Case) -> Comparison:
    """Import a case's text and score its rows with the kernels.

    Raises:
        ModelError: The importer refuses it.
    """
    imported = read_lightgbm(case.text.encode(), ImportOptions(fraud_class=case.fraud_class))
    (part,) = imported.model.parts
    predictor = ScoringPredictor(imported.model)
    found = predictor.raw(case.rows)
    differs = np.zeros(len(found), np.bool_)
    for sums in (case.sums, case.trained_sums):
        differs |= _steps(found, sums / part.divisor) != 0
    ulps = _steps(predictor.scores(case.rows), case.probabilities)
    return Comparison(len(found), int(differs.sum()), int(ulps.max()))


def main(folder: Path) -> int:
    """Compare every case of a folder, and return the exit code."""
    configurations = equal = rows = ulps = 0
    for path in sorted(folder.glob("*.npz")):
        configurations += 1
        try:
            found = compare(read(path))
        except ModelError as error:
            print(f"{path.stem}: refused: {error}")
            continue
        rows, ulps = rows + found.rows, max(ulps, found.ulps)
        equal += found.unequal == 0
        if found.unequal:
            print(f"{path.stem}: {found.unequal} of {found.rows} rows differ")
    print(f"configurations {configurations}, equal {equal}, rows {rows}, probabilities {ulps} ulp")
    return int(equal < configurations or not configurations)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
