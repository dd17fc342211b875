"""A value in an error is short, and an integer of any size can be quoted."""

from typing import Any

import pytest

from stream_scorer.core.events.plan import parse_plan
from stream_scorer.core.mapping.mapping_table import shown
from stream_scorer.core.mapping.quoting import QUOTED_MOST, quoted
from tests.support.tables.foreign_files import EVENTS

HUGE = "0x" + "f" * 5_000
LONG = "X" * 200_000
ERROR_MOST = 600


ANY: dict[str, Any] = {
    "text": LONG, "integer": 10**5_000, "list": [10**5_000], "table": {"a": 10**5_000},
    "long list": [1] * 9_999,
}  # fmt: skip


@pytest.mark.parametrize("kind", ANY)
def test_any_value_is_quoted_in_one_short_line(kind: str) -> None:
    value = ANY[kind]
    for text, most in ((quoted(value), QUOTED_MOST), (shown(value), 40)):
        assert 0 < len(text) <= most
        assert "\n" not in text


def test_a_short_value_is_quoted_completely() -> None:
    assert quoted("Ä") == "'Ä'"
    assert quoted("x" * 98) == f"'{'x' * 98}'"
    assert quoted(10**5_000) == "an integer of over 4,300 digits"
    assert quoted([10**5_000]) == "a list with an integer of over 4,300 digits"


PLANS: dict[str, tuple[str, dict[str, str]]] = {
    "ring_cap: must be at most 1048576, not an integer": (f"ring_cap = {HUGE}", {}),
    "revision: must be at least 0, not -1000": (f"revision = -{10**4_299}", {}),
    "model_error_share: must be between 0 and 1, not an": (f"model_error_share = {HUGE}", {}),
    "policy: must be a table, not an integer": (f"policy = {HUGE}", {}),
    "currencies: exponent of EUR must be 0 to 4, not an": (f"currencies = {{EUR = {HUGE}}}", {}),
    "currencies: 'XXX": (f"currencies = {{{LONG} = 2}}", {}),
    "unknown key 'XXX": (f"{LONG} = 2", {}),
    "not TOML: an integer has more than 4,300 digits": (f"ring_cap = 1{'0' * 5_000}", {}),
    "not TOML: Duplicate inline table key 'XXX": (f"a = {{{LONG} = 1, {LONG} = 2}}", {}),
    "policy: default: review: must be a number, not a list": (
        "", {"policy.toml": f"[default]\nreview = [{HUGE}]\nblock = 1"},
    ),
    "policy: budget: reviews_per_day: must be a number above 0, not an integer": (
        "", {"policy.toml": f"[budget]\nreviews_per_day = {HUGE}"},
    ),
    "policy: segment 1: when.XXX": (
        "", {"policy.toml": f"[[segment]]\nwhen = {{{LONG} = 1}}\nreview = 0.1\nblock = 0.2"},
    ),
    "events: events.record.format: an integer of over 4,300 digits does not fit": (
        "", {"events.toml": f"[record]\nformat = {HUGE}\n"},
    ),
    "events: events.fields.XXX": ("", {"events.toml": f"[fields.{LONG}]\na = {HUGE}\n"}),
    "events: rates.XXX": (
        "", {"events.toml": f'{EVENTS}\n[rates]\nbase = "EUR"\n[rates.{LONG}]\n"2026-01-01" = "1"'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", PLANS)
def test_a_plan_names_the_key_of_an_enormous_value(message: str) -> None:
    text, parts = PLANS[message]
    with pytest.raises(ValueError) as refused:  # noqa: PT011 the message is compared below
        parse_plan(text, parts)
    assert str(refused.value).startswith(message)
    assert len(str(refused.value)) <= ERROR_MOST
    assert "set_int_max_str_digits" not in str(refused.value)
