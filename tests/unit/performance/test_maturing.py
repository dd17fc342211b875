"""What a draw chose, and how likely: a block has one draw, the one that lets through."""

from stream_scorer.performance.measures.contract import LossCosts, MaturedRows
from stream_scorer.performance.process.fold import DAY_MS
from stream_scorer.performance.process.maturing import review
from stream_scorer.performance.warning.day_loss import powered_loss
from tests.support.performance.simulated import (
    BLOCK,
    GENUINE,
    POLICY,
    DecisionRecord,
    LabelRecord,
    batch_of,
)


def reviewed(*rows: DecisionRecord, trusted: bool = False, declared: float = 0.05) -> MaturedRows:
    """Return rows of which each has the label genuine after an hour."""
    hour = DAY_MS // 24
    told = [
        LabelRecord(row.key, row.event_time, row.event_time + hour, GENUINE, drawn=declared)
        for row in rows
    ]
    batch = batch_of([*rows, *told], 0)
    return review(
        batch.decisions, batch.told, lambda _: POLICY, DAY_MS, by_time=True, trusted=trusted
    )


def test_a_block_that_is_looked_at_was_not_let_through() -> None:
    through = DecisionRecord(1, 0, outcome=BLOCK, through=True, propensity=0.02)
    blocked = DecisionRecord(2, 0, outcome=BLOCK, propensity=0.98, drawn=True, pi=0.05)
    outside = DecisionRecord(3, 0, outcome=BLOCK, drawn=True, pi=0.05)
    for trusted in (False, True):
        found = reviewed(through, blocked, outside, trusted=trusted)
        assert found.drawn.tolist() == [True, False, False]
        assert found.pi.round(9).tolist() == [0.02, 0.02, 0.0]
        sums = powered_loss(found, LossCosts())
        assert (sums.rows, sums.drawn, sums.revealed) == (2, 1, 1.0)


def test_a_declared_draw_counts_where_it_is_trusted() -> None:
    approved, drawn = DecisionRecord(1, 0), DecisionRecord(2, 0, drawn=True, pi=0.1)
    assert reviewed(approved, drawn).drawn.tolist() == [False, True]
    found = reviewed(approved, drawn, trusted=True)
    assert (found.drawn.tolist(), found.pi.tolist()) == ([True, True], [0.05, 0.1])
