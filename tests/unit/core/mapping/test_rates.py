"""Rates convert exactly as fractions do."""

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.mapping.rates import (
    CONVERTED,
    NO_CURRENCY,
    NO_RATE,
    OVERFLOW,
    RATIO_MOST,
    base_minor,
    rates_of,
    scaled_half_even,
)
from tests.support.effort import examples

CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3}
DAY = 86_400_000
INT64 = 2**63 - 1
RATIOS = st.tuples(st.integers(1, 10**5), st.integers(1, 10**5))


@settings(max_examples=examples(200))
@given(st.integers(-INT64, INT64), st.integers(1, RATIO_MOST), st.integers(1, RATIO_MOST))
def test_a_scaled_value_is_the_fraction_rounded_half_even(
    value: int, above: int, below: int
) -> None:
    found, fits = scaled_half_even(np.array([value]), np.array([above]), np.array([below]))
    exact = round(Fraction(value) * above / below)  # Fraction rounds half-even
    if fits[0]:
        assert found[0] == exact
    else:
        assert abs(exact) > INT64 - 2 * (RATIO_MOST + above)


@settings(max_examples=examples(100))
@given(
    st.lists(RATIOS, min_size=1, max_size=4), RATIOS,
    st.lists(
        st.tuples(
            st.sampled_from([*CURRENCIES, "USD"]), st.integers(-DAY, 6 * DAY),
            st.one_of(st.integers(0, 10**6), st.integers(0, 10**12)),
        ),
        min_size=1, max_size=30,
    ),
)  # fmt: skip
def test_amounts_in_the_base_are_exact_fractions(
    yen: list[tuple[int, int]], dinar: tuple[int, int], rows: list[tuple[str, int, int]]
) -> None:
    table: dict[str, Any] = {
        "base": "EUR",
        "JPY": {f"1970-01-{day + 1:02}": f"{a}/{b}" for day, (a, b) in enumerate(yen)},
        "KWD": {"1970-01-01T00:00:00Z": f"{dinar[0]}/{dinar[1]}"},
    }
    rates = rates_of(table, CURRENCIES)
    codes, times, amounts = zip(*rows, strict=True)
    found, status = base_minor(
        rates, np.array(amounts, np.int64), pa.array(codes), np.array(times, np.int64)
    )
    for code, time, amount, value, state in zip(
        codes, times, amounts, found.tolist(), status.tolist(), strict=True
    ):
        if code == "USD":
            assert (value, state) == (0, NO_CURRENCY)
        elif time < 0 and code != "EUR":
            assert (value, state) == (0, NO_RATE)
        else:
            ratio = {
                "EUR": Fraction(1),
                "JPY": Fraction(*yen[max(0, min(time // DAY, len(yen) - 1))]),
                "KWD": Fraction(*dinar),
            }[code]
            exact = Fraction(amount, 10 ** CURRENCIES[code]) * ratio * 100
            expected = round(exact)
            if state == OVERFLOW:
                assert (value, expected > INT64 // 2) == (0, True)
            else:
                assert (value, state) == (expected, CONVERTED)


def test_the_base_needs_no_rate_at_any_time() -> None:
    rates = rates_of({"base": "EUR", "JPY": {"1960-01-01": "1"}}, {"EUR": 2, "JPY": 0})
    times = np.array([-INT64 - 1, -1, 0, INT64])
    found, status = base_minor(rates, np.arange(4), pa.array(["EUR"] * 4), times)
    assert (found.tolist(), status.tolist()) == ([0, 1, 2, 3], [CONVERTED] * 4)


def test_a_tie_goes_to_the_even_minor_unit() -> None:
    rates = rates_of({"base": "EUR", "JPY": {"1970-01-01": "0.005"}}, {"EUR": 2, "JPY": 0})
    amounts = np.array([1, 3, 5, 7])
    found, _ = base_minor(rates, amounts, pa.array(["JPY"] * 4), np.zeros(4, np.int64))
    assert found.tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({}, "rates.base: must be a currency of the plan, not None"),
        ({"base": "USD"}, "rates.base: must be a currency of the plan, not 'USD'"),
        ({"base": "EUR", "USD": {"2026-01-01": "1"}}, "rates.USD: the plan's currencies do not"),
        ({"base": "EUR", "EUR": {"2026-01-01": "1"}}, "rates.EUR: the base has no rate"),
        ({"base": "EUR", "JPY": {"2026-01-01": 0.5}}, "rates.JPY.2026-01-01: must be text such"),
        ({"base": "EUR", "JPY": {"2026-01-01": "1/0"}}, "is zero, or divides by zero"),
        ({"base": "EUR", "JPY": {"2026-01-01": "0.0"}}, "is zero, or divides by zero"),
        ({"base": "EUR", "JPY": {"2026-01-01": "-1"}}, "must be text such"),
        ({"base": "EUR", "JPY": {"2026-13-01": "1"}}, "is neither a date (2026-01-31) nor"),
        ({"base": "EUR", "JPY": {"2026-01-01T00:00:00+01:00": "1"}}, "write the time in UTC"),
        ({"base": "EUR", "JPY": {"2026-01-01": "1", "2026-01-01T00:00:00": "2"}}, "there twice"),
        ({"base": "EUR", "JPY": {"2026-01-01": "1/9999999999"}}, "both must be at most"),
        ({"base": "EUR", "JPY": {}}, "rates.JPY: must be a table of date = rate with one"),
        ({"base": "EUR", "JPY": {str(n): "1" for n in range(4_097)}}, "more than 4096 dated"),
    ],
)
def test_an_impossible_rate_is_refused_by_its_key(table: dict[str, Any], why: str) -> None:
    if "JPY" not in table:
        table = {**table, "JPY": {"2026-01-01": "1"}}
    with pytest.raises(ValueError, match=re.escape(why)):
        rates_of(table, {"EUR": 2, "JPY": 0})
