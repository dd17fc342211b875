"""When a dead letter is evidence of a rejection: what the decisions must show."""

from typing import Any

import numpy as np
import pytest

from stream_scorer.settings import Settings
from stream_scorer.state.commands import adopt


def kept(
    monkeypatch: pytest.MonkeyPatch, first: dict[int, int], decided: dict[int, list[int]]
) -> dict[int, list[int]]:
    """Return the rest of offsets 5 and 9 of partition 1, by what the decisions' topic has."""
    monkeypatch.setattr(adopt, "bounds", lambda *_: (first, {}))
    offsets: Any = [(p, np.array(each, np.int64)) for p, each in decided.items()]
    monkeypatch.setattr(adopt, "_decided", lambda _: offsets)
    found = adopt._undecided(Settings(), {1: {5: "CURRENCY", 9: "EMPTY"}})
    return {partition: sorted(own) for partition, own in found.items()}


def test_a_decided_record_is_not_a_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, {0: 0, 1: 0}, {1: [4, 5, 6], 2: [9]}) == {1: [9]}


def test_where_no_decision_was_deleted_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(monkeypatch, {0: 0, 1: 0}, {}) == {1: [5, 9]}


def test_a_decision_that_may_have_been_deleted_is_not_evidence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert kept(monkeypatch, {0: 0, 1: 3}, {1: [6, 7]}) == {1: [9]}
    assert kept(monkeypatch, {0: 0, 1: 3}, {2: [6, 7]}) == {1: []}
