"""Compares our scores with those that ``catboost_models.py`` wrote with any version of CatBoost.

::

    python -m tests.support.imports.catboost_files FOLDER
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How our scores of a model differ from CatBoost's.

    Attributes:
        name: The configuration.
        rows: Number of rows.
        unequal: Rows whose margin has other bits.
        units: The largest difference of a probability, in units in the last place.
    """

    name: str
    rows: int
    unequal: int
    units: int


def compared(path: Path) -> Comparison:
    """Read a file of ``catboost_models.py``, import its model, and compare the scores."""
    with np.load(path) as file:
        fraud_class = str(file["fraud_class"]) or None
        imported = read_catboost(file["text"].tobytes(), ImportOptions(fraud_class=fraud_class))
        rows, expected, probabilities = (
            file[name] for name in ("rows", "margins", "probabilities")
        )
    predictor = ScoringPredictor(imported.model)
    found = predictor.raw(rows)
    units = np.abs(bits(predictor.scores(rows)) - bits(probabilities))
    return Comparison(
        path.stem, len(rows), int((bits(found) != bits(expected)).sum()), int(units.max())
    )


def bits(numbers: Float64) -> NDArray[np.int64]:
    """Return int64[n]: the bits of float64[n]."""
    return np.ascontiguousarray(numbers).view(np.int64)


def main(folder: Path) -> int:
    """Compare each file of a folder; return how many models differ."""
    found = [compared(path) for path in sorted(folder.glob("*.npz"))]
    for each in found:
        if each.unequal:
            sys.stdout.write(f"{each.name}: {each.unequal} of {each.rows} rows differ\n")
    different = sum(each.unequal > 0 for each in found)
    sys.stdout.write(
        f"{len(found)} configurations, {sum(each.rows for each in found)} rows, "
        f"{different} different, probabilities within {max(each.units for each in found)} ulp\n"
    )
    return different


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
