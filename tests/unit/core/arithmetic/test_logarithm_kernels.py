"""The logarithm has the same bits as in plain Python, and at most 1 ulp of error."""

import math
from decimal import Decimal, localcontext
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.core.arithmetic.logarithm_kernels import log
from tests.support.core import log_oracle

Float64 = NDArray[np.float64]
SMALLEST_NORMAL = np.int64(0x0010000000000000)
INFINITY = np.int64(0x7FF0000000000000)
EDGES = [
    5e-324, 2.0**-1022, np.nextafter(2.0**-1022, 0), np.nextafter(1, 0), 1.0, np.nextafter(1, 2),
    math.sqrt(0.5), np.nextafter(math.sqrt(0.5), 0), math.sqrt(2), np.nextafter(math.sqrt(2), 2),
    2.0, 0.5, 10.0, math.e, 1.7976931348623157e308,
]  # fmt: skip


def _logarithms(values: Float64) -> Float64:
    out = np.empty_like(values)
    for at in range(len(values)):
        out[at] = log(values[at])
    return out


logarithms: Any = numba.njit(_logarithms)


def samples(count: int) -> Float64:
    """Return doubles of every exponent, subnormal ones, and some near 1."""
    random = np.random.default_rng(7)
    near = 1 + random.normal(0, 1, count) * 10.0 ** random.uniform(-16, -1, count)
    return np.concatenate([
        np.array(EDGES), random.integers(1, INFINITY, count).view(np.float64),
        random.integers(1, SMALLEST_NORMAL, count).view(np.float64), near[near > 0],
    ])  # fmt: skip


def ulps(one: Float64, other: Float64) -> NDArray[np.int64]:
    return np.asarray(np.abs(one.view(np.int64) - other.view(np.int64)))


def test_the_kernel_has_the_bits_of_plain_python() -> None:
    values = samples(5_000)
    assert logarithms(values).tolist() == [log_oracle.log(value) for value in values.tolist()]


def test_it_is_at_most_one_ulp_from_the_c_library() -> None:
    values = samples(100_000)
    theirs = np.array([math.log(value) for value in values.tolist()])
    differing = ulps(logarithms(values), theirs)
    assert differing.max() == 1
    # Measured over 5,200,000 values: 0.2 % differ.
    assert np.count_nonzero(differing) < len(values) * 0.01


def test_it_is_less_than_one_ulp_from_the_exact_value() -> None:
    values = samples(600)
    values = values[values != 1]
    with localcontext() as context:
        context.prec = 60
        errors = [
            abs(Decimal(found) - Decimal(value).ln()) / Decimal(math.ulp(found))
            for value, found in zip(values.tolist(), logarithms(values).tolist(), strict=True)
        ]
    # Measured over 24,000 values, among them the worst of 5,200,000: 0.77.
    assert max(errors) < Decimal("0.85")


@pytest.mark.parametrize("value", [0.0, -0.0, -5e-324, -1.0, -math.inf, math.inf, math.nan])
def test_without_a_logarithm_it_is_nan(value: float) -> None:
    assert math.isnan(log(value))


def test_of_one_it_is_zero() -> None:
    assert str(log(1.0)) == "0.0"
