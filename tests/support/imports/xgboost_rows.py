"""Rows that test every split of an XGBoost model, found from its JSON without the importer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

SPECIAL = (
    0.0, -0.0, 5e-324, -5e-324, 1e-310, 2.0**-150, -(2.0**-150), 2.0**-149, 1e-45, -1e-45, 1e-40,
    2.0**-126, 1.0, -1.0, 0.5, -0.5, 1e30, -1e30,
    float(np.finfo(np.float32).max), -float(np.finfo(np.float32).max),
    2.0**128 - 2.0**103, float(np.nextafter(2.0**128 - 2.0**103, 0)), 1e39, -1e39, 1.7e308,
    float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
CATEGORIES = (
    -1.0, -0.9999, -1e-60, -0.0, 0.0, 0.5, 0.99999999, 0.9999999999999999, 1.0, 1.5, 2.999999999,
    3.0, 4.0, 4.9999, 5.0, 6.0, 31.0, 32.0, 63.0, 64.0, 79.0, 79.99999999, 80.0, 81.0, 95.0, 96.0,
    127.5, 1000.0, 65536.0, 16777214.0, 16777215.0, 16777215.5, 16777216.0, 16777217.0,
    2147483647.0, 2147483648.0, 4294967296.0, 1e10, 1e19, 1e38, 1e39,
)  # fmt: skip
THRESHOLDS_MOST = 1500
"""Splits of a model that are tested unless another number is asked for; more are sampled."""


def rows_for(
    model: dict[str, Any], missing: float | None, *, seed: int, most: int = THRESHOLDS_MOST
) -> Float64:
    """Return float64[n, m]: random rows, rows at each threshold and next to it, special values.

    Args:
        model: The JSON document of a model.
        missing: A number that counts as missing, or None.
        seed: Of the random rows.
        most: Maximum splits that are tested.
    """
    random = np.random.default_rng(seed + 1000)
    learner = model["learner"]
    count = int(learner["learner_model_param"]["num_feature"])
    booster = learner["gradient_booster"]
    trees = booster.get("gbtree", booster)["model"]["trees"]
    categorical = {
        tree["split_indices"][node] for tree in trees for node in tree.get("categories_nodes", ())
    }
    plain = _random_rows(random, 300, count, categorical)
    found = [plain, plain.astype(np.float32).astype(np.float64), np.full((1, count), np.nan)]
    values = np.array(SPECIAL + (() if missing is None else around(missing)))
    for column in range(count):
        chosen = np.append(values, CATEGORIES) if column in categorical else values
        for base in plain[:2]:
            rows = np.repeat(base[np.newaxis], len(chosen), axis=0)
            rows[:, column] = chosen
            found.append(rows)
    found += list(_rows_at_splits(random, trees, plain, categorical, most))
    return np.concatenate(found)


def around(value: float) -> tuple[float, ...]:
    """Return a number and its neighbours: in float32, in float64, and where rounding changes."""
    single = np.float32(value)
    with np.errstate(over="ignore"):
        down = np.nextafter(single, np.float32(-np.inf))
        up = np.nextafter(single, np.float32(np.inf))
    middles = [(float(single) + float(other)) / 2 for other in (down, up)]
    centres = [float(value), float(single), float(down), float(up), *middles]
    near = [np.nextafter(centre, end) for centre in centres for end in (-np.inf, np.inf)]
    return tuple(centres + [float(each) for each in near])


def _random_rows(
    random: np.random.Generator, count: int, features: int, categorical: set[int]
) -> Float64:
    """Return random rows like the training data: normal numbers of some scales, categories."""
    rows = random.normal(size=(count, features)) * random.choice([1e-3, 1, 1, 100], (count, 1))
    for column in categorical:
        rows[:, column] = random.integers(0, 90, count)
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows


def _rows_at_splits(
    random: np.random.Generator, trees: list[Any], plain: Float64, categorical: set[int], most: int
) -> list[Float64]:
    """Return rows that reach each split of each tree, with values at and next to its threshold."""
    splits = [(tree, node) for tree in trees for node in _inner_nodes(tree)]
    if len(splits) > most:
        picked = random.choice(len(splits), most, replace=False)
        splits = [splits[at] for at in picked]
    found = []
    for tree, node in splits:
        row = plain[random.integers(len(plain))].copy()
        for parent, left in _path(tree, node):
            _satisfy(random, tree, parent, row, left=left)
        column = tree["split_indices"][node]
        if column in categorical and node in tree.get("categories_nodes", ()):
            chosen = _categories_of(tree, node)
            values = [float(each) + step for each in chosen for step in (-1.0, 0.0, 0.75, 1.0)]
            starts = {each for each in chosen if each - 1 not in chosen}
            ends = {each + 1 for each in chosen if each + 1 not in chosen}
            values += [value for each in sorted(starts | ends) for value in around(float(each))]
        else:
            values = list(around(tree["split_conditions"][node]))
        rows = np.repeat(row[np.newaxis], len(values), axis=0)
        rows[:, column] = values
        found.append(rows)
    return found


def _inner_nodes(tree: Any) -> list[int]:
    """Return the splits that are reached from the root."""
    found, pending = [], [0]
    while pending:
        node = pending.pop()
        if tree["left_children"][node] != -1:
            found.append(node)
            pending += [tree["left_children"][node], tree["right_children"][node]]
    return found


def _path(tree: Any, node: int) -> list[tuple[int, bool]]:
    """Return the splits from the root to a node, each with whether the node is on its left."""
    path = []
    while node != 0:
        parent = tree["parents"][node]
        path.append((parent, tree["left_children"][parent] == node))
        node = parent
    return path[::-1]


def _categories_of(tree: Any, node: int) -> list[int]:
    """Return the categories that go right at a node."""
    at = tree["categories_nodes"].index(node)
    start = tree["categories_segments"][at]
    chosen: list[int] = tree["categories"][start : start + tree["categories_sizes"][at]]
    return chosen


def _satisfy(
    random: np.random.Generator, tree: Any, node: int, row: Float64, *, left: bool
) -> None:
    """Change a row's value so that it goes left or right at a node, unless it does already.

    Later splits on the same feature may undo this; then the row reaches another node.
    """
    column = tree["split_indices"][node]
    if np.isnan(row[column]) and bool(tree["default_left"][node]) == left:
        return
    if node in tree.get("categories_nodes", ()):
        chosen = _categories_of(tree, node)
        if (row[column] in chosen) == left:
            others = [each for each in range(90) if each not in chosen]
            row[column] = random.choice(others if left else chosen)
        return
    limit = np.float32(tree["split_conditions"][node])
    if np.isnan(row[column]) or (np.float32(row[column]) < limit) != left:
        row[column] = float(np.nextafter(limit, np.float32(-np.inf)) if left else limit)
