"""Records of each version become columns; what cannot be a decision is left out."""

import math
from typing import Any

import numpy as np
import pytest

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.batch import Outcome
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import DISPUTED, FRAUD, GENUINE, UNKNOWN
from stream_scorer.performance.process.batches import decode
from stream_scorer.performance.process.columns import PerformanceColumns
from stream_scorer.performance.process.fold import PerformanceBatch
from stream_scorer.performance.process.names import Names
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.performance.published import DECISION, FILES, LABEL, START, decision, label

OLD_LABEL = RecordCodec(3, reader_schema("label.v1"))
OLD_DECISION = RecordCodec(11, reader_schema("decision.v2"))

EXPLORING = Plan(
    label_policy={"unlabelled": "genuine"},
    explore={
        "key_digest": "0" * 32, "bands": [{"from": 0.8, "p": 0.02}], "max_amount": 100.0,
        "cap_per_day": 1.0, "expected_per_day": 1.0, "computed_from": "0" * 64,
    },
)  # fmt: skip
"""A plan that lets through a block in fifty."""


def given(
    *values: tuple[int, bytes], names: Names | None = None, plan: Plan | None = None
) -> PerformanceBatch:
    """Decode (partition, value); partitions 0 and 1 are of the decisions, 2 is of the labels."""
    count = len(values)
    raw = RawRecords(
        BytesColumn.of([value for _, value in values]), BytesColumn.nulls(count), None,
        np.array([partition for partition, _ in values], np.int32),
        np.arange(count, dtype=np.int64), np.arange(count, dtype=np.int64),
    )  # fmt: skip
    columns = PerformanceColumns(FILES, SCHEMAS_DIRECTORY, names or Names())
    return decode(raw, 2, columns, lambda _: plan or Plan())


def decided(**changes: Any) -> tuple[int, bytes]:
    return 0, DECISION.encode(decision(**changes))


def test_a_decision_is_its_policys() -> None:
    found = given(
        decided(score=0.3, decision="REVIEW", amount_minor=1_234, model_version="2"),
        decided(decision="APPROVE", policy_outcome="BLOCK", outcome_propensity=0.02),
        decided(decision="BLOCK", policy_outcome="BLOCK", outcome_propensity=0.98),
        decided(score=math.nan, amount_minor=-1),
        plan=EXPLORING,
    )
    rows = found.decisions
    assert rows.outcome.tolist() == [Outcome.REVIEW, Outcome.BLOCK, Outcome.BLOCK, 0]
    assert rows.through.tolist() == [False, True, False, False]
    assert rows.propensity.tolist() == [1.0, 0.02, 0.98, 1.0]
    assert rows.amount[0] == 12.34
    assert math.isnan(rows.amount[3])
    assert math.isnan(rows.score[3])
    assert rows.version.tolist() == [0, 1, 1, 1]


def test_only_the_flag_says_that_a_row_was_drawn() -> None:
    found = given(
        decided(review_propensity=0.05, flags=["late", "drawn"]),
        decided(review_propensity=0.05, flags=["late"]),
        decided(review_propensity=0.05, transaction_id="\ndrawn"),
        decided(flags=["drawn"]),
    )
    assert found.decisions.drawn.tolist() == [True, False, False, False]
    assert found.decisions.pi.tolist() == [0.05, 0.05, 0.05, 0.0]


def test_older_records_are_read() -> None:
    fields = decision()
    found = given((0, OLD_DECISION.encode(fields)), (2, OLD_LABEL.encode(label())))
    assert found.decisions.outcome.tolist() == [Outcome.APPROVE]
    assert found.told.state.tolist() == [FRAUD]
    assert found.told.key.tolist() == found.decisions.key.tolist()
    assert found.told.partition.tolist() == [0]


def test_labels_have_state_source_and_draw() -> None:
    found = given(
        (2, LABEL.encode(label(state="DISPUTED", label_id="a", drawn=0.05))),
        (2, LABEL.encode(label(state="UNKNOWN", retracts="a"))),
        (2, LABEL.encode(label(is_fraud=False, source=None, drawn=7.0))),
    )  # fmt: skip
    told = found.told
    assert told.state.tolist() == [DISPUTED, UNKNOWN, GENUINE]
    assert told.label_id[0] == told.retracts[1] != 0
    assert told.label_id[1:].tolist() == [0, 0]
    assert told.source.tolist() == ["bank", "bank", ""]
    assert told.drawn[0] == 0.05
    assert np.isnan(told.drawn[1:]).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome_propensity": 0.0}, {"outcome_propensity": 1.5}, {"review_propensity": math.nan},
        {"plan_revision": -1}, {"arm": "x" * 2_000}, {"event_time": 2**62},
    ],
)  # fmt: skip
def test_an_impossible_decision_is_unreadable(changes: dict[str, Any]) -> None:
    names = Names()
    found = given(decided(**changes), (0, b"nothing"), decided(event_time=START + 1), names=names)
    assert found.unreadable == 2
    assert found.decisions.event_time.tolist() == [START + 1]
    assert found.decided_at.tolist() == [2]
    assert names.versions == [("fraud", "1.0.0")]


def test_a_probability_that_is_not_the_plans_gives_no_weight() -> None:
    blocks = {"decision": "APPROVE", "policy_outcome": "BLOCK"}
    records = (
        decided(**blocks, outcome_propensity=0.02), decided(**blocks, outcome_propensity=1e-300),
        decided(outcome_propensity=0.02),
    )  # fmt: skip
    found = given(*records, plan=EXPLORING)
    assert (found.decisions.propensity.tolist(), found.unreadable) == ([0.02], 2)
    # A plan without the table lets nothing through.
    assert given(*records).unreadable == 3


def test_too_many_names_are_unreadable() -> None:
    names = Names()
    found = given(*(decided(arm=f"a{n}") for n in range(210)), names=names)
    assert len(names.arms) == 200
    assert found.unreadable == 10


def test_segments_are_bits_of_their_names() -> None:
    names = Names()
    table = {"channel": ["POS"], "amount": [20.0], "country": ["DE"]}
    found = given(
        decided(channel="POS", amount_minor=1_999), decided(channel="ECOM", amount_minor=2_000),
        decided(channel="POS", amount_minor=-1), names=names, plan=Plan(segments=table),
    )  # fmt: skip
    named = [
        {name for bit, name in enumerate(names.segments) if int(bits) >> bit & 1}
        for bits in found.decisions.segments
    ]
    # A decision does not have the country, so the country has no segments.
    assert named == [
        {"all", "channel=POS", "amount<20"}, {"all", "channel=other", "amount>=20"},
        {"all", "channel=POS"},
    ]  # fmt: skip
    again = Names()
    again.restore(names.dump())
    assert vars(again) == vars(names)


def test_amounts_are_converted_by_the_plan() -> None:
    rates = {"base": "EUR", "USD": {"2020-01-01": "1/2"}}
    plan = Plan(currencies={"EUR": 2, "USD": 2}, events={"rates": rates})
    found = given(
        decided(amount_minor=1_000), decided(amount_minor=1_000, currency="USD"),
        decided(amount_minor=1_000, currency="GBP"), plan=plan,
    )  # fmt: skip
    assert found.decisions.amount[:2].tolist() == [10.0, 5.0]
    assert math.isnan(found.decisions.amount[2])
