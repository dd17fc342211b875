"""Every impossible table of segments is refused by its key."""

import re
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan, parse_plan, plan_from, table_of
from stream_scorer.core.events.segment_table import read_segments

EXTRAS = {"items": "long", "gift": "boolean", "shop": "string"}


def test_the_example_of_the_page_has_these_segments() -> None:
    text = 'ring_cap = 7\n[segments]\nchannel = ["POS", "ECOM"]\namount = [20.0, 100.0]\n'
    plan = parse_plan(text)
    names = [key.names for key in read_segments(plan.segments, 2, {})]
    assert names == [
        ("amount<20", "amount<100", "amount>=100"),
        ("channel=POS", "channel=ECOM", "channel=other"),
    ]
    assert plan_from(table_of(plan)) == plan


def test_amounts_are_read_as_decimals() -> None:
    (key,) = read_segments({"amount": [0.07, 1, 20.5]}, 2, {})
    assert (key.bounds, key.names[2]) == ((7, 100, 2_050), "amount<20.5")
    (key,) = read_segments({"amount": [1, 10**15]}, 0, {})
    assert key.bounds == (1, 10**15)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"canal": ["a"]}, "canal: unknown field; known are amount, channel, country, currency"),
        ({"terminal_id": ["a"]}, "terminal_id: unknown field"),
        ({"items": ["a"]}, "items: is a long; must be a string or boolean"),
        ({"channel": "POS"}, "channel: must be a list of values, not 'POS'"),
        ({"channel": []}, "channel: must be a list of values, not []"),
        ({"channel": [1]}, "channel: must list texts that are not empty, not 1"),
        ({"channel": [""]}, "channel: must list texts that are not empty, not ''"),
        ({"channel": ["a\nb"]}, "channel: 'a\\nb' has characters that cannot be printed"),
        ({"channel": ["a", "a"]}, "channel: names a value twice"),
        ({"channel": ["other"]}, "channel: 'other' is the name of the segment of all other"),
        ({"channel": ["x" * 93]}, "channel: the name 'channel=xxxxxx"),
        ({"gift": ["true"]}, "gift: must list true or false, not 'true'"),
        ({"gift": [True, True]}, "gift: names a value twice"),
        ({"amount": 5}, "amount: must be a list of bounds, not 5"),
        ({"amount": []}, "amount: must be a list of bounds, not []"),
        ({"amount": [True]}, "amount: must list amounts above 0 that 64 bits hold, not True"),
        ({"amount": [0]}, "amount: must list amounts above 0 that 64 bits hold, not 0"),
        ({"amount": [float("nan")]}, "amount: must list amounts above 0 that 64 bits hold, not"),
        ({"amount": [2**63 - 2]}, "amount: 9223372036854775806 is not a number of minor"),
        ({"amount": [0.005]}, "amount: 0.005 is not a number of minor units, 1/100"),
        ({"amount": [2, 1]}, "amount: bounds must ascend, and none may be repeated"),
        ({"amount": [1, 1.0]}, "amount: bounds must ascend, and none may be repeated"),
        ({"mcc": [f"{n}" for n in range(63)]}, "at most 64 segments, with the one of all events"),
        ({f"x{n}": ["a"] for n in range(9)}, "at most 8 keys, not 9"),
    ],
)
def test_an_impossible_table_is_refused_by_its_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        read_segments(table, 2, EXTRAS)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    if not set(table) & set(EXTRAS):
        with pytest.raises(ValueError, match=re.escape(f"segments: {message}"[:40])):
            Plan(segments=table)


def test_64_segments_in_8_dimensions_are_accepted() -> None:
    extras = {f"x{n}": "string" for n in range(8)}
    table = {name: [f"v{k}" for k in range(7)] for name in list(extras)[:7]}
    table["x7"] = [f"v{k}" for k in range(6)]
    keys = read_segments(table, 2, extras)
    assert 1 + sum(len(key.names) for key in keys) == 64
    with pytest.raises(ValueError, match=r"at most 64 segments.*, not 65"):
        read_segments(table | {"x7": [f"v{k}" for k in range(7)]}, 2, extras)
    (longest,) = read_segments({"channel": ["x" * 92]}, 2, {})
    assert len(longest.names[0]) == 100


def test_any_value_at_any_place_raises_nothing_but_value_errors() -> None:
    hostile: tuple[Any, ...] = (
        None, True, -1, 10**400, -(10**400), 2**63, 1e308, float("inf"), "", "\ud800",
        "x" * 100_000, [], [[]], {}, [None], [{}], [10**400], ["\ud800"], [1e308], [1e-320],
    )  # fmt: skip
    refused = 0
    for key in ("amount", "channel", "gift", "items", "\ud800", "x" * 10_000):
        for value in hostile:
            try:
                read_segments({key: value}, 2, EXTRAS)
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error)  # noqa: PT017 which is not the last one
                assert len(str(error)) < 400  # noqa: PT017 the same
    assert refused > 100
