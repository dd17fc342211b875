import math
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.features.texts import feature_text, filled, number_text
from tests.support.effort import examples

COUNT: dict[str, Any] = {"name": "COUNT_1H", "kind": "count", "window": "1h"}


def test_a_text_is_kept_and_changes_no_feature() -> None:
    plain = compile_features([COUNT], Plan())
    told = compile_features([COUNT | {"text": "{value} payments in the last hour"}], Plan())
    assert (plain.texts, told.texts) == (("",), ("{value} payments in the last hour",))
    assert plain.identities == told.identities


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (3, "text must be a string, not 3"),
        ("a" * 201, "text has at most 200 characters, not 201"),
        ("bell \a", "text must be printable"),
        ("two\nlines", "text must be printable"),
        ("\u202e{value}", "text must be printable"),
        ("\ud800", "text must be printable"),
        ("{amount}", "has braces other than {value} and {name}"),
        ("{value!r}", "has braces other than"),
        ("{value:>1000000}", "has braces other than"),
        ("{value.__class__}", "has braces other than"),
        ("{{value}}", "has braces other than"),
        ("{", "has braces other than"),
        ("{}", "has braces other than"),
    ],
)
def test_other_templates_are_refused_by_name(text: object, why: str) -> None:
    with pytest.raises(ValueError, match=r"^feature COUNT_1H: ") as refused:
        compile_features([COUNT | {"text": text}], Plan())
    assert why in str(refused.value)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.sampled_from(["{value}", "{name}", "%", "%s", " payments ", "é", "{{"])
        | st.text(string.ascii_letters, max_size=5),
        max_size=8,
    ).map("".join),
    st.floats(),
)
def test_filling_is_replacing_both_words(template: str, value: float) -> None:
    try:
        feature_text("f", {"text": template})
    except ValueError:
        assert "{{" in template
        return
    expected = template.replace("{name}", "f").replace("{value}", number_text(value))
    assert filled(template, "f", value) == expected


@settings(max_examples=examples(200), deadline=None)
@given(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_number_is_short_and_close(value: float) -> None:
    told = number_text(value)
    # The longest, -100000000000000.50, has 19 characters.
    assert len(told) <= 19
    if math.isnan(value):
        assert told == "unknown"
    elif math.isinf(value):
        assert float(told) == value
    else:
        assert math.isclose(float(told), value, rel_tol=1e-3, abs_tol=1e-300)
