"""Decimal numbers, cuts and the logarithm, each compared with exact arithmetic or the C library."""

import ctypes
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.xgboost.base_margin import logf, logit_margin
from stream_scorer.models.importing.xgboost.float32_cuts import cuts_of
from stream_scorer.models.importing.xgboost.number_lists import TextNumbers, single
from tests.support.effort import examples

SINGLES = st.integers(0, 0xFFFFFFFF).map(
    lambda bits: np.array([bits], np.uint32).view(np.float32)[0]
)
EDGES = (
    0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 1.1754942e-38, 1.0, -1.0, 2.0, 0.1, -0.5,
    3.4028235e38, -3.4028235e38, math.inf, -math.inf,
)  # fmt: skip


def _nearest(exact: Fraction) -> float:
    """Return the float32 number nearest to a fraction, half to even, by exact arithmetic."""
    size, sign = abs(exact), -1.0 if exact < 0 else 1.0
    exponent = -149
    while size >= Fraction(2) ** (exponent + 24):
        exponent += 1
    steps = size / Fraction(2) ** exponent
    whole = steps.numerator // steps.denominator
    rest = steps - whole
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    rounded = whole * Fraction(2) ** exponent
    return sign * (math.inf if rounded >= Fraction(2) ** 128 else float(rounded))


def _texts(text: bytes) -> TextNumbers:
    return TextNumbers(text, 0, len(text))


@settings(max_examples=examples(500))
@given(st.integers(0x30000000, 0x50000000), st.integers(-3, 3), st.integers(25, 75), st.booleans())
def test_decimals_near_a_middle_round_like_fractions(
    bits: int,
    steps: int,
    place: int,
    negative: bool,  # noqa: FBT001 hypothesis calls it
) -> None:
    low, high = np.array([bits, bits + 1], np.uint32).view(np.float32).tolist()
    with localcontext(prec=150):
        middle = (Decimal(low) + Decimal(high)) / 2
        text = f"{'-' if negative else ''}{middle + steps * Decimal(10) ** -place:.80f}"
    found = single(text)
    assert found is not None
    assert float(found) == _nearest(Fraction(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.00000005960464477539062500", 1.0),  # exactly in the middle: to even
        ("1.00000005960464477539062501", 1.0000001192092896),
        ("1.00000005960464477539062499", 1.0),
        ("1.0000001788139343261718749999", 1.0000001192092896),
        ("1.0000001788139343261718750000", 1.000000238418579),
        ("-1.00000005960464477539062501", -1.0000001192092896),
        ("7.0064923216240853546186479164495e-46", 0.0),
        ("7.0064923216240853546186479164496e-46", 1.401298464324817e-45),
        ("3.40282356779733661637539395458142568447e38", 3.4028234663852886e38),
        ("3.40282356779733661637539395458142568448e38", math.inf),
        ("1e39", math.inf),
        ("1E-45", 1.401298464324817e-45),
        ("0E0", 0.0),
        ("-Infinity", -math.inf),
    ],
)
def test_a_decimal_is_rounded_once(text: str, expected: float) -> None:
    assert single(text) == expected
    assert _texts(text.encode()).singles("here").tolist() == [expected]


@pytest.mark.parametrize(
    "text", ["", " ", "1_0", "nan", "inf", "0x1p3", "1e", "+1", ".5", "1,2", "1e99999", "9" * 50]
)
def test_what_is_not_a_decimal_is_refused(text: str) -> None:
    assert single(text) is None


@pytest.mark.parametrize("text", [b"1.0,2", b"01", b"1e3", b"9999999999999999999", b"1,,2", b"1,"])
def test_other_numbers_are_not_integers(text: bytes) -> None:
    with pytest.raises(ModelError, match=r"here is not a list of integers"):
        _texts(text).integers("here")


def test_lists_of_numbers_count_before_they_are_read() -> None:
    assert [len(_texts(text)) for text in (b"", b" \n", b"7", b"1, -2 ,3")] == [0, 0, 1, 3]
    assert _texts(b" 1, -2 ,3\n").integers("here").tolist() == [1, -2, 3]


@settings(max_examples=examples(1000))
@given(SINGLES | st.sampled_from(EDGES).map(np.float32))
def test_a_cut_is_the_last_number_below_its_threshold(threshold: np.float32) -> None:
    hypothesis.assume(not np.isnan(threshold))
    (cut,) = cuts_of(np.array([threshold], np.float32)).tolist()
    with np.errstate(over="ignore"):
        after = np.float32(math.nextafter(cut, math.inf))
        assert not after < threshold
        assert np.float32(cut) < threshold or threshold == -np.inf


def test_the_logarithm_has_the_bits_of_the_c_library() -> None:
    library = ctypes.CDLL("libm.so.6").logf
    library.restype, library.argtypes = ctypes.c_float, [ctypes.c_float]
    random = np.random.default_rng(3)
    bits = np.concatenate(
        [random.integers(1, 0x7F800000, 8000), [1, 0x7FFFFF, 0x800000, 0x7F7FFFFF]]
    )
    near_one = random.integers(0x3F700000, 0x3F900000, 4000)
    for value in np.concatenate([bits, near_one]).astype(np.uint32).view(np.float32):
        assert float(logf(value)) == library(float(value))


@pytest.mark.parametrize(
    ("probability", "version", "margin"),
    [
        # inplace_predict of each version for a model whose only leaf is 0.
        (0.5, (3, 2), 0.0),
        (0.1, (3, 2), -2.1972246170043945),
        (0.1, (1, 7), -2.1972246170043945),
        (1e-7, (3, 2), -13.815509796142578),
        (1e-7, (3, 1), -16.11809539794922),
    ],
)
def test_the_base_margin_is_the_library_s(
    probability: float, version: tuple[int, int], margin: float
) -> None:
    assert float(logit_margin(np.float32(probability), version)) == margin


def test_a_base_score_without_a_margin_is_refused() -> None:
    with pytest.raises(ModelError, match=r"base_score 1e-45 is too near to 0 or 1"):
        logit_margin(np.float32(1e-45), (2, 1))
