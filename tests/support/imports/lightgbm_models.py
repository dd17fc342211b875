"""Models of LightGBM for the differential test, and rows on which a difference would show.

Needs LightGBM and numpy only, so that it runs with other versions of LightGBM in environments of
their own::

    python -m tests.support.imports.lightgbm_models FOLDER [NAME ...]

writes a file ``NAME.npz`` for each configuration: the model's text, rows, and the margins and
probabilities that this version of LightGBM gives them on one thread.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from tests.support.imports.lightgbm_cases import Case, save

Float64 = NDArray[np.float64]
Parameters = dict[str, Any]

VERSION = tuple(int(part) for part in lightgbm.__version__.split(".")[:2])
ROWS = 1500
FEATURES = 8
ZERO_MOST = float(np.float32(1e-35))
QUIET: Parameters = {
    "verbose": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 7,
    "min_data_in_leaf": 4, "min_data_per_group": 4, "cat_smooth": 1.0,
}  # fmt: skip


# --- data -------------------------------------------------------------------------------------


def _plain(random: np.random.Generator) -> Float64:
    return random.normal(size=(ROWS, FEATURES)) * 10.0 ** np.arange(-3, FEATURES - 3)


def _missing(random: np.random.Generator) -> Float64:
    rows = _plain(random)
    rows[random.random(rows.shape) < 0.2] = np.nan
    return rows


def _zeros(random: np.random.Generator) -> Float64:
    """Return rows of which many values are 0 or nearly 0, some of them missing."""
    rows = _plain(random)
    near = random.choice(
        [0.0, -0.0, 1e-36, -1e-36, 5e-324, 1e-35, -1e-35, 2e-35, -2e-35, ZERO_MOST, -ZERO_MOST],
        size=rows.shape,
    )
    rows = np.where(random.random(rows.shape) < 0.5, near, rows)
    rows[random.random(rows.shape) < 0.05] = np.nan
    return rows


def _tiny(random: np.random.Generator) -> Float64:
    """Return rows around the largest number that counts as 0."""
    rows = random.normal(size=(ROWS, FEATURES)) * 10.0 ** random.integers(
        -37, -33, (ROWS, FEATURES)
    )
    rows[:, :3] = np.abs(rows[:, :3])
    rows[:, 3:5] = -np.abs(rows[:, 3:5])
    return rows


def _positive(random: np.random.Generator) -> Float64:
    return np.abs(_zeros(random))


def _negative(random: np.random.Generator) -> Float64:
    return -np.abs(_zeros(random))


def _counts(random: np.random.Generator) -> Float64:
    return random.poisson(3, size=(ROWS, FEATURES)).astype(np.float64) - 1


def _single(random: np.random.Generator) -> Float64:
    return _plain(random).astype(np.float32).astype(np.float64)


def _huge(random: np.random.Generator) -> Float64:
    rows = _plain(random)
    rows[:, 0] *= 1e300
    rows[:, 1] = random.choice([1e308, -1e308, np.inf, -np.inf, 1.0], ROWS)
    rows[:, 2] *= 1e-300
    return rows


def _constant(random: np.random.Generator) -> Float64:
    rows = _plain(random)
    rows[:, 1:] = [3.0, 0.0, -1.0, 7.5, 1e-40, 2.0, 1.0]
    return rows


def _wide(random: np.random.Generator) -> Float64:
    return np.concatenate([_missing(random) for _ in range(8)], axis=1)


def _one(random: np.random.Generator) -> Float64:
    return _missing(random)[:, :1]


def _categories(counts: list[int], *, missing: float = 0.1) -> Callable[..., Float64]:
    """Return a maker of rows whose first columns are categories, the others numbers."""

    def make(random: np.random.Generator) -> Float64:
        rows = _plain(random)
        for column, count in enumerate(counts):
            codes = np.sort(random.choice(count, min(count, 60), replace=False))
            rows[:, column] = codes[
                np.minimum(random.geometric(min(0.5, 4 / len(codes)), ROWS) - 1, len(codes) - 1)
            ]
        rows[random.random(rows.shape) < missing] = np.nan
        return rows

    return make


# --- configurations ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Configuration:
    """How a model is trained.

    Attributes:
        parameters: In addition to ``QUIET``.
        data: Makes the rows.
        rounds: Rounds of training.
        categorical: Number of leading columns that are categories.
        change: What happens to the booster after its training.
        train: Further arguments of ``lightgbm.train``.
        save: Arguments of ``model_to_string``.
        labels: ``noisy``, ``soft``, ``classes`` (three) or ``constant``.
        fraud_class: The class to import.
        since: The version of LightGBM that has the feature first.
    """

    parameters: Parameters = field(default_factory=dict)
    data: Callable[[np.random.Generator], Float64] = _missing
    rounds: int = 12
    categorical: int = 0
    change: Callable[["lightgbm.Booster", Float64, Float64], "lightgbm.Booster"] | None = None
    train: Callable[[Float64, Float64], Parameters] | None = None
    save: Parameters = field(default_factory=dict)
    labels: str = "noisy"
    fraud_class: str | None = None
    since: tuple[int, int] = (2, 3)


def _stopped(rows: Float64, labels: Float64) -> Parameters:
    """Return arguments with which training stops early."""
    random = np.random.default_rng(5)
    check = lightgbm.Dataset(rows[:400], random.permutation(labels[:400]))
    return {
        "valid_sets": [check],
        "callbacks": [lightgbm.early_stopping(3, verbose=False)],
    }


def _refitted(booster: lightgbm.Booster, rows: Float64, labels: Float64) -> lightgbm.Booster:
    return booster.refit(rows[::2], labels[::2], decay_rate=0.5)


def _continued(booster: lightgbm.Booster, rows: Float64, labels: Float64) -> lightgbm.Booster:
    data = lightgbm.Dataset(rows, labels, free_raw_data=False)
    parameters = QUIET | {"objective": "binary", "num_leaves": 7}
    return lightgbm.train(parameters, data, 5, init_model=booster)


def _shuffled(booster: lightgbm.Booster, rows: Float64, labels: Float64) -> lightgbm.Booster:
    return booster.shuffle_models()


def _rolled_back(booster: lightgbm.Booster, rows: Float64, labels: Float64) -> lightgbm.Booster:
    return booster.rollback_one_iter()


def _strange_leaves(booster: lightgbm.Booster, rows: Float64, labels: Float64) -> lightgbm.Booster:
    for tree in range(4):
        for leaf, value in enumerate([1e-34, -1e17, 1e17, 0.1, -0.0]):
            booster.set_leaf_output(tree, leaf, value)
    return booster


def _numeric() -> Iterator[tuple[str, Configuration]]:
    kinds: dict[str, Callable[..., Float64]] = {
        "plain": _plain, "missing": _missing, "zeros": _zeros, "tiny": _tiny,
        "positive": _positive, "negative": _negative, "counts": _counts, "single": _single,
        "huge": _huge,
    }  # fmt: skip
    for name, data in kinds.items():
        yield f"missing_nan_{name}", Configuration(data=data)
        yield f"missing_zero_{name}", Configuration({"zero_as_missing": True}, data)
        yield f"missing_none_{name}", Configuration({"use_missing": False}, data)
    yield "constant_features", Configuration(data=_constant)
    yield "wide", Configuration({"num_leaves": 63}, _wide)
    yield "one_feature", Configuration(data=_one)


def _categorical() -> Iterator[tuple[str, Configuration]]:
    few, many, sparse = [2, 3, 4], [40, 200], [100_000, 3_000, 33]
    for name, counts in (("few", few), ("many", many), ("sparse", sparse)):
        for missing, parameters in (
            ("nan", {}), ("zero", {"zero_as_missing": True}), ("none", {"use_missing": False}),
        ):  # fmt: skip
            yield (
                f"categories_{name}_{missing}",
                Configuration(parameters, _categories(counts), categorical=len(counts)),
            )
    yield (
        "categories_all",
        Configuration(data=_categories([5, 9, 17, 33, 65, 129, 257, 513]), categorical=8),
    )
    yield (
        "categories_one_by_one",
        Configuration({"max_cat_to_onehot": 100}, _categories([70, 31]), categorical=2),
    )
    yield (
        "categories_large_sets",
        Configuration(
            {"max_cat_threshold": 1000, "cat_l2": 0.0}, _categories([64, 2000]), categorical=2
        ),
    )
    yield (
        "categories_in_forest",
        Configuration(
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
            _categories(many),
            categorical=2,
        ),
    )


def _boosting() -> Iterator[tuple[str, Configuration]]:
    bagging = {"bagging_freq": 1, "bagging_fraction": 0.5}
    forest = {"boosting": "rf", **bagging}
    yield "dart", Configuration({"boosting": "dart", "drop_rate": 0.5}, rounds=20)
    yield (
        "dart_xgboost",
        Configuration({"boosting": "dart", "xgboost_dart_mode": True, "drop_rate": 0.9}, rounds=20),
    )
    yield "dart_uniform", Configuration({"boosting": "dart", "uniform_drop": True}, rounds=20)
    yield "goss", Configuration({"boosting": "goss", "learning_rate": 0.5})
    yield "forest", Configuration(forest)
    yield "forest_of_seven", Configuration(forest | {"feature_fraction": 0.5}, rounds=7)
    yield "forest_zeros", Configuration(forest | {"zero_as_missing": True}, _zeros)
    yield "forest_cross_entropy", Configuration(forest | {"objective": "cross_entropy"})
    yield (
        "forest_classes",
        Configuration(
            forest | {"objective": "multiclassova", "num_class": 3}, labels="classes",
            fraud_class="1",
        ),
    )  # fmt: skip
    yield "forest_one_tree", Configuration(forest, rounds=1)
    yield "bagging", Configuration(bagging)
    yield "extra_trees", Configuration({"extra_trees": True})
    # LightGBM 4.0 fails in this training.
    quantized = {"use_quantized_grad": True, "quant_train_renew_leaf": True}
    yield "quantized", Configuration(quantized, since=(4, 2))


def _objectives() -> Iterator[tuple[str, Configuration]]:
    yield "sigmoid_small", Configuration({"sigmoid": 0.3})
    yield "sigmoid_many_digits", Configuration({"sigmoid": 12.3456789})
    yield "sigmoid_tiny", Configuration({"sigmoid": 1e-5})
    yield "unbalanced", Configuration({"is_unbalance": True})
    yield "weighted", Configuration({"scale_pos_weight": 17.0})
    yield "from_zero", Configuration({"boost_from_average": False})
    yield "cross_entropy", Configuration({"objective": "cross_entropy"}, labels="soft")
    yield "cross_entropy_zeros", Configuration({"objective": "xentropy"}, _zeros, labels="soft")
    for chosen in ("0", "1", "2"):
        yield (
            f"class_{chosen}_of_three",
            Configuration(
                {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5},
                labels="classes",
                fraud_class=chosen,
            ),
        )


def _shapes() -> Iterator[tuple[str, Configuration]]:
    for leaves in (2, 3, 64, 65, 255, 1000):
        parameters = {"num_leaves": leaves, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0.0}
        yield f"leaves_{leaves}", Configuration(parameters)
    for depth in (1, 3, 12):
        yield f"depth_{depth}", Configuration({"max_depth": depth, "num_leaves": 100})
    for bins in (3, 15, 1023):
        yield f"bins_{bins}", Configuration({"max_bin": bins, "min_data_in_bin": 1})
    yield "large_steps", Configuration({"learning_rate": 5.0})
    yield "many_rounds", Configuration({"num_leaves": 8}, rounds=300)
    yield "one_round", Configuration(rounds=1)
    yield "constant_labels", Configuration(labels="constant")
    yield "no_split", Configuration({"min_gain_to_split": 1e9})
    yield "some_without_split", Configuration({"min_gain_to_split": 9.0}, rounds=60)
    yield "monotone", Configuration({"monotone_constraints": [1, -1, 0, 0, 1, 0, 0, 0]})
    yield "smooth", Configuration({"path_smooth": 3.0, "lambda_l1": 0.1, "max_delta_step": 0.4})
    yield "interactions", Configuration({"interaction_constraints": "[0,1,2],[3,4,5,6,7]"})


def _changes() -> Iterator[tuple[str, Configuration]]:
    yield "stopped_best", Configuration(train=_stopped, rounds=50)
    yield "stopped_all", Configuration(train=_stopped, rounds=50, save={"num_iteration": -1})
    # predict of LightGBM 2.3 has no start_iteration.
    yield "saved_from_the_fourth", Configuration(save={"start_iteration": 3}, since=(3, 0))
    five = {"start_iteration": 2, "num_iteration": 5}
    yield "saved_five", Configuration(save=five, since=(3, 0))
    yield "refitted", Configuration(change=_refitted)
    yield "continued", Configuration(change=_continued)
    yield "shuffled", Configuration(change=_shuffled)
    yield "rolled_back", Configuration(change=_rolled_back)
    yield "strange_leaves", Configuration(change=_strange_leaves, since=(4, 0))


def configurations() -> dict[str, Configuration]:
    """Return every configuration that this version of LightGBM supports, by name."""
    groups = (_numeric, _categorical, _boosting, _objectives, _shapes, _changes)
    found = [pair for group in groups for pair in group()]
    assert len(dict(found)) == len(found), "two configurations have the same name"
    return {name: each for name, each in found if each.since <= VERSION}


# --- models and rows --------------------------------------------------------------------------


def _labels(kind: str, rows: Float64, random: np.random.Generator) -> Float64:
    known = np.nan_to_num(rows, posinf=1.0, neginf=-1.0)
    scaled = known / (np.abs(known).max(axis=0) + 1e-300)
    signal = np.sin(7 * scaled).sum(axis=1) + (known[:, 0] % 3 == 1)
    signal = signal + 0.3 * np.isnan(rows).sum(axis=1) + random.normal(size=len(rows)) * 0.3
    if kind == "soft":
        return 1 / (1 + np.exp(-signal))
    if kind == "classes":
        return np.digitize(signal, np.quantile(signal, [0.5, 0.8])).astype(np.float64)
    return (signal > np.quantile(signal, 0.7)).astype(np.float64) * (kind != "constant")


def train(configuration: Configuration) -> tuple[lightgbm.Booster, Float64]:
    """Return a booster and the rows of its training."""
    random = np.random.default_rng(3)
    rows = configuration.data(random)
    labels = _labels(configuration.labels, rows, random)
    data = lightgbm.Dataset(
        rows,
        labels,
        categorical_feature=list(range(configuration.categorical)),
        free_raw_data=False,
    )
    further = configuration.train(rows, labels) if configuration.train else {}
    parameters = QUIET | {"objective": "binary"} | configuration.parameters
    booster = lightgbm.train(parameters, data, configuration.rounds, **further)
    if configuration.change is not None:
        booster = configuration.change(booster, rows, labels)
    return booster, rows


def text_of(booster: lightgbm.Booster, configuration: Configuration) -> str:
    """Return the content of the file that ``save_model`` writes."""
    return booster.model_to_string(**configuration.save)


def loaded(text: str) -> lightgbm.Booster:
    """Return the booster that LightGBM reads from a file's content."""
    if VERSION >= (4, 0):
        return lightgbm.Booster(model_str=text)
    return lightgbm.Booster(params={"verbose": -1}, model_str=text)


SPECIAL = (
    np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 2.2e-308, -1e-310, 1e-45, -1e-40,
    1e-35, -1e-35, ZERO_MOST, -ZERO_MOST, np.nextafter(ZERO_MOST, 1), np.nextafter(-ZERO_MOST, -1),
    np.nextafter(ZERO_MOST, 0), np.nextafter(-ZERO_MOST, 0), 1e-34, -1e-34, 1e300, -1e300,
    1.7976931348623157e308, -1.7976931348623157e308, 1.0, -1.0, 0.5, -0.5, -0.999999, 1.5,
)  # fmt: skip
"""Values that every feature takes once."""

CATEGORIES = (
    -1.0, -2.0, -1e9, np.nextafter(-1.0, 0), np.nextafter(-1.0, -2), 0.999, np.nextafter(1.0, 0),
    31.0, 32.0, 33.0, 63.5, 64.0, 99_999.0, 100_000.0, 1e6, 2.0**31 - 1, 2.0**31, 2.0**31 + 1,
    2.0**32, 2.0**32 + 1, 2.0**53, 2.0**63, 2.0**64, -(2.0**31), -(2.0**31) - 1, -(2.0**32) + 1,
    -(2.0**63), 1e18, 1e19, -1e19,
)  # fmt: skip
"""Values beside and outside of the categories, too large ones and negative ones."""


def _neighbours(values: Float64) -> Float64:
    """Return the values, and those one step from them in float64 and in float32."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
        singles = [
            near,
            np.nextafter(near, np.float32(-np.inf)),
            np.nextafter(near, np.float32(np.inf)),
        ]
        doubles = [values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)]
    return np.concatenate([*doubles, *(each.astype(np.float64) for each in singles)])


def _thresholds(booster: lightgbm.Booster) -> list[list[float]]:
    """Return the thresholds of each tree's nodes as the file has them.

    The ones of ``dump_model`` are limited to 1e300.
    """
    found = []
    for tree in booster.model_to_string(num_iteration=-1).split("\nTree=")[1:]:
        lines = [line for line in tree.splitlines() if line.startswith("threshold=")]
        found.append([float(each) for line in lines for each in line.partition("=")[2].split()])
    return found


def _splits(
    structure: dict[str, Any], thresholds: list[float]
) -> Iterator[tuple[int, Float64, set[int]]]:
    """Yield (feature, values at which a node's side may change, leaves below) of each node."""

    def below(node: dict[str, Any]) -> set[int]:
        if "split_feature" not in node:
            return {int(node.get("leaf_index", 0))}
        return below(node["left_child"]) | below(node["right_child"])

    stack = [structure]
    while stack:
        node = stack.pop()
        if "split_feature" not in node:
            continue
        stack += [node["left_child"], node["right_child"]]
        if node["decision_type"] == "==":
            codes = np.array([float(code) for code in node["threshold"].split("||")])
            codes = np.unique(np.concatenate([codes, codes + 1, codes - 1]))
            values = np.unique(np.concatenate([_neighbours(codes), codes + 0.5]))
        else:
            values = _neighbours(np.array([thresholds[node["split_index"]]]))
        yield int(node["split_feature"]), values, below(node)


def rows_for(booster: lightgbm.Booster, rows: Float64, most: int = 60_000) -> Float64:
    """Return rows on which a scorer that decides otherwise differs.

    These are rows of the training and random ones, a row at each threshold of the model and next
    to it, in float64 and in float32, of which the other features lead to the threshold's node; and
    rows with special values in each feature.

    Args:
        booster: The model.
        rows: float64[n, m], rows of the training.
        most: Maximum rows; of more rows at thresholds, a random sample is taken.
    """
    random = np.random.default_rng(11)
    count = rows.shape[1]
    model = booster.dump_model(num_iteration=-1)
    leaves = np.asarray(booster.predict(rows, pred_leaf=True, num_iteration=-1))
    leaves = leaves.reshape(len(rows), -1)
    at_splits = [rows[:0]]
    of_trees = zip(model["tree_info"], _thresholds(booster), strict=True)
    for number, (tree, thresholds) in enumerate(of_trees):
        for feature, values, below in _splits(tree["tree_structure"], thresholds):
            reaching = np.flatnonzero(np.isin(leaves[:, number], list(below)))
            # A node may have no row of the training, e.g. after a refit on others.
            base = rows[random.choice(reaching)] if len(reaching) else rows[0]
            made = np.repeat(base[None], len(values), axis=0)
            made[:, feature] = values
            at_splits.append(made)
    split_rows = np.concatenate(at_splits)
    if len(split_rows) > most:
        split_rows = split_rows[random.choice(len(split_rows), most, replace=False)]
    values = np.array(SPECIAL + CATEGORIES)
    special = rows[random.integers(0, len(rows), count * len(values))]
    special[np.arange(len(special)), np.repeat(np.arange(count), len(values))] = np.tile(
        values, count
    )
    mixed = random.choice(values, size=(500, count))
    noise = random.normal(size=(500, count)) * 10.0 ** random.integers(-37, 9, size=(500, count))
    codes = np.trunc(random.normal(size=(500, count)) * 40) + random.choice([0, 0.5], (500, count))
    all_equal = np.repeat(values[:, None], count, axis=1)
    return np.concatenate([rows, split_rows, special, mixed, noise, codes, all_equal])


def oracle(
    booster: lightgbm.Booster, rows: Float64, chosen: int | None, *, raw: bool, **rounds: Any
) -> Float64:
    """Return LightGBM's margins or probabilities of one class, on one thread.

    For a random forest, a raw score is the sum over the rounds.
    """
    scores = np.asarray(booster.predict(rows, raw_score=raw, num_threads=1, **rounds))
    return np.ascontiguousarray(scores if chosen is None else scores[:, chosen], np.float64)


def case(configuration: Configuration, most: int = 60_000) -> Case:
    """Train a model, and let LightGBM score its rows."""
    booster, training = train(configuration)
    text = text_of(booster, configuration)
    again = loaded(text)
    rows = rows_for(again, training, most)
    chosen = None if configuration.fraud_class is None else int(configuration.fraud_class)
    return Case(
        text,
        rows,
        oracle(again, rows, chosen, raw=True),
        oracle(booster, rows, chosen, raw=True, **configuration.save),
        oracle(again, rows, chosen, raw=False),
        configuration.fraud_class,
    )


def write(folder: Path, names: list[str]) -> None:
    """Write the named cases, or all, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, configuration in configurations().items():
        if not names or name in names:
            save(folder / f"{name}.npz", case(configuration))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:])
