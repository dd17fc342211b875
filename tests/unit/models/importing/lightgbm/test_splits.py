import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.models.importing.lightgbm import splits

Z = splits.ZERO_MOST
STEPS = (
    0.0, 5e-324, 1e-310, 1e-45, 1e-36, 1e-35, np.nextafter(Z, 0), Z, np.nextafter(Z, 1),
    np.nextafter(np.nextafter(Z, 1), 1), 1e-34, 0.5, 1.0, np.nextafter(1.0, 2), 1e300,
)  # fmt: skip
NUMBERS = tuple(sign * step for sign in (1, -1) for step in STEPS)
VALUES = (*NUMBERS, math.inf, -math.inf, math.nan)


def library_goes_left(value: float, threshold: float, missing: int, *, default_left: bool) -> bool:
    """Decide as LightGBM's C interface and its ``Tree::NumericalDecision`` do."""
    if not (abs(value) > Z or math.isnan(value)):
        value = 0.0
    if math.isnan(value) and missing != splits.MISSING_NAN:
        value = 0.0
    zero = missing == splits.MISSING_ZERO and -Z <= value <= Z
    if zero or math.isnan(value):
        return default_left
    return value <= threshold


def library_has_category(value: float, words: NDArray[np.uint32]) -> bool:
    """Decide as LightGBM's ``Tree::CategoricalDecision`` does."""
    if math.isnan(value) or not -(2.0**31) < value < 2.0**31 or int(value) < 0:
        return False
    word, bit = divmod(int(value), 32)
    return word < len(words) and bool(int(words[word]) >> bit & 1)


def goes_left(cuts: NDArray[np.float64], value: float, *, starts_left: bool) -> bool:
    return (sum(1 for cut in cuts if cut < value) % 2 == 0) == starts_left


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("default_left", [True, False])
def test_numeric_cuts_decide_as_the_library(missing: int, *, default_left: bool) -> None:
    thresholds = np.array(NUMBERS)
    kinds, sides = np.full(len(NUMBERS), missing), np.full(len(NUMBERS), default_left)
    cuts = splits.numeric_cuts(thresholds, kinds, sides)
    of_missing = splits.missing_left(thresholds, kinds, sides)
    for (node, threshold), value in itertools.product(enumerate(NUMBERS), VALUES):
        expected = library_goes_left(value, threshold, missing, default_left=default_left)
        own = cuts[node][~np.isnan(cuts[node])]
        found = of_missing[node] if math.isnan(value) else goes_left(own, value, starts_left=True)
        assert found == expected, (threshold, value)
        assert (np.diff(own) > 0).all()


def test_only_zero_on_its_own_side_needs_three_cuts() -> None:
    thresholds, zero = np.array([1.0, -1.0, 1.0, -1.0]), np.full(4, splits.MISSING_ZERO)
    cuts = splits.numeric_cuts(thresholds, zero, np.array([True, False, False, True]))
    assert (~np.isnan(cuts)).sum(axis=1).tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize(
    "words",
    [
        [0], [1], [2], [1 << 31], [0, 1], [1 << 31, 1], [0xFFFFFFFF], [0xFFFFFFFF, 0xFFFFFFFF, 7],
        [0, 0, 0x80000001, 0, 6], [0x55555555, 0xAAAAAAAA], [3, 0], [],
    ],
)  # fmt: skip
def test_category_cuts_decide_as_the_library(words: list[int]) -> None:
    of_set = np.array(words, np.uint32)
    bounds = np.array([0, len(words)])
    cuts, counts = splits.category_cuts(of_set, bounds)
    assert counts.tolist() == [len(cuts)] == [2 * splits.run_count(of_set, bounds)]
    codes = np.arange(-3.0, 32.0 * len(words) + 3)
    beside = [*codes, *(codes + 0.5), *np.nextafter(codes, -np.inf), *np.nextafter(codes, np.inf)]
    far = [2.0**31 - 1, 2.0**31, 2.0**32, 2.0**32 + 1, 1e300, -(2.0**31), -1e300]
    for value in (*beside, *far, *VALUES[:-1]):
        expected = library_has_category(value, of_set)
        assert goes_left(cuts, value, starts_left=False) == expected, value


def test_random_sets_of_categories_are_divided_into_their_nodes() -> None:
    random = np.random.default_rng(2)
    density = np.repeat([0.02, 0.5, 0.98, 1.0, 0.0], 5)
    bits = random.random((25, 32 * 8)) < density[:, None]
    sizes = random.integers(0, 9, 25)
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    words = np.packbits(bits, axis=1, bitorder="little").view("<u4")
    sets = [row[:size] for row, size in zip(words, sizes, strict=True)]
    cuts, counts = splits.category_cuts(np.concatenate(sets), bounds)
    own = np.split(cuts, np.cumsum(counts)[:-1])
    assert len(own) == 25
    for number, size in enumerate(sizes):
        below = np.searchsorted(own[number], np.arange(32.0 * size), "left")
        assert (below % 2 == 1).tolist() == bits[number, : 32 * size].tolist()
        assert (np.diff(own[number]) > 0).all()
