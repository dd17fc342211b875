"""Aggregates at the edge of 64-bit numbers equal exact arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest

from stream_scorer.core.kernels.aggregates import MEDIAN, STDDEV, real, whole


def of_doubles(kind: int, values: list[float]) -> float:
    bits = np.array(values, np.float64).view(np.int64)
    return float(real(kind, bits, len(bits), np.empty(len(bits) + 1, np.int64)))


def of_longs(kind: int, values: list[int]) -> float:
    numbers = np.array(values, np.int64)
    return float(whole(kind, numbers, len(numbers), np.empty(len(numbers) + 1, np.int64)))


@pytest.mark.parametrize("count", [1, 2, 3, 6, 10, 100])
def test_equal_values_do_not_deviate(count: int) -> None:
    for real_value in (0.1, 0.3, 1e-5, 123.45, -0.7, 5e-324, 1e308, -1.7976931348623157e308):
        assert of_doubles(STDDEV, [real_value] * count) == 0.0
    for value in (7, 2**53 + 1, 10**17 + 1, 2**62 + 1, 2**63 - 1, -(2**63) + 2):
        assert of_longs(STDDEV, [value] * count) == 0.0


@pytest.mark.parametrize(
    "values",
    [
        [2**63 - 1, -(2**63) + 2], [-(2**63) + 2, 2**63 - 1, 0], [2**53 + 1, 2**53 + 3],
        [10**17 + 1, 10**17 + 2, 10**17 + 6], [1, 9], [-5, 5, 5, 6],
    ],
)  # fmt: skip
def test_the_deviation_of_longs_is_that_of_exact_arithmetic(values: list[int]) -> None:
    mean = Fraction(sum(values), len(values))
    variance = sum(((value - mean) ** 2 for value in values), Fraction(0)) / len(values)
    assert of_longs(STDDEV, values) == pytest.approx(math.sqrt(variance), rel=1e-15)


def test_the_deviation_of_similar_doubles_keeps_its_digits() -> None:
    values = [1e9 + step / 1024 for step in (0, 1, 5, 2, 7)]
    mean = sum(map(Fraction, values), Fraction(0)) / len(values)
    variance = sum(((Fraction(value) - mean) ** 2 for value in values), Fraction(0)) / len(values)
    assert of_doubles(STDDEV, values) == pytest.approx(math.sqrt(variance), rel=1e-14)


@pytest.mark.parametrize(
    ("values", "median"),
    [
        ([1e308, 1e308], 1e308), ([1e308, 1.5e308], 1.25e308), ([-1e308, -1e308], -1e308),
        ([1e308, -1e308], 0.0), ([5e-324, 5e-324], 5e-324), ([1e308, 1.0, 1e308], 1e308),
    ],
)  # fmt: skip
def test_the_mean_of_two_middle_doubles_does_not_overflow(
    values: list[float], median: float
) -> None:
    assert of_doubles(MEDIAN, values) == median
