"""Amounts and times are scaled exactly as fractions of their decimals are."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_scorer.core.mapping.mapping import FieldRule
from stream_scorer.core.normalising.conversions import Fault, amount, real, time, whole
from stream_scorer.core.normalising.leaves import LeafPart, Wire
from tests.support.effort import examples

INT64 = 2**63 - 1
EXACT = FieldRule("fields.amount", "amount_minor", "amount", ("sum",), unit="major")
ROUNDED = FieldRule("fields.amount", "amount_minor", "amount", ("sum",), unit="major",
                    half_even=True)  # fmt: skip
MONEY = st.one_of(
    st.integers(-(10**7), 10**7).map(lambda minor: minor / 100),
    st.integers(-(10**6), 10**6).map(lambda minor: minor / 1000),
    st.integers(-(10**9), 10**9).map(lambda minor: (2 * minor + 1) / 2000),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-1e6, 1e6),
)
EXPONENTS = st.integers(0, 4)


def converted(part: LeafPart, exponent: int, rule: FieldRule) -> list[Any]:
    column, codes = amount(rule, part, np.full(len(part.values), exponent))
    return [
        Fault(code) if code else value
        for value, code in zip(column.to_pylist(), codes.tolist(), strict=True)
    ]


def expected(number: Fraction | None, exponent: int, rule: FieldRule) -> Any:
    """Return the scaled decimal; negative zero and non-numbers are judged before."""
    if number is None:
        return Fault.NOT_FINITE
    scaled = number * 10**exponent
    if rule.half_even or scaled.denominator == 1:
        return round(scaled) if abs(round(scaled)) <= INT64 else Fault.OVERFLOW
    return Fault.OVERFLOW if abs(scaled) > INT64 else Fault.DIGITS


@settings(max_examples=examples(400))
@given(st.lists(MONEY, max_size=20), EXPONENTS, st.sampled_from([EXACT, ROUNDED]))
@example([1e15 + 0.3, 99999999999999.99, 123456789012345.67, 0.005, 0.015, 2.675], 2, ROUNDED)
@example([1e22, 5e-324, 1.7976931348623157e308, 4503599627370497.5], 2, EXACT)
def test_a_double_is_its_shortest_decimal(
    values: list[float], exponent: int, rule: FieldRule
) -> None:
    found = converted(LeafPart(Wire("double"), pa.array(values, pa.float64())), exponent, rule)
    for value, result in zip(values, found, strict=True):
        if value == 0 and math.copysign(1, value) < 0:
            assert result is Fault.NEGATIVE_ZERO
        else:
            number = Fraction(repr(value)) if math.isfinite(value) else None
            assert result == expected(number, exponent, rule), value


@settings(max_examples=examples(200))
@given(
    st.lists(st.one_of(st.floats(width=32), st.integers(-(10**6), 10**6).map(lambda x: x / 100)),
             max_size=20),
    EXPONENTS, st.sampled_from([EXACT, ROUNDED]),
)  # fmt: skip
def test_a_float_is_its_own_shortest_decimal(
    values: list[float], exponent: int, rule: FieldRule
) -> None:
    singles = np.array(values, np.float32)
    found = converted(LeafPart(Wire("float"), pa.array(singles)), exponent, rule)
    for value, result in zip(singles, found, strict=True):
        if value == 0 and np.signbit(value):
            assert result is Fault.NEGATIVE_ZERO
        else:
            number = Fraction(str(value)) if np.isfinite(value) else None
            assert result == expected(number, exponent, rule), value


def test_halves_in_floats_are_rounded_to_even() -> None:
    # As doubles, these floats are a little above or below the half.
    part = LeafPart(Wire("float"), pa.array([0.015, 0.025, 0.045, 0.055], pa.float32()))
    assert converted(part, 2, ROUNDED) == [2, 2, 4, 6]


DECIMAL_TEXT = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9),
                max_value=10**9).map(str),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
)  # fmt: skip


@settings(max_examples=examples(400))
@given(st.lists(DECIMAL_TEXT, max_size=20), EXPONENTS, st.sampled_from([EXACT, ROUNDED]))
@example(["9223372036854775807", "9223372036854775808", "-9223372036854775807"], 0, EXACT)
@example(["0.5", "1.5", "2.5", "-0.5", "-1.5", "0.50000001", "0.49999"], 0, ROUNDED)
@example(["000000000000000000000000012.50", "1e18", "1e19", "10e-1"], 1, EXACT)
@example(["92233720368547758.075", "-92233720368547758.075", "92233720368547758.0749"], 2, ROUNDED)
def test_a_decimal_text_is_scaled_exactly(
    values: list[str], exponent: int, rule: FieldRule
) -> None:
    found = converted(LeafPart(Wire("text"), pa.array(values, pa.string())), exponent, rule)
    for value, result in zip(values, found, strict=True):
        number = Fraction(Decimal(value))
        if number == 0 and value.startswith("-"):
            assert result is Fault.NEGATIVE_ZERO
        else:
            want = expected(number, exponent, rule)
            # A value that is both too large and too fine may have either fault.
            too = {Fault.OVERFLOW, Fault.DIGITS}
            assert result == want or {result, want} <= too, value


def test_what_is_not_a_decimal_text() -> None:
    values = ["", "-", ".5", "5.", "1e", "1e+", "1,5", " 1", "1 ", "+1", "0x1", "NaN", "inf", "1_0",
              "\N{ARABIC-INDIC DIGIT ONE}", "1e12345", "1.2.3", "--1"]  # fmt: skip
    found = converted(LeafPart(Wire("text"), pa.array(values)), 2, EXACT)
    assert found == [Fault.NOT_A_NUMBER] * len(values)


@settings(max_examples=examples(200))
@given(
    st.lists(st.tuples(st.integers(-(2**80), 2**80), st.integers(0, 3)), max_size=20),
    st.integers(0, 20), EXPONENTS, st.sampled_from([EXACT, ROUNDED]),
)  # fmt: skip
def test_a_decimal_of_bytes_is_scaled_exactly(
    numbers: list[tuple[int, int]], scale: int, exponent: int, rule: FieldRule
) -> None:
    values = [
        number.to_bytes((number.bit_length() + 8) // 8 + spare, "big", signed=True)
        for number, spare in numbers
    ]
    part = LeafPart(Wire("decimal", scale), pa.array(values, pa.binary()))
    for (number, _), result in zip(numbers, converted(part, exponent, rule), strict=True):
        want = expected(Fraction(number, 10**scale), exponent, rule)
        assert result == want or {result, want} <= {Fault.OVERFLOW, Fault.DIGITS}


def test_decimals_of_no_bytes_and_of_many_are_refused() -> None:
    part = LeafPart(Wire("decimal", 2), pa.array([b"", b"\x7f" * 1_000, b"\0" * 1_000 + b"\x01"]))
    assert converted(part, 2, EXACT) == [Fault.NOT_A_NUMBER, Fault.OVERFLOW, 1]


@pytest.mark.parametrize("size", [64, 65, 1_000])
@pytest.mark.parametrize("number", [10**20, -(10**20), 5 * 10**18, 10**36])
def test_bytes_that_repeat_the_sign_have_no_effect(number: int, size: int) -> None:
    values = pa.array([number.to_bytes(size, "big", signed=True)])
    part = LeafPart(Wire("decimal", 20), values)
    assert converted(part, 2, EXACT) == [number // 10**18]
    column, codes = real(EXACT, part, np.array([]))
    assert (column.to_pylist(), codes.tolist()) == ([number / 10**20], [0])


def test_a_decimal_extra_may_have_as_many_bits_as_a_double() -> None:
    numbers = [10**200, 10**300, 10**346, 10**347]
    values = [number.to_bytes(150, "big", signed=True) for number in numbers]
    column, codes = real(EXACT, LeafPart(Wire("decimal", 38), pa.array(values)), np.array([]))
    assert codes.tolist() == [0, 0, 0, Fault.NOT_FINITE]
    assert column.to_pylist()[:3] == [1e162, 1e262, 1e308]


@settings(max_examples=examples(100))
@given(st.lists(st.integers(-INT64 - 1, INT64), max_size=20), EXPONENTS)
def test_a_whole_number_is_scaled_exactly(values: list[int], exponent: int) -> None:
    found = converted(LeafPart(Wire("long"), pa.array(values, pa.int64())), exponent, EXACT)
    for value, result in zip(values, found, strict=True):
        assert result == expected(Fraction(value), exponent, EXACT)


FACTORS = {
    "s": Fraction(1_000),
    "ms": Fraction(1),
    "us": Fraction(1, 1_000),
    "ns": Fraction(1, 1_000_000),
}


@settings(max_examples=examples(200))
@given(
    st.lists(st.integers(-INT64, INT64), max_size=20), st.sampled_from(list(FACTORS)),
    st.sampled_from([0, 1_512_086_400_000, -5]),
)  # fmt: skip
def test_a_count_of_time_is_rounded_down(values: list[int], unit: str, since: int) -> None:
    rule = FieldRule("f", "event_time", "timestamp", ("ts",), unit=unit, since_ms=since)
    column, codes = time(rule, LeafPart(Wire("long"), pa.array(values, pa.int64())), np.array([]))
    found = column.cast(pa.int64()).to_pylist()
    for value, result, code in zip(values, found, codes.tolist(), strict=True):
        exact = math.floor(value * FACTORS[unit]) + since
        if code:
            assert code == Fault.TIME_RANGE
            assert abs(exact) > INT64 - 2 * abs(since)
        else:
            assert result == exact


def test_a_text_that_is_rounded_down_beyond_64_bits_is_refused() -> None:
    rule = FieldRule("f", "event_time", "timestamp", ("ts",), unit="ms")
    values = pa.array(["-9223372036854775807.5", "-9223372036854775806.5", "9223372036854775807.5"])
    column, codes = time(rule, LeafPart(Wire("number"), values), np.array([]))
    assert codes.tolist() == [Fault.TIME_RANGE, 0, 0]
    assert column.cast(pa.int64()).to_pylist()[1:] == [-INT64, INT64]


@settings(max_examples=examples(200))
@given(st.lists(st.floats(-1e11, 1e11), max_size=20))
def test_seconds_in_a_double_are_rounded_down(values: list[float]) -> None:
    rule = FieldRule("f", "event_time", "timestamp", ("ts",), unit="s")
    column, codes = time(
        rule, LeafPart(Wire("double"), pa.array(values, pa.float64())), np.array([])
    )
    found = column.cast(pa.int64()).to_pylist()
    for value, result, code in zip(values, found, codes.tolist(), strict=True):
        if value == 0 and math.copysign(1, value) < 0:
            assert code == Fault.NEGATIVE_ZERO
        else:
            assert (result, code) == (math.floor(Fraction(repr(value)) * 1_000), 0)


@settings(max_examples=examples(100))
@given(st.lists(st.integers(-(2**90), 2**90), max_size=10), st.integers(0, 30))
def test_a_decimal_extra_is_the_nearest_double(numbers: list[int], scale: int) -> None:
    values = [n.to_bytes((n.bit_length() + 8) // 8, "big", signed=True) for n in numbers]
    column, codes = real(EXACT, LeafPart(Wire("decimal", scale), pa.array(values, pa.binary())),
                         np.array([]))  # fmt: skip
    assert not codes.any()
    assert column.to_pylist() == [float(Fraction(n, 10**scale)) for n in numbers]


def test_json_numbers_are_whole_or_real() -> None:
    values = ["1", "-1", "1.0", "1e3", "9223372036854775808", "-9223372036854775808", None, "-0"]
    part = LeafPart(Wire("number"), pa.array(values))
    column, codes = whole(EXACT, part, np.array([]))
    bad = int(Fault.NOT_WHOLE)
    assert codes.tolist() == [0, 0, bad, bad, bad, 0, 0, bad]
    assert column.to_pylist()[:2] == [1, -1]
    assert column.to_pylist()[5:7] == [-(2**63), None]
    column, codes = real(EXACT, LeafPart(Wire("number"), pa.array(["0.1", "1e999", None])),
                         np.array([]))  # fmt: skip
    assert codes.tolist() == [0, int(Fault.NOT_FINITE), 0]
    assert column.to_pylist()[0] == 0.1
