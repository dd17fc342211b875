"""Statements are searched by their transactions; the answer is that of all statements together."""

from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.labelling.contract import FRAUD, GENUINE, NO_LABEL, LabelPolicy
from stream_scorer.core.labelling.resolve import resolve
from stream_scorer.core.terminals.columns import OURS, match_of
from stream_scorer.dataset import statements
from stream_scorer.errors import SettingsError
from stream_scorer.ports import BytesColumn
from tests.support.dataset.made_datasets import known_of, labels, raw

DAY = 86_400_000
RANKED = LabelPolicy(sources=("bank", "shop"), on=True)


def matches(ids: list[str], times: list[int]) -> Any:
    records = pa.RecordBatch.from_pydict({"transaction_id": ids, "customer_id": ["c"] * len(ids)})
    return match_of(records, np.array(times), OURS)


def test_some_statements_give_the_answer_of_all() -> None:
    numbers = np.random.default_rng(4)
    rows = [
        {
            "transaction_id": f"t{numbers.integers(40)}", "event_time": 0,
            "label_time": int(numbers.integers(10)) * DAY,
            "state": str(numbers.choice(["FRAUD", "GENUINE", "UNKNOWN", "DISPUTED"])),
            "source": str(numbers.choice(["bank", "shop", "other"])),
            "label_id": f"i{numbers.integers(60)}",
            "retracts": f"i{numbers.integers(60)}" if numbers.random() < 0.2 else "",
        }
        for _ in range(400)
    ]  # fmt: skip
    known = known_of(labels(rows[:250]), labels(rows[250:], first=250))
    wanted = [f"t{at}" for at in numbers.permutation(50).tolist()]
    match = matches(wanted, [0] * 50)
    table = known.statements
    table.rank[:] = RANKED.rank(known.names)[known.source]
    for cutoff in (0, 4 * DAY, 20 * DAY):
        whole = resolve(table, match, np.full(50, cutoff))
        some = known.resolve(match, np.zeros(50, np.int64), np.full(50, cutoff), RANKED)
        for each in fields(whole)[:4]:
            first, second = getattr(whole, each.name), getattr(some, each.name)
            assert np.array_equal(first, second, equal_nan=first.dtype == np.float64), each.name
        assert len(np.unique(whole.state)) > 2
    assert (
        known.resolve(match, np.zeros(50, np.int64), np.full(50, DAY), RANKED).state[
            [wanted.index(f"t{at}") for at in range(40, 50)]
        ]
        == NO_LABEL
    ).all()


def test_a_retraction_takes_back_its_sources_statement_alone() -> None:
    def state(*rows: dict[str, Any]) -> int:
        told = [{"transaction_id": "a", "event_time": 0, **row} for row in rows]
        found = known_of(labels(told)).resolve(
            matches(["a"], [0]), np.zeros(1, np.int64), np.array([9]), RANKED
        )
        return int(found.state[0])

    fraud = {"state": "FRAUD", "source": "bank", "label_id": "1", "label_time": 1}
    back = {"state": "UNKNOWN", "source": "bank", "label_id": "2", "retracts": "1", "label_time": 2}
    assert state(fraud) == FRAUD
    assert state(fraud, back) == NO_LABEL
    assert state(fraud, {**back, "source": "shop"}) == FRAUD
    genuine = {"state": "GENUINE", "source": "shop", "label_id": "3", "label_time": 3}
    assert state(fraud, genuine) == FRAUD
    assert state(genuine, fraud, back) == GENUINE


def test_what_is_not_a_label_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    junk = raw(BytesColumn.of([b"junk", None]))
    good = labels([{"transaction_id": "a"}, {"transaction_id": "b"}])
    known = known_of(junk, good)
    assert (known.unreadable, len(known.statements)) == (2, 2)
    assert len(known_of().statements) == 0
    monkeypatch.setattr(statements, "STATEMENTS_MOST", 1)
    with pytest.raises(SettingsError, match="more than 1 statements"):
        known_of(good)
