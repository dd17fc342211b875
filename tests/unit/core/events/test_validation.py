"""Every reject reason with its exact limits, and the first one if there are several."""

from typing import Any

import numpy as np
import pytest

from stream_scorer.core.events.batch import RejectReason
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.validation import _CODES, _DETAILS, reason_of, validate
from tests.support.core.events import NOW, batch, event

PLAN = Plan(ahead_ms=1_000, amount_minor_max=5_000)
LATEST = 253_402_300_799_999


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"transaction_id": ""}, "ID_EMPTY"),
        ({"customer_id": ""}, "ID_EMPTY"),
        ({"terminal_id": ""}, "ID_EMPTY"),
        ({"event_time": -1}, "TIME_INVALID"),
        ({"event_time": 0}, None),
        ({"event_time": LATEST + 1, "timestamp": LATEST + 1}, "TIME_INVALID"),
        ({"event_time": LATEST, "timestamp": LATEST}, None),
        ({"event_time": NOW + 1_000, "timestamp": NOW}, None),
        ({"event_time": NOW + 1_001, "timestamp": NOW}, "TIME_AHEAD"),
        ({"currency": "USD"}, "CURRENCY"),
        ({"currency": "eur"}, "CURRENCY"),
        ({"currency": ""}, "CURRENCY"),
        ({"amount_minor": 0}, None),
        ({"amount_minor": -1}, "AMOUNT_NEGATIVE"),
        ({"amount_minor": 5_000}, None),
        ({"amount_minor": 5_001}, "AMOUNT_TOO_LARGE"),
    ],
)
def test_each_rule_and_its_limit(changes: dict[str, Any], reason: str | None) -> None:
    # Between two valid rows, so that a column's offset must be right.
    (before, code, after) = validate(batch([event(1), event(2, **changes), event(3)]), PLAN)
    assert (before, after) == (0, 0)
    assert (reason_of(code)[0].value if code else None) == reason


def test_the_first_broken_rule_is_reported() -> None:
    broken: list[dict[str, Any]] = [
        {"amount_minor": -1}, {"currency": "USD"}, {"event_time": NOW + 9_000},
        {"event_time": LATEST + 1}, {"customer_id": ""},
    ]  # fmt: skip
    told = []
    changes: dict[str, Any] = {"timestamp": NOW}
    for change in broken:
        changes |= change
        told.append(reason_of(int(validate(batch([event(0, **changes)]), PLAN)[0]))[0].value)
    assert told == ["AMOUNT_NEGATIVE", "CURRENCY", "TIME_AHEAD", "TIME_INVALID", "ID_EMPTY"]


def test_every_reason_has_a_sentence_without_values() -> None:
    assert set(_DETAILS) == set(_CODES)
    assert reason_of(len(_CODES)) == (
        RejectReason.DUPLICATE, "the customer's recent history holds this transaction_id",
    )  # fmt: skip


def test_a_slice_of_a_batch_is_judged_by_its_own_rows() -> None:
    whole = batch([event(0, currency="USD"), event(1), event(2, customer_id="", amount_minor=-1)])
    part = whole.take(np.array([2, 1]))
    assert validate(part, PLAN).tolist() == [1, 0]


def test_zero_rows_give_zero_verdicts() -> None:
    assert validate(batch([]), PLAN).tolist() == []
