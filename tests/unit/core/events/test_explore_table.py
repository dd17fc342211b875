"""Every impossible exploration or review sample is refused by its key."""

from typing import Any

import pytest

from stream_scorer.core.events.explore_table import (
    ExploreTable,
    ReviewTable,
    read_explore,
    read_review_sample,
)

KEY, DATA = "0123456789abcdef" * 2, "0123456789abcdef" * 4
EXPLORE: dict[str, Any] = {
    "key_digest": KEY,
    "bands": [{"from": 0.82, "p": 0.02}, {"from": 0.95, "p": 0}],
    "max_amount": 150.07,
    "cap_per_day": 500,
    "expected_per_day": 412.3,
    "computed_from": DATA,
}
REVIEW: dict[str, Any] = {"key_digest": KEY, "p": 0.05}


def test_valid_tables_become_numbers() -> None:
    assert read_explore(EXPLORE, 2) == ExploreTable(
        KEY, ((0.82, 0.02), (0.95, 0.0)), 15_007, 500.0, 412.3, DATA
    )
    assert read_review_sample(REVIEW) == ReviewTable(KEY, 0.05)
    assert read_review_sample({**REVIEW, "p": 1}) == ReviewTable(KEY, 1.0)
    assert read_explore({}, 2) is None
    assert read_review_sample({}) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": "x"}, "unknown key 'key'; known are key_digest, bands"),
        ({"key_digest": KEY.upper()}, "key_digest: must be 32 hex digits in lower case, not"),
        ({"key_digest": DATA}, "key_digest: must be 32 hex digits"),
        ({"key_digest": 7}, "key_digest: must be 32 hex digits"),
        ({"computed_from": KEY}, "computed_from: must be 64 hex digits"),
        ({"bands": []}, "bands: must be a list of 1 to 64 tables"),
        ({"bands": {"from": 0.5, "p": 0.1}}, "bands: must be a list of 1 to 64 tables"),
        ({"bands": [{"from": n / 99, "p": 0.1} for n in range(1, 66)]}, "bands: must be a list"),
        ({"bands": [0.5]}, "bands 1: must be a table, not 0.5"),
        ({"bands": [{"from": 0.5}]}, "bands 1: p: is missing"),
        ({"bands": [{"from": 0.5, "p": 0.1, "to": 1}]}, "bands 1: unknown key 'to'"),
        ({"bands": [{"from": 0, "p": 0.1}]}, "bands 1: from: must be a score above 0 and at most"),
        ({"bands": [{"from": True, "p": 0.1}]}, "bands 1: from: must be a score"),
        ({"bands": [{"from": 0.5, "p": 1}]}, "bands 1: p: must be a number from 0 to below 1"),
        ({"bands": [{"from": 0.5, "p": float("nan")}]}, "bands 1: p: must be a number"),
        ({"bands": [{"from": 0.5, "p": -0.1}]}, "bands 1: p: must be a number"),
        ({"bands": [{"from": 0.5, "p": 0}]}, "bands: every p is 0"),
        ({"bands": [{"from": 0.5, "p": 0.1}] * 2}, "bands: from must ascend"),
        ({"max_amount": 0}, "max_amount: must be an amount above 0 that 64 bits hold, not 0"),
        ({"max_amount": 2**63}, "max_amount: must be an amount above 0"),
        ({"max_amount": 0.001}, "max_amount: 0.001 is not a number of minor units, 1/100"),
        ({"max_amount": True}, "max_amount: must be an amount above 0"),
        ({"cap_per_day": 0}, "cap_per_day: must be an amount above 0, not 0"),
        ({"cap_per_day": 10**400}, "cap_per_day: must be an amount above 0"),
        ({"expected_per_day": float("inf")}, "expected_per_day: must be an amount above 0"),
        ({"expected_per_day": 501}, "expected_per_day: 501 is more than cap_per_day, 500; lower"),
    ],
)
def test_impossible_explorations_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^.") as refused:
        read_explore({**EXPLORE, **changed}, 2)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", list(EXPLORE))
def test_every_key_of_an_exploration_is_needed(key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: is missing$"):
        read_explore({name: value for name, value in EXPLORE.items() if name != key}, 2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"p": 0.05}, "key_digest: is missing"),
        ({**REVIEW, "p": 0}, "p: must be a number above 0 and at most 1, not 0"),
        ({**REVIEW, "p": "1"}, "p: must be a number above 0"),
        ({**REVIEW, "key_digest": ""}, "key_digest: must be 32 hex digits"),
        ({**REVIEW, "share": 1}, "unknown key 'share'; known are key_digest, p"),
    ],
)
def test_impossible_samples_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^.") as refused:
        read_review_sample(table)
    assert str(refused.value).startswith(message)
