"""exp and the sigmoids: at most 1 ulp from the C library, and the same bits with numpy."""

import math
import os
import platform
import subprocess
import sys
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from stream_scorer.core.arithmetic import exponential
from stream_scorer.core.arithmetic.exponential import (
    exp,
    expit,
    expit_all,
    single_sigmoid,
    single_sigmoid_all,
)
from stream_scorer.core.arithmetic.exponential_table import POWERS, TAILS
from stream_scorer.core.kernels.compiled import numeric
from tests.support.core import portable_source

Float64 = NDArray[np.float64]
LARGEST = math.log(1.7976931348623157e308)
EDGES = [
    0.0, -0.0, 5e-324, -5e-324, 1e-300, -1e-17, 1.0, -1.0, math.log(2), LARGEST, -708.0,
    np.nextafter(LARGEST, math.inf), -745.1332191019411, -745.1332191019412, -746.0, 710.0,
    1e300, -1e300, math.inf, -math.inf, math.nan, -math.nan,
]  # fmt: skip
FULL_TIER = pytest.param(2_000_000, marks=pytest.mark.thorough)
COUNTS = [60_000, FULL_TIER]


@numeric
def exp_all(values: Any) -> None:
    for at in range(len(values)):
        values[at] = exp(values[at])


def made(function: Any, values: Float64) -> Float64:
    out = values.copy()
    function(out)
    return out


def samples(count: int, least: float = -746.0, most: float = 710.0) -> Float64:
    """Return numbers of a range: everywhere, in +-12, near 0, and around steps of the table."""
    random = np.random.default_rng(5)
    each = count // 4
    steps = random.integers(-100_000, 100_000, each) * (math.log(2) / 256)
    values = np.concatenate([
        np.array(EDGES), random.uniform(least, most, each), random.uniform(-12, 12, each),
        random.normal(0, 1, each) * 10.0 ** random.uniform(-18, 0, each),
        steps * (1 + random.integers(-4, 5, each) * 2.0**-53),
    ])  # fmt: skip
    return values[(values >= least) & (values <= most)]


def ulps(one: Float64, other: Float64) -> NDArray[np.int64]:
    return np.abs(one.view(np.int64) - other.view(np.int64))


def of_library(values: Float64) -> Float64:
    return np.array([math.exp(value) for value in values.tolist()])


@pytest.mark.parametrize("count", COUNTS)
def test_numba_and_numpy_have_the_same_bits(count: int) -> None:
    portable = portable_source.functions()
    values = np.concatenate([samples(count), np.array(EDGES)])
    with np.errstate(all="ignore"):
        assert made(exp_all, values).tobytes() == portable["exp"](values).tobytes()
        assert made(expit_all, values).tobytes() == portable["expit"](values).tobytes()
        single = values.astype(np.float32).astype(np.float64)
        found = portable["single_sigmoid"](single)
        assert made(single_sigmoid_all, single).tobytes() == found.tobytes()
    assert set(portable) == {"exp", "expit", "single_sigmoid"}


def test_one_number_has_the_bits_that_it_has_among_many() -> None:
    values = samples(4_000)
    for of_all, of_one in ((exp_all, exp), (expit_all, expit)):
        assert made(of_all, values).tolist() == [of_one(value) for value in values.tolist()]
    single = values.astype(np.float32).astype(np.float64)
    found = [single_sigmoid(value) for value in single.tolist()]
    assert made(single_sigmoid_all, single).tolist() == found


@pytest.mark.parametrize("count", COUNTS)
def test_exp_is_at_most_one_ulp_from_the_library(count: int) -> None:
    values = samples(count, most=LARGEST)
    differing = ulps(made(exp_all, values), of_library(values))
    assert differing.max() == 1
    # Measured: 0.07 % with fused operations in the C library; without, none but subnormal results.
    assert np.count_nonzero(differing) < len(values) * 0.002


@pytest.mark.parametrize("count", COUNTS)
def test_expit_is_near_that_of_the_library(count: int) -> None:
    values = samples(count, least=-LARGEST, most=LARGEST)
    differing = ulps(made(expit_all, values), special.expit(values))
    # The library's with fused operations and without differ by 2 in 62 of 1,000,000 values.
    assert differing.max() <= 2
    assert np.count_nonzero(differing) < len(values) * 0.002


UNFUSED = """
import numpy as np
from scipy import special
from tests.unit.core.arithmetic.test_exponential import *
values = samples(200_000, least=-700, most=700)
print(np.count_nonzero(ulps(made(exp_all, values), of_library(values))))
print(np.count_nonzero(ulps(made(expit_all, values), special.expit(values))))
print(made(expit_all, samples(1_000)).tobytes().hex())
"""


@pytest.mark.skipif(
    (platform.machine(), platform.libc_ver()[0]) != ("x86_64", "glibc"),
    reason="the switch is glibc's for x86",
)
def test_without_fused_operations_the_library_agrees() -> None:
    """And our results do not depend on whether the C library uses them."""
    without = os.environ | {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2,-FMA4"}
    done = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", UNFUSED], env=without, capture_output=True, text=True, check=True
    )
    of_exp, of_expit, ours = done.stdout.split()
    assert (of_exp, of_expit) == ("0", "0")
    assert ours == made(expit_all, samples(1_000)).tobytes().hex()


@pytest.mark.parametrize("count", [1_000, pytest.param(6_000, marks=pytest.mark.thorough)])
def test_the_errors_against_the_exact_values(count: int) -> None:
    values = samples(count, least=-700, most=700)
    of_exp, of_expit = [], []
    with localcontext() as context:
        context.prec = 60
        for value, power, share in zip(
            values.tolist(), made(exp_all, values).tolist(), made(expit_all, values).tolist(),
            strict=True,
        ):  # fmt: skip
            exact = Decimal(value).exp()
            of_exp.append(abs(Decimal(power) - exact) / Decimal(math.ulp(power)))
            exact = 1 / (1 + (-Decimal(value)).exp())
            of_expit.append(abs(Decimal(share) - exact) / Decimal(math.ulp(share)))
    assert max(of_exp) < Decimal("0.52")
    assert max(of_expit) < Decimal("1.9")


def test_the_constants_follow_from_their_definitions() -> None:
    with localcontext() as context:
        context.prec = 60
        step = Decimal(2).ln() / 128
        for j, (power, tail) in enumerate(zip(POWERS.tolist(), TAILS.tolist(), strict=True)):
            exact = (j * step).exp()
            assert power == float(exact)
            assert math.isclose(tail, float(exact / Decimal(power) - 1), rel_tol=1e-15)
        assert float(1 / step) == exponential._STEPS
        high = Decimal(exponential._STEP_HIGH)
        assert high == int(step * 2**43) / Decimal(2**43)
        assert float(step - high) == exponential._STEP_LOW
        coefficients = [1, 1, *(Decimal(getattr(exponential, f"_C{k}")) for k in range(2, 6))]
        worst = Decimal(0)
        for at in range(-200, 201):
            r = step / 2 * at / 200
            found = sum(each * r**k for k, each in enumerate(coefficients))
            worst = max(worst, abs(found - r.exp()))
    assert worst < Decimal(2) ** Decimal("-65.3")


def test_at_the_ends_and_of_what_is_not_a_number() -> None:
    assert [exp(0.0), exp(-0.0), exp(math.inf), exp(-math.inf)] == [1.0, 1.0, math.inf, 0.0]
    assert (exp(-745.2), exp(709.8), exp(1e300), exp(-1e300)) == (0.0, math.inf, math.inf, 0.0)
    assert exp(-745.1) == 5e-324
    assert [expit(0.0), expit(math.inf), expit(-math.inf), expit(800.0)] == [0.5, 1.0, 0.0, 1.0]
    bits = np.array([0x7FF8000000000001, -1, 0x7FF0000000000001], np.int64)
    for function in (exp_all, expit_all, single_sigmoid_all):
        found = made(function, bits.view(np.float64)).view(np.int64)
        assert set(found.tolist()) == {0x7FF8000000000000}


def test_the_single_sigmoid_is_that_of_float32_arithmetic() -> None:
    random = np.random.default_rng(1)
    margins = np.concatenate([random.uniform(-120, 120, 50_000), random.normal(0, 3, 50_000)])
    margins = margins.astype(np.float32)
    exponent = np.minimum(-margins, np.float32(88.7))
    power = made(exp_all, exponent.astype(np.float64)).astype(np.float32)
    expected = np.float32(1) / (power + np.float32(1) + np.float32(1e-16))
    found = made(single_sigmoid_all, margins.astype(np.float64))
    assert found.astype(np.float32).tobytes() == expected.tobytes()
    assert (found == found.astype(np.float32)).all()


def test_the_sigmoids_never_fall() -> None:
    """A threshold on the probability then cuts the margins once."""
    values = np.sort(np.concatenate([samples(40_000, -40, 40), np.linspace(-1, 1, 5_001)]))
    found = made(expit_all, values)
    # Rounding may lower a neighbour by an ulp; over 2^-40 of the margin nothing falls.
    apart = np.flatnonzero(np.diff(values) > 2.0**-40 * (1 + np.abs(values[:-1])))
    assert (np.diff(found)[apart] >= 0).all()
