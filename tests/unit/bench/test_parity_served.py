"""The parity bench's ways by the API: their rows, and what a report of them must show."""

from typing import Any

import numpy as np
import pytest

from bench.parity_steps.input import AFTER_EVICTION, AGAIN, LATE
from bench.parity_steps.outcomes import Outcomes, Way, report
from bench.parity_steps.served import served_failures, shared_rows

ROWS = 4
EVERY = np.ones(ROWS, np.bool_)


def _outcomes() -> Outcomes:
    found = Outcomes.none(ROWS, 2)
    found.count[:] = 1
    found.score[:] = np.arange(ROWS) / 7
    found.decision[:] = 0
    return found


def _report(other: Outcomes | None = None, **changed: Any) -> dict[str, Any]:
    ways = {"v1": Way(other or _outcomes(), EVERY, EVERY)}
    found = report(_outcomes(), ways, EVERY, ~EVERY, np.zeros(2, np.bool_))
    reproduced = {"equal": ROWS, "exit_code": 0}
    return found | {
        "out_of_order": 1, "v2_single_rows": 2, "v2_single_rows_equal": 2, "reproduced": reproduced,
    } | changed  # fmt: skip


def test_equal_ways_pass() -> None:
    assert served_failures(_report()) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"out_of_order": 0}, "served: no event was out of order"),
        ({"v2_single_rows_equal": 1}, "served: 1 rows alone are equal, must be 2"),
        (
            {"reproduced": {"equal": 3, "exit_code": 0}},
            "served: 3 decisions are reproduced, must be 4",
        ),
        (
            {"reproduced": {"equal": 4, "exit_code": 13}},
            "served: reproduce left with 13, must be 0",
        ),
        ({"decided": 3}, "served: 3 are decided, must be 4"),
    ],
)
def test_each_missing_thing_fails(changed: dict[str, Any], line: str) -> None:
    assert served_failures(_report(**changed)) == [line]


def test_a_score_that_differs_in_its_last_bit_fails() -> None:
    other = _outcomes()
    other.score[2] = np.nextafter(other.score[2], 1)
    assert served_failures(_report(other)) == [
        "served: 3 scores are equal, must be 4",
        "served: v1: 1 rows differ in score, must be 0",
    ]


def test_the_rows_are_alike_in_every_way() -> None:
    rows = shared_rows(3_000)
    assert len(rows) == 3_000
    assert not np.isin(rows.kind, [AFTER_EVICTION, *LATE, *AGAIN]).any()
    customers = rows.table.column("customer_id").to_pylist()
    identities = rows.table.column("transaction_id").to_pylist()
    assert len(set(zip(customers, identities, strict=True))) == 3_000
    assert {"late_within", "disordered", "same_time"} <= set(rows.kind.tolist())
    assert rows.out_of_order() > 0
