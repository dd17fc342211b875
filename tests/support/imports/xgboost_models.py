"""Models that XGBoost trains, with the library's own margins, to compare the importer with.

This module needs nothing but XGBoost and numpy, so that it runs in an environment with another
version of the library: ``python xgboost_models.py FOLDER`` writes the models and the margins there.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xgboost
from numpy.typing import NDArray

from tests.support.imports.xgboost_rows import THRESHOLDS_MOST, rows_for

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

FEATURES = 6
CATEGORICAL = (4, 5)
"""The features that are categories in data with categories: the first has 5, the second 80."""
_CATEGORY_COUNTS = (5, 80)


@dataclass(frozen=True)
class Configuration:
    """How a model is trained, and how it is imported.

    Attributes:
        name: Unique.
        parameters: For ``xgboost.train``.
        rounds: Boosting rounds.
        data: What is special in the training data, in any order: ``missing``, ``categories``,
            ``zeros``, ``large`` (values near the largest float32), ``tiny`` (subnormal values),
            ``weights``, ``names``.
        missing: The number that counts as missing, in addition to NaN.
        early: Whether training stops early.
        choice: Which rounds are imported.
        seed: Of the data.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    rounds: int = 12
    data: tuple[str, ...] = ()
    missing: float | None = None
    early: bool = False
    choice: Literal["best", "all"] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """A trained model and what the library computes with it.

    Attributes:
        name: The configuration's.
        version: XGBoost's.
        json: The model as JSON.
        ubj: The model as UBJ.
        rows: float64[n, 6].
        margins: float32[n], by ``inplace_predict`` with one thread.
        probabilities: float32[n], the same way; for ``binary:logitraw``, :func:`sigmoid`.
        missing: The option of the import.
        choice: The option of the import.
    """

    name: str
    version: str
    json: bytes
    ubj: bytes
    rows: Float64
    margins: Float32
    probabilities: Float32
    missing: float | None
    choice: Literal["best", "all"] | None


def configurations() -> Iterator[Configuration]:
    """Yield every configuration that all supported versions can train."""
    for objective in ("binary:logistic", "reg:logistic", "binary:logitraw"):
        short = objective.replace(":", "_")
        for depth in (1, 3, 6):
            for data in ((), ("missing",), ("categories", "missing")):
                yield Configuration(
                    "-".join((short, f"depth{depth}", *data)),
                    {"objective": objective, "max_depth": depth},
                    data=data,
                    seed=depth,
                )
        yield Configuration(
            f"{short}-forest",
            {"objective": objective, "num_parallel_tree": 4, "subsample": 0.7, "max_depth": 4},
            rounds=5,
        )
        yield Configuration(
            f"{short}-dart",
            {"objective": objective, "booster": "dart", "rate_drop": 0.4, "max_depth": 3},
            rounds=15,
        )
    yield from _dart()
    yield from _categories()
    yield from _missing_values()
    yield from _rounds()
    yield from _base_scores()
    yield from _growth()


def _dart() -> Iterator[Configuration]:
    """DART: kinds of weights, with forests, categories and early stopping."""
    dart = {"booster": "dart", "rate_drop": 0.5, "max_depth": 3}
    yield Configuration("dart-forest-weights", {**dart, "normalize_type": "forest"}, rounds=20)
    yield Configuration("dart-weighted-sample", {**dart, "sample_type": "weighted"}, rounds=20)
    yield Configuration("dart-one-drop", {**dart, "rate_drop": 0.05, "one_drop": 1}, rounds=20)
    yield Configuration("dart-skip", {**dart, "skip_drop": 0.5}, rounds=20)
    yield Configuration("dart-parallel", {**dart, "num_parallel_tree": 3}, rounds=6)
    yield Configuration("dart-categories", dart, data=("categories", "missing"))
    yield Configuration("dart-base-score", {**dart, "base_score": 0.003}, rounds=20)
    yield Configuration("dart-no-drop", {**dart, "rate_drop": 0.0}, rounds=10)
    for choice in ("best", "all"):
        yield Configuration(
            f"dart-early-{choice}", {**dart, "eta": 1.0}, rounds=60, early=True, choice=choice
        )


def _categories() -> Iterator[Configuration]:
    """Categories: one against the others, sets, and with each way to find splits."""
    both = ("categories",)
    for most in (1, 4, 100):
        for method in ("hist", "approx"):
            yield Configuration(
                f"categories-{method}-onehot{most}",
                {"max_cat_to_onehot": most, "tree_method": method, "max_depth": 5},
                data=both,
            )
    yield Configuration("categories-threshold", {"max_cat_threshold": 3}, data=both)
    yield Configuration("categories-deep", {"max_depth": 8, "min_child_weight": 0}, data=both)
    yield Configuration("categories-minus-one-missing", data=both, missing=-1.0)
    yield Configuration("categories-zero-missing", data=both, missing=0.0)
    yield Configuration("categories-three-missing", data=(*both, "missing"), missing=3.0)
    yield Configuration("categories-forest", {"num_parallel_tree": 3}, rounds=4, data=both)


def _missing_values() -> Iterator[Configuration]:
    """A number that counts as missing: of any kind that float32 has."""
    for name, value in (
        ("negative", -999.0),
        ("zero", 0.0),
        ("negative-zero", -0.0),
        ("not-a-float32", 0.1),
        ("infinity", float("inf")),
        ("negative-infinity", float("-inf")),
        ("largest", 3.4028234663852886e38),
        ("tiny", 1e-45),
    ):
        data = ("missing", "zeros") if value == 0 else ("missing",)
        yield Configuration(f"missing-{name}", data=data, missing=value)


def _rounds() -> Iterator[Configuration]:
    """Early stopping, with and without forests, and a single tree."""
    fast = {"eta": 1.0, "max_depth": 5}
    for choice in ("best", "all"):
        yield Configuration(f"early-{choice}", fast, rounds=60, early=True, choice=choice)
        yield Configuration(
            f"early-forest-{choice}",
            {**fast, "num_parallel_tree": 3},
            rounds=40,
            early=True,
            choice=choice,
        )
        yield Configuration(
            f"early-categories-{choice}",
            fast,
            rounds=60,
            data=("categories", "missing"),
            early=True,
            choice=choice,
        )
    yield Configuration("one-tree", rounds=1)
    yield Configuration("many-trees", {"eta": 0.05, "max_depth": 4}, rounds=200)
    yield Configuration(
        "random-forest",
        {"num_parallel_tree": 50, "eta": 1.0, "subsample": 0.8, "colsample_bynode": 0.8},
        rounds=1,
    )


def _base_scores() -> Iterator[Configuration]:
    """Where the sum starts."""
    for score in (0.5, 0.1, 0.9, 0.001, 1e-7, 1e-20, 0.99999, 0.3333333):
        yield Configuration(f"base-score-{score}", {"base_score": score}, rounds=6)
    for score in (0.0, -3.75, 12.5, 0.1):
        yield Configuration(
            f"raw-base-score-{score}",
            {"base_score": score, "objective": "binary:logitraw"},
            rounds=6,
        )


def _growth() -> Iterator[Configuration]:
    """Ways to grow and cut trees, and data at the ends of float32."""
    yield Configuration(
        "leaves-31", {"grow_policy": "lossguide", "max_leaves": 31, "max_depth": 0}, rounds=20
    )
    yield Configuration(
        "leaves-64-approx",
        {"grow_policy": "lossguide", "max_leaves": 64, "max_depth": 0, "tree_method": "approx"},
    )
    yield Configuration("exact", {"tree_method": "exact", "max_depth": 6})
    yield Configuration("exact-pruned", {"tree_method": "exact", "gamma": 3.0, "max_depth": 7})
    yield Configuration("exact-no-split", {"tree_method": "exact", "gamma": 1e6}, rounds=3)
    yield Configuration("no-split", {"gamma": 1e6}, rounds=3)
    yield Configuration("few-bins", {"max_bin": 4, "max_depth": 8})
    yield Configuration("monotone", {"monotone_constraints": "(1,-1,0,0,0,0)"})
    yield Configuration("weights", {"scale_pos_weight": 25.0}, data=("weights", "names"))
    yield Configuration("delta-step", {"max_delta_step": 0.7, "lambda": 0.0, "alpha": 0.5})
    yield Configuration("large-values", {"max_depth": 5}, data=("large", "missing"))
    yield Configuration("tiny-values", {"max_depth": 5}, data=("tiny", "missing"))
    yield Configuration("tiny-values-exact", {"tree_method": "exact"}, data=("tiny",))
    yield Configuration("large-leaves", {"eta": 1e6, "max_depth": 4}, rounds=4)
    yield Configuration("large-sum", {"eta": 1e3, "lambda": 0.0, "min_child_weight": 0}, rounds=8)
    yield Configuration("deep", {"max_depth": 14, "min_child_weight": 0, "lambda": 0.0}, rounds=6)


def training_data(configuration: Configuration) -> tuple[Float64, Float64, Float64 | None]:
    """Return (float64[800, 6], float64[800], float64[800] or None): rows, labels, weights."""
    random = np.random.default_rng(configuration.seed)
    rows = random.normal(size=(800, FEATURES)) * [1.0, 100.0, 1e-3, 1.0, 1.0, 1.0]
    rows[:, 3] = np.round(rows[:, 3], 1)  # few values, so many rows are equal to a threshold
    signal = rows[:, 0] + rows[:, 1] / 100 * (rows[:, 3] > 0) - 1e3 * rows[:, 2]
    if "categories" in configuration.data:
        for column, count in zip(CATEGORICAL, _CATEGORY_COUNTS, strict=True):
            rows[:, column] = random.integers(0, count, len(rows))
            signal = signal + np.sin(rows[:, column] * 7)
    if "zeros" in configuration.data:
        rows[random.random(rows.shape) < 0.3] = 0.0
    if "large" in configuration.data:
        rows[:, 0] *= 3e37
        rows[:, 1] *= 1e36
    if "tiny" in configuration.data:
        rows[:, 0] *= 1e-44
        rows[:, 1] *= 1e-40
    if "missing" in configuration.data:
        rows[random.random(rows.shape) < 0.15] = np.nan
    labels = (signal + random.normal(size=len(rows)) * 0.7 > 1).astype(np.float64)
    if configuration.missing is not None:
        rows[random.random(rows.shape) < 0.15] = configuration.missing
    weights = random.random(len(rows)) + 0.1 if "weights" in configuration.data else None
    return rows, labels, weights


def train(configuration: Configuration, most: int = THRESHOLDS_MOST) -> Example:
    """Train a model, and compute the library's margins for rows that test its splits.

    Args:
        configuration: How it is trained.
        most: Maximum splits that are tested.
    """
    rows, labels, weights = training_data(configuration)
    missing = np.nan if configuration.missing is None else configuration.missing
    categories = "categories" in configuration.data
    kinds = ["c" if categories and k in CATEGORICAL else "float" for k in range(FEATURES)]
    names = [f"feature {k}" for k in range(FEATURES)] if "names" in configuration.data else None
    matrices = [
        xgboost.DMatrix(
            rows[part],
            labels[part],
            weight=None if weights is None else weights[part],
            missing=missing,
            feature_types=kinds,
            feature_names=names,
            enable_categorical=categories,
        )
        for part in (slice(0, 600), slice(600, None))
    ]
    parameters = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "eta": 0.3,
        "seed": configuration.seed,
        "nthread": 1,
        "verbosity": 0,
        **configuration.parameters,
    }
    stop = {"evals": [(matrices[1], "valid")], "early_stopping_rounds": 8}
    booster = xgboost.train(
        parameters,
        matrices[0],
        configuration.rounds,
        verbose_eval=False,
        **(stop if configuration.early else {}),
    )
    return predicted(booster, configuration, most)


def predicted(booster: Any, configuration: Configuration, most: int = THRESHOLDS_MOST) -> Example:
    """Return a model with the library's margins for rows that test its splits."""
    document = bytes(booster.save_raw("json"))
    missing = configuration.missing
    tested = rows_for(json.loads(document), missing, seed=configuration.seed, most=most)
    best = configuration.choice == "best"
    rounds = booster.best_iteration + 1 if best else 0
    found = margins(booster, tested, missing=missing, rounds=rounds)
    raw = configuration.parameters.get("objective") == "binary:logitraw"
    if raw:
        probabilities = sigmoid(found)
    else:
        probabilities = margins(booster, tested, missing=missing, rounds=rounds, kind="value")
    return Example(
        configuration.name,
        xgboost.__version__,
        document,
        bytes(booster.save_raw("ubj")),
        tested,
        found,
        probabilities,
        missing,
        configuration.choice,
    )


def margins(
    booster: Any,
    rows: Float64,
    *,
    missing: float | None = None,
    rounds: int = 0,
    kind: str = "margin",
) -> Float32:
    """Return float32[n]: the library's own results for float64[n, m] rows, with one thread.

    Args:
        booster: An ``xgboost.Booster``.
        rows: The rows.
        missing: The number that counts as missing, in addition to NaN.
        rounds: How many rounds are added; 0 for all.
        kind: ``margin``, or ``value`` for probabilities.
    """
    booster.set_param({"nthread": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about columns of a data frame, which this is not
        found = booster.inplace_predict(
            rows,
            iteration_range=(0, rounds),
            predict_type=kind,
            missing=np.nan if missing is None else missing,
        )
    return np.asarray(found, np.float32)


def sigmoid(sums: Float32) -> Float32:
    """Return float32[n]: the library's probabilities for sums, by a model that adds nothing."""
    nothing = np.zeros((len(sums), 1))
    matrix = xgboost.DMatrix(nothing, label=np.zeros(len(sums)))
    parameters = {"objective": "binary:logistic", "eta": 0.0, "base_score": 0.5, "nthread": 1}
    booster = xgboost.train(parameters, matrix, 1)
    return np.asarray(booster.inplace_predict(nothing, base_margin=sums), np.float32)


def write(example: Example, folder: Path) -> None:
    """Write an example as NAME.json, NAME.ubj and NAME.npz."""
    (folder / f"{example.name}.json").write_bytes(example.json)
    (folder / f"{example.name}.ubj").write_bytes(example.ubj)
    np.savez_compressed(
        folder / f"{example.name}.npz",
        rows=example.rows,
        margins=example.margins,
        probabilities=example.probabilities,
        version=np.array(example.version),
        missing=np.array(np.nan if example.missing is None else example.missing),
        choice=np.array(example.choice or ""),
    )


def read(folder: Path) -> Iterator[Example]:
    """Yield the examples that :func:`write` wrote, in the order of their names."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            missing = float(arrays["missing"])
            choice = str(arrays["choice"])
            yield Example(
                path.stem,
                str(arrays["version"]),
                path.with_suffix(".json").read_bytes(),
                path.with_suffix(".ubj").read_bytes(),
                arrays["rows"],
                arrays["margins"],
                arrays["probabilities"],
                None if np.isnan(missing) else missing,
                "best" if choice == "best" else "all" if choice == "all" else None,
            )


def main() -> None:
    """Write every configuration's example to a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for configuration in configurations():
        example = train(configuration)
        write(example, folder)
        sys.stdout.write(f"{example.name}: {len(example.rows)} rows\n")


if __name__ == "__main__":
    main()
