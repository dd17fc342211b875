"""Compares our scores with those that ``catboost_models.py`` wrote with any version of CatBoost.

::

    python -m tests.support.imports.catboost_files FOLDER
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from stream_scorer.models.importing.catboost import read_catboost
from stream_scorer.models.importing.imported import ImportedModel, ImportOptions
from stream_scorer.models.predictors.parts import Sigmoid, Table
from stream_scorer.models.predictors.predictors import TreePredictor
from stream_scorer.models.predictors.trees import TreeEnsemble

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


def margins(imported: ImportedModel, rows: Float64) -> Float64:
    """Return float64[n]: our margins.

    Args:
        imported: A model of one part without steps before its trees.
        rows: float64[n, m].
    """
    (part,) = imported.model.parts
    assert isinstance(part.body, TreeEnsemble)
    assert not part.before
    total = TreePredictor(part.body, boosted=True).raw(rows)
    unchanged = (part.scale, part.bias) == (1.0, 0.0)
    return total if unchanged else total * part.scale + part.bias


def compared(path: Path) -> Comparison:
    """Read a file of ``catboost_models.py``, import its model, and compare the scores."""
    with np.load(path) as file:
        fraud_class = str(file["fraud_class"]) or None
        imported = read_catboost(file["text"].tobytes(), ImportOptions(fraud_class=fraud_class))
        rows, expected, probabilities = (
            file[name] for name in ("rows", "margins", "probabilities")
        )
    found = margins(imported, rows)
    units = np.abs(bits(finished(imported, found)) - bits(probabilities))
    return Comparison(
        path.stem, len(rows), int((bits(found) != bits(expected)).sum()), int(units.max())
    )


def finished(imported: ImportedModel, found: Float64) -> Float64:
    """Return float64[n]: the probabilities of margins."""
    for step in imported.model.parts[0].after:
        if isinstance(step, Sigmoid):
            found = expit(step.slope * found + step.intercept)
        else:
            assert isinstance(step, Table)
            found = np.interp(found, step.x, step.y)
    return found


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
