"""Every impossible label policy is refused by its key."""

from typing import Any

import pytest

from stream_scorer.core.events import label_table
from stream_scorer.core.events.label_table import LabelTable, read_label_policy

DAY = 86_400_000


def test_the_example_of_the_page_has_these_values() -> None:
    text: dict[str, Any] = {
        "unlabelled": "mature", "after_days": 45.0, "unlabelled_in_risk": "ignore",
        "sources": ["investigation", "chargeback"],
    }  # fmt: skip
    assert read_label_policy(text) == LabelTable(
        "mature", 45 * DAY, "ignore", ("investigation", "chargeback")
    )


def test_what_is_not_given_has_a_default() -> None:
    assert read_label_policy({"unlabelled": "ignore"}) == LabelTable("ignore", 0, "genuine", ())
    assert read_label_policy({}) is None
    short = read_label_policy({"unlabelled": "mature", "after_days": 1e-12})
    assert short is not None
    assert short.after_ms == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"unlabeled": "genuine"}, "unknown key 'unlabeled'; known are unlabelled, after_days"),
        ({"unlabelled": "fraud"}, "unlabelled: must be genuine, ignore, mature, not 'fraud'"),
        ({"unlabelled": 1}, "unlabelled: must be genuine, ignore, mature, not 1"),
        ({"unlabelled": "genuine"}, "after_days: must be given if unlabelled is mature, and only"),
        ({"after_days": 0}, "after_days: must be a number above 0 and at most 400, not 0"),
        ({"after_days": True}, "after_days: must be a number above 0"),
        ({"after_days": float("nan")}, "after_days: must be a number above 0"),
        ({"after_days": 10**400}, "after_days: must be a number above 0"),
        ({"after_days": "45"}, "after_days: must be a number above 0"),
        ({"unlabelled_in_risk": "mature"}, "unlabelled_in_risk: must be genuine, ignore, not"),
        ({"sources": "bank"}, "sources: must be a list of names, not 'bank'"),
        ({"sources": [1]}, "sources: must list printable names, not 1"),
        ({"sources": [""]}, "sources: must list printable names, not ''"),
        ({"sources": ["a\n"]}, "sources: must list printable names, not 'a\\n'"),
        ({"sources": ["a", "a"]}, "sources: names a source twice"),
        ({"sources": ["x" * 101]}, "sources: 'xxx"),
        ({"sources": [f"s{n}" for n in range(65)]}, "sources: at most 64, not 65"),
    ],
)
def test_impossible_tables_are_refused_by_their_key(changed: dict[str, Any], message: str) -> None:
    valid: dict[str, Any] = {"unlabelled": "mature", "after_days": 45}
    assert read_label_policy(valid)
    with pytest.raises(ValueError, match=r"^.") as refused:
        read_label_policy({**valid, **changed})
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^unlabelled: is missing; give genuine, ignore or mat"):
        read_label_policy({"sources": ["bank"]})
    with pytest.raises(ValueError, match=r"^after_days: must be given if unlabelled is mature"):
        read_label_policy({"unlabelled": label_table.MATURE})
