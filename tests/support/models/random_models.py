"""Models as data with random trees, weights and steps, and rows on and next to their cuts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.models.predictors.parts import (
    Affine,
    After,
    Before,
    Clip,
    Impute,
    LinearWeights,
    MissingValue,
    Multiply,
    Part,
    Platt,
    ScoringModel,
    Select,
    Sigmoid,
    SingleSigmoid,
    Table,
)
from stream_scorer.models.predictors.trees import TreeColumns, TreeEnsemble, assemble

Float64 = NDArray[np.float64]
Numbers = np.random.Generator

GRID: Float64 = np.array(
    [-np.inf, -1e300, -2.0, -1.0, -5e-324, 0.0, 5e-324, 1e-35, 0.5, 1.0, 2.0, 3.0, 1e300, np.inf]
)
"""Values of cuts, so that many nodes share one."""


def tree(numbers: Numbers, leaves: int, features: int, most_cuts: int) -> TreeColumns:
    """Return a tree of so many leaves; its nodes are in no order, and its leaves hold anything."""
    count = 2 * leaves - 1
    feature = np.full(count, -1)
    left, right = numbers.integers(-9, 9, (2, count))
    frontier, used = [0], 1
    for _ in range(leaves - 1):
        node = frontier.pop(int(numbers.integers(len(frontier))))
        feature[node] = numbers.integers(features)
        left[node], right[node] = used, used + 1
        frontier += [used, used + 1]
        used += 2
    # The root keeps its number, the others get new ones.
    moved = np.concatenate([[0], 1 + numbers.permutation(count - 1)])
    order = np.argsort(moved)
    inner = feature >= 0
    left = np.where(inner, moved[left * inner], left)[order]
    right = np.where(inner, moved[right * inner], right)[order]
    cuts = [
        np.sort(numbers.choice(GRID, int(numbers.integers(0, most_cuts + 1)), replace=False))
        if most_cuts > 1
        else numbers.choice(GRID, 1)
        for _ in range(count)
    ]
    return TreeColumns(
        feature=feature[order],
        first_cut=np.cumsum([0, *(len(each) for each in cuts)]),
        cuts=np.concatenate(cuts),
        starts_left=numbers.random(count) < (0.5 if most_cuts > 1 else 2),
        left=left,
        right=right,
        missing_left=numbers.random(count) < 0.5,
        value=numbers.normal(size=count).astype(np.float32).astype(np.float64),
        cover=numbers.integers(0, 9, count).astype(np.float64),
    )


def ensemble(
    seed: int, *, trees: int, leaves: int, features: int, most_cuts: int = 1, single: bool = False
) -> TreeEnsemble:
    """Return random trees of 1 to ``leaves`` leaves, whose nodes have at most so many cuts."""
    numbers = np.random.default_rng(seed)
    return assemble(
        [
            tree(numbers, int(numbers.integers(1, leaves + 1)), features, most_cuts)
            for _ in range(trees)
        ],
        baseline=float(np.float32(numbers.normal())),
        feature_count=features,
        single=single,
    )


def rows_near(cuts: Float64, seed: int, count: int, features: int) -> Float64:
    """Return rows of cuts, of the numbers next to them, of missing and of other values."""
    numbers = np.random.default_rng(seed)
    near = np.concatenate([cuts, GRID, [np.nan, -0.0], numbers.normal(size=5)])
    near = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)])
    found: Float64 = numbers.choice(near, (count, features))
    return found


def linear(numbers: Numbers, features: int) -> LinearWeights:
    """Return random weights."""
    weight, mean = numbers.normal(size=(2, features))
    return LinearWeights(weight, float(numbers.normal()), mean)


def part(seed: int, features: int) -> Part:
    """Return a part with random steps, a random body, and random numbers."""
    numbers = np.random.default_rng(seed)
    width, before = features, list[Before]()
    for _ in range(int(numbers.integers(0, 4))):
        kinds: list[Any] = [
            lambda w: Impute(numbers.normal(size=(w,)), float(numbers.choice([np.nan, 1.0]))),
            lambda w: Affine(numbers.normal(size=(w,)), numbers.choice([0.5, -3.0, 1e-3], (w,))),
            lambda w: Multiply(numbers.normal(size=(w,)), numbers.normal(size=(w,))),
            lambda _: Clip(-1.0, 2.0),
            lambda w: Select(numbers.integers(0, w, int(numbers.integers(1, w + 2)))),
            lambda _: MissingValue(float(numbers.choice(GRID)), bool(numbers.random() < 0.5)),
        ]
        step: Before = kinds[int(numbers.integers(len(kinds)))](width)
        before.append(step)
        width = len(step.columns) if isinstance(step, Select) else width
    body: TreeEnsemble | LinearWeights
    single = bool(numbers.random() < 0.5)
    if numbers.random() < 0.3:
        body = linear(numbers, width)
        before.append(Impute(numbers.normal(size=width)))
        before.append(Clip(-1e6, 1e6))
    else:
        body = ensemble(
            seed, trees=5, leaves=int(numbers.choice([8, 50, 90])), features=width, most_cuts=3,
            single=single,
        )  # fmt: skip
    x = np.sort(numbers.normal(size=6))
    afters: list[After] = [
        Sigmoid(), Sigmoid(2.0, 0.5), SingleSigmoid(), Platt(-2.0, 0.3),
        Table(x, np.sort(numbers.random(6))),
    ]  # fmt: skip
    after = afters[int(numbers.integers(len(afters)))]
    divisor, scale, bias = (float(numbers.choice([plain, 3.7])) for plain in (1.0, 1.0, 0.0))
    return Part(tuple(before), body, divisor, scale, bias, (after,))


def model(seed: int, features: int) -> ScoringModel:
    """Return a model of one to three random parts."""
    count = 1 + seed % 3
    return ScoringModel(tuple(part(seed * 3 + n, features) for n in range(count)), features)


def cuts_of(found: ScoringModel) -> Float64:
    """Return all cuts of a model."""
    return np.concatenate(
        [np.zeros(1), *(p.body.cuts for p in found.parts if isinstance(p.body, TreeEnsemble))]
    )
