"""A process acts on a plan's draws only with the keys that the plan names."""

from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.exploring.draws import Draws, explore_digest, review_digest

KEY, OTHER = bytes(range(32)), b"x" * 40


def plan_with(**tables: Any) -> Plan:
    return replace(Plan(), label_policy={"unlabelled": "genuine"}, **tables)


def explore(key: bytes = KEY) -> dict[str, Any]:
    return {
        "key_digest": explore_digest(key), "bands": [{"from": 0.8, "p": 0.02}],
        "max_amount": 150.0, "cap_per_day": 500.0, "expected_per_day": 20.0,
        "computed_from": "0" * 64,
    }  # fmt: skip


def review(key: bytes = KEY) -> dict[str, Any]:
    return {"key_digest": review_digest(key), "p": 0.05}


def test_a_plan_without_the_tables_needs_no_key() -> None:
    assert Draws().exploration(Plan()) is None
    assert Draws().review(Plan()) is None


def test_the_named_keys_draw() -> None:
    plan = plan_with(explore=explore(), review_sample=review(OTHER))
    draws = Draws(KEY, OTHER)
    draws.check(plan)
    found, drawn = draws.exploration(plan), draws.review(plan)
    assert found is not None
    assert (found.bands.tolist(), found.most_minor, found.key) == ([[0.8, 0.02]], 15_000, KEY)
    assert drawn is not None
    assert (drawn.probability, drawn.key) == (0.05, OTHER)


@pytest.mark.parametrize(
    ("draws", "message"), [(Draws(), "has no key"), (Draws(OTHER, KEY), "is another one")]
)
def test_without_the_named_key_the_plan_is_refused(draws: Draws, message: str) -> None:
    with pytest.raises(ValueError, match=rf"explore: .*{message}: scorer\.explore_key_file"):
        draws.check(plan_with(explore=explore()))
    review_only = Draws(None, None if draws.review_key is None else OTHER)
    with pytest.raises(ValueError, match=rf"review_sample: .*{message}: scorer\.review_key_file"):
        review_only.check(plan_with(review_sample=review()))


def test_short_keys_are_refused_and_none_is_printed() -> None:
    with pytest.raises(ValueError, match="31 bytes, fewer than 32"):
        Draws(b"0" * 31)
    assert repr(Draws(KEY, OTHER)) == "Draws()"
