import json
import math
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.catboost.document import LEVELS_MOST, parse_document
from tests.support.effort import examples


@settings(max_examples=examples(400), deadline=None)
@given(st.integers(-(10**20), 10**20), st.integers(-330, 280))
def test_a_decimal_is_rounded_correctly(digits: int, power: int) -> None:
    found = parse_document(f'{{"a": {digits}.5e{power}}}'.encode())["a"]
    exact = (abs(digits) + Fraction(1, 2)) * Fraction(10) ** power
    exact = -exact if digits < 0 else exact
    error = abs(Fraction(found) - exact)
    for neighbour in (math.nextafter(found, math.inf), math.nextafter(found, -math.inf)):
        assert error <= abs(Fraction(neighbour) - exact)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        # Halfway between two float64, rounded to the even one; and just above.
        ("9007199254740993", 9007199254740992.0),
        ("9007199254740993.0", 9007199254740992.0),
        ("9007199254740993.00000000000000000001", 9007199254740994.0),
        ("36893488147419107328", 36893488147419103232.0),
        ("36893488147419107329", 36893488147419111424.0),
        ("2.2250738585072011e-308", 2.2250738585072011e-308),
        ("2.4703282292062328e-324", 5e-324),
        ("2.4703282292062327e-324", 0.0),
        ("1.7976931348623157e308", 1.7976931348623157e308),
    ],
)
def test_a_decimal_between_two_numbers(text: str, number: float) -> None:
    assert float(parse_document(f'{{"a": {text}}}'.encode())["a"]) == number


def test_brackets_in_texts_are_no_levels() -> None:
    text = {"a": "[{" * 1_000, 'b\\"[[': ['"[' * LEVELS_MOST, "\\"]}
    assert parse_document(json.dumps(text).encode()) == text


def test_the_deepest_document_is_read() -> None:
    inner = LEVELS_MOST - 1
    found = parse_document(b'{"a":' + b"[" * inner + b"]" * inner + b"}")["a"]
    levels = 1
    while found:
        (found,) = found
        levels += 1
    assert levels == inner


def test_a_key_may_be_in_two_objects() -> None:
    assert parse_document(b'{"a": {"b": 1}, "c": {"b": 2}}')["c"] == {"b": 2}
    with pytest.raises(ModelError, match="the key 'b' is there twice in one object"):
        parse_document(b'{"a": {"b": 1, "c": {}, "b": 1}}')
