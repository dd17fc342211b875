"""Amounts are scaled in one place: minor units divided by a power of ten, rounded once."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.mapping.minor_units import in_units, minor_per_unit
from tests.support.effort import examples


@pytest.mark.parametrize(("exponent", "most"), [(0, 1), (2, 100), (3, 1_000), (4, 10_000)])
def test_a_unit_has_a_power_of_ten_of_minor_units(exponent: int, most: int) -> None:
    assert minor_per_unit(exponent) == Plan(currencies={"EUR": exponent}).minor_per_unit == most


def test_a_plan_with_rates_counts_in_its_base_currency() -> None:
    rates = {"base": "JPY", "EUR": {"2026-01-01": "160"}}
    assert Plan(currencies={"EUR": 2, "JPY": 0}, events={"rates": rates}).minor_per_unit == 1


@settings(max_examples=examples(300))
@given(st.integers(0, 2**53), st.integers(0, 4))
def test_an_amount_in_units_is_the_float_nearest_to_it(minor: int, exponent: int) -> None:
    unit = minor_per_unit(exponent)
    nearest = float(Fraction(minor, 10**exponent))
    for amounts in (np.array([minor]), np.array([float(minor)])):
        assert in_units(amounts, unit).tolist() == [nearest]
        assert in_units(amounts, float(unit)).tobytes() == (amounts / 10.0**exponent).tobytes()
