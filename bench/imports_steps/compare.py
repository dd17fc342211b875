"""Imports an example's model files, and compares our scores with its library's."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lignum  # type: ignore[import-untyped]  # it has no annotations
import numpy as np
import treelite
from numpy.typing import NDArray

from bench.imports_steps.example import Example
from bench.imports_steps.model_files import read_scoring_model
from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.parts import ScoringModel
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.predictors.trees import TreeEnsemble

Float64 = NDArray[np.float64]

SECOND_ROWS_MOST = 20_000
"""Maximum rows that are scored by the second oracles."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an imported model compares with its library.

    Attributes:
        name: The configuration.
        version: The library's.
        rows: Rows that were compared.
        unequal: Rows that have another margin than an oracle, or another probability if the
            model has no margin.
        ulps: The largest difference of a probability, in units in the last place of float32.
        cuts: Numbers at which the imported model changes its side.
        tried: How many of them have a row on them and a row next to them.
        refused: The message of the refusal; empty if there was none.
        named: Whether the refusal names what it must name in one line.
        supported: Whether the model must be imported.
        seconds: The other predictors that give equal margins, by name: True, False, or None if it
            refused the model.
    """

    name: str
    version: str
    rows: int = 0
    unequal: int = 0
    ulps: float = 0.0
    cuts: int = 0
    tried: int = 0
    refused: str = ""
    named: bool = False
    supported: bool = True
    seconds: tuple[tuple[str, bool | None], ...] = ()


def compared(example: Example, folder: Path, seconds: Any = ()) -> Outcome:
    """Import an example and compare it.

    Args:
        example: The model and its library's scores.
        folder: Where its model files are written.
        seconds: Names of :data:`SECONDS` that score it, too.
    """
    supported = not example.refusal
    path = folder / "model"
    path.write_bytes(example.model)
    try:
        predictor = ScoringPredictor(_imported(example, path))
        others = []
        if example.other_model:
            other = folder / "other"
            other.write_bytes(example.other_model)
            others.append(ScoringPredictor(_imported(example, other)))
    except ModelError as error:
        message = str(error)
        named = bool(re.search(example.refusal, message)) and "\n" not in message
        return Outcome(
            example.name, example.version, refused=message,
            named=named and not supported, supported=supported,
        )  # fmt: skip
    if not supported:
        return Outcome(example.name, example.version, supported=False)
    differs = np.zeros(len(example.rows), np.bool_)
    for each in (predictor, *others):
        if len(example.margins):
            found = bits(each.raw(example.rows))
            for margins in example.margins:
                differs |= found != bits(margins)
        if example.exact:
            differs |= bits(each.scores(example.rows)) != bits(example.probabilities)
    cuts, tried = coverage(predictor.model, example.rows)
    return Outcome(
        example.name, example.version, len(example.rows), int(differs.sum()),
        ulps_apart(predictor.scores(example.rows), example.probabilities), cuts, tried,
        seconds=tuple((name, _second(SECONDS[name], example, path)) for name in seconds),
    )  # fmt: skip


def _imported(example: Example, path: Path) -> ScoringModel:
    options = ImportOptions(
        rounds=example.rounds or None,  # type: ignore[arg-type]  # best or all
        fraud_class=example.fraud_class or None,
        missing=None if np.isnan(example.missing) else example.missing,
    )
    return read_scoring_model(path, options)


def bits(numbers: Float64) -> NDArray[np.int64]:
    """Return int64[n]: the bits of float64[n]."""
    return np.ascontiguousarray(numbers, np.float64).view(np.int64)


def ulps_apart(found: Float64, expected: Float64) -> float:
    """Return the largest difference, in units in the last place of float32.

    >>> ulps_apart(np.array([0.5, 1.0]), np.array([0.5, 1.0 + 2**-23]))
    1.0
    """
    if not len(found):
        return 0.0
    units = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return float((np.abs(found - expected) / units).max())


def coverage(model: ScoringModel, rows: Float64) -> tuple[int, int]:
    """Count the cuts of a model, and those that have a row on them and one on the next number.

    Models with steps before their trees are not counted: their cuts are of other numbers. Infinite
    cuts are not counted: not every library takes infinite values.

    Args:
        model: The imported model.
        rows: float64[n, m].
    """
    cuts = tried = 0
    for part in model.parts:
        trees = part.body
        if part.before or not isinstance(trees, TreeEnsemble):
            continue
        of_cuts = np.repeat(trees.feature, np.diff(trees.first_cut))
        for feature in np.unique(of_cuts):
            # -0 and 0 are the same number here.
            numbers = np.unique(trees.cuts[of_cuts == feature])
            numbers = numbers[np.isfinite(numbers)]
            column = rows[:, feature]
            cuts += len(numbers)
            on = np.isin(numbers, column)
            tried += int((on & np.isin(np.nextafter(numbers, np.inf), column)).sum())
    return cuts, tried


# --- second oracles ---------------------------------------------------------------------------


def _of_treelite(example: Example, path: Path, rows: Float64) -> Float64 | None:
    if example.model.startswith(b"tree"):
        model = treelite.frontend.load_lightgbm_model(path)
    else:
        model = treelite.frontend.load_xgboost_model(path, format_choice="json")
        rows = rows.astype(np.float32)  # as its trees are
    return np.asarray(treelite.gtil.predict(model, rows, nthread=1, pred_margin=True))


def _of_pylignum(_: Example, path: Path, rows: Float64) -> Float64 | None:
    return np.asarray(lignum.load(str(path)).predict(rows, raw_score=True, n_jobs=1))


SECONDS: dict[str, Callable[[Example, Path, Float64], Float64 | None]] = {
    "pylignum": _of_pylignum,
    "treelite": _of_treelite,
}
"""Predictors of other projects; what they need is decided by the file alone."""


def asked(example: Example) -> bool:
    """Whether a second oracle can be asked: no option of the import changes the margins."""
    return bool(len(example.margins)) and np.isnan(example.missing) and example.rounds != "best"


def _second(predict: Any, example: Example, path: Path) -> bool | None:
    """Whether another predictor has the margins of the library; None if it refuses the model."""
    rows, expected = example.rows[:SECOND_ROWS_MOST], example.margins[0][:SECOND_ROWS_MOST]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = np.asarray(predict(example, path, rows)).reshape(len(rows), -1)
        column = int(example.fraud_class) if found.shape[1] > 1 else 0
    except Exception:  # noqa: BLE001 whatever another project raises
        return None
    return bool((bits(found[:, column]) == bits(expected)).all())
