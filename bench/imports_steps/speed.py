"""How fast imported models are scored, next to their own libraries and other predictors.

One thread, batches of 5,000 rows of float64, probabilities, interleaved rounds. LightGBM trains the
models that LightGBM, treelite, pylignum and we score; XGBoost trains those that XGBoost and we
score. Each contender reads the same file. XGBoost gets an array each time, never a matrix that it
has seen: it caches the predictions of a matrix.
"""

import itertools
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import lignum  # type: ignore[import-untyped]  # it has no annotations
import numpy as np
import treelite
import xgboost
from numpy.typing import NDArray

from bench.harness.rounds import measure
from bench.harness.script import Gate, missed, say
from bench.imports_steps.model_files import read_scoring_model
from stream_scorer.models.importing.imported import ImportOptions
from stream_scorer.models.predictors.predictors import ScoringPredictor

Float64 = NDArray[np.float64]
Scores = Callable[[Float64], Any]

OURS, COMPILED = "ours", "pylignum compiled"
BATCH = 5_000
LEAST_MEAN, LEAST_RATIO, MOST_SINGLE_US = 1.0, 0.7, 10.0
SINGLE_TREES, SINGLE_DEPTH = 500, 6

_TRAINING_ROWS = 20_000
_SINGLE_ROWS, _PASSES = 500, 20
"""A round scores each single row so often: the first pass after other work has cold caches."""
_CLOSE = 1e-5
_SLOW, _ROUNDS_OF_SLOW = 30, 3


class Shape(NamedTuple):
    """The size of a model."""

    trees: int
    leaves: int
    features: int


SHAPES = tuple(itertools.starmap(Shape, itertools.product((100, 500, 1000), (31, 64), (10, 30))))
QUICK_SHAPES = (Shape(100, 31, 10),)


def data(features: int, rows: int = _TRAINING_ROWS) -> tuple[Float64, Float64]:
    """Return rows and labels that are hard enough for 1,000 trees to be full.

    Args:
        features: Columns.
        rows: Rows.
    """
    random = np.random.default_rng(features)
    found = random.normal(size=(rows, features))
    signal = np.sin(3 * found).sum(axis=1) + found[:, 0] * found[:, 1] + random.normal(size=rows)
    return found, (signal > np.quantile(signal, 0.9)).astype(np.float64)


def lightgbm_texts(trees: Sequence[int], features: int, **options: Any) -> dict[int, str]:
    """Return LightGBM's files with the first trees of one training, by their number."""
    settings = {
        "objective": "binary", "learning_rate": 0.02, "min_data_in_leaf": 5, "verbose": -1,
        "num_threads": 1, "seed": 1, **options,
    }  # fmt: skip
    rows, labels = data(features)
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, labels), max(trees))
    return {count: booster.model_to_string(num_iteration=count) for count in trees}


def xgboost_files(trees: Sequence[int], features: int, **options: Any) -> dict[int, bytes]:
    """Return XGBoost's files with the first trees of one training, by their number."""
    settings = {
        "objective": "binary:logistic", "eta": 0.02, "min_child_weight": 0.1, "nthread": 1,
        "tree_method": "hist", "seed": 1, **options,
    }  # fmt: skip
    rows, labels = data(features)
    booster = xgboost.train(settings, xgboost.DMatrix(rows, labels), max(trees))
    return {count: bytes(booster[:count].save_raw("json")) for count in trees}


def _ours(path: Path) -> Scores:
    return ScoringPredictor(read_scoring_model(path, ImportOptions())).scores


def of_lightgbm(path: Path, *, compiled: bool) -> dict[str, Scores]:
    """Return the contenders for a file of LightGBM.

    Args:
        path: The file.
        compiled: Whether pylignum's compiled mode, which needs a C compiler, is among them.
    """
    booster = lightgbm.Booster(model_file=str(path))
    trees = treelite.frontend.load_lightgbm_model(path)
    interpreter = lignum.load(str(path))
    found: dict[str, Scores] = {
        OURS: _ours(path),
        "LightGBM": lambda rows: booster.predict(rows, num_threads=1),
        "treelite": lambda rows: treelite.gtil.predict(trees, rows, nthread=1),
        "pylignum": lambda rows: interpreter.predict(rows, n_jobs=1),
    }
    if compiled:
        native = lignum.load(str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no compiler
            done = native.compile(work_dir=str(path.parent), jobs=1, fallback=True)["compiled"]
        if done:
            found[COMPILED] = lambda rows: native.predict(rows, n_jobs=1)
    return found


def of_xgboost(path: Path) -> dict[str, Scores]:
    """Return the contenders for a file of XGBoost."""
    booster = xgboost.Booster(model_file=str(path))
    booster.set_param({"nthread": 1})
    return {OURS: _ours(path), "XGBoost": booster.inplace_predict}


def models(shapes: Sequence[Shape]) -> Iterator[tuple[str, Shape, str | bytes]]:
    """Yield the library, the shape and the file of each model."""
    for leaves, features in sorted({(shape.leaves, shape.features) for shape in shapes}):
        trees = [s.trees for s in shapes if (s.leaves, s.features) == (leaves, features)]
        texts = lightgbm_texts(trees, features, num_leaves=leaves)
        files = xgboost_files(
            trees, features, grow_policy="lossguide", max_leaves=leaves, max_depth=0
        )
        for count in trees:
            yield "lightgbm", Shape(count, leaves, features), texts[count]
            yield "xgboost", Shape(count, leaves, features), files[count]


def shown(library: str, shape: Shape, microseconds: Mapping[str, float]) -> dict[str, Any]:
    """Return the report's part of one model.

    Args:
        library: That trained it.
        shape: Its size.
        microseconds: For a row, by contender.
    """
    gated = {
        name: each for name, each in microseconds.items() if name not in (OURS, COMPILED)
    }  # fmt: skip
    best = min(gated, key=gated.__getitem__)
    return {
        "library": library, **shape._asdict(), "best": best,
        "ratio": round(gated[best] / microseconds[OURS], 3),
        "microseconds": {name: round(each, 3) for name, each in microseconds.items()},
    }  # fmt: skip


def batches(shapes: Sequence[Shape], rounds: int, *, compiled: bool) -> list[dict[str, Any]]:
    """Time batches of rows, by model.

    Raises:
        SystemExit: A contender scores something else.
    """
    found = []
    for library, shape, file in models(shapes):
        with tempfile.TemporaryDirectory() as folder:
            # XGBoost warns of another ending.
            path = Path(folder) / "model.json"
            path.write_bytes(file.encode() if isinstance(file, str) else file)
            contenders = (
                of_lightgbm(path, compiled=compiled) if library == "lightgbm" else of_xgboost(path)
            )
            rows = np.ascontiguousarray(data(shape.features, 3 * BATCH)[0][-BATCH:])
            expected = contenders[OURS](rows)
            for name, scores in contenders.items():
                if np.abs(np.ravel(scores(rows)) - expected).max() > _CLOSE:
                    raise SystemExit(f"{library} {tuple(shape)}: {name} has other scores")
            seconds = timed({name: _call(each, rows) for name, each in contenders.items()}, rounds)
        medians = {
            name: statistics.median(each) / BATCH * 1e6 for name, each in seconds.items()
        }  # fmt: skip
        found.append(shown(library, shape, medians))
        say(f"{library} {tuple(shape)}: {found[-1]['ratio']} to {found[-1]['best']}")
    return found


def timed(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contender in each round.

    One that takes so much longer than the fastest that it cannot be the best has few rounds.
    """
    first = {name: each[0] for name, each in measure(calls, 1).items()}
    slow = [name for name, each in first.items() if each > _SLOW * min(first.values())]
    fast = {name: call for name, call in calls.items() if name not in slow}
    found = measure(fast, rounds)
    if slow:
        found |= measure({name: calls[name] for name in slow}, min(rounds, _ROUNDS_OF_SLOW))
    return found


def _call(scores: Scores, rows: Float64) -> Callable[[], object]:
    return lambda: scores(rows)


def single_rows(rounds: int, *, quick: bool) -> list[dict[str, Any]]:
    """Time single rows of models of depth 6, in microseconds a row."""
    trees = SINGLE_TREES // 10 if quick else SINGLE_TREES
    found = []
    for features in (10, 30):
        depth = {"max_depth": SINGLE_DEPTH}
        texts = lightgbm_texts([trees], features, num_leaves=2**SINGLE_DEPTH, **depth)
        files = xgboost_files([trees], features, **depth)
        for library, file in (("lightgbm", texts[trees].encode()), ("xgboost", files[trees])):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model"
                path.write_bytes(file)
                scores = _ours(path)
            rows = list(data(features, _SINGLE_ROWS)[0][:, None])
            for row in rows:
                scores(row)

            def all_rows(scores: Scores = scores, rows: list[Float64] = rows) -> None:
                for _ in range(_PASSES):
                    for row in rows:
                        scores(row)

            seconds = statistics.median(measure({OURS: all_rows}, rounds)[OURS])
            found.append({
                "library": library, "trees": trees, "depth": SINGLE_DEPTH, "features": features,
                "microseconds": round(seconds / len(rows) / _PASSES * 1e6, 2),
            })  # fmt: skip
    return found


def report(shapes: list[dict[str, Any]], singles: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report's part of the speed."""
    ratios = {
        library: [each["ratio"] for each in shapes if each["library"] == library]
        for library in sorted({each["library"] for each in shapes})
    }
    return {
        "geometric_mean": {
            library: round(math.exp(statistics.fmean(math.log(one) for one in each)), 3)
            for library, each in ratios.items()
        },
        "least_ratio": min(each["ratio"] for each in shapes),
        "single_row": singles,
        "shapes": shapes,
        "batch": BATCH,
    }


def _name(each: Mapping[str, Any]) -> str:
    size = f"{each['trees']} trees of {each['leaves']} leaves, {each['features']} features"
    return f"{each['library']}, {size}"


def failures(document: Mapping[str, Any]) -> list[str]:
    """Return one line for each gate of the speed that fails."""
    gates: list[Gate] = [
        (f"speed: {library}'s models: the geometric mean is {{}}", mean, ">=", LEAST_MEAN)
        for library, mean in document["geometric_mean"].items()
    ]
    gates += [
        (
            f"speed: {_name(each)}: {{}} times as fast as {each['best']}", each["ratio"], ">=",
            LEAST_RATIO,
        )
        for each in document["shapes"]
    ]  # fmt: skip
    gates += [
        (
            f"speed: {each['library']}, {each['features']} features: a single row takes {{}} µs",
            each["microseconds"], "<=", MOST_SINGLE_US,
        )
        for each in document["single_row"]
    ]  # fmt: skip
    return missed(*gates)
