"""Decisions that come with rows: published as they are, next to what is decided here."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.core.decision.decide_batch import CENTRAL_ARM, DecidedBatch, decide_batch
from stream_scorer.core.decision.given_rows import EDGE_ARM
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.decision.routing import CHAMPION
from stream_scorer.core.events.batch import DecisionBatch, Flag, Outcome
from stream_scorer.core.events.given import GivenDecisions, GivenVersion
from stream_scorer.core.exploring.draws import Draws
from stream_scorer.core.kernels.store import NEVER
from tests.support.core.events import batch, event
from tests.unit.core.decision.test_decide_batch import OLD, models, never, routing
from tests.unit.core.decision.test_observe import Linear, contents
from tests.unit.core.exploring.test_draws import KEY, OTHER
from tests.unit.core.exploring.test_let_through import EXPLORING

N = 120
EVENTS = batch([event(n, customer_id=f"c{n % 20}", amount_minor=100 * (n % 90)) for n in range(N)])


def given(rows: list[int]) -> GivenDecisions:
    k = len(rows)
    maker = np.array([row % 2 for row in rows], np.int32)
    return GivenDecisions(
        np.array(rows, np.int64), maker, (GivenVersion("m", "1.0.0", 3, 2),
        GivenVersion("m", "2.0.0", 3, 3)), np.full(k, 0.125), np.full(k, Outcome.BLOCK, np.uint8),
        np.full(k, Outcome.REVIEW, np.uint8), np.full(k, Flag.DEGRADED, np.uint8),
        np.full(k, NEVER, np.int64),
        (np.full((int((maker == 0).sum()), 2), 1.5), np.full((int((maker == 1).sum()), 3), 2.5)),
        {row: (f"reason {row}",) for row in rows if row % 3 == 0},
    )  # fmt: skip


def decided(own: GivenDecisions | None, events: Any = EVENTS, **other: Any) -> DecidedBatch:
    draws = other.pop("draws", None)
    made = replace(routing(other.pop("buckets", 0)), **other)
    rings = PartitionRings(models()[OLD].features)
    return decide_batch(events, rings, made, models(), draws=draws, given=own)


def by_row(found: DecidedBatch) -> dict[int, tuple[DecisionBatch, int]]:
    told: dict[int, tuple[DecisionBatch, int]] = {}
    for part in found.decided:
        for at, row in enumerate(part.rows.tolist()):
            assert row not in told
            told[row] = part.decisions, at
    return told


def test_given_rows_are_published_as_they_came() -> None:
    rows = list(range(0, N, 7))
    plain, found = by_row(decided(None)), by_row(decided(given(rows)))
    assert found.keys() == plain.keys()
    for row, (decisions, at) in found.items():
        before, there = plain[row]
        if row not in rows:
            assert decisions.arm == CHAMPION
            assert decisions.score[at] == before.score[there]
            assert decisions.outcome[at] == before.outcome[there]
            assert decisions.reasons.get(at) == before.reasons.get(there)
            continue
        assert (decisions.arm, decisions.propensity, decisions.engine) == (EDGE_ARM, 1.0, 3)
        assert decisions.version == ("2.0.0" if row % 2 else "1.0.0")
        assert decisions.features[at].tolist() == ([2.5] * 3 if row % 2 else [1.5] * 2)
        assert (decisions.score[at], decisions.outcome[at]) == (0.125, Outcome.BLOCK)
        assert decisions.own_outcome[at] == Outcome.REVIEW
        assert decisions.flags[at] == Flag.EDGE | Flag.DEGRADED
        assert decisions.reasons.get(at) == ((f"reason {row}",) if row % 3 == 0 else None)
        assert decisions.events.offset[at] == EVENTS.offset[row]
        assert decisions.plan_revision == before.plan_revision


def test_the_champion_scores_given_rows_as_the_shadow_central() -> None:
    rows = list(range(0, N, 7))
    plain, found = by_row(decided(None)), decided(given(rows))
    (central,) = found.shadowed
    assert (central.arm, central.version) == (CENTRAL_ARM, OLD.version)
    assert central.rows is not None
    assert central.rows.tolist() == rows
    assert central.score.tolist() == [plain[r][0].score[plain[r][1]] for r in rows]
    assert central.outcome.tolist() == [plain[r][0].outcome[plain[r][1]] for r in rows]
    assert central.decided_score.tolist() == [0.125] * len(rows)
    assert set(central.decided_outcome.tolist()) == {Outcome.BLOCK}
    assert central.events.offset.tolist() == EVENTS.offset[rows].tolist()


def test_given_rows_change_rings_like_all_others() -> None:
    def rings_after(own: GivenDecisions | None) -> Any:
        rings = PartitionRings(models()[OLD].features)
        decide_batch(EVENTS, rings, routing(0), models(), given=own)
        return contents(rings)

    assert rings_after(None) == rings_after(given(list(range(N))))


def test_late_is_said_by_the_rings_here() -> None:
    month_ago = int(EVENTS.int64("event_time")[0]) - 30 * 86_400_000
    late = event(900, customer_id="c0", event_time=month_ago)
    again = event(0, customer_id="c0")
    rows = batch([*(event(n, customer_id="c0") for n in range(4)), late, again])
    found = decided(given([3, 4, 5]), rows)
    told = by_row(found)
    assert sorted(told) == [0, 1, 2, 3, 4]
    decisions, at = told[4]
    assert decisions.flags[at] == Flag.EDGE | Flag.DEGRADED | Flag.LATE
    assert found.rejections.rows.tolist() == [5]
    (central,) = found.shadowed
    assert central.rows is not None
    assert central.rows.tolist() == [3, 4]


def test_no_given_row_is_drawn_and_no_other_shadow_scores_it() -> None:
    rows = list(range(0, N, 2))
    found = decided(
        given(rows), draws=Draws(KEY, OTHER), shared=EXPLORING, shadows=("shadow",),
        versions={CHAMPION: OLD, "shadow": OLD},
    )  # fmt: skip
    for part in found.decided:
        if part.decisions.arm == EDGE_ARM:
            assert not (part.decisions.flags & (Flag.DRAWN | Flag.LET_THROUGH)).any()
            assert part.decisions.policy_outcome is None
            assert (part.decisions.chance == 1.0).all()
    rest, central = found.shadowed
    assert (rest.arm, central.arm) == ("shadow", CENTRAL_ARM)
    assert rest.rows is not None
    assert rest.rows.tolist() == [row for row in range(N) if row % 2]


def test_a_batch_of_given_rows_alone_has_no_other_arm() -> None:
    found = decided(given(list(range(N))))
    assert {part.decisions.arm for part in found.decided} == {EDGE_ARM}
    assert len(found.decided) == 2
    assert sorted(by_row(found)) == list(range(N))


def test_a_failing_champion_does_not_stop_given_rows() -> None:
    broken = models(Linear(never))
    found = decide_batch(
        EVENTS, PartitionRings(broken[OLD].features), routing(0), broken,
        given=given(list(range(N))),
    )  # fmt: skip
    (central,) = found.shadowed
    assert central.failed.all()
    assert central.failure is not None
    with pytest.raises(ModelFailure):
        decide_batch(EVENTS, PartitionRings(broken[OLD].features), routing(0), broken)
